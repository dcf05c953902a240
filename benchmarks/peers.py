"""The rows against others: the same outcome, by their own best way. A ratio below 1 means that ours is faster."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.data import DataSet, Place
from benchmarks.figures import Goal
from benchmarks.measuring import Check, Job
from benchmarks.moving import RENAME, remap_job
from benchmarks.rows import HasModule, Need, Row

__all__ = ["peer_job", "peer_rows"]

_FASTER = Goal(wall=1, cpu=1)
_JOBS = Path(__file__).with_name("peer_jobs.py")


def peer_job(python: str, name: str, source: str, output: str, check: Check | None = None) -> Job:
    """A job of `peer_jobs.py`; without a check, `output` is a second source."""
    written = output if check is not None else None
    return Job(name.replace("_", " "), (python, "-P", str(_JOBS), name, source, output), written, check=check)


def peer_rows(place: Place, python: str | None = None) -> list[Row]:
    """`python`: an interpreter which has the peers that need much besides themselves; default: this one."""
    other = python or sys.executable
    return [*_library_rows(place), _brainsurgery_row(place, other), _mergekit_row(place, other), _transformers_row(place, other)]


def _library_rows(place: Place) -> list[Row]:
    rename, narrow = ("-e", RENAME), ("--rules", place.path(place.narrowing))
    table: list[tuple[str, str, DataSet, tuple[str, ...], str, str]] = [
        ("rename .pt: torch", "torch_rename", place.torch, rename, "renamed", "pt"),
        ("rename .pt: torch, mmap", "torch_mmap_rename", place.torch, rename, "renamed", "pt"),
        ("rename: safetensors", "safetensors_rename", place.single, rename, "renamed", "safetensors"),
        ("rename: safetensors, numpy", "safetensors_numpy_rename", place.single, rename, "renamed", "safetensors"),
        (".pt to safetensors: torch, safetensors", "safetensors_convert", place.torch, (), "same", "safetensors"),
        ("cast to bf16: safetensors", "safetensors_cast", place.single, narrow, "narrowed", "safetensors"),
    ]
    rows = []
    for name, job, source, words, expectation, suffix in table:
        check = Check(expectation, place.path(source))
        ours = remap_job(place, place.path(source), f"ours.{suffix}", *words, check=check)
        theirs = peer_job(sys.executable, job, place.path(source), place.output(f"theirs.{suffix}"), check)
        data = (source, place.narrowing) if words == narrow else (source,)
        rows.append(Row("peers", name, ours, theirs, _FASTER, data, need=HasModule(sys.executable, "safetensors")))
    return rows


def _brainsurgery_row(place: Place, python: str) -> Row:
    need = HasModule(python, "brainsurgery", "brainsurgery")
    source, output = place.path(place.single), place.output("theirs.safetensors")
    check = Check("renamed", source)
    command = (need.program, "cli", "--no-summarize", place.path(place.surgery), f"output.path={output}")
    theirs = Job("brainsurgery", command, output, check=check)
    ours = remap_job(place, source, "ours.safetensors", "-e", RENAME, check=check)
    return Row("peers", "rename: BrainSurgery", ours, theirs, _FASTER, (place.single, place.surgery), need=need)


def _mergekit_row(place: Place, python: str) -> Row:
    need = HasModule(python, "mergekit", "mergekit-yaml")
    output = place.output("theirs-merged")
    command = (need.program, place.path(place.passthrough), output, "--no-copy-tokenizer", "--quiet")
    theirs = Job("mergekit", command, output, check=_same(place))
    return _resave_row(place, "mergekit", theirs, need, place.passthrough)


def _transformers_row(place: Place, python: str) -> Row:
    output = place.output("theirs-saved")
    theirs = peer_job(python, "transformers_resave", place.path(place.hub), output, _same(place))
    return _resave_row(place, "transformers", theirs, HasModule(python, "transformers"))


def _same(place: Place) -> Check:
    return Check("same", place.path(place.single))


def _resave_row(place: Place, name: str, theirs: Job, need: Need, *more: DataSet) -> Row:
    ours = remap_job(place, place.path(place.hub), "ours-saved", check=_same(place))
    return Row("peers", f"read and write a model's folder: {name}", ours, theirs, _FASTER, (place.hub, *more), need=need)
