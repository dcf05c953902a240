"""The common jobs against `cp` and `python -c pass`: `python -m benchmarks [--mib 512] [--tensors 400] [--rounds 5]`.

Each job runs in a process of its own, as a user runs it, so the start of Python and the imports are in the figure. The jobs take
turns; shown are the medians of the rounds: wall seconds, the ratio to an empty Python and to `cp` of the checkpoint in the same
round, CPU seconds, and the peak of resident memory (MiB, file pages included).
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
from statistics import median

MIB = 1024 * 1024
FLOAT_BYTES = 4
NAME_WIDTH = 36
EMPTY, COPY = "python -c pass", "cp"
RULES = "version: 1\nrules:\n  - strip_prefix: module.\n"
# A call, a zip without its end, a header which goes on past the file.
BAD_FILES = {
    "call.pt": b"\x80\x02cos\nsystem\nX\4\0\0\0true\x85R.",
    "cut.pt": b"PK\3\4" + bytes(5000),
    "cut.safetensors": (5000).to_bytes(8, "little") + b'{"w":',
}
STRICT_LOAD = "import torch; torch.load('{path}', weights_only=True)"


@dataclass(frozen=True, slots=True)
class Job:
    """One command line and what it is called in the table."""

    name: str
    command: list[str]
    statuses: tuple[int, ...] = (0, 1)  # a negative answer is an answer


@dataclass(frozen=True, slots=True)
class Figure:
    """One run: wall and CPU time in seconds, peak of memory in MiB."""

    wall: float
    cpu: float
    peak: float


MAKE = """\
import sys, torch
path, rows, tensors = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.save({"epoch": 1, "state_dict": {f"module.layers.{i}.weight": torch.randn(rows, 256) for i in range(tensors)}}, path)
"""


def make_checkpoint(path: Path, mib: int, tensors: int) -> None:
    """`tensors` float32 weights of `mib` MiB together, as DataParallel names them; in a process of its own.

    A child's peak of memory starts at its parent's, so this one has to stay small.
    """
    rows = max(mib * MIB // FLOAT_BYTES // tensors // 256, 1)
    subprocess.run([sys.executable, "-c", MAKE, str(path), str(rows), str(tensors)], check=True)


def jobs(folder: Path) -> list[Job]:
    """What a user does, and torch's own load as the measure."""
    tool = [sys.executable, "-m", "ckpt_surgeon"]
    checkpoint, rules = str(folder / "model.pth"), str(folder / "rules.yaml")
    return [
        Job(EMPTY, [sys.executable, "-c", "pass"]),
        Job(COPY, ["cp", checkpoint, str(folder / "copy.pth")]),
        Job("import ckpt_surgeon", [sys.executable, "-c", "import ckpt_surgeon"]),
        Job("import torch", [sys.executable, "-c", "import torch"]),
        Job("torch.load", [sys.executable, "-c", STRICT_LOAD.format(path=checkpoint)]),
        Job("inspect", [*tool, "inspect", checkpoint]),
        *(Job(f"inspect a {name}, refused", [*tool, "inspect", str(folder / name)], statuses=(3,)) for name in BAD_FILES),
        Job("diff --rules", [*tool, "diff", checkpoint, checkpoint, "--rules", rules]),
        Job(
            "remap to .safetensors",
            [*tool, "remap", checkpoint, "--rules", rules, "--bare", "--force", "-o", str(folder / "out.safetensors")],
        ),
        Job("remap to .pth", [*tool, "remap", checkpoint, "--rules", rules, "--force", "-o", str(folder / "out.pth")]),
    ]


def run(job: Job) -> Figure:
    """Run a job once; an exit status which it should not have ends the benchmark."""
    started = time.perf_counter()
    process = subprocess.Popen(job.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in job.statuses:
        raise SystemExit(f"{job.name}: exit {code}\n{process.stderr.read() if process.stderr else ''}")
    return Figure(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def table(rounds: list[dict[str, Figure]]) -> str:
    """One line a job: medians over the rounds; a ratio is taken within each round."""
    lines = [f"{'':{NAME_WIDTH}}{'wall s':>9}{'x empty':>9}{'x cp':>8}{'CPU s':>8}{'MiB':>7}"]
    for name in rounds[0]:
        figures = [each[name] for each in rounds]
        wall, cpu, peak = (median(getattr(figure, field) for figure in figures) for field in ("wall", "cpu", "peak"))
        empty, copy = (median(each[name].wall / each[base].wall for each in rounds) for base in (EMPTY, COPY))
        lines.append(f"{name:{NAME_WIDTH}}{wall:9.2f}{empty:9.1f}{copy:8.2f}{cpu:8.2f}{peak:7.0f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The common jobs against cp and an empty Python.")
    parser.add_argument("--mib", type=int, default=512, help="size of the checkpoint")
    parser.add_argument("--tensors", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder / "model.pth", options.mib, options.tensors)
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        for bad, data in BAD_FILES.items():
            (folder / bad).write_bytes(data)
        print(f"{options.tensors} tensors, {options.mib} MiB, medians of {options.rounds} rounds")
        print(table([{job.name: run(job) for job in jobs(folder)} for _ in range(options.rounds)]))


if __name__ == "__main__":
    main()
