"""Tensors of a model which share memory in part: they take agreeing values, and refuse different ones."""

import pytest
import torch
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import ModelError


class Window(nn.Module):
    """A parameter, and a buffer which is a window of it."""

    def __init__(self) -> None:
        super().__init__()
        self.big = nn.Parameter(torch.zeros(4))
        self.register_buffer("window", self.big.data[1:3])


def test_different_values_for_one_memory_are_refused_and_nothing_is_loaded():
    model = Window()
    with pytest.raises(ModelError, match="overlaps"):
        surgeon.load(model, {"big": torch.arange(4.0), "window": torch.tensor([9.0, 9.0])})
    assert model.big.tolist() == [0.0] * 4


def test_agreeing_values_are_loaded_and_still_share_their_memory():
    model = Window()
    surgeon.load(model, {"big": torch.arange(4.0), "window": torch.tensor([1.0, 2.0])})
    assert model.big.tolist() == [0.0, 1.0, 2.0, 3.0]
    model.window[0] = 7.0
    assert model.big[1] == 7.0


def test_neighbors_in_one_memory_do_not_overlap():
    model = nn.Module()
    whole = torch.zeros(4)
    model.register_buffer("first", whole[:2])
    model.register_buffer("second", whole[2:])
    surgeon.load(model, {"first": torch.ones(2), "second": torch.full((2,), 2.0)})
    assert whole.tolist() == [1.0, 1.0, 2.0, 2.0]


def test_swapped_arguments_are_named():
    with pytest.raises(ModelError, match="first argument is the model; found dict"):
        surgeon.load({"first": torch.ones(2)}, Window())
