"""The benchmark reads predictions off plans: what it spells is what the recipe does."""

from typing import Any

import pytest
import torch
from mappings import NAMES, mapping_of, pair_of
from truths import evaluate

from benchmarks.spelling import spelled
from ckpt_surgeon.mapping.writing import written
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.planning import Derived, Recipe, Source
from ckpt_surgeon.spec import TensorSpec


def _recipe(op: str, *shapes: tuple[int, ...], output: int = 0, outputs: int = 1, **parameters: Any) -> Derived:
    sources = tuple(Source(f"s{at}", TensorSpec.of("float32", *shape)) for at, shape in enumerate(shapes))
    bound: Any = OPS[op](**parameters).bind(outputs, None)
    return Derived(bound, sources, output, bound.infer(tuple(each.spec for each in sources))[output])


def _value(recipe: Recipe, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    if isinstance(recipe, Source):
        return tensors[recipe.key]
    return recipe.op.apply(tuple(_value(part, tensors) for part in recipe.inputs))[recipe.output]


def _tensors(*shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {
        f"s{at}": torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape) + 1000 * at for at, shape in enumerate(shapes)
    }


CASES = {
    "concat": (_recipe("concat", (2, 3), (4, 3)), "concat(0)"),
    "concat_dim": (_recipe("concat", (2, 3), (2, 1), dim=1), "concat(1)"),
    "stack": (_recipe("stack", (2, 3), (2, 3)), "stack(0)"),
    "split": (_recipe("split", (6, 3), output=1, outputs=3), "slice(0,2,4)"),
    "split_sizes": (_recipe("split", (6, 3), output=2, outputs=3, sizes=(1, 2, 3)), "slice(0,3,6)"),
    "unstack": (_recipe("unstack", (3, 2, 4), output=2, outputs=3), "slice(0,2,3)|reshape(2,4)"),
    "transpose": (_recipe("transpose", (2, 3)), "transpose(1,0)"),
    "transpose_dims": (_recipe("transpose", (2, 3, 4), dims=(0, 2)), "transpose(2,1,0)"),
    "permute": (_recipe("permute", (2, 3, 4, 5), dims=(3, 2, 0, 1)), "transpose(3,2,0,1)"),
    "reshape": (_recipe("reshape", (2, 6), shape=(4, 3)), "reshape(4,3)"),
    "unsqueeze": (_recipe("unsqueeze", (2, 3), dims=(2, 3)), "reshape(2,3,1,1)"),
    "mean": (_recipe("adapt_in_channels", (2, 3, 1, 1), mode="mean", in_channels=10), "mean(1)|repeat(1,10)"),
    "sum": (_recipe("adapt_in_channels", (2, 3, 1, 1), mode="sum", in_channels=1), "sum(1)"),
    "take": (_recipe("take", (5, 2), indices=(4, 0, 2)), "take(0;4,0,2)"),
    "slice": (_recipe("slice", (5, 2), start=1, stop=3), "take(0;1,2)"),
    "rope": (
        _recipe("rope_permute", (8, 2), heads=2, source_layout="interleaved", target_layout="half"),
        "take(0;0,2,1,3,4,6,5,7)",
    ),
    "deinterleave": (_recipe("deinterleave", (6, 2), output=1, outputs=3, groups=2), "take(0;1,4)"),
    "gqa": (_recipe("gqa_to_mha", (4, 2), heads=4, kv_heads=2), "take(0;0,1,0,1,2,3,2,3)"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_op_is_spelled_as_steps(case: str) -> None:
    recipe, text = CASES[case]
    assert spelled(recipe) == ([each.key for each in recipe.inputs if isinstance(each, Source)], text)
    shapes = [each.spec.shape for each in recipe.inputs if isinstance(each.spec, TensorSpec)]
    tensors = _tensors(*shapes)
    assert torch.equal(evaluate(text, list(tensors.values())), _value(recipe, tensors))


def test_a_source_is_itself() -> None:
    assert spelled(Source("a", TensorSpec.of("float32", 2))) == (["a"], "identity")


def test_ops_in_a_row_are_steps_in_a_row() -> None:
    inner = _recipe("transpose", (2, 3))
    outer = Derived(OPS["reshape"](shape=(6,)), (inner,), 0, TensorSpec.of("float32", 6))  # type: ignore[arg-type]
    assert spelled(outer) == (["s0"], "transpose(1,0)|reshape(6)")


def test_an_op_which_the_language_lacks_bears_its_name() -> None:
    recipe = _recipe("resample_positions", (4, 2), mode="repeat", size=6)
    assert spelled(recipe)[0] == ["s0"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_off_the_plan_of_a_real_pair_is_its_truth(name: str) -> None:
    pair = pair_of(name)
    plan = written(mapping_of(pair), pair.source, pair.target, 0.9).plan
    assert plan is not None
    for key, truth in pair.truth.items():
        sources, op = spelled(plan.recipes[plan.ties.get(key, key)])
        assert sources == truth["from"]
        if truth["op"] == "identity":
            assert op == "identity"
        elif sum(pair.source.tensors[each].numel for each in sources) < 2_000_000:
            tensors = [
                torch.arange(pair.source.tensors[each].numel, dtype=torch.float64).reshape(pair.source.tensors[each].shape)
                for each in sources
            ]
            assert torch.equal(evaluate(op, tensors), evaluate(truth["op"], tensors)), key
