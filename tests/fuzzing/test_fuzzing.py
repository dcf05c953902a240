"""Thousands of inputs of each target with a fixed seed, as `make fuzz` runs them by the million."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from targets import TARGETS

FOLDER = Path(__file__).parent
SEED = 20
# Inputs of each target, fewer where each takes longer.
RUNS: dict[tuple[str, ...], int] = {("pickle", "older", "safetensors", "index"): 10_000, ("torch", "zip", "distributed", "rules"): 4_000}


def fuzz(folder: Path, targets: tuple[str, ...], inputs: int) -> subprocess.CompletedProcess[str]:
    only = [word for target in targets for word in ("--only", target)]
    words = ["--findings", str(folder), "--processes", "1", "--inputs", str(inputs), "--seed", str(SEED)]
    return subprocess.run([sys.executable, str(FOLDER), *words, *only], capture_output=True, check=False, text=True)


def outcomes(printed: str, target: str) -> dict[str, int]:
    """How many inputs of the target had which outcome."""
    found = re.search(rf"^{target}: .*\n  (.*)$", printed, re.MULTILINE)
    assert found, printed
    return {word: int(count.replace(",", "")) for word, count in (part.rsplit(" ", 1) for part in found[1].split(", "))}


@pytest.mark.parametrize("targets", RUNS)
def test_no_input_brings_anything_but_a_value_or_a_refusal(tmp_path: Path, targets: tuple[str, ...]) -> None:
    inputs = RUNS[targets]
    done = fuzz(tmp_path, targets, inputs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n0 violations\n")
    for target in targets:
        counts = outcomes(done.stdout, target)
        # Neither a reader which refuses everything nor one which takes everything has been tried.
        assert sum(counts.values()) == inputs
        assert inputs // 10 < counts["accepted"] < inputs * 9 // 10


def test_every_target_has_a_run() -> None:
    assert {target for targets in RUNS for target in targets} == set(TARGETS)
