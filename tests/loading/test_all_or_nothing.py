"""Whatever goes wrong while a module loads, afterwards it is what it was."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import ModelError


class Counter(nn.Module):
    """Extra state, in an attribute, in a dict, and deeper."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.step = 1
        self.table = {"step": 1}
        self.deep = [[1]]

    def get_extra_state(self) -> dict[str, int]:
        return {"step": self.step, "deep": self.deep[0][0]}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.step = self.table["step"] = state["step"]
        self.deep[0][0] = state["deep"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.counter = Counter()
        self.embed = nn.Embedding(5, 4)
        self.fc = nn.Linear(4, 5)
        self.fc.weight = self.embed.weight
        self.register_buffer("cache", torch.rand(3), persistent=False)


PATHS = [name for name, _ in Net().named_modules()]


def source() -> dict[str, Any]:
    torch.manual_seed(1)
    state = Net().state_dict()
    state["counter._extra_state"] = {"step": 9, "deep": 9}
    for key, value in state.items():
        if torch.is_tensor(value) and value.is_floating_point():
            state[key] = torch.randn_like(value)
    return {**state, "fc.weight": state["embed.weight"]}


def everything(model: nn.Module) -> dict[str, Any]:
    """All that a user could see of a model: objects, memory, bytes, attributes."""
    seen: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                seen[f"{path}:{name}"] = (id(value), copy.copy(value) if isinstance(value, dict | set) else repr(value))
        for name, tensor in {**module._parameters, **module._buffers}.items():
            if tensor is not None:
                raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
                seen[f"{path}.{name}"] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.dtype, raw)
        seen[f"{path}:children"] = [(name, id(child)) for name, child in module._modules.items()]
    return seen


def fails(model: nn.Module, error: type[BaseException] = ModelError, **options: Any) -> BaseException:
    before = everything(model)
    with pytest.raises(error) as caught:
        surgeon.load(model, source(), **options)
    assert everything(model) == before
    return caught.value


class FaultError(Exception):
    pass


def _raise(*_: Any) -> None:
    raise FaultError("midway")


def test_without_a_fault_everything_is_loaded() -> None:
    model, state = Net(), source()
    surgeon.load(model, state)
    found = model.state_dict()
    assert found["counter._extra_state"] == {"step": 9, "deep": 9}
    assert all(torch.equal(found[key], state[key]) for key in found if torch.is_tensor(found[key]))


@pytest.mark.parametrize("path", PATHS)
def test_a_hook_which_fails_before_any_module(path: str) -> None:
    model = Net()
    model.get_submodule(path).register_load_state_dict_pre_hook(_raise)
    assert "FaultError: midway" in str(fails(model))


@pytest.mark.parametrize("path", PATHS)
def test_a_hook_which_fails_after_any_module(path: str) -> None:
    model = Net()
    model.get_submodule(path).register_load_state_dict_post_hook(_raise)
    assert isinstance(fails(model).__cause__, FaultError)


