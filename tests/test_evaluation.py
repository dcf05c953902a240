"""Recipes become the same bytes whether they are moved or computed."""

import pytest
import torch

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.evaluation import Evaluator, flat_bytes, same_bytes
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.sources import open_source

RULES = {
    "a rename": ([{"rename": {"w": "v"}}], True),
    "a reshape": ([{"reshape": {"match": "w", "shape": [3, 8]}}], True),
    "a split on dim 0": ([{"split": {"source": "w", "target": ["p", "q"], "sizes": [1, 5]}}], True),
    "a concat of splits": (
        [{"split": {"source": "w", "target": ["p", "q"], "sizes": [2, 4]}}, {"concat": {"source": ["q", "u", "p"], "target": "r"}}],
        True,
    ),
    "a stack": ([{"stack": {"source": ["w", "u"], "target": "s"}}], True),
    "a split on dim 1": ([{"split": {"source": "w", "target": ["p", "q"], "dim": 1, "sizes": [1, 3]}}], False),
    "a transpose": ([{"transpose": {"match": "w"}}], False),
    "a reshape of a transpose": ([{"transpose": {"match": "w"}}, {"reshape": {"match": "w", "shape": [24]}}], False),
}


@pytest.mark.parametrize(("rules", "moves"), RULES.values(), ids=RULES)
def test_moved_bytes_are_the_computed_ones(tmp_path, rules, moves):
    torch.manual_seed(0)
    torch.save({"w": torch.randn(6, 4), "u": torch.randn(6, 4)}, tmp_path / "a.pt")
    with open_source(tmp_path / "a.pt") as reader:
        plan = make_plan(as_rules({"version": 1, "rules": rules}), reader.header, None)
        evaluator = Evaluator({"": reader})
        touched = [key for key, recipe in plan.recipes.items() if evaluator.ranges(recipe) is None]
        assert bool(touched) is not moves
        for recipe in plan.recipes.values():
            data = b"".join(part.read(0, part.nbytes) if isinstance(part, FileRange) else bytes(part) for part in evaluator.parts(recipe))
            assert data == evaluator.tensor(recipe).contiguous().numpy().tobytes()


def test_touching_runs_are_merged(tmp_path):
    torch.save({"w": torch.randn(6, 4)}, tmp_path / "a.pt")
    rules = [{"split": {"source": "w", "target": ["p", "q"], "sizes": [2, 4]}}, {"concat": {"source": ["p", "q"], "target": "w"}}]
    with open_source(tmp_path / "a.pt") as reader:
        plan = make_plan(as_rules({"version": 1, "rules": rules}), reader.header, None)
        assert len(Evaluator({"": reader}).ranges(plan.recipes["w"])) == 1


def test_the_outputs_of_one_op_are_computed_once():
    reads = []
    with open_source({"w": torch.arange(6.0).reshape(2, 3)}) as reader:
        original = reader.read
        reader.read = lambda key: (reads.append(key), original(key))[1]
        plan = make_plan(as_rules({"version": 1, "rules": [{"unstack": {"source": "w", "target": "w.{i:int}"}}]}), reader.header, None)
        values = dict(Evaluator({"": reader}).tensors(plan))
    assert {key: value.tolist() for key, value in values.items()} == {"w.0": [0, 1, 2], "w.1": [3, 4, 5]}
    assert reads == ["w"]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float8_e5m2", "complex64", "bool", "uint16", "int8"])
def test_every_dtype_becomes_its_bytes(dtype):
    values = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(getattr(torch, dtype))
    with open_source({"w": values}) as reader:
        plan = make_plan(None, reader.header, None)
        parts = Evaluator({"": reader}).parts(plan.recipes["w"])
    assert b"".join(bytes(part) for part in parts) == bytes(values.view(torch.uint8).flatten().tolist())


ODD = {
    "a lone element with a stride": torch.arange(10.0)[::5][:1],
    "a transposed view": torch.arange(6.0).reshape(2, 3).t(),
    "an expanded one": torch.ones(1).expand(3),
    "a conjugated one": torch.tensor([1 + 2j]).conj(),
    "an empty one": torch.zeros(0, 3),
    "a 0-dim one": torch.tensor(2.5),
    "an overlapping window": torch.arange(6.0).as_strided((2, 3), (1, 1)),
}


@pytest.mark.parametrize("tensor", ODD.values(), ids=ODD)
def test_every_layout_has_flat_bytes(tensor):
    wanted = tensor.resolve_conj().clone(memory_format=torch.contiguous_format)
    assert bytes(flat_bytes(tensor).tolist()) == wanted.numpy().tobytes()
    assert same_bytes(tensor, wanted)


def test_the_same_bytes_means_bit_for_bit():
    nan = torch.tensor([float("nan")])
    assert same_bytes(nan, nan.clone())
    assert not same_bytes(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bytes(torch.zeros(2), torch.zeros(1, 2))
    assert not same_bytes(torch.zeros(2), torch.zeros(2, dtype=torch.int32))
