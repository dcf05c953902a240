"""Random rules on small sources: what is inverted comes back bit for bit, tie for tie; all else is refused by name."""

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import assume, given, settings
from surgeries import fits, surgeries
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.rules import parse_rules
from ckpt_surgeon.rules.rendering import text_of


def bits(table: Mapping[str, Tensor]) -> dict[str, Any]:
    return {key: (tensor.dtype, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()) for key, tensor in table.items()}


def tied(table: Mapping[str, Tensor]) -> set[frozenset[str]]:
    """The sets of names of one tensor; empty tensors have no place by which they could be told apart."""
    groups: dict[Any, set[str]] = {}
    for key, tensor in table.items():
        if tensor.numel():
            groups.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), set()).add(key)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def inverse_of(source: dict[str, Tensor], rules: list[dict[str, Any]]) -> surgeon.Rules | surgeon.InverseError:
    try:
        return surgeon.invert(source, rules)
    except surgeon.InverseError as error:
        return error


@settings(max_examples=300)
@given(surgeries())
def test_what_is_inverted_comes_back(surgery: tuple[dict[str, Tensor], list[dict[str, Any]]]) -> None:
    source, rules = surgery
    assume(rules and fits(rules, source))
    inverse = inverse_of(source, rules)
    if isinstance(inverse, surgeon.InverseError):
        assert all(problem.where.startswith("rules[") and problem.hint for problem in inverse.problems)
        return
    back = surgeon.remap(surgeon.remap(source, rules), parse_rules(text_of(inverse), "inverse.yaml"))
    assert bits(back) == bits(source)
    assert tied(back) == tied(source)


@settings(max_examples=100)
@given(surgeries())
def test_only_what_leaves_out_or_rounds_is_refused(surgery: tuple[dict[str, Tensor], list[dict[str, Any]]]) -> None:
    source, rules = surgery
    assume(fits(rules, source) and not any("drop" in rule or "cast" in rule for rule in rules))
    assert isinstance(surgeon.invert(source, rules), surgeon.Rules)
    assert torch.is_tensor(next(iter(surgeon.remap(source, rules).values())))
