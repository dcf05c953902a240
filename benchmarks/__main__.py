"""Time the common jobs on a generated checkpoint: `python -m benchmarks [--mib 512] [--tensors 400] [--repeat 3]`.

Each job runs in a process of its own, as a user runs it, so the start of Python and the imports are in the figure. The best of the
repeats is shown, with the largest peak of memory (of the process, in MiB).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
FLOAT_BYTES = 4
RULES = "version: 1\nrules:\n  - strip_prefix: module.\n"
STRICT_LOAD = "import torch; torch.load('{path}', weights_only=True)"


@dataclass(frozen=True, slots=True)
class Job:
    """One command line and what it is called in the table."""

    name: str
    command: list[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """Best wall time in seconds, largest peak of memory in MiB."""

    seconds: float
    peak: float


def make_checkpoint(path: Path, mib: int, tensors: int) -> None:
    """`tensors` square-ish float32 weights of `mib` MiB together, as DataParallel names them."""
    import torch

    rows = max(mib * MIB // FLOAT_BYTES // tensors // 256, 1)
    torch.save({"epoch": 1, "state_dict": {f"module.layers.{i}.weight": torch.randn(rows, 256) for i in range(tensors)}}, path)


def jobs(folder: Path) -> list[Job]:
    """What a user does, and torch's own load as the measure."""
    tool = [sys.executable, "-m", "ckpt_surgeon"]
    checkpoint, rules = str(folder / "model.pth"), str(folder / "rules.yaml")
    return [
        Job("import ckpt_surgeon", [sys.executable, "-c", "import ckpt_surgeon"]),
        Job("import torch", [sys.executable, "-c", "import torch"]),
        Job("torch.load", [sys.executable, "-c", STRICT_LOAD.format(path=checkpoint)]),
        Job("inspect", [*tool, "inspect", checkpoint]),
        Job("diff --rules", [*tool, "diff", checkpoint, checkpoint, "--rules", rules]),
        Job(
            "remap to .safetensors",
            [*tool, "remap", checkpoint, "--rules", rules, "--bare", "--force", "-o", str(folder / "out.safetensors")],
        ),
        Job("remap to .pth", [*tool, "remap", checkpoint, "--rules", rules, "--force", "-o", str(folder / "out.pth")]),
    ]


def run(job: Job) -> Figure:
    """Run a job once. A negative answer (1) is an answer; any other failure ends the benchmark."""
    started = time.perf_counter()
    process = subprocess.Popen(job.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise SystemExit(f"{job.name}: exit {code}\n{process.stderr.read() if process.stderr else ''}")
    return Figure(seconds, usage.ru_maxrss / 1024)


def measure(job: Job, repeat: int) -> Figure:
    """The best time and the largest peak of some runs."""
    figures = [run(job) for _ in range(repeat)]
    return Figure(min(figure.seconds for figure in figures), max(figure.peak for figure in figures))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time the common jobs on a generated checkpoint.")
    parser.add_argument("--mib", type=int, default=512, help="size of the checkpoint")
    parser.add_argument("--tensors", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder / "model.pth", options.mib, options.tensors)
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        print(f"{options.tensors} tensors, {options.mib} MiB")
        for job in jobs(folder):
            figure = measure(job, options.repeat)
            print(f"{job.name:24} {figure.seconds:8.2f} s {figure.peak:8.0f} MiB")


if __name__ == "__main__":
    main()
