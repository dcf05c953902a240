"""Standard streams which are closed, full or broken, and signals: each run in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runs import environment, run
from safetensors.torch import save_file

from ckpt_surgeon.cli.signals import Stopped, stopping_signals
from ckpt_surgeon.publishing import publish_file

pytestmark = pytest.mark.usefixtures("folder")

FULL = Path("/dev/full")
COMMAND = f"{sys.executable} -m ckpt_surgeon"


def shell(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f"shopt -u huponexit; {script}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment(**variables))


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "words", ["inspect plain.safetensors", "diff plain.safetensors plain.safetensors --format json", "schema", "--help"]
)
def test_a_full_disk_behind_stdout_is_an_input_output_fault(words):
    done = shell(f"{COMMAND} {words} > /dev/full")
    assert done.returncode == 5
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", ["inspect plain.safetensors", "diff other.safetensors plain.safetensors -v", "schema", "--help"])
def test_a_reader_which_has_enough_ends_it_quietly_with_141(words):
    done = shell(f"{COMMAND} {words} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "141\n"
    assert done.stderr == ""


def test_a_closed_stdout_is_an_input_output_fault():
    done = shell(f"{COMMAND} inspect plain.safetensors >&-")
    assert done.returncode == 5
    assert done.stderr == "error: standard output: it is closed\n"


def test_a_closed_stdout_never_becomes_part_of_the_output(folder):
    done = shell(f"{COMMAND} remap plain.safetensors -o a.safetensors >&- <&-")
    assert done.returncode == 5
    assert run("diff", "a.safetensors", "plain.safetensors").returncode == 0


def test_a_closed_stderr_changes_nothing():
    assert shell(f"{COMMAND} inspect plain.safetensors 2>&-").returncode == 0
    assert shell(f"{COMMAND} inspect nothing.pth 2>&-").returncode == 5


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_which_the_terminal_cannot_show_is_escaped(encoding):
    import torch

    save_file({"\u6743\u91cd.weight": torch.zeros(1)}, "names.safetensors")
    done = shell(f"{COMMAND} inspect names.safetensors", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    shown = "\u6743\u91cd" if encoding == "utf-8" else "\\u6743\\u91cd"
    assert shown in done.stdout


def test_any_locale_will_do():
    assert shell(f"{COMMAND} inspect plain.safetensors", LC_ALL="C", PYTHONUTF8="0").returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_with_its_code(number, code):
    command = [sys.executable, "-m", "ckpt_surgeon", "diff", "plain.safetensors", "nets:slow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr.readline() == "building\n"
        process.send_signal(number)
        out, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert told == f"error: stopped by {number.name}\n"


def test_a_hangup_which_the_parent_ignores_stays_ignored():
    handler = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, handler)


def half_written(path, number):
    with stopping_signals(), publish_file(str(path)) as temporary:
        Path(temporary).write_bytes(b"half")
        os.kill(os.getpid(), number)
        time.sleep(5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_writing_leaves_nothing_behind(number, folder):
    before = sorted(folder.iterdir())
    with pytest.raises(Stopped) as caught:
        half_written(folder / "a.pth", number)
    assert caught.value.number == number
    assert sorted(folder.iterdir()) == before


def stopped_twice(cleaned):
    with stopping_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)


def test_a_second_signal_does_not_hinder_the_cleaning_up():
    cleaned = []
    with pytest.raises(Stopped):
        stopped_twice(cleaned)
    assert cleaned == [True]


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with stopping_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
