"""A run which is killed at any of its system calls leaves the old one or the new one, and a next run which succeeds."""

import os

import pytest

from ckpt_surgeon import disk
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.formats.creating import create_writer
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.protocol import Keep
from ckpt_surgeon.publishing import publish_file, publish_folder
from ckpt_surgeon.spec import Header, TensorSpec

HEADER = Header({key: TensorSpec.of("uint8", 1000) for key in "abc"})
KILLED, DONE = 9, 0


class Deadly:
    """The real machine, but the process is gone at call number `fatal`, before or after the call is carried out."""

    def __init__(self, fatal: int, *, is_after: bool, lacks: str) -> None:
        self.real, self.left, self.is_after, self.lacks = disk.system, fatal, is_after, lacks

    def __getattr__(self, name):
        def counted(*arguments, **options):
            if name == self.lacks:
                raise OSError(22, "Invalid argument")
            self.left -= 1
            if self.left < 0 and not self.is_after:
                os._exit(KILLED)
            result = getattr(self.real, name)(*arguments, **options)
            if self.left < 0:
                os._exit(KILLED)
            return result

        return counted


def write(path, form, letter):
    publish = publish_folder if form == "sharded" else publish_file
    with publish(path, force=True) as temporary:
        writer = create_writer(temporary, form, HEADER, Keep(), 1500)
        for key in HEADER.entries:
            writer.write(key, [letter * 1000])
        writer.close()


def status_of_child(path, form, system):
    """The exit status of a child which writes `n` on this machine."""
    child = os.fork()
    if child == 0:
        disk.system = system
        try:
            write(path, form, b"n")
            os._exit(DONE)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def letters(path):
    """The letters of which a complete checkpoint consists; None where there is none."""
    try:
        with open_checkpoint(path) as reader:
            spans = [reader.span(key) for key in HEADER.entries]
            return {letter for span in spans for letter in span.read(0, span.nbytes)}
    except DiskError:
        return None


@pytest.mark.slow  # a fork for each system call; the faults of test_publishing_faults.py stay in the suite
@pytest.mark.parametrize(("form", "lacks"), [("safetensors", ""), ("sharded", ""), ("sharded", "exchange")])
@pytest.mark.parametrize("is_there", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before the call", "after the call"])
def test_a_kill_at_any_call_leaves_the_old_or_the_new_one(tmp_path, form, lacks, is_there, is_after):
    old, new, path = {ord("o")} if is_there else None, {ord("n")}, str(tmp_path / "out")
    seen, status, fatal = [], KILLED, 0
    while status == KILLED:
        if os.path.exists(path):
            os.rename(path, tmp_path / f"used{fatal}")
        if is_there:
            write(path, form, b"o")
        status = status_of_child(path, form, Deadly(fatal, is_after=is_after, lacks=lacks))
        found = letters(path)
        hidden = [name for name in os.listdir(tmp_path) if name.startswith(".")]
        for name in hidden:
            with pytest.raises(CorruptError, match="unfinished"):
                open_checkpoint(str(tmp_path / name))
        assert found in (old, new) or (found is None and lacks and hidden)  # between the two steps of a swap nothing bears the name
        write(path, form, b"o" if found == old else b"n")
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
        seen.append(found)
        fatal += 1
    assert (status, seen[0], seen[-1]) == (DONE, old, new)
    assert fatal > 20


def test_a_folder_lost_between_two_steps_is_given_back_by_a_run_which_then_fails(tmp_path):
    path = str(tmp_path / "out")
    for fatal in range(1000):
        write(path, "sharded", b"o")
        status = status_of_child(path, "sharded", Deadly(fatal, is_after=False, lacks="exchange"))
        if not os.path.exists(path):
            break
        assert status == KILLED
    with pytest.raises(ZeroDivisionError), publish_folder(path, force=True):
        raise ZeroDivisionError
    assert letters(path) == {ord("o")}
