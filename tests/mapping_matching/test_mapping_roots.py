"""Tensors which belong to no part: those of the model itself."""

import pytest

import ckpt_surgeon as surgeon


def header(*shapes: tuple[str, tuple[int, ...]]) -> surgeon.Header:
    return surgeon.Header({key: surgeon.TensorSpec.of("float32", *shape) for key, shape in shapes})


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_model_of_one_layer_is_matched(wrapper: str) -> None:
    source = header((f"{wrapper}weight", (8, 4)), (f"{wrapper}bias", (8,)))
    target = header(("weight", (8, 4)), ("bias", (8,)))
    found = surgeon.suggestion(source, target)
    assert found.is_settled
    assert {key: recipe.key for key, recipe in found.plan.recipes.items()} == {"weight": f"{wrapper}weight", "bias": f"{wrapper}bias"}


@pytest.mark.parametrize("shape", [(4, 8), (6, 4)])
def test_a_model_of_one_layer_of_another_shape_is_no_fault(shape: tuple[int, int]) -> None:
    source, target = header(("weight", (8, 4)), ("bias", (8,))), header(("weight", shape), ("bias", shape[:1]))
    found = surgeon.suggestion(source, target)
    assert {*found.open_targets, *found.missing, *(found.plan.recipes if found.plan else ())} == {"weight", "bias"}
