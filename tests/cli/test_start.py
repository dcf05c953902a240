"""The first moments of the process, in which nothing is loaded yet."""

import signal
import subprocess
import sys

import pytest

# A signal comes while the application is being imported.
SIGNALED = """
import os, signal, sys
import ckpt_surgeon.__main__ as start

class Signaling:
    def find_spec(self, name, *_):
        if name == "ckpt_surgeon.cli":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Signaling())
signal.signal({number}, signal.{before})
sys.argv = ["ckpt-surgeon", "--version"]
start.main()
"""


def run(number: signal.Signals, before: str) -> subprocess.CompletedProcess[str]:
    code = SIGNALED.format(number=int(number), before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_before_the_application_is_loaded_ends_the_process_with_its_code(number: signal.Signals) -> None:
    done = run(number, "default_int_handler" if number == signal.SIGINT else "SIG_DFL")
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_a_signal_which_the_parent_ignores_stays_ignored() -> None:
    done = run(signal.SIGHUP, "SIG_IGN")
    assert done.returncode == 0
    assert done.stdout.startswith("ckpt-surgeon ")


def test_the_collector_rests_at_the_start_and_the_end_but_is_never_off() -> None:
    code = (
        "import atexit, gc, sys; import ckpt_surgeon.__main__ as start; sys.argv = ['ckpt-surgeon', '--version'];"
        "before = gc.get_threshold()[0];"
        "atexit.register(lambda: print(gc.isenabled(), gc.get_threshold()[0] > before, gc.get_freeze_count() > 0)); start.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["True True True"]
