"""Thousands of inputs of each target with a fixed seed, as `make fuzz` runs them by the million."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SEED = 20
# Inputs of each target; those which take part in the next release are other ones.
INPUTS = {
    "pickle": 10_000,
    "torch": 10_000,
    "older": 10_000,
    "zip": 10_000,
    "safetensors": 10_000,
    "index": 10_000,
    "distributed": 5_000,
    "rules": 5_000,
}


def fuzz(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(FOLDER), "--findings", str(folder), "--processes", "1", *words]
    return subprocess.run(line, capture_output=True, check=False, text=True, timeout=600)


@pytest.mark.parametrize("target", INPUTS)
def test_no_input_brings_anything_but_a_value_or_a_refusal(tmp_path: Path, target: str) -> None:
    done = fuzz(tmp_path, "--only", target, "--inputs", str(INPUTS[target]), "--seed", str(SEED))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 violations\n")
    counts = {word: int(count.replace(",", "")) for word, count in re.findall(r"(\w+) ([0-9,]+)", done.stdout.splitlines()[1])}
    # Neither a reader which refuses everything nor one which takes everything has been tried.
    assert sum(counts.values()) == INPUTS[target]
    assert INPUTS[target] // 10 < counts["accepted"] < INPUTS[target] * 9 // 10
