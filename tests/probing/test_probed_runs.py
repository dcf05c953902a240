"""Models of all kinds under a probe: what they return, draw, share and count; what a run leaves behind; what it cannot tell."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from probed_models import Chain, Llama, Mixer, equal_outputs, part, saved, trained
from torch import Tensor, nn
from torch.nn import functional

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model import header_of_module
from ckpt_surgeon.probing import Probe, examined
from ckpt_surgeon.probing.inputs import Inputs
from ckpt_surgeon.probing.order import match_in_order
from ckpt_surgeon.probing.running import traced


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def probed(source: Any, target: Any, inputs: Any, **options: Any) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, probe=Probe(inputs, **options))


def taken(found: surgeon.Suggestion) -> dict[str, str]:
    """Target part -> source part, of the first names of all keys which the rules make."""
    recipes = found.plan.recipes if found.plan else {}
    return {key.split(".")[0]: recipe.key.split(".")[0] for key, recipe in recipes.items()}


class _Pair(nn.Module):
    """Two layers whose order only a run can tell: the first of the names runs first."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in sorted(names):
            self.add_module(name, nn.Linear(8, 8))

    def both(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.names]

    def forward(self, x: Tensor) -> Any:
        first, second = self.both()
        return second(torch.tanh(first(x)))


@dataclass
class _Dataclass:
    logits: Tensor
    words: str = "none"


class _Named(NamedTuple):
    logits: Tensor
    count: int


class TestOutputs:
    @pytest.mark.parametrize(
        "form",
        [
            lambda x: (x, None),
            lambda x: [{"a": x}, "text"],
            lambda x: {"logits": x, "ids": x.argmax(-1)},
            _Dataclass,
            lambda x: _Named(x, 3),
            lambda x: {"nested": ({"deep": [x]},)},
        ],
    )
    def test_of_any_form_are_compared(self, form: Callable[[Tensor], Any]) -> None:
        source, target = _Formed(form, "b", "a"), _Formed(form, "tin", "zinc")
        found = probed(trained(source), target, "2x8")
        assert found.is_settled
        assert taken(found) == {"tin": "b", "zinc": "a"}

    def test_in_another_form_are_compared_too(self) -> None:
        found = probed(trained(_Formed(lambda x: {"logits": x}, "b", "a")), _Formed(lambda x: (None, [x, x]), "tin", "zinc"), "2x8")
        assert taken(found) == {"tin": "b", "zinc": "a"}

    def test_of_whole_numbers_alone_are_no_evidence(self) -> None:
        source, target = _Formed(lambda x: x.argmax(-1), "b", "a"), _Formed(lambda x: x.argmax(-1), "tin", "zinc")
        found = probed(trained(source), target, "2x8")
        assert "cannot be compared" in found.remarks[0]
        assert not taken(found)

    def test_which_are_no_numbers_in_the_target_alone_are_told_and_nothing_after_is_sure(self) -> None:
        target = _Formed(lambda x: x * torch.nan, "tin", "zinc")
        found = probed(trained(_Pair("b", "a")), target, "2x8")
        assert not found.is_settled
        assert "differ by inf" in found.remarks[0]


class _Cached(_Pair):
    def forward(self, x: Tensor, before: Tensor) -> Any:
        return super().forward(torch.cat([before, x]))


class _Formed(_Pair):
    def __init__(self, form: Callable[[Tensor], Any], *names: str) -> None:
        super().__init__(*names)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(super().forward(x))


