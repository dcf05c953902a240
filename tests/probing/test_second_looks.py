"""Decisions which headers settle, and runs refute: rotary rows under equal names, added depth, what was tried."""

from typing import Any

import pytest
import torch
from probed_models import Llama, equal_outputs, part, trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.links import Change, Family, Link
from ckpt_surgeon.probing import Probe
from ckpt_surgeon.probing.second_looks import second_looks
from ckpt_surgeon.spec import Header, TensorSpec


def tokens() -> Tensor:
    return torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))


def attentive(interleaved: bool, style: str = "hf") -> nn.Module:
    """A source whose outputs depend on its queries: their products with the keys are large enough for softmax to tell."""
    torch.manual_seed(0)
    source = trained(Llama(style, interleaved))
    with torch.no_grad():
        for key, weight in source.named_parameters():
            if "q_proj" in key or "wq" in key:
                weight.mul_(10)
    return source


def probed(source: Any, target: Any, inputs: Any, **options: Any) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, probe=Probe(inputs, **options))


class TestRotaryRowsUnderEqualNames:
    @pytest.mark.parametrize("style", ["meta", "hf"])
    @pytest.mark.parametrize(("source_interleaved", "target_interleaved"), [(True, False), (False, True)])
    def test_are_found_to_stand_in_the_other_order(self, style: str, source_interleaved: bool, target_interleaved: bool) -> None:
        source, target = attentive(source_interleaved, style), Llama(style, target_interleaved)
        assert surgeon.suggestion(source, target).is_settled
        assert not {rule.op.name for rule in surgeon.suggestion(source, target).rules.rules} & {"rope_permute"}
        found = probed(source, target, (tokens(),))
        assert found.is_settled
        assert found.is_confirmed
        turns = [rule.op for rule in found.rules.rules if rule.op.name == "rope_permute"]
        assert {turn.source_layout for turn in turns} == {"interleaved" if source_interleaved else "half"}
        surgeon.load(target, source.state_dict(), found.rules)
        assert equal_outputs(source, target, tokens())

    @pytest.mark.parametrize("interleaved", [True, False])
    def test_stay_where_the_order_is_the_same(self, interleaved: bool) -> None:
        found = probed(attentive(interleaved), Llama("hf", interleaved), (tokens(),))
        assert found.is_confirmed
        assert found.rules.rules == ()

    def test_are_found_before_a_head_for_another_vocabulary(self) -> None:
        source, target = trained(Llama("hf", True)), Llama("hf", False)
        target.lm_head = nn.Linear(32, 9, bias=False)
        found = probed(source, target, (tokens(),))
        assert "rope_permute" in {rule.op.name for rule in found.rules.rules}
        assert found.is_confirmed is None

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_are_open_where_there_are_not_runs_enough(self, most: int) -> None:
        found = probed(trained(Llama("hf", True)), Llama("hf", False), (tokens(),), most=most)
        assert found.is_confirmed is False
        assert not found.is_settled

    def test_take_no_more_runs_than_are_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        runs = []
        forward = Llama.forward
        monkeypatch.setattr(Llama, "forward", lambda self, x: (runs.append(self), forward(self, x))[1])
        probed(trained(Llama("hf", True)), _Other("hf", False), (tokens(),), most=64)
        assert len(runs) <= 64 + 8


class _Other(Llama):
    """It computes something else altogether."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.sin(super().forward(tokens))


class _Deep(nn.Module):
    def __init__(self, depth: int, classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(part(up=nn.Linear(8, 16), down=nn.Linear(16, 8)) for _ in range(depth))
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer.down(torch.relu(layer.up(x)))
        return self.head(x)


class TestOutputsWhichDiffer:
    @pytest.mark.parametrize("depths", [(2, 3), (1, 4)])
    def test_for_blocks_which_are_new_do_not_confirm(self, depths: tuple[int, int]) -> None:
        source, target = (_Deep(depth) for depth in depths)
        found = probed(trained(source), target, "4x8")
        assert found.is_confirmed is False
        (remark,) = found.remarks
        assert remark.startswith("the probe does not confirm these rules: both models' outputs differ by ")
        assert f"new there, and as it was built: layers.{depths[0]}.up, " in remark
        assert "tried: the rules as they are" in remark

    def test_for_blocks_which_are_left_out_do_not_confirm(self) -> None:
        found = probed(trained(_Deep(3)), _Deep(2), "4x8")
        assert found.is_confirmed is False
        assert "new there" not in found.remarks[0]

    def test_of_another_computation_name_all_which_was_tried(self) -> None:
        found = probed(trained(Llama("hf", True)), _Other("hf", False), (tokens(),))
        assert found.is_confirmed is False
        assert not found.is_settled
        (remark,) = found.remarks
        tried = ("the rules as they are", "square matrices transposed", "rotary rows of queries and keys in the other order")
        assert ", ".join(tried) in remark

    def test_which_are_equal_confirm(self) -> None:
        found = probed(trained(_Deep(2)), _Deep(2), "4x8")
        assert found.is_confirmed
        assert found.remarks == ("both models' outputs are equal on a random input",)

    def test_which_nobody_asked_for_say_nothing(self) -> None:
        assert surgeon.suggestion(_Deep(2), _Deep(3)).is_confirmed is None


def family(target: str, source: str, change: Change | None = None) -> Family:
    return Family((Link((f"{source}.weight",), (f"{target}.weight",), change),), 1.0, "names")


def members(names: dict[str, str], change: Change | None = None) -> list[tuple[int, ...]]:
    """Of decisions which take source parts to target parts those which may have other rotary rows."""
    families = [family(target, source, change) for target, source in names.items()]
    source, target = (Header({f"{name}.weight": TensorSpec.of("float32", 16, 8) for name in side}) for side in (names.values(), names))
    looks = second_looks(families, source, target)
    return [look.group.members for look in looks if look.what.startswith("rotary")]


class TestQueriesAndKeys:
    @pytest.mark.parametrize(
        ("names", "found"),
        [
            ({"a.q_proj": "a.q_proj", "a.k_proj": "a.k_proj", "a.v_proj": "a.v_proj"}, [(0, 1)]),
            ({"a.wq": "a.query", "a.wk": "a.key", "a.wv": "a.value"}, [(0, 1)]),
            ({"a.to_q": "a.tin", "a.x": "a.to_k"}, [(0, 1)]),
            ({"a.q_norm": "a.q_norm", "a.norm": "a.norm"}, [(0,)]),
            ({"a.qkv": "a.qkv", "a.query_key_value": "a.query_key_value"}, []),
            ({"a.up": "a.up", "a.down": "a.down"}, []),
            ({"a.q_proj": "a.q_proj", "b.q_proj": "b.q_proj"}, [(0, 1), (0,), (1,)]),
            ({"layers.0.a.q_proj": "layers.0.a.q_proj", "layers.1.a.q_proj": "layers.1.a.q_proj"}, [(0, 1)]),
        ],
    )
    def test_are_known_by_their_names_on_either_side(self, names: dict[str, str], found: list[tuple[int, ...]]) -> None:
        assert members(names) == found

    def test_which_an_op_makes_are_left_as_they_are(self) -> None:
        assert members({"a.q_proj": "a.q_proj"}, Change("transpose")) == []

    def test_are_tried_in_both_directions_with_every_size_of_head(self) -> None:
        header = Header({"a.q.weight": TensorSpec.of("float32", 16, 8)})
        (look,) = second_looks([family("a.q", "a.q")], header, header)
        changes = [dict(way[0][0].change.parameters) for way in look.group.layouts]
        assert {change["heads"] for change in changes} == {1, 2, 4}
        assert len(changes) == 6
