"""What stands at a destination is the old one or the complete new one; what may not be replaced is refused before any work."""

import os
import stat
import subprocess
import sys
import time

import pytest

from ckpt_surgeon.errors import DiskError, LockedError
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.publishing import publish_file, publish_folder

SHARD, INDEX = "model-00001-of-00001.safetensors", "model.safetensors.index.json"


def put(path, text="new"):
    with OutputFile(str(path)) as file:
        file.write(text.encode())
        file.sync()


def put_folder(path, text="new"):
    os.mkdir(path)
    put(os.path.join(path, SHARD), text)
    put(os.path.join(path, INDEX), "{}")


def content(path):
    """The text of a file, or of a folder's shard; None when it isn't there."""
    path = path / SHARD if path.is_dir() else path
    return path.read_text() if path.exists() else None


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest would take for itself."""


BOTH = pytest.mark.parametrize(("publish", "make"), [(publish_file, put), (publish_folder, put_folder)], ids=["file", "folder"])


@BOTH
def test_the_output_takes_its_name_at_the_end_and_nothing_else_stays(tmp_path, publish, make):
    with publish(str(tmp_path / "out")) as temporary:
        make(temporary)
        assert not (tmp_path / "out").exists()
    assert content(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


@BOTH
def test_with_force_the_old_one_is_replaced_whole(tmp_path, publish, make):
    make(tmp_path / "out", "old")
    with publish(str(tmp_path / "out"), force=True) as temporary:
        make(temporary)
        assert content(tmp_path / "out") == "old"
    assert content(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


@BOTH
@pytest.mark.parametrize("error", [ValueError, Interrupt, SystemExit])
@pytest.mark.parametrize("is_made", [False, True], ids=["before it is made", "after it is made"])
def test_when_the_work_fails_nothing_has_happened(tmp_path, publish, make, error, is_made):
    make(tmp_path / "out", "old")

    def work():
        with publish(str(tmp_path / "out"), force=True) as temporary:
            if is_made:
                make(temporary)
            raise error

    with pytest.raises(error):
        work()
    assert content(tmp_path / "out") == "old"
    assert os.listdir(tmp_path) == ["out"]


def entered(publish, destination, **options):
    """Enter the block, which must not be reached."""
    with publish(str(destination), **options):
        pytest.fail("the work had begun")


@BOTH
def test_an_existing_destination_needs_force(tmp_path, publish, make):
    make(tmp_path / "out", "old")
    with pytest.raises(DiskError, match="out: it exists already") as caught:
        entered(publish, tmp_path / "out")
    assert "--force" in caught.value.hint
    assert content(tmp_path / "out") == "old"


@BOTH
def test_a_destination_which_comes_up_meanwhile_is_not_replaced_without_force(tmp_path, publish, make):
    def work():
        with publish(str(tmp_path / "out")) as temporary:
            make(temporary)
            make(tmp_path / "out", "another's")

    with pytest.raises(DiskError, match="exists already"):
        work()
    assert content(tmp_path / "out") == "another's"
    assert os.listdir(tmp_path) == ["out"]


@BOTH
def test_a_folder_which_does_not_exist_is_named_with_what_to_do(tmp_path, publish, make):
    with pytest.raises(DiskError, match="folder does not exist") as caught:
        entered(publish, tmp_path / "no" / "such" / "out")
    assert f"mkdir -p {tmp_path / 'no' / 'such'}" in caught.value.hint


@pytest.mark.parametrize("link", ["itself", "hard link", "symbolic link", "symbolic link to it"])
def test_a_source_is_never_replaced_under_whatever_name(tmp_path, link):
    source, out = tmp_path / "source.pt", tmp_path / "out.pt"
    source.write_text("precious")
    given = source
    if link == "itself":
        out = source
    elif link == "hard link":
        os.link(source, out)
    elif link == "symbolic link":
        out.symlink_to(source)
    else:
        given = tmp_path / "given.pt"
        given.symlink_to(source)
        out = source
    with pytest.raises(DiskError, match=r"source.*itself|given.*itself"):
        entered(publish_file, out, force=True, sources=[str(given)])
    assert source.read_text() == "precious"


@pytest.mark.parametrize("given", ["", INDEX, SHARD])
def test_a_shard_of_the_source_is_never_replaced(tmp_path, given):
    put_folder(tmp_path / "model", "precious")
    source = str(tmp_path / "model" / given)
    os.link(tmp_path / "model" / SHARD, tmp_path / "twin.safetensors")
    for out in (tmp_path / "model" / SHARD, tmp_path / "twin.safetensors"):
        with pytest.raises(DiskError, match="it is the source"):
            entered(publish_file, out, force=True, sources=[source])
    with pytest.raises(DiskError, match="it is the source"):
        entered(publish_folder, tmp_path / "model", force=True, sources=[source])
    assert content(tmp_path / "model") == "precious"


def test_a_new_file_beside_the_source_is_fine_and_one_in_a_source_folder_is_not(tmp_path):
    put_folder(tmp_path / "model", "precious")
    with pytest.raises(DiskError, match="lies in the source folder"):
        entered(publish_file, tmp_path / "model" / "new.pt", sources=[str(tmp_path / "model")])
    assert content(tmp_path / "model") == "precious"
    with publish_file(
        str(tmp_path / "model" / "new.pt"), sources=[str(tmp_path / "model" / SHARD), "https://example.org/x.pt"]
    ) as temporary:
        put(temporary)
    assert sorted(os.listdir(tmp_path / "model")) == [SHARD, INDEX, "new.pt"]


@pytest.mark.parametrize(
    ("publish", "make", "message"),
    [
        (publish_file, os.mkdir, "cannot replace a folder"),
        (publish_file, os.mkfifo, "a device, a pipe"),
        (publish_folder, os.mkfifo, "device"),
        (publish_folder, lambda path: put(path, "old"), "cannot replace a file"),
        (publish_file, lambda path: os.symlink("nowhere", path), "symbolic link"),
        (publish_folder, lambda path: os.symlink(".", path), "symbolic link"),
    ],
)
def test_what_is_of_another_kind_is_never_replaced(tmp_path, publish, make, message):
    make(str(tmp_path / "out"))
    before = os.lstat(tmp_path / "out")
    with pytest.raises(DiskError, match=message) as caught:
        entered(publish, tmp_path / "out", force=True)
    assert caught.value.hint
    assert os.lstat(tmp_path / "out").st_ino == before.st_ino


@pytest.mark.parametrize("publish", [publish_file, publish_folder])
@pytest.mark.parametrize("device", ["/dev/null", "/dev/full", "/dev/stdout"])
def test_a_device_is_refused(device, publish):
    with pytest.raises(DiskError, match=r"device|symbolic link"):
        entered(publish, device, force=True)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
@pytest.mark.parametrize("publish", [publish_file, publish_folder])
def test_a_name_which_no_file_can_have_is_refused(tmp_path, name, publish):
    with pytest.raises(DiskError, match="no file can have this name"):
        entered(publish, os.path.join(tmp_path, name), force=True)


@pytest.mark.parametrize("publish", [publish_file, publish_folder])
def test_a_source_is_found_through_a_linked_folder(tmp_path, publish):
    put_folder(tmp_path / "model", "precious")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    out = tmp_path / "link" / SHARD if publish is publish_file else tmp_path / "link"
    for source in (tmp_path / "model", tmp_path / "link", tmp_path / "link" / SHARD, tmp_path / "model" / INDEX):
        with pytest.raises(DiskError, match="it is the source"):
            entered(publish, out, force=True, sources=[str(source)])
    assert content(tmp_path / "model") == "precious"


@pytest.mark.parametrize("name", ["/", ".x.ckpt-surgeon-tmp"])
@BOTH
def test_a_name_which_no_output_may_have_is_refused(tmp_path, name, publish, make):
    with pytest.raises(DiskError, match="cannot have this name"):
        entered(publish, os.path.join(tmp_path, name), force=True)


@pytest.mark.parametrize("other", ["config.json", "tokenizer/vocab", SHARD + "/x"])
def test_a_folder_which_holds_more_than_shards_is_never_replaced(tmp_path, other):
    (tmp_path / "out" / other).parent.mkdir(parents=True)
    (tmp_path / "out" / other).touch()
    with pytest.raises(DiskError, match="holds more than shards") as caught:
        entered(publish_folder, tmp_path / "out", force=True)
    assert other.split("/")[0] in str(caught.value)
    assert (tmp_path / "out" / other).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@BOTH
def test_a_folder_which_cannot_be_written_is_refused_before_any_work(tmp_path, publish, make):
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError, match="Permission denied"):
        entered(publish, tmp_path / "out")
    tmp_path.chmod(0o700)


@BOTH
def test_while_one_run_writes_another_is_turned_away_and_the_first_is_not_disturbed(tmp_path, publish, make):
    with publish(str(tmp_path / "out")) as temporary:
        make(temporary)
        with pytest.raises(LockedError, match="out: another run is writing it"):
            entered(publish, tmp_path / "out")
    assert content(tmp_path / "out") == "new"
    with publish(str(tmp_path / "other")) as temporary:
        make(temporary)


@BOTH
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, publish, make):
    script = (
        "import os, sys; from ckpt_surgeon.publishing import publish_folder\n"
        "with publish_folder(sys.argv[1]) as path:\n"
        "    os.mkdir(path); open(os.path.join(path, 'half'), 'w').close(); print('begun', flush=True); import time; time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "begun\n"
        with pytest.raises(LockedError):
            entered(publish, tmp_path / "out")
        run.kill()
    assert os.listdir(tmp_path) == [".out.ckpt-surgeon-tmp"]
    with publish(str(tmp_path / "out")) as temporary:
        make(temporary)
    assert content(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_put_aside_by_a_run_cut_short_gets_its_name_back(tmp_path):
    aside = tmp_path / ".out.ckpt-surgeon-tmp"
    aside.mkdir()
    put_folder(aside / "replaced.ckpt-surgeon-tmp", "old")
    with pytest.raises(ZeroDivisionError), publish_folder(str(tmp_path / "out"), force=True):
        raise ZeroDivisionError
    assert content(tmp_path / "out") == "old"


def test_links_in_what_is_removed_are_not_followed(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").touch()
    left = tmp_path / ".out.ckpt-surgeon-tmp"
    left.mkdir()
    (left / "link").symlink_to(home)
    with publish_file(str(tmp_path / "out")) as temporary:
        put(temporary)
    assert (home / "precious").exists()
    assert sorted(os.listdir(tmp_path)) == ["home", "out"]


@pytest.mark.parametrize("taken", ["a link to a folder", "a link to nothing", "a file"])
@BOTH
def test_what_bears_the_name_of_the_temporary_folder_and_is_none_is_left_alone(tmp_path, taken, publish, make):
    home, place = tmp_path / "home", tmp_path / ".out.ckpt-surgeon-tmp"
    home.mkdir()
    (home / "precious").touch()
    if taken == "a file":
        place.touch()
    else:
        place.symlink_to(home if taken == "a link to a folder" else tmp_path / "nowhere")
    with pytest.raises(DiskError, match="is taken") as caught:
        entered(publish, tmp_path / "out")
    assert "remove it" in caught.value.hint
    assert os.listdir(home) == ["precious"]
    assert sorted(os.listdir(tmp_path)) == [".out.ckpt-surgeon-tmp", "home"]


@BOTH
def test_what_comes_up_at_the_destination_meanwhile_is_judged_again(tmp_path, publish, make):
    out = tmp_path / "out"

    def work():
        with publish(str(out), force=True) as temporary:
            make(temporary)
            out.mkdir()
            (out / "thesis.tex").write_text("precious")

    with pytest.raises(DiskError, match=r"cannot replace a folder|holds more than shards"):
        work()
    assert (out / "thesis.tex").read_text() == "precious"
    assert os.listdir(tmp_path) == ["out"]


@BOTH
def test_a_parent_is_taken_after_the_links_before_it_as_the_system_does(tmp_path, publish, make):
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "inner")
    with publish(f"{tmp_path}/near/../out{'/' if publish is publish_folder else ''}") as temporary:
        make(temporary)
    assert content(tmp_path / "far" / "out") == "new"
    assert sorted(os.listdir(tmp_path)) == ["far", "near"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@BOTH
def test_a_new_output_has_the_permissions_of_the_umask(tmp_path, umask, publish, make):
    before = os.umask(umask)
    try:
        with publish(str(tmp_path / "out")) as temporary:
            make(temporary)
    finally:
        os.umask(before)
    full = 0o777 if publish is publish_folder else 0o666
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == full & ~umask


@BOTH
def test_a_replaced_output_keeps_its_permissions(tmp_path, publish, make):
    make(tmp_path / "out", "old")
    (tmp_path / "out").chmod(0o740)
    with publish(str(tmp_path / "out"), force=True) as temporary:
        make(temporary)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o740


@pytest.mark.parametrize(("modes", "wanted"), [((0o600, 0o600), 0o600), ((0o664, 0o644), 0o644), ((0o640, 0o604), 0o600)])
def test_new_shards_are_open_to_those_who_might_read_all_the_old_ones(tmp_path, modes, wanted):
    put_folder(tmp_path / "out", "old")
    for name, mode in zip((SHARD, INDEX), modes, strict=True):
        (tmp_path / "out" / name).chmod(mode)
    with publish_folder(str(tmp_path / "out"), force=True) as temporary:
        put_folder(temporary)
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "out").iterdir()} == {wanted}


def test_an_empty_folder_is_replaced_as_any_other(tmp_path):
    (tmp_path / "out").mkdir(mode=0o750)
    with publish_folder(str(tmp_path / "out"), force=True) as temporary:
        put_folder(temporary)
    assert content(tmp_path / "out") == "new"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_nobody_else_can_look_into_an_unfinished_output(tmp_path):
    with publish_file(str(tmp_path / "out")) as temporary:
        assert stat.S_IMODE(os.stat(os.path.dirname(temporary)).st_mode) == 0o700
        put(temporary)


@BOTH
@pytest.mark.parametrize("name", ["lock", "x" * 255, "ü" * 127, "with space\nand line", "-rf"])
def test_any_name_will_do(tmp_path, name, publish, make):
    with publish(str(tmp_path / name)) as temporary:
        make(temporary)
    assert content(tmp_path / name) == "new"
    assert os.listdir(tmp_path) == [name]


@BOTH
def test_a_relative_path_is_taken_from_the_current_folder(tmp_path, publish, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with publish("out") as temporary:
        make(temporary)
    assert content(tmp_path / "out") == "new"


WRITER = """
import os, sys
from ckpt_surgeon.errors import LockedError
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.publishing import publish_file
done = 0
while done < 15:
    try:
        with publish_file(sys.argv[1], force=True) as path, OutputFile(path) as file:
            for _ in range(50):
                file.write(sys.argv[2].encode() * 100)
            file.sync()
        done += 1
    except LockedError:
        pass
"""


def test_readers_never_see_a_part_while_several_write(tmp_path):
    out = tmp_path / "out"
    put(out, "0" * 5000)
    runs = [subprocess.Popen([sys.executable, "-c", WRITER, str(out), str(i)]) for i in (1, 2)]
    seen = set()
    while any(run.poll() is None for run in runs):
        text = out.read_text()
        assert (len(text), len(set(text))) == (5000, 1)
        seen.add(text[0])
        time.sleep(0.001)
    assert [run.returncode for run in runs] == [0, 0]
    assert seen <= {"0", "1", "2"}
    assert os.listdir(tmp_path) == ["out"]