class TestInputs:
    @pytest.mark.parametrize("inputs", ["2x8,2x8", None])
    def test_are_several(self, inputs: Any) -> None:
        found = probed(trained(_TwoInputs("b", "a")), _TwoInputs("tin", "zinc"), inputs)
        assert taken(found) == {"tin": "b", "zinc": "a"}

    def test_are_given_by_name(self) -> None:
        found = probed(trained(_TwoInputs("b", "a")), _TwoInputs("tin", "zinc"), {"right": numbers(2, 8), "left": 2 * numbers(2, 8)})
        assert taken(found) == {"tin": "b", "zinc": "a"}

    @pytest.mark.parametrize("inputs", ["2x8", "2x8,2x8,2x8", {"left": numbers(2, 8)}, {"other": numbers(2, 8)}])
    def test_which_do_not_fit_are_a_model_error_with_a_hint(self, inputs: Any) -> None:
        with pytest.raises(ModelError, match="_TwoInputs failed on the probe's inputs: TypeError") as error:
            probed(_TwoInputs("b", "a"), _TwoInputs("tin", "zinc"), inputs)
        assert "--probe-input" in error.value.hint
        assert error.value.exit_code == 4

    @pytest.mark.parametrize(
        "inputs", ["0x8", "2x8,0x8", "2x0x8", torch.zeros(0, 8), (torch.zeros(0, 8),), {"x": torch.zeros(2, 0)}, lambda: [torch.zeros(0)]]
    )
    def test_of_no_elements_are_refused(self, inputs: Any) -> None:
        with pytest.raises(ModelError, match="empty: no outputs would tell anything"):
            probed(trained(_Pair("b", "a")), _Pair("tin", "zinc"), inputs)

    def test_of_which_one_is_empty_are_taken(self) -> None:
        found = probed(trained(_Cached("b", "a")), _Cached("tin", "zinc"), (numbers(2, 8), torch.zeros(0, 8)))
        assert taken(found) == {"tin": "b", "zinc": "a"}

    def test_of_double_precision_do_for_models_of_it(self) -> None:
        found = probed(trained(_Pair("b", "a")).double(), _Pair("tin", "zinc").half(), numbers(2, 8).double())
        assert taken(found) == {"tin": "b", "zinc": "a"}


class _TwoInputs(_Pair):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        first, second = self.both()
        return torch.tanh(first(left)) * second(right)


class TestModels:
    def test_whose_norms_keep_running_statistics(self) -> None:
        source, target = trained(_Norms("b", "a")), _Norms("tin", "zinc")
        found = probed(source.train(), target.train(), "2x4x3x3")
        assert found.is_settled
        assert taken(found) == {"conv": "conv", "tin": "b", "zinc": "a"}
        surgeon.load(target, source.state_dict(), found.rules)
        assert equal_outputs(source, target, numbers(2, 4, 3, 3))

    @pytest.mark.parametrize("names", [("tin", "zinc"), ("zinc", "tin")])
    def test_which_call_a_part_twice(self, names: tuple[str, str]) -> None:
        found = probed(trained(_Again("b", "a")), _Again(*names), "2x8")
        assert taken(found) == {names[0]: "b", names[1]: "a"}

    def test_which_draw_numbers_in_evaluation_mode(self) -> None:
        found = probed(trained(_Drawing("b", "a")), _Drawing("tin", "zinc"), "2x8")
        assert "are equal" in found.remarks[0]
        assert taken(found) == {"tin": "b", "zinc": "a"}

    def test_which_share_a_weight(self) -> None:
        source, target = trained(_Tied("b")), _Tied("tin")
        found = probed(source, target, (torch.arange(6)[None],))
        assert "are equal" in found.remarks[0]
        assert {key for key in found.plan.recipes if key.startswith("tin")} == {"tin.weight", "tin.bias"}

    def test_which_change_their_input(self) -> None:
        found = probed(trained(_InPlace("b", "a")), _InPlace("tin", "zinc"), (x := numbers(2, 8),))
        assert taken(found) == {"tin": "b", "zinc": "a"}
        assert torch.equal(x, numbers(2, 8))

    def test_two_parts_of_which_are_interchangeable_stay_a_question_which_says_so(self) -> None:
        found = probed(trained(_Added("b", "a")), _Added("tin", "zinc"), "2x8")
        assert set(found.open_targets) == {"tin.weight", "tin.bias", "zinc.weight", "zinc.bias"}
        assert {question.doubt for question in found.questions} == {"every way which was tried gives the same outputs on a random input"}
        assert "gives the same outputs" in found.text

    @pytest.mark.parametrize(("size", "heads"), [(24, 3), (40, 5)])
    def test_of_an_odd_number_of_rotary_heads(self, size: int, heads: int) -> None:
        source, target = (Llama(style, style == "meta", size, heads) for style in ("meta", "hf"))
        tokens = torch.arange(14).reshape(2, 7)
        found = probed(trained(source), target, (tokens,))
        turns = {rule.op.heads for rule in found.rules.rules if rule.op.name == "rope_permute"}
        assert turns == {heads, 1}  # of queries, and of keys, which all queries share
        surgeon.load(target, source.state_dict(), found.rules)
        assert equal_outputs(source, target, tokens)

    def test_with_more_orders_than_runs_are_settled_or_asked_and_never_wrong(self) -> None:
        metals = ("tin", "lead", "zinc", "iron", "gold", "copper")
        source = trained(Chain("badcef"))
        for most in (2, 10, 64):
            found = probed(source, Chain(metals), "4x8", most=most)
            assert set(taken(found).items()) <= set(zip(metals, "badcef", strict=True))


