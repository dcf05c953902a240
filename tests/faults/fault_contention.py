"""Several writers and readers on one destination, each a process of its own.

Run as `python fault_contention.py write|read OUT VALUE ROUNDS STOP`; ends with a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from safetensors.numpy import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import LockedError
from ckpt_surgeon.formats.opening import open_checkpoint

ROOT = Path(__file__).resolve().parents[2]
WRITERS, READERS = 8, 4
_KEYS, _NUMEL = "abcd", 256  # f32: a shard of 1 KiB for each key


def violations(folder: Path, out: str, rounds: int) -> tuple[Counter[str], list[str]]:
    """What the writers and readers did, by name, and which promises were broken."""
    folder.mkdir()
    stop, destination = folder / "stop", folder / out
    _write(_source(folder, 0), destination)
    writers = [_start("write", destination, value, rounds, stop) for value in range(1, WRITERS + 1)]
    readers = [_start("read", destination, 0, rounds, stop) for _ in range(READERS)]
    done = [each.communicate(timeout=3600) for each in writers]
    stop.touch()
    done += [each.communicate(timeout=600) for each in readers]
    broken = [f"{out}: {told.strip().splitlines()[-1]}" for _, told in done if told]
    counts: Counter[str] = Counter()
    for output, _ in done:
        counts.update(json.loads(output or "{}"))
    left = sorted(name for name in os.listdir(folder) if name.startswith(".") or name.endswith(".lock"))
    return counts, broken + ([f"{out}: {left} stay"] if left else [])


def _start(act: str, destination: Path, value: int, rounds: int, stop: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, act, str(destination), str(value), str(rounds), str(stop)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _source(folder: Path, value: int) -> Path:
    """A checkpoint whose elements are all `value`."""
    import numpy

    path = folder / f"source-{value}.safetensors"
    save_file({key: numpy.full(_NUMEL, value, numpy.float32) for key in _KEYS}, path)
    return path


def _write(source: Path, out: Path) -> None:
    surgeon.write(surgeon.plan(str(source)), str(out), force=True, max_shard_size=_NUMEL * 4 if not out.suffix else None)


def _write_often(out: Path, value: int, rounds: int) -> Counter[str]:
    """So many attempts, each of which publishes, or finds another writer at work."""
    source, counts = _source(out.parent, value), Counter[str]()
    for _ in range(rounds):
        try:
            _write(source, out)
            counts["published"] += 1
        except LockedError:
            counts["locked"] += 1
    return counts


def _read_until(out: Path, stop: Path) -> Counter[str]:
    """Read everything over and over; the elements must all be of one writer."""
    counts: Counter[str] = Counter()
    while not stop.exists() or not counts["read"]:
        with open_checkpoint(str(out)) as reader:
            spans = [reader.span(key) for key in reader.header]
            found = {span.read(0, span.nbytes) for span in spans if span is not None}
        values = {value for text in found for value in memoryview(text).cast("f")}
        if len(spans) != len(_KEYS) or len(values) != 1 or not values <= set(range(WRITERS + 1)):
            raise AssertionError(f"a torn read: {len(spans)} tensors of the values {sorted(values)}")
        counts["read"] += 1
    return counts


def _main(act: str, out: str, value: str, rounds: str, stop: str) -> None:
    counts = _write_often(Path(out), int(value), int(rounds)) if act == "write" else _read_until(Path(out), Path(stop))
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    _main(*sys.argv[1:])