def _drop_bias(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    state.pop(prefix + "fc.bias")


def _cut_bias(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    state[prefix + "fc.bias"] = state[prefix + "fc.bias"][:1]


def _report(*arguments: Any) -> None:
    arguments[-1].append("not with me")


@pytest.mark.parametrize(
    ("hook", "said"),
    [(_drop_bias, 'Missing key(s) in state_dict: "fc.bias"'), (_cut_bias, "size mismatch for fc.bias"), (_report, "not with me")],
)
def test_what_torch_finds_wrong_after_a_hook(hook: Callable[..., None], said: str) -> None:
    model = Net()
    model.register_load_state_dict_pre_hook(hook)
    assert said in str(fails(model))


def _overwrite(module: nn.Module, *_: Any) -> None:
    """A hook which writes all over the module before it fails."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.zero_()
    module.fc = nn.Linear(4, 5)
    module.fc.weight = nn.Parameter(torch.ones(5, 4))
    module.conv.register_parameter("bias", None)
    module.norm.eps = 7.0
    module.extra = "new"
    module.counter.table.clear()
    module.add_module("late", nn.ReLU())
    del module.embed
    raise FaultError


def test_a_hook_which_rebuilds_the_module_and_then_fails() -> None:
    model = Net()
    model.register_load_state_dict_pre_hook(_overwrite)
    fails(model)


def test_a_hook_which_removes_itself_is_there_again() -> None:
    model = Net()
    handle = model.register_load_state_dict_pre_hook(lambda *_: handle.remove())
    model.fc.register_load_state_dict_post_hook(_raise)
    before = dict(model._load_state_dict_pre_hooks)
    fails(model)
    assert model._load_state_dict_pre_hooks == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_passes_through_and_nothing_is_loaded(error: type[BaseException]) -> None:
    def interrupt(*_: Any) -> None:
        raise error

    model = Net()
    model.fc.register_load_state_dict_post_hook(interrupt)
    fails(model, error)


def test_extra_state_which_cannot_be_set() -> None:
    model = Net()
    before = everything(model)
    state = {**source(), "counter._extra_state": {"step": 9}}
    with pytest.raises(ModelError, match="KeyError: 'deep'"):
        surgeon.load(model, state)
    assert everything(model) == before
    assert model.counter.deep == [[1]]


def test_a_fault_after_extra_state_was_set_puts_it_back_however_deep() -> None:
    model = Net()
    model.register_load_state_dict_post_hook(_raise)
    fails(model)
    assert (model.counter.step, model.counter.table, model.counter.deep) == (1, {"step": 1}, [[1]])


def test_a_tensor_which_refuses_the_last_copy_takes_the_others_back() -> None:
    model = Net()
    model.register_buffer("last", torch.zeros(1).expand(3))
    before = everything(model)
    with pytest.raises(ModelError, match="single memory location"):
        surgeon.load(model, {**source(), "last": torch.arange(3.0)})
    assert everything(model) == before


def test_such_a_tensor_is_no_hindrance_where_it_need_not_be_loaded() -> None:
    model = Net()
    model.register_buffer("last", torch.zeros(1).expand(3))
    surgeon.load(model, source(), allow_missing=["last"])
    assert torch.equal(model.conv.weight, source()["conv.weight"])


def test_overlapping_tensors_are_taken_back_in_the_right_order() -> None:
    flat = torch.arange(6.0)
    model = nn.Module()
    model.first, model.second = nn.Parameter(flat[:4]), nn.Parameter(flat[2:])
    model.register_buffer("last", torch.zeros(1).expand(3))
    with pytest.raises(ModelError):
        surgeon.load(model, {"first": torch.ones(4), "second": torch.zeros(4), "last": torch.arange(3.0)})
    assert flat.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("swap", [False, True])
def test_torchs_other_way_to_load_is_all_or_nothing_too(swap: bool) -> None:
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        model = Net()
        handle = model.register_load_state_dict_post_hook(_raise)
        fails(model)
        handle.remove()
        before = [(id(parameter), parameter.data_ptr()) for parameter in model.parameters()]
        surgeon.load(model, source())
        assert [(id(parameter), parameter.data_ptr()) for parameter in model.parameters()] == before
        assert torch.equal(model.conv.weight, source()["conv.weight"])
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


class Labelled(nn.Parameter):
    pass


def test_a_hook_meets_parameters_of_the_class_and_with_the_attributes_it_knows() -> None:
    seen = []
    model = nn.Module()
    model.weight = Labelled(torch.zeros(2))
    model.weight.group = "slow"
    model.register_load_state_dict_pre_hook(lambda module, *_: seen.append((type(module.weight), module.weight.group)))
    surgeon.load(model, {"weight": torch.ones(2)})
    assert seen == [(Labelled, "slow")]
    assert type(model.weight) is Labelled
    assert model.weight.sum() == 2


def test_a_hook_which_ties_parameters_ties_the_models_own() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model.register_load_state_dict_post_hook(lambda module, _: setattr(module["b"], "weight", module["a"].weight))
    first = model["a"].weight
    surgeon.load(model, {"a.weight": torch.ones(2, 2), "b.weight": torch.zeros(2, 2)})
    assert model["b"].weight is model["a"].weight is first
    assert first.sum() == 4


def test_a_sparse_buffer_is_loaded_and_taken_back() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(2))
    model.register_buffer("graph", torch.eye(2).to_sparse())
    new = {"weight": torch.ones(2), "graph": (torch.eye(2) * 3).to_sparse()}
    handle = model.register_load_state_dict_post_hook(_raise)
    with pytest.raises(ModelError):
        surgeon.load(model, new)
    assert torch.equal(model.graph.to_dense(), torch.eye(2))
    handle.remove()
    surgeon.load(model, new)
    assert torch.equal(model.graph.to_dense(), torch.eye(2) * 3)
