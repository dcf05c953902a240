"""Distributed checkpoints which torch itself saved: by one process and by two."""

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, LimitError, RulesError
from ckpt_surgeon.evaluation import same_bytes
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.spec import TensorSpec

HERE = Path(__file__).parent


def saved(folder: Path, state: dict) -> Path:
    """What one process saves."""
    with pytest.warns(UserWarning, match="single process"):
        dcp.save(state, checkpoint_id=folder)
    return folder


def same(first: object, second: object) -> bool:
    """Whether two nested values are equal, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and same_bytes(first, second)
    if isinstance(first, dict):
        return isinstance(second, dict) and list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return isinstance(second, list) and len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("two")
    subprocess.run([sys.executable, str(HERE / "two_ranks.py"), str(folder)], check=True, timeout=300, capture_output=True)
    return folder


def test_tensors_cut_by_rows_by_columns_or_not_at_all_are_laid_together(two_ranks):
    truth = torch.load(two_ranks / "truth.pt")
    header = surgeon.inspect(two_ranks / "saved")
    assert header.format == "distributed"
    assert set(header.entries) == set(truth["model"])
    with open_checkpoint(str(two_ranks / "saved")) as reader:
        for key, tensor in truth["model"].items():
            assert reader.header.entries[key] == TensorSpec(tuple(tensor.shape), header.entries[key].dtype)
            assert same_bytes(reader.read(key), tensor)


def test_only_bytes_which_lie_in_one_place_are_a_span(two_ranks):
    with open_checkpoint(str(two_ranks / "saved")) as reader:
        spans = {key: reader.span(key) for key in reader.header.entries}
    assert {key for key, span in spans.items() if span is not None} == {"same", "short"}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_it_becomes_a_file_of_its_own(two_ranks, tmp_path, suffix):
    truth = torch.load(two_ranks / "truth.pt")
    out = tmp_path / f"out.{suffix}"
    outcome = surgeon.write(surgeon.plan(two_ranks / "saved"), out, bare=suffix == "safetensors")
    assert outcome.exact == tuple(surgeon.inspect(out).entries)
    found = surgeon.remap(out, None)
    assert {key: same_bytes(found[key], tensor) for key, tensor in truth["model"].items()} == dict.fromkeys(truth["model"], True)


def test_what_stands_around_the_weights_comes_along_and_an_optimizer_finds_its_parameters(two_ranks, tmp_path):
    truth = torch.load(two_ranks / "truth.pt")
    surgeon.write(surgeon.plan(two_ranks / "saved"), tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt")
    assert found["epoch"] == 3
    assert found["optim"]["param_groups"] == truth["optim"]["param_groups"]
    assert list(found["optim"]["state"]) == [0]
    assert {key: same(value, truth["optim"]["state"][0][key]) for key, value in found["optim"]["state"][0].items()} == {
        "exp_avg": True,
        "step": True,
    }


def test_one_process_saves_what_torch_reads_back(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = net.state_dict()
    path = saved(tmp_path / "saved", state)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    outcome = surgeon.load(fresh, path)
    assert outcome.coverage == 1.0
    assert same(dict(fresh.state_dict()), dict(state))
    back = OrderedDict((key, torch.empty_like(value)) for key, value in state.items())
    with pytest.warns(UserWarning, match="single process"):
        dcp.load(back, checkpoint_id=path)
    assert same(dict(back), dict(state))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(2.5),
        torch.empty(0, 3),
        torch.ones(3, dtype=torch.bool),
        torch.tensor([1, 65535], dtype=torch.uint16),
        torch.ones(2, 2).to(torch.float8_e4m3fn),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.arange(6.0).view(2, 3).t(),
        torch.arange(60.0)[10:20],
        torch.ones(1, 3).expand(4, 3),
    ],
    ids=["0-dim", "empty", "bool", "uint16", "float8", "conj", "transposed", "a part", "expanded"],
)
def test_each_kind_of_tensor_is_read(tmp_path, tensor):
    path = saved(tmp_path / "saved", {"w": tensor, "v": torch.ones(2)})
    with open_checkpoint(str(path)) as reader:
        assert same_bytes(reader.read("w"), tensor.resolve_conj().contiguous())


def test_lists_and_dicts_stand_where_they_stood(tmp_path):
    state = {
        "model": {"a.b": torch.ones(2), "c": torch.zeros(2)},
        "list": [torch.ones(1), {"x": torch.ones(2), "y": [1, 2]}],
        "names": {"epoch": 3, "seen": None, "text": "x"},
    }
    path = saved(tmp_path / "saved", state)
    surgeon.write(surgeon.plan(f"{path}#model"), tmp_path / "out.pt")
    assert same(torch.load(tmp_path / "out.pt"), state)


def test_a_place_in_a_list_which_held_nothing_is_none(tmp_path):
    path = saved(tmp_path / "saved", {"model": {"w": torch.ones(2)}, "list": [{}, {"x": 1}]})
    surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    assert torch.load(tmp_path / "out.pt")["list"] == [None, {"x": 1}]


@pytest.mark.parametrize(
    ("state", "keys"),
    [({"0": {"m": 1}, "12": {"m": 2}}, [0, 12]), ({"net.w": {"m": 1}}, ["net.w"]), ({"0": 1, "x": 2}, ["0", "x"]), ({"01": 1}, ["01"])],
    ids=["numbers", "names", "a mixture", "no number as torch writes it"],
)
def test_only_the_numbers_of_parameters_become_numbers_again(tmp_path, state, keys):
    path = saved(tmp_path / "saved", {"model": {"w": torch.ones(2)}, "optim": {"state": state, "param_groups": [{"lr": 1.0}]}})
    surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    assert list(torch.load(tmp_path / "out.pt")["optim"]["state"]) == keys


def test_a_table_is_picked_and_a_wrong_name_lists_those_there_are(tmp_path):
    path = saved(tmp_path / "saved", {"model": {"w": torch.ones(2)}, "ema": {"w": torch.zeros(2)}})
    with pytest.raises(RulesError, match=r"model \(1 tensors, 8 bytes\), ema"):
        surgeon.inspect(path)
    assert torch.equal(surgeon.remap(f"{path}#ema", None)["w"], torch.zeros(2))
    with pytest.raises(RulesError, match="no table of tensors at #emma"):
        surgeon.inspect(f"{path}#emma")


def test_a_value_with_tensors_and_classes_is_carried_as_it_is(tmp_path):
    import argparse

    value = (argparse.Namespace(x=1), torch.arange(3), [torch.ones(2, 2).to(torch.bfloat16)])
    path = saved(tmp_path / "saved", {"model": {"w": torch.ones(2)}, "args": value})
    with pytest.raises(CoverageError, match="args"):
        surgeon.write(surgeon.plan(path), tmp_path / "out.safetensors")
    surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=False)["args"]
    assert found[0] == value[0]
    assert torch.equal(found[1], value[1])
    assert torch.equal(found[2][0], value[2][0])


def test_an_extra_state_is_an_opaque_entry(tmp_path):
    path = saved(tmp_path / "saved", {"w": torch.ones(2), "_extra_state": {"scale": 3}})
    header = surgeon.inspect(path)
    assert list(header.opaque) == ["_extra_state"]
    assert surgeon.remap(path, None)["_extra_state"] == {"scale": 3}


def test_metadata_of_any_size_is_not_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "saved", {"w": torch.ones(2)})
    monkeypatch.setattr("ckpt_surgeon.formats.distributed_reader.MAX_PICKLE_BYTES", 100)
    with pytest.raises(LimitError, match="100 are allowed"):
        surgeon.inspect(path)


@pytest.mark.parametrize(("limit", "says"), [(0, "has 1 chunks"), (1, None)])
def test_the_number_of_chunks_is_limited(tmp_path, monkeypatch, limit, says):
    path = saved(tmp_path / "saved", {"w": torch.ones(2)})
    monkeypatch.setattr("ckpt_surgeon.formats.distributed_metadata._MAX_CHUNKS", limit)
    if says is None:
        assert list(surgeon.inspect(path).entries) == ["w"]
        return
    with pytest.raises(LimitError, match=says):
        surgeon.inspect(path)


def test_nothing_but_the_reader_is_imported(tmp_path):
    path = saved(tmp_path / "saved", {"w": torch.ones(2)})
    program = "import sys, ckpt_surgeon as s; s.inspect(sys.argv[1]); print([m for m in ('torch', 'numpy', 'yaml') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, check=True, text=True, timeout=60)
    assert found.stdout.strip() == "[]"
