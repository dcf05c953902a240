"""load is remap, then the model's own strict load; and a load of what a model has changes nothing."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ckpt_surgeon as surgeon

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64]
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
TABLES = st.dictionaries(st.sampled_from(["a", "b.w", "b.bias", "c.0.w", "c.1.w"]), st.tuples(SHAPES, st.sampled_from(DTYPES)), min_size=1)


def tensor(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.randint(0, 100, shape).to(dtype)


def module_of(table: dict[str, tuple[tuple[int, ...], torch.dtype]], buffers: set[str]) -> nn.Module:
    root = nn.Module()
    for key, (shape, dtype) in table.items():
        owner, path = root, key.split(".")
        for name in path[:-1]:
            if name not in owner._modules:
                owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        if key in buffers:
            owner.register_buffer(path[-1], tensor(shape, dtype))
        else:
            owner.register_parameter(path[-1], nn.Parameter(tensor(shape, dtype), requires_grad=False))
    return root


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


@given(table=TABLES, buffers=st.sets(st.sampled_from(["a", "b.w", "c.0.w"])), prefix=st.sampled_from(["", "module.", "x.y."]))
def test_load_is_remap_and_then_the_models_own_strict_load(
    table: dict[str, tuple[tuple[int, ...], torch.dtype]], buffers: set[str], prefix: str
) -> None:
    source = {prefix + key: tensor(*entry) for key, entry in table.items()}
    rules = [{"strip_prefix": prefix}] if prefix else []
    ours, theirs = module_of(table, buffers), module_of(table, buffers)
    outcome = surgeon.load(ours, source, rules)
    theirs.load_state_dict(surgeon.remap(source, rules, theirs), strict=True)
    assert same(ours, theirs)
    assert set(outcome.classes.values()) == ({"renamed"} if prefix else {"exact"})


@given(table=TABLES, buffers=st.sets(st.sampled_from(["a", "b.w", "c.0.w"])), lacking=st.sets(st.sampled_from(["a", "b.w", "c.1.w"])))
def test_a_model_which_loads_a_part_of_itself_stays_as_it_is(
    table: dict[str, tuple[tuple[int, ...], torch.dtype]], buffers: set[str], lacking: set[str]
) -> None:
    model = module_of(table, buffers)
    twin = module_of(table, buffers)
    twin.load_state_dict(model.state_dict())
    part = {key: value for key, value in model.state_dict().items() if key not in lacking}
    if part:
        outcome = surgeon.load(model, part, allow_missing=["**"])
        assert set(outcome.missing_keys) == lacking & table.keys()
    assert same(model, twin)
