"""The real command line on a larger file, stopped at random moments of its writing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from fault_edits import staged
from fault_injection import ROOT
from fault_scenarios import Scenario, Stage

NUMEL = 1_500_000  # 18 MB in all: some tens of milliseconds, in which signals arrive
_LONGEST = 0.06  # seconds
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


def stage_of(folder: Path, scenario: Scenario) -> Stage:
    """A stage whose writing takes a while."""
    return staged(folder, scenario, numel=NUMEL)


def violations(stage: Stage, number: signal.Signals, chance: random.Random) -> list[str]:
    """Which promises are broken by a run which is sent a signal some time after it has begun to write."""
    stage.lay()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ckpt_surgeon", *stage.words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        while run.poll() is None and not stage.workplace.exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, _LONGEST))
        run.send_signal(number)
        told = run.communicate(timeout=120)[1]
    code = run.returncode
    is_late = code == -number and stage.is_new()  # it came when everything was done, and the handlers were given back
    is_killed = number == signal.SIGKILL or is_late
    stays = [f"the temporary folder stays after {number.name}"] if stage.workplace.exists() and not is_killed else []
    spoken = [f"more than a line: {told!r}"] if len(told.splitlines()) > 1 else []
    return [
        f"{number.name}, {stage.scenario.name}: {each}"
        for each in stays + spoken + stage.violations(code=code, codes=(0, 128 + number), killed=is_killed)
    ]
