"""An output taken back against its source: equal bits pass, another bit does not, whatever computes it."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.roundtrip import check_way_back
from ckpt_surgeon.sources import open_source

RULES: list[dict[str, Any]] = [
    {"strip_prefix": "m."},
    {"concat": {"source": "{x:q|k|v}", "target": "qkv"}},
    {"transpose": {"match": "big"}},
    {"cast": {"match": "n", "dtype": "int64"}},
]


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(0)
    table = {f"m.{x}": torch.randn(4, 6) for x in "qkv"}
    table |= {"m.big": torch.randn(3000, 900), "m.n": torch.arange(5, dtype=torch.int32), "m.empty": torch.zeros(0, 3)}
    save_file(table, tmp_path / "source.safetensors")
    return tmp_path / "source.safetensors"


@contextmanager
def way_back(source, there):
    """The plan back, and both readers."""
    plan = surgeon.plan(source, RULES)
    inverse = surgeon.invert(source, RULES)
    with open_source(there) as output, open_source(source) as given:
        yield make_plan(inverse, plan.header, None), output, given


@pytest.mark.parametrize("name", ["there.safetensors", "there.pth"])
def test_an_output_which_leads_back_passes(source, tmp_path, name):
    outcome = surgeon.write(surgeon.plan(source, RULES), tmp_path / name, check_roundtrip=True)
    assert outcome.notes[-1] == "there and back: all 6 tensors of the source come back bit for bit"


@pytest.mark.parametrize(("key", "wrong"), [("qkv", "m.v"), ("big", "m.big"), ("n", "m.n")])
def test_one_bit_which_differs_is_found(source, tmp_path, key, wrong):
    surgeon.write(surgeon.plan(source, RULES), tmp_path / "there.safetensors")
    table = load_file(tmp_path / "there.safetensors")
    table[key].view(torch.uint8).view(-1)[-8] ^= 1
    save_file(table, tmp_path / "other.safetensors")
    with way_back(source, tmp_path / "there.safetensors") as sound:
        check_way_back(*sound)
    with way_back(source, tmp_path / "other.safetensors") as damaged, pytest.raises(surgeon.InverseError) as caught:
        check_way_back(*damaged)
    assert caught.value.problems[0].what == f"there and back, 1 of 6 tensors are not what they were: {wrong}"


def test_nothing_is_written_where_there_is_no_way_back(source, tmp_path):
    plan = surgeon.plan(source, [*RULES, {"drop": "empty"}])
    with pytest.raises(surgeon.InverseError, match="left out, and nowhere else: empty"):
        surgeon.write(plan, tmp_path / "there.safetensors", check_roundtrip=True)
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


def test_tied_tensors_and_shards_lead_back(tmp_path):
    shared = torch.randn(8, 8)
    torch.save({"m.a": shared, "m.b": shared, "m.c": torch.randn(8, 8)}, tmp_path / "tied.pth")
    rules = [{"strip_prefix": "m."}, {"drop": "a"}]
    for out, limit in (("there.safetensors", None), ("shards", 300)):
        outcome = surgeon.write(surgeon.plan(tmp_path / "tied.pth", rules), tmp_path / out, max_shard_size=limit, check_roundtrip=True)
        assert "come back bit for bit" in outcome.notes[-1]


def test_a_state_dict_in_memory_leads_back(tmp_path):
    table = {"m.a": torch.randn(3, 5).T, "m.b": torch.randn(4)}
    outcome = surgeon.write(
        surgeon.plan(table, [{"strip_prefix": "m."}, {"transpose": {"match": "a"}}]), tmp_path / "a.pth", check_roundtrip=True
    )
    assert "come back bit for bit" in outcome.notes[-1]
