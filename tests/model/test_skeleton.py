import threading

import pytest
import torch
from torch import nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model import header_of_module, skeleton


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("mask", torch.ones(2), persistent=False)
        self.norm.weight.requires_grad_(False)


def test_a_skeleton_has_the_models_header_and_no_weights() -> None:
    model = Net()
    twin = skeleton(model)
    assert header_of_module(twin) == header_of_module(model)
    assert {tensor.device.type for tensor in (*twin.parameters(), *twin.buffers())} == {"meta"}
    assert twin.head.weight is twin.embed.weight
    assert not twin.norm.weight.requires_grad
    assert isinstance(twin.embed.weight, nn.Parameter)


def test_the_model_is_not_touched() -> None:
    model = Net()
    before = {name: (id(tensor), tensor.clone()) for name, tensor in model.named_parameters()}
    twin = skeleton(model)
    twin.load_state_dict({key: torch.zeros_like(value) for key, value in model.state_dict().items()}, assign=True)
    assert all(id(tensor) == before[name][0] and torch.equal(tensor, before[name][1]) for name, tensor in model.named_parameters())


def test_a_skeleton_of_a_skeleton_is_its_own() -> None:
    with torch.device("meta"):
        model = Net()
    twin = skeleton(model)
    assert twin.embed.weight is not model.embed.weight
    assert header_of_module(twin) == header_of_module(model)


def test_hooks_and_modes_come_along() -> None:
    model = Net().eval()
    seen: list[str] = []
    model.norm.register_load_state_dict_post_hook(lambda module, _: seen.append(type(module).__name__))
    twin = skeleton(model)
    twin.load_state_dict(twin.state_dict())
    assert seen == ["BatchNorm1d"]
    assert not twin.norm.training


def test_a_model_which_cannot_be_copied_is_a_model_error() -> None:
    model = nn.Linear(1, 1)
    model.lock = threading.Lock()
    with pytest.raises(ModelError, match="copying Linear failed: TypeError"):
        skeleton(model)
