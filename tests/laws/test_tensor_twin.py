"""`remap` gives what a slow plain twin gives, in memory and through files, or both refuse."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from generated import same_tables
from hypothesis import event, given, settings
from surgeries import surgeries
from tensor_twin import Refused, Table, judged
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.planning import sources_of
from ckpt_surgeon.sources import open_source

EXAMPLES = 300
Surgery = tuple[dict[str, Tensor], list[dict[str, Any]]]


def twin_of(rules: list[dict[str, Any]], source: dict[str, Tensor]) -> Table | None:
    try:
        return judged(rules, source)
    except Refused:
        return None


def values(table: Table) -> dict[str, Tensor]:
    return {key: held.tensor for key, held in table.items()}


@settings(max_examples=EXAMPLES)
@given(case=surgeries())
def test_remap_is_its_twin(case: Surgery) -> None:
    source, rules = case
    before = {key: tensor.clone() for key, tensor in source.items()}
    wanted = twin_of(rules, source)
    event("refused" if wanted is None else "fits")
    if wanted is None:
        with pytest.raises(SurgeryError):
            surgeon.remap(source, rules)
        return
    found = surgeon.remap(source, rules)
    assert list(found) == list(wanted)
    assert same_tables(found, values(wanted))
    assert same_tables(source, before)
    assert_own_memory(found, wanted, source)


def assert_own_memory(found: dict[str, Tensor], wanted: Table, source: dict[str, Tensor]) -> None:
    """Keys share memory only when they are one object, made of the same source and copied alike; and none reaches the source."""
    for key, tensor in found.items():
        for other, twin in found.items():
            if tensor is twin:
                assert {id(source[read]) for read in wanted[key].reads} == {id(source[read]) for read in wanted[other].reads}
                assert wanted[key].copied == wanted[other].copied
                continue
            assert not tensor.numel() or tensor.untyped_storage().data_ptr() != twin.untyped_storage().data_ptr()


@settings(max_examples=EXAMPLES // 4)
@given(case=surgeries())
def test_files_hold_what_the_twin_gives(case: Surgery) -> None:
    source, rules = case
    wanted = twin_of(rules, source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(source, folder / "source.pt")
        if wanted is None:
            with pytest.raises(SurgeryError):
                surgeon.plan(folder / "source.pt", rules)
            return
        plan = surgeon.plan(folder / "source.pt", rules)
        for out in ("out.pt", "out.safetensors", "out"):
            surgeon.write(plan, folder / out)
            with open_source(folder / out) as reader:
                assert list(reader.header) == list(wanted)
                assert same_tables({key: reader.read(key) for key in reader.header}, values(wanted))
                assert reader.header.aliases == plan.ties
        assert same_tables(torch.load(folder / "out.pt", weights_only=True), values(wanted))


@settings(max_examples=EXAMPLES)
@given(case=surgeries())
def test_a_plan_accounts_for_every_key(case: Surgery) -> None:
    source, rules = case
    wanted = twin_of(rules, source)
    if wanted is None:
        return
    plan = surgeon.plan(source, rules)
    used = frozenset().union(*(held.reads for held in wanted.values()))
    assert set(plan.dropped) == set(source) - used
    assert all(plan.dropped.values())
    assert set(plan.outcome.classes) == set(wanted)
    tied = {plan.source.canonical(read) for held in wanted.values() for read in held.reads}
    assert {source.key for key in plan.recipes for source in sources_of(plan.recipes[key])} == tied
