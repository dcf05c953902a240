"""A probe: both models are run on one input, and what their outputs tell is settled; what they don't, stays open."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from probed_models import Chain, Encoder, Llama, Mixer, Packed, Turned, Twins, equal_outputs, part, trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import ModelError

ZOO = ("dog", "cat", "cow", "fox")
METALS = ("tin", "lead", "zinc", "iron")


def probed(source: Any, target: Any, inputs: Any, **options: Any) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, probe=surgeon.Probe(inputs, **options))


def agrees(found: surgeon.Suggestion, source: nn.Module, target: nn.Module, *inputs: Any) -> bool:
    """Whether the rules, carried out on the weights as they are, make the target compute what the source does."""
    surgeon.load(target, source.state_dict(), found.rules)
    return equal_outputs(source, target, *inputs)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tokens() -> Tensor:
    return torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))


class TestWhatShapesLeaveOpenIsSettled:
    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1)])
    def test_projections_and_norms_whose_names_tell_nothing(self, order: tuple[int, ...]) -> None:
        source = trained(Encoder("layers", ZOO, ("pear", "fig")))
        target = Encoder("blocks", [METALS[at] for at in order], ("one", "two"))
        assert not [key for key in surgeon.suggestion(source, target).plan.recipes if ".attn." in key or ".one." in key or ".two." in key]
        found = probed(source, target, "2x6x5")
        assert found.is_settled
        assert agrees(found, source, target, numbers(2, 6, 5))

    @pytest.mark.parametrize("names", [("tin", "zinc"), ("zinc", "tin")])
    def test_two_layers_of_one_shape(self, names: tuple[str, str]) -> None:
        source, target = trained(Mixer("a", "b")), Mixer(*names)
        found = probed(source, target, "2x8x8")
        assert found.is_settled
        assert {f"{key}.weight" for key in names} <= set(found.plan.recipes)
        assert found.plan.recipes[f"{names[0]}.weight"].key == "a.weight"

    def test_more_layers_than_all_orders_can_be_tried_of(self) -> None:
        source, target = trained(Chain("badce")), Chain(("tin", "lead", "zinc", "iron", "gold"))
        found = probed(source, target, "4x8")
        assert found.is_settled
        assert agrees(found, source, target, numbers(4, 8))

    @pytest.mark.parametrize("target_interleaved", [False, True])
    @pytest.mark.parametrize("source_interleaved", [False, True])
    def test_the_order_of_rotary_rows(self, source_interleaved: bool, target_interleaved: bool) -> None:
        source, target = trained(Llama("meta", source_interleaved)), Llama("hf", target_interleaved)
        assert not surgeon.suggestion(source, target).is_settled
        found = probed(source, target, (tokens(),))
        assert found.is_settled
        turns = [rule.op for rule in found.rules.rules if rule.op.name == "rope_permute"]
        assert bool(turns) == (source_interleaved != target_interleaved)
        assert {turn.source_layout for turn in turns} <= {"interleaved" if source_interleaved else "half"}
        assert agrees(found, source, target, tokens())

    @pytest.mark.parametrize("by_heads", [(True, False), (False, True), (False, False)])
    def test_whether_heads_are_packed(self, by_heads: tuple[bool, bool]) -> None:
        source, target = trained(Packed("query_key_value", by_heads[0])), Packed("qkv", by_heads[1])
        found = probed(source, target, "2x4x5")
        assert found.is_settled
        assert agrees(found, source, target, numbers(2, 4, 5))

    @pytest.mark.parametrize("as_layers", [True, False])
    def test_square_matrices_which_lie_the_other_way(self, as_layers: bool) -> None:
        source, target = trained(Turned(as_layers)), Turned(not as_layers)
        found = probed(source, target, "2x5")
        assert "transpose" in [rule.op.name for rule in found.rules.rules]
        assert agrees(found, source, target, numbers(2, 5))

    def test_the_evidence_stands_beside_the_rules(self) -> None:
        found = probed(trained(Mixer("a", "b")), Mixer("tin", "zinc"), "2x8x8")
        assert "on a random input; the alternative differs by" in found.text
        assert found.remarks[0].startswith("both models' outputs are equal")

    def test_a_head_for_other_classes_hides_nothing_of_what_is_before_it(self) -> None:
        source, target = trained(Encoder("layers", ZOO, ("pear", "fig"))), Encoder("blocks", METALS[::-1], ("one", "two"), classes=7)
        found = probed(source, target, "2x6x5")
        assert not {key for key in found.open_targets if ".attn." in key or ".one." in key or ".two." in key}
        assert "cannot be compared" in found.remarks[0]
        surgeon.load(target, source.state_dict(), found.rules, allow_missing=["head.*"])
        target.head = source.head
        assert equal_outputs(source, target, numbers(2, 6, 5))

    def test_a_fresh_model_without_weights_worth_a_look_is_enough(self) -> None:
        source, target = Encoder("layers", ZOO, ("pear", "fig")), Encoder("blocks", METALS, ("two", "one"))
        found = probed(source, target, "2x6x5")  # all norms are ones and zeros
        assert found.plan.recipes["blocks.0.two.weight"].key == "layers.0.pear.weight"

    def test_dropout_is_off(self) -> None:
        source, target = (Encoder(name, ZOO, ("pear", "fig"), dropout=0.5) for name in ("layers", "blocks"))
        assert "are equal" in probed(source, target, "2x6x5").remarks[0]

    def test_the_order_of_the_files_changes_nothing(self) -> None:
        source, target = trained(Encoder("layers", ZOO, ("pear", "fig"))), Encoder("blocks", METALS[::-1], ("one", "two"))
        weights = dict(sorted(source.state_dict().items()))
        found = probed(weights, target, "2x6x5", source_model=source)
        assert agrees(found, source, target, numbers(2, 6, 5))
        assert found.plan.recipes == probed(source, target, "2x6x5").plan.recipes


class TestWhatNoRunTellsStaysOpen:
    def test_parts_which_are_not_run(self) -> None:
        source, target = (_WithSpare(names) for names in (("tin", "zinc"), ("dog", "cat")))
        found = probed(source, target, "2x8x8")
        assert {key.split(".")[0] for key in found.open_targets} == {"dog", "cat"}
        assert {question.doubt for question in found.questions} == {"every way which was tried gives the same outputs on a random input"}

    def test_a_twin_which_the_source_s_model_lacks(self) -> None:
        source = trained(Mixer("a", "b"))
        weights = {f"{twin}.{key}": value for twin in ("one", "two") for key, value in source.state_dict().items()}
        found = probed(weights, Mixer("a", "b"), "2x8x8", source_model=source)
        assert not found.is_settled
        assert any("lacks what one of the ways takes" in question.doubt for question in found.questions)

    def test_models_which_compute_otherwise(self) -> None:
        found = probed(trained(Mixer("a", "b")), Mixer("a", "b", skip=0.5), "2x8x8")
        assert not found.is_settled
        assert "b is the first part which is given something else" in found.remarks[0]
        assert {key.split(".")[0] for key in found.open_targets} == {"a"}  # what ran right before

    def test_outputs_which_hang_on_nothing(self) -> None:
        source, target = _Deaf("tin", "zinc"), _Deaf("dog", "cat")
        assert {key.split(".")[0] for key in probed(source, target, "2x8x8").open_targets} == {"dog", "cat"}

    def test_what_parts_are_given_tells_where_outputs_do_not(self) -> None:
        found = probed(_Mute("tin", "zinc"), _Mute("dog", "cat"), "2x8x8")
        assert found.plan.recipes["dog.weight"].key == "tin.weight"
        assert "parts are given what the source's are on a random input; with the alternative" in found.text

    def test_more_than_the_runs_which_are_allowed(self) -> None:
        found = probed(trained(Mixer("a", "b")), Mixer("tin", "zinc"), "2x8x8", most=1)
        assert "there were not runs enough to try it" in {question.doubt for question in found.questions}.pop()

    def test_a_new_part_in_whose_shape_the_source_has_something_to_spare(self) -> None:
        source, target = _WithSpare(("tin",)), _Adapted("dog")
        found = probed(trained(source), target, "2x8x8")
        assert set(found.open_targets) == {"dog.weight", "dog.bias"}  # which seemed sure


class _WithSpare(nn.Module):
    """Two layers which are never run."""

    def __init__(self, names: tuple[str, str]) -> None:
        super().__init__()
        self.body = Mixer("a", "b")
        for name in names:
            self.add_module(name, nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Any:
        return self.body(x)


class _Adapted(_WithSpare):
    """One more layer, which is run."""

    def __init__(self, name: str) -> None:
        super().__init__((name,))
        self.name = name

    def forward(self, x: Tensor) -> Any:
        return super().forward(torch.cat([getattr(self, self.name)(x[..., :6]), x[..., 6:]], -1))


class _Deaf(Mixer):
    """Both layers are used, without a call of either, and for nothing."""

    def forward(self, x: Tensor) -> Any:
        tokens, channels = (getattr(self, name).weight for name in self.names)
        return {"logits": self.head(x + 0 * (x @ tokens @ channels)).mean(1)}


class _Mute(Mixer):
    """Both layers run, and the outputs do not show it."""

    def forward(self, x: Tensor) -> Any:
        return {"zeros": 0 * super().forward(x)["logits"]}


class TestWhatIsRun:
    def test_a_checkpoint_s_weights_below_a_prefix(self) -> None:
        source, target = trained(Mixer("a", "b")), Mixer("tin", "zinc")
        weights = {f"module.{key}": value for key, value in source.state_dict().items()}
        found = probed(weights, target, "2x8x8", source_model=Mixer("a", "b"))
        assert found.plan.recipes["tin.weight"].key == "module.a.weight"

    @pytest.mark.parametrize("inputs", [lambda: numbers(2, 8, 8), lambda: (numbers(2, 8, 8),), lambda: {"x": numbers(2, 8, 8)}])
    def test_the_inputs_may_be_what_a_function_gives(self, inputs: Callable[[], Any]) -> None:
        assert probed(trained(Mixer("a", "b")), Mixer("tin", "zinc"), inputs).is_settled

    def test_the_models_and_the_caller_s_random_numbers_stay_as_they_are(self) -> None:
        source, target = trained(Mixer("a", "b")).train(), Mixer("tin", "zinc").train()
        before = [{key: value.clone() for key, value in model.state_dict().items()} for model in (source, target)]
        torch.manual_seed(7)
        drawn = torch.rand(3)
        torch.manual_seed(7)
        probed(source, target, "2x8x8")
        assert torch.equal(torch.rand(3), drawn)
        for model, old in zip((source, target), before, strict=True):
            assert model.training
            assert all(torch.equal(value, old[key]) for key, value in model.state_dict().items())
            assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    def test_half_precision_is_run_in_single(self) -> None:
        assert probed(trained(Mixer("a", "b")).bfloat16(), Mixer("tin", "zinc"), "2x8x8").is_settled

    def test_the_same_is_said_twice(self) -> None:
        source, target = trained(Mixer("a", "b")), Mixer("tin", "zinc")
        assert probed(source, target, "2x8x8").text == probed(source, target, "2x8x8").text


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("source", "target", "options", "message"),
        [
            (Mixer("a", "b").state_dict(), Mixer("a", "b"), {}, "SOURCE has no code to run"),
            (Mixer("a", "b"), Mixer("a", "b").state_dict(), {}, "TARGET has no code to run"),
            (Mixer("a", "b").state_dict(), Mixer("a", "b"), {"source_model": Mixer("c", "d")}, "SOURCE does not fit Mixer: c.weight"),
            (Mixer("a", "b"), Mixer("a", "b").to("meta"), {}, "on the meta device"),
        ],
    )
    def test_models_which_cannot_be_run(self, source: Any, target: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            probed(source, target, "2x8x8", **options)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ("2x9", "failed on the probe's inputs"),
            ("two by eight", "is no input"),
            ("99999x99999x9", "numbers; at most"),
            ("no_such_module:inputs", "no module 'no_such_module'"),
        ],
    )
    def test_inputs_which_are_none(self, inputs: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            probed(Mixer("a", "b"), Mixer("tin", "zinc"), inputs)

    def test_outputs_which_are_no_numbers(self) -> None:
        with pytest.raises(ModelError, match="are no numbers"):
            probed(Mixer("a", "b"), Mixer("tin", "zinc"), torch.full((2, 8, 8), torch.nan))


def test_a_running_average_beside_the_model_is_told_by_which_runs() -> None:
    found = probed(trained(Twins("second", "first")), Mixer("tin", "zinc"), "2x8x8")
    assert found.plan.recipes["tin.weight"].key == "second.tokens.weight"


def test_parts_which_are_called_within_another_only_are_looked_at() -> None:
    source, target = (_Functional(name) for name in ("dog", "cat"))
    assert "are equal" in probed(trained(source), target, "2x3x8").remarks[0]


class _Functional(nn.Module):
    """torch's attention uses the weights of its last layer without a call of it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, part(layer=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name).layer(x)
