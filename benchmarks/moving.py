"""The rows which move bytes, against `cp` of what they read; and those which rename in place, against an empty Python."""

from __future__ import annotations

from benchmarks.data import DataSet, Place
from benchmarks.figures import Goal
from benchmarks.measuring import Check, Job
from benchmarks.rows import TOOL, HasOption, Row, copy_job, empty_job, python_job

__all__ = ["RENAME", "RULES", "moving_rows", "remap_job"]

_TENSORS = 435
RENAME = "replace: {layers: blocks}"
_SHORTER = "strip_prefix: model."  # other tools leave no room in a header for longer names
_SPLIT = 'split: {source: "model.layers.{i:int}.mlp.gate_proj.weight", target: "model.layers.{i}.mlp.gate_proj.{x:first|second}.weight"}'
_CONCAT = 'concat: {source: "model.layers.{i:int}.self_attn.{x:q|k|v}_proj.{leaf}", target: "model.layers.{i}.self_attn.qkv_proj.{leaf}"}'
# What each rule is called, and what `benchmarks.checking` calls its outcome.
RULES = (
    ("rename", RENAME, "renamed"),
    ("drop", "drop: lm_head.weight", "dropped"),
    ("split", _SPLIT, "split"),
    ("concat", _CONCAT, "concatenated"),
)
# 16 MiB and 1 KiB a tensor above start-up; 0.35 s of start-up with rules.
_MOVED = Goal(wall=1.25, cpu=1.3, allowance=0.35, anonymous=16 + _TENSORS / 1024)
_CONVERTED = Goal(wall=1.5, cpu=1.5)
_CHECKSUMMED = Goal(wall=2.2, cpu=2.2)
_CAST = Goal(wall=1.6, cpu=1.6, net=True, anonymous=16)
_IN_PLACE = Goal(wall=10, cpu=10)
_SHARDS = 5


def moving_rows(place: Place) -> list[Row]:
    """Each row reads a file of `place.nbytes`; those in place four times that."""
    rows = [row for form in (place.single, place.torch) for row in _ruled_rows(place, form)]
    return [*rows, _training_row(place), *_conversion_rows(place), _cast_row(place), _digest_row(place), *_in_place_rows(place)]


def remap_job(place: Place, source: str, output: str, *words: str, check: Check | None = None) -> Job:
    """`ckpt-surgeon remap SOURCE -o OUTPUT WORDS`; `output`: a name in the place."""
    path = place.output(output)
    return Job(f"remap {' '.join(words)}", (*TOOL, "remap", source, "-o", path, *words), path, check=check)


def _base(place: Place, source: DataSet) -> Job:
    return copy_job(place.path(source), place.output(f"cp-{source.name}"))


def _ruled_rows(place: Place, source: DataSet) -> list[Row]:
    start = place.start if source == place.single else place.start_torch
    suffix = start.name.rpartition(".")[2]
    return [
        Row(
            "moving",
            f"{name}, {suffix}",
            remap_job(place, place.path(source), f"{name}.{suffix}", "-e", rule, check=Check(expectation, place.path(source))),
            _base(place, source),
            _MOVED,
            (source, start),
            remap_job(place, place.path(start), f"{name}-start.{suffix}", "-e", rule),
        )
        for name, rule, expectation in RULES
    ]


def _training_row(place: Place) -> Row:
    source, rule = place.path(place.training), ("-e", "strip_prefix: module.")
    return Row(
        "moving",
        "strip a prefix, training checkpoint with optimizer",
        remap_job(place, source, "training.pth", *rule, check=Check("trained", source)),
        _base(place, place.training),
        _MOVED,
        (place.training, place.start_training),
        remap_job(place, place.path(place.start_training), "training-start.pth", *rule),
    )


def _conversion_rows(place: Place) -> list[Row]:
    cut = ("--to", "sharded", "--max-shard-size", str(place.nbytes // _SHARDS))
    table: list[tuple[str, DataSet, str, tuple[str, ...], Goal]] = [
        (".pt to safetensors", place.torch, "to.safetensors", (), _CONVERTED),
        ("single to sharded", place.single, "to-sharded", cut, _CONVERTED),
        ("sharded to single", place.sharded, "to-single.safetensors", (), _CONVERTED),
        ("safetensors to .pt", place.single, "to.pt", (), _CHECKSUMMED),
    ]
    return [
        Row(
            "moving",
            name,
            remap_job(place, place.path(source), output, *words, check=Check("same", place.path(source))),
            _base(place, source),
            goal,
            (source,),
        )
        for name, source, output, words, goal in table
    ]


def _cast_row(place: Place) -> Row:
    source, rules = place.path(place.single), ("--rules", place.path(place.narrowing))
    job = remap_job(place, source, "narrowed.safetensors", *rules, check=Check("narrowed", source))
    data = (place.single, place.narrowing)
    return Row("moving", "cast f32 to bf16, net of import torch", job, _base(place, place.single), _CAST, data, python_job("import torch"))


def _digest_row(place: Place) -> Row:
    source = place.path(place.single)
    job = remap_job(place, source, "digest.safetensors", "-e", RENAME, "--digest", check=Check("renamed", source))
    base = Job("sha256sum", ("sha256sum", source))
    return Row("moving", "rename with a digest of each tensor", job, base, Goal(), (place.single,), need=HasOption("remap", "--digest"))


def _in_place_rows(place: Place) -> list[Row]:
    rows = []
    for source in (place.sparse, place.sparse_torch):
        suffix = source.name.rpartition(".")[2]
        path, output = place.path(source), place.output(f"in-place.{suffix}")
        job = Job(
            "remap --in-place",
            (*TOOL, "remap", output, "-e", _SHORTER, "--in-place"),
            output,
            before=(("cp", "--sparse=always", path, output),),
            check=Check("stripped", path, sampled=True),
        )
        need = HasOption("remap", "--in-place")
        rows.append(Row("in place", f"rename in place, {suffix}", job, empty_job(), _IN_PLACE, (source,), need=need))
    return rows
