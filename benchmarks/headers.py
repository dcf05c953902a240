"""The rows which read headers: few tensors, many keys, refusals, start-up; and the comparison of values."""

from __future__ import annotations

import sys

from benchmarks.data import DataSet, Place
from benchmarks.figures import Goal
from benchmarks.measuring import Check, Job
from benchmarks.moving import remap_job
from benchmarks.peers import peer_job
from benchmarks.rows import HasOption, Row, copy_job, empty_job, python_job, tool_job

__all__ = ["control_rows", "header_rows"]

_TENSORS = 435
_DIFF = Goal(wall=8, cpu=8, anonymous=40)
_FASTER_THAN_LOADING = Goal(wall=1 / 30, cpu=1 / 30)
_KEYS_MIB = 400
_VALUES = Goal(wall=2.5, cpu=2.5)
_REFUSED = Goal(cpu_seconds=1, anonymous=256)  # docs/reliability.md
_BAD_FILES = ("call.pt", "cut.pt", "cut.safetensors")


def header_rows(place: Place) -> list[Row]:
    return [*_start_rows(place), *_diff_rows(place), *_key_rows(place), _values_row(place)]


def control_rows(place: Place) -> list[Row]:
    """Each base against itself: how far ratios stray on this machine, in this run."""
    source, none = place.path(place.single), Goal()
    copies = [copy_job(source, place.output(f"control-{side}")) for side in "ab"]
    return [
        Row("control", "cp against cp", copies[0], copies[1], none, (place.single,)),
        Row("control", "python -c pass against itself", empty_job(), empty_job(), none),
        Row("control", "cmp against cmp", _cmp(place), _cmp(place), none, (place.single, place.twin)),
        Row("control", "cp and sync against cp", _synced(place), copies[1], none, (place.single,)),
    ]


def _cmp(place: Place) -> Job:
    return Job("cmp", ("cmp", place.path(place.single), place.path(place.twin)))


def _synced(place: Place) -> Job:
    """What a copy costs which, like every output of ours, is on the disk when it is done."""
    output = place.output("control-synced")
    return Job("cp, sync", ("sh", "-c", 'cp "$0" "$1" && sync "$1"', place.path(place.single), output), output)


def _start_rows(place: Place) -> list[Row]:
    base, bad = empty_job(), place.path(place.bad)
    return [
        Row("start", "import ckpt_surgeon", python_job("import ckpt_surgeon"), base, Goal()),
        Row("start", "import torch", python_job("import torch"), base, Goal()),
        Row("start", "--help", tool_job("--help", "--help"), base, Goal()),
        *(
            Row(
                "start",
                f"refuse {name}",
                tool_job("inspect", "inspect", f"{bad}/{name}", says="error: ", statuses=(3,)),
                base,
                _REFUSED,
                (place.bad,),
            )
            for name in _BAD_FILES
        ),
    ]


def _diff_rows(place: Place) -> list[Row]:
    inspect = tool_job("inspect", "inspect", place.path(place.single), says=f"total: {_TENSORS} tensors")
    torch_diff = _diff(place, place.torch, place.torch_twin, _TENSORS)
    loading = peer_job(sys.executable, "torch_load_both", place.path(place.torch), place.path(place.torch_twin))
    pair, torch_pair = (place.single, place.twin), (place.torch, place.torch_twin)
    return [
        Row("headers", "inspect, safetensors", inspect, empty_job(), Goal(), (place.single,)),
        Row("headers", "diff, safetensors", _diff(place, *pair, _TENSORS), empty_job(), _DIFF, pair),
        Row("headers", "diff, .pt", torch_diff, empty_job(), _DIFF, torch_pair),
        Row("headers", "diff, .pt", torch_diff, loading, _FASTER_THAN_LOADING, torch_pair),
    ]


def _diff(place: Place, source: DataSet, target: DataSet, keys: int) -> Job:
    return tool_job("diff", "diff", place.path(source), place.path(target), says=f"{keys} of {keys} keys match")


def _key_rows(place: Place) -> list[Row]:
    rows = []
    for source, twin in ((place.tiny, place.tiny_twin), (place.tiny_torch, place.tiny_torch_twin)):
        suffix, path = source.name.rpartition(".")[2], place.path(source)
        inspect = tool_job("inspect", "inspect", path, says=f"total: {place.keys} tensors")
        rules = ("--rules", place.path(place.twenty_rules))
        remap = remap_job(place, path, f"ruled.{suffix}", *rules, check=Check("ruled=20", path))
        rows += [
            Row("keys", f"{place.keys} keys: inspect, {suffix}", inspect, empty_job(), _keys_goal(3), (source,)),
            Row(
                "keys",
                f"{place.keys} keys: diff, {suffix}",
                _diff(place, source, twin, place.keys),
                empty_job(),
                _keys_goal(5),
                (source, twin),
            ),
            Row(
                "keys", f"{place.keys} keys: remap with 20 rules, {suffix}", remap, empty_job(), _keys_goal(8), (source, place.twenty_rules)
            ),
        ]
    return rows


def _keys_goal(seconds: float) -> Goal:
    return Goal(cpu_seconds=seconds, anonymous=_KEYS_MIB)


def _values_row(place: Place) -> Row:
    paths = (place.path(place.single), place.path(place.twin))
    job = tool_job("diff --values", "diff", *paths, "--values")
    need = HasOption("diff", "--values")
    return Row("values", "diff --values of equal files", job, _cmp(place), _VALUES, (place.single, place.twin), need=need)
