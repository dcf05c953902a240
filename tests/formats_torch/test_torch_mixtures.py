"""A mapping in which tensors are outnumbered is a table where the file holds no better one."""

import pytest
import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError

MIXED = [
    ({"a": torch.ones(2), "epoch": 3}, ["a"], ["epoch"]),
    ({"a": torch.ones(2), "b": 1, "c": "x", "d": None}, ["a"], ["b", "c", "d"]),
    ({}, [], []),
]


@pytest.mark.parametrize(("content", "tensors", "opaque"), MIXED)
def test_a_lonely_mixture_is_the_table(tmp_path, content, tensors, opaque):
    torch.save(content, tmp_path / "a.pt")
    header = surgeon.inspect(tmp_path / "a.pt")
    assert (list(header.tensors), list(header.opaque)) == (tensors, opaque)


def test_a_mixture_around_a_table_is_its_envelope(tmp_path):
    torch.save({"mean": torch.ones(3), "state_dict": {"w": torch.ones(2)}, "epoch": 3}, tmp_path / "a.pt")
    assert list(surgeon.inspect(tmp_path / "a.pt").tensors) == ["w"]


@pytest.mark.parametrize("content", [3, "text", [1, 2], {"epoch": 3}])
def test_a_file_without_a_tensor_in_a_mapping_holds_no_table(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CorruptError, match="no table of tensors"):
        surgeon.inspect(tmp_path / "a.pt")
