"""On which parts the outputs depend: what a probe does not exercise it does not confirm."""

from typing import Any

import pytest
import torch
from probed_models import part, trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.probing import Probe
from ckpt_surgeon.probing.dependence import Idle, idle_parts, parts_of
from ckpt_surgeon.probing.inputs import Inputs


class Attention(nn.Module):
    """One head. names: of query and key."""

    def __init__(self, query: str, key: str, size: int = 16) -> None:
        super().__init__()
        self.names = query, key
        for name in ("q", "k", "v", "o"):
            self.add_module(name, nn.Linear(size, size))

    def forward(self, x: Tensor) -> Tensor:
        query, key = (getattr(self, name)(x) for name in self.names)
        return self.o(nn.functional.scaled_dot_product_attention(2 * query, key, self.v(x)))


class Routed(nn.Module):
    """Experts of which the first takes all; `scale` makes the others' share smaller than any output tells."""

    def __init__(self, scale: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        rest = sum(expert(x) for expert in self.experts[1:])
        return self.experts[0](x) + self.scale * rest


class Closed(Routed):
    """Through which no gradient goes."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def probed(source: nn.Module, target: nn.Module, shape: str) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, probe=Probe(shape))


class TestAProbe:
    def test_confirms_nothing_of_queries_and_keys_by_one_token(self) -> None:
        found = probed(trained(Attention("q", "k")), Attention("k", "q"), "2x1x16")
        assert found.is_confirmed is None
        assert "they do not depend on q, k: nothing confirms what is put there" in found.remarks[0]

    def test_confirms_them_by_two(self) -> None:
        found = probed(trained(Attention("q", "k")), Attention("k", "q"), "2x5x16")
        assert found.is_confirmed
        assert found.plan.recipes["q.weight"].key == "k.weight"

    @pytest.mark.parametrize("scale", [0.0, 1e-7])
    def test_names_experts_which_no_input_reaches(self, scale: float) -> None:
        found = probed(trained(Routed(scale)), Routed(scale), "4x8")
        assert found.is_confirmed is None
        assert "depend on experts.1, experts.2:" in found.remarks[0]

    def test_says_nothing_where_all_are_reached(self) -> None:
        found = probed(trained(Routed(1.0)), Routed(1.0), "4x8")
        assert found.is_confirmed
        assert "depend" not in found.remarks[0]

    @pytest.mark.parametrize(("scale", "confirmed"), [(0.0, None), (1.0, True)])
    def test_tells_it_by_runs_alone_where_gradients_do_not(self, scale: float, confirmed: bool | None) -> None:
        found = probed(trained(Closed(scale)), Closed(scale), "4x8")
        assert found.is_confirmed is confirmed
        assert ("experts.1, experts.2:" in found.remarks[0]) == (confirmed is None)


class TestParts:
    MODULE = part(fc=nn.Linear(2, 2), norm=nn.BatchNorm1d(2), block=part(fc=nn.Linear(2, 2), gamma=nn.Parameter(torch.ones(2))))

    def test_are_modules_without_modules_and_what_stands_beside_some(self) -> None:
        assert parts_of(self.MODULE, list(self.MODULE.state_dict())) == {
            "fc": ("fc.weight", "fc.bias"),
            "norm": ("norm.weight", "norm.bias"),
            "block.gamma": ("block.gamma",),
            "block.fc": ("block.fc.weight", "block.fc.bias"),
        }

    def test_are_of_the_keys_which_are_given(self) -> None:
        assert parts_of(self.MODULE, ["fc.bias", "norm.running_mean"]) == {"fc": ("fc.bias",)}


class TestIdleParts:
    def found(self, module: nn.Module, unmoved: set[str]) -> tuple[Idle, int]:
        """What is idle where the outputs stay for these parts only, and the runs which that took."""
        asked: list[Any] = []

        def is_same(keys: Any) -> bool:
            asked.append(keys)
            return {key.rpartition(".")[0] for key in keys} <= unmoved

        parts = parts_of(module, [key for key, _ in module.named_parameters()])
        return idle_parts(module, parts, Inputs((torch.randn(4, 8),), {}), 0, is_same), len(asked)

    def test_take_no_run_where_gradients_reach_all(self) -> None:
        assert self.found(Routed(1.0), set()) == (Idle(), 0)

    def test_take_one_run_where_these_are_what_gradients_say(self) -> None:
        assert self.found(Routed(0.0), {"experts.1", "experts.2"}) == (Idle(("experts.1", "experts.2")), 1)

    def test_are_found_by_halves_where_gradients_say_too_much(self) -> None:
        assert self.found(Closed(0.0), {"experts.2"}) == (Idle(("experts.2",)), 5)

    def test_which_there_are_not_runs_enough_for_are_told(self) -> None:
        module = Closed(0.0)
        module.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(64))
        idle, runs = self.found(module, set())
        assert runs == 32
        assert not idle.parts
        assert idle.untried

    def test_leave_the_module_as_it_was(self) -> None:
        module = Routed(1.0).requires_grad_(False)
        self.found(module, set())
        assert not any(each.requires_grad for each in module.parameters())
        assert all(each.grad is None for each in module.parameters())
