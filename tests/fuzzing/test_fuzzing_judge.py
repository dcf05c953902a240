"""The judge lets values and designed refusals pass, and nothing else; each input can be made again alone."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from judging import ACCEPTED, Judge, Verdict
from memory_system import FOLDER
from running import Job, files_of, run
from targets import TARGETS, Target

from ckpt_surgeon import disk
from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, DiskError, RulesError
from ckpt_surgeon.output_file import OutputFile

FILES = {"x": b"123"}
Read = Callable[[Mapping[str, bytes]], Any]


def judged(read: Read, **parts: Any) -> Verdict:
    """The verdict of a judge in a process of its own, since it takes over the disk, a signal and the interpreter's ear."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    target = Target(lambda _chance: FILES, read, frozenset({CorruptError}), **parts)

    def work() -> None:
        sys.modules.pop("colorsys", None)  # which some other test may have imported
        sender.send(Judge(target).judge(FILES, is_shown=True))

    process = context.Process(target=work)
    process.start()
    verdict: Verdict = receiver.recv()
    process.join()
    return verdict


def raising(error: BaseException) -> Read:
    def read(_files: Mapping[str, bytes]) -> None:
        raise error

    return read


def read_whole(_files: Mapping[str, bytes]) -> bytes:
    with InputFile(f"{FOLDER}/x") as file:
        return file.read(0, file.nbytes)


def loop(_files: Mapping[str, bytes]) -> None:
    while True:
        pass


def recurse(files: Mapping[str, bytes]) -> None:
    recurse(files)


def import_statement(_files: Mapping[str, bytes]) -> None:
    import colorsys  # noqa: F401


WRONG: dict[str, tuple[Read, str]] = {
    "another exception": (raising(KeyError("a")), "KeyError: 'a' test_fuzzing_judge.py"),
    "recursion": (recurse, "RecursionError"),
    "no memory": (raising(MemoryError()), "MemoryError"),
    "a refusal of another kind": (raising(RulesError("no")), "refused as RulesError"),
    "a number which led past the file": (lambda _: InputFile(f"{FOLDER}/x").read(0, 4), "refused as DiskError"),
    "no answer": (loop, "no answer within 1.0 s"),
    "an import": (import_statement, "asked for import ('colorsys'"),
    "a module more": (lambda _: importlib.import_module("colorsys"), "imported ['colorsys']"),
    "a command": (lambda _: subprocess.run(["true"], check=True), "asked for subprocess.Popen"),
    "code": (lambda _: exec("1"), "asked for exec"),  # noqa: S102 it is what the judge listens for
    "a file beside the disk's door": (lambda _: Path(os.devnull).read_bytes(), "asked for open"),
    "a file which is made": (lambda _: OutputFile(f"{FOLDER}/y"), "WroteError: open"),
    "a folder which is made": (lambda _: disk.system.mkdir(f"{FOLDER}/y"), "WroteError"),
    "a file left open": (lambda _: InputFile(f"{FOLDER}/x"), "1 files were left open"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_may_never_be_is_a_violation(name: str) -> None:
    read, told = WRONG[name]
    assert any(told in violation for violation in judged(read).violations)


@pytest.mark.parametrize(
    ("read", "outcome"),
    [(read_whole, ACCEPTED), (raising(CorruptError("it is cut", where="x\n\x1b[31m")), "CorruptError"), (lambda _: None, ACCEPTED)],
)
def test_a_value_and_a_designed_refusal_pass(read: Read, outcome: str) -> None:
    assert judged(read) == Verdict(outcome)


REFUSE = raising(CorruptError("cut at byte 7"))
AGREEMENTS: dict[str, tuple[Read, Read, tuple[str, str, int]]] = {
    "both": (read_whole, lambda _: b"123", ("both", "", 0)),
    "both, and they differ": (read_whole, lambda _: b"124", ("both", "", 1)),
    "ours alone": (read_whole, raising(ValueError("'a' is 7 long")), ("ours only", "ValueError: * is * long", 0)),
    "the reference alone": (REFUSE, lambda _: b"", ("reference only", "CorruptError: cut at byte *", 0)),
    "neither": (REFUSE, raising(ValueError()), ("neither", "", 0)),
}


@pytest.mark.parametrize("name", AGREEMENTS)
def test_the_reference_is_compared_where_both_read(name: str) -> None:
    read, reference, wanted = AGREEMENTS[name]
    found = judged(read, reference=reference, differs=lambda ours, theirs: "" if ours == theirs else f"{ours} {theirs}")
    assert (found.agreement, found.why, len(found.violations)) == wanted


def test_a_process_which_dies_is_a_violation_of_the_input_at_which_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def die_at_three(files: Mapping[str, bytes]) -> None:
        if files["x"] == b"3" and os.getpid() != parent:
            os._exit(9)

    parent, made = os.getpid(), iter(range(10_000))
    target = Target(lambda _chance: {"x": b"3" if next(made) == 304 else b""}, die_at_three, frozenset())
    monkeypatch.setattr("running.TARGETS", {"deadly": target})
    figures = run(Job("deadly", 1, 0, 10), 1)
    assert figures.violations == [(3, "the process died with exit code 9")]


@pytest.mark.parametrize("target", TARGETS)
def test_an_input_can_be_made_again_alone(target: str) -> None:
    alone = [files_of(target, 7, number) for number in range(20)]
    assert alone == [files_of(target, 7, number) for number in reversed(range(20))][::-1]
    assert alone != [files_of(target, 8, number) for number in range(20)]


DIGEST = """
import hashlib
from running import files_of
from targets import TARGETS
for target in TARGETS:
    print(target, hashlib.sha256(repr([files_of(target, 7, number) for number in range(40)]).encode()).hexdigest())
"""


def test_an_input_is_the_same_in_every_process() -> None:
    """So that what one run finds another one shows."""
    folder = Path(__file__).parent
    runs = [
        subprocess.run([sys.executable, "-W", "ignore", "-c", DIGEST], capture_output=True, check=True, cwd=folder, text=True).stdout
        for _ in range(2)
    ]
    assert runs[0].count("\n") == len(TARGETS)
    assert runs[0] == runs[1]


def test_a_disk_error_is_what_reading_past_the_end_brings() -> None:
    with pytest.raises(DiskError), InputFile(__file__) as file:
        file.read(file.nbytes, 1)