class _Norms(nn.Module):
    """A convolution between two norms of one shape."""

    def __init__(self, first: str, last: str) -> None:
        super().__init__()
        self.names = first, last
        self.conv = nn.Conv2d(4, 4, 1)
        for name in sorted(self.names):
            self.add_module(name, nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        first, last = (getattr(self, name) for name in self.names)
        return last(functional.relu(self.conv(first(x))))


class _Again(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        first, second = self.both()
        return first(torch.tanh(second(torch.tanh(first(x)))))


class _Drawing(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x))


class _InPlace(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2).add_(1))


class _Added(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        first, second = self.both()
        return torch.tanh(first(x) + second(x))


class _Tied(nn.Module):
    """An embedding whose weight is the last layer's too."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.embedding = nn.Embedding(9, 8)
        self.add_module(name, nn.Linear(8, 8))
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(getattr(self, self.name)(self.embedding(tokens))))


def _state(model: nn.Module) -> list[Any]:
    """All of a model which a probe could leave changed."""
    hooks = [(len(each._forward_hooks), len(each._forward_pre_hooks)) for each in model.modules()]
    modes = [each.training for each in model.modules()]
    gradients = [(each.requires_grad, each.grad) for each in model.parameters()]
    return [hooks, modes, gradients, [value.tolist() for value in model.state_dict().values()]]


class TestWhatARunLeaves:
    def test_of_the_givens_is_all_as_it_was(self) -> None:
        source, target = trained(_Norms("b", "a")), _Norms("tin", "zinc")
        source.train()
        target.a_part_in_evaluation = nn.Dropout().eval()
        source.conv.weight.requires_grad_(False)
        before = _state(source), _state(target)
        probed(source, target, "2x4x3x3")
        assert (_state(source), _state(target)) == before

    @pytest.mark.parametrize("inputs", ["2x8", "2x9"])
    def test_of_torch_is_all_as_it_was_even_after_a_failure(self, inputs: str) -> None:
        source, target = trained(_Drawing("b", "a")), _Drawing("tin", "zinc")
        attention, state = torch.backends.mha.get_fastpath_enabled(), torch.get_rng_state()
        with nullcontext() if inputs == "2x8" else pytest.raises(ModelError):
            probed(source, target, inputs)
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.backends.mha.get_fastpath_enabled() == attention

    def test_of_the_caller_s_modes_is_all_as_it_was(self) -> None:
        with torch.no_grad():
            probed(trained(_Pair("b", "a")), _Pair("tin", "zinc"), "2x8")
            assert not torch.is_grad_enabled()

    def test_of_a_model_which_fails_is_no_hook(self) -> None:
        model = _Failing()
        with pytest.raises(ModelError, match="_Failing failed on the probe's inputs: ValueError: no such thing as a second line"):
            traced(model, Inputs((numbers(2, 8),)), 0)
        assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())

    def test_of_what_models_print_is_nothing_in_the_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        traced(_Talking(), Inputs((numbers(2, 8),)), 0)
        streams = capsys.readouterr()
        assert (streams.out, streams.err) == ("", "running\n")


class _Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(x)
        raise ValueError("no such thing\n  as a second line")


class _Talking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("running")  # noqa: T201 as users' models do
        return x


class TestWhatARunTells:
    def test_of_a_shared_part_is_each_call_and_the_first_place(self) -> None:
        trace = traced(_Again("b", "a"), Inputs((numbers(2, 8),)), 0)
        assert [call.name for call in trace.calls] == ["", "b", "a", "b"]
        assert trace.first_calls == {"": 0, "b": 1, "a": 2}

    def test_of_ids_is_the_call_and_no_number(self) -> None:
        trace = traced(_Tied("b"), Inputs((torch.arange(4)[None],)), 0)
        assert [(call.name, len(call.given)) for call in trace.calls] == [("", 0), ("embedding", 0), ("b", 1), ("head", 1)]

    def test_of_named_arguments_is_what_they_hold(self) -> None:
        trace = traced(_TwoInputs("b", "a"), Inputs((), {"left": numbers(2, 8), "right": numbers(2, 8)}), 0)
        assert [len(call.given) for call in trace.calls] == [2, 1, 1]

    def test_of_idle_parts_is_nothing(self) -> None:
        model = _Pair("b", "a")
        model.idle = part(layer=nn.Linear(8, 8))
        assert not {"idle", "idle.layer"} & set(traced(model, Inputs((numbers(2, 8),)), 0).first_calls)


class TestTheOrderOfARun:
    def matched(self, source: Sequence[str], target: Sequence[str]) -> Any:
        models = Chain(source), Chain(target)
        traces = tuple(traced(model, Inputs((numbers(2, 8),)), 0, given=False, made=False) for model in models)
        headers = tuple(header_of_module(model) for model in models)
        return match_in_order(*headers, traces, {key: key for key in headers[0]}), headers[1]

    def test_pairs_what_runs_at_the_same_place(self) -> None:
        found, _ = self.matched("cab", ("tin", "lead", "zinc"))
        pairs = {link.targets[0]: link.sources[0] for family in found.families for link in family.links}
        assert (pairs["tin.weight"], pairs["lead.weight"], pairs["zinc.weight"]) == ("c.weight", "a.weight", "b.weight")

    def test_is_told_in_the_order_of_the_headers(self) -> None:
        found, header = self.matched("cab", ("tin", "lead", "zinc"))
        places = {key: place for place, key in enumerate(header)}
        firsts = [min(places[key] for link in family.links for key in link.targets) for family in found.families]
        assert firsts == sorted(firsts)

    def test_leaves_what_no_side_has_in_the_order_of_the_headers(self) -> None:
        found, header = self.matched("ca", ("tin", "lead", "zinc", "iron"))
        made = {key for family in found.families for link in family.links for key in link.targets}
        assert found.missing == tuple(key for key in header if key not in made)


class TestEvidenceAsAValue:
    def test_without_any_is_what_the_headers_say(self) -> None:
        source, target = trained(_Pair("b", "a")), _Pair("tin", "zinc")
        found = examined(source, target, (header_of_module(source), header_of_module(target)), 0.9)
        assert found.remarks == ()
        assert any(family.confidence < 0.9 for family in found.mapping.families)

    def test_of_a_probe_has_a_remark_and_nothing_open(self) -> None:
        source, target = trained(_Pair("b", "a")), _Pair("tin", "zinc")
        found = examined(source, target, (header_of_module(source), header_of_module(target)), 0.9, probe=Probe("2x8"))
        assert found.remarks == ("both models' outputs are equal on a random input",)
        assert all(family.confidence == 1.0 for family in found.mapping.families)

    @pytest.mark.parametrize("form", ["pt", "safetensors", "shards"])
    def test_of_a_probe_is_the_same_for_a_checkpoint_of_any_format(self, form: str, tmp_path: Path) -> None:
        source = trained(Mixer("b", "a"))
        path = saved(source.state_dict(), tmp_path / f"model.{form}")
        found = probed(path, Mixer("tin", "zinc"), "2x8x8", source_model=Mixer("b", "a"))
        assert found.is_settled
        assert taken(found) == {"tin": "b", "zinc": "a", "head": "head"}

    def test_of_another_seed_settles_the_same(self) -> None:
        source = trained(_Pair("b", "a"))
        assert {str(taken(probed(source, _Pair("tin", "zinc"), "2x8", seed=seed))) for seed in range(4)} == {"{'tin': 'b', 'zinc': 'a'}"}


class _Headed(nn.Module):
    """Two layers which run in the order of their names as given, and a head for some classes."""

    def __init__(self, first: str, second: str, classes: int) -> None:
        super().__init__()
        self.names = first, second
        for name in sorted(self.names):
            self.add_module(name, nn.Linear(8, 8))
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            x = torch.tanh(getattr(self, name)(x))
        return self.head(x)


class TestAHeadForOtherClasses:
    def test_does_not_hide_that_names_lie(self) -> None:
        found = probed(trained(_Headed("a", "b", 5)), _Headed("b", "a", 7), "2x8")
        assert not found.is_settled
        assert "a is the first part which is given something else" in found.remarks[0]

    def test_is_new_where_all_before_it_is_given_the_same(self) -> None:
        found = probed(trained(_Headed("a", "b", 5)), _Headed("a", "b", 7), "2x8")
        assert found.is_settled
        assert taken(found) == {"a": "a", "b": "b"}
        (remark,) = found.remarks
        assert remark.startswith("the outputs of both models cannot be compared; every part is given what the source's are")
        assert remark.endswith("new there, and as it was built: head")
