"""How near activations and outputs are, what noise does to weights, and what a run tells."""

from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pytest
import torch
from probed_models import Chain, Mixer, part
from torch import Tensor, nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.probing.inputs import Inputs, inputs_of
from ckpt_surgeon.probing.likeness import Seen, distance, moments, tensors_of
from ckpt_surgeon.probing.noise import shaken
from ckpt_surgeon.probing.running import traced


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass
class _Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: None = None


class _MuteError(Exception):
    """An error which cannot be told."""

    def __str__(self) -> str:
        raise ValueError


class _Ending(nn.Module):
    """Raises what it is given, or gives back a dict which holds itself."""

    def __init__(self, ending: BaseException | None) -> None:
        super().__init__()
        self.ending = ending

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        if self.ending is not None:
            raise self.ending
        found: dict[str, Any] = {"x": x}
        found["itself"] = found
        return found


class TestMoments:
    @pytest.mark.parametrize("other", [lambda x: x.transpose(0, 2), lambda x: x.flatten(), lambda x: x.flip(1), lambda x: x * (1 + 1e-6)])
    def test_are_known_again_in_another_layout(self, other) -> None:
        x = numbers(3, 4, 5)
        assert moments(other(x)) in Seen([moments(numbers(60, seed=1)), moments(x)])

    @pytest.mark.parametrize(
        "other", [lambda x: -x, lambda x: x * 1.01, lambda x: x[:2], lambda x: x + 0.01, lambda x: x.sort().values * 0.999]
    )
    def test_are_not_those_of_other_numbers(self, other) -> None:
        x = numbers(3, 4, 5)
        assert moments(other(x)) not in Seen([moments(x)])

    def test_nothing_is_like_nothing_only(self) -> None:
        assert moments(torch.zeros(0)) in Seen([moments(torch.zeros(0, 3))])
        assert moments(torch.zeros(0)) not in Seen([moments(torch.zeros(1))])

    def test_numbers_which_are_none_are_never_known(self) -> None:
        assert moments(torch.full((3,), nan)) not in Seen([moments(torch.full((3,), nan))])

    def test_are_known_again_among_many_of_their_size(self) -> None:
        many = [numbers(60, seed=seed) for seed in range(200)]
        seen = Seen(map(moments, many))
        assert all(moments(x * (1 + 1e-6)) in seen for x in many)
        assert not any(moments(numbers(60, seed=seed)) in seen for seed in range(200, 400))

    def test_masks_are_known_again_by_the_same_numbers_only(self) -> None:
        mask = torch.full((4, 4), -inf).triu(1)
        assert moments(mask) in Seen([moments(mask.clone())])
        assert moments(mask) not in Seen([moments(numbers(4, 4))])


class TestOutputs:
    def test_of_all_shapes_are_looked_into(self) -> None:
        x, y = numbers(2), numbers(3)
        for value in ((x, [y]), {"a": x, "b": (y, 3)}, _Output(x, (y,)), [x, torch.arange(3), y]):
            assert [tensor.shape[0] for tensor in tensors_of(value)] == [2, 3]

    def test_classes_and_words_are_no_outputs(self) -> None:
        assert tensors_of((_Output, "logits", None, 3.0)) == []

    def test_each_is_compared_with_the_nearest_of_its_shape(self) -> None:
        x, y = numbers(2, 3), numbers(2, 3, seed=1)
        assert distance([x], [y, x]) == 0
        assert distance([x, y], [x]) > 0.5

    def test_ones_among_the_sizes_do_not_matter(self) -> None:
        assert distance([numbers(2, 1, 3)], [numbers(2, 3)]) == 0

    def test_without_a_shape_in_common_there_is_no_distance(self) -> None:
        assert distance([numbers(2)], [numbers(3)]) is None
        assert distance([], [numbers(3)]) is None

    def test_one_number_far_off_counts_however_many_are_near(self) -> None:
        x = torch.ones(100_000)
        y = x.clone()
        y[0] = 1.5
        assert distance([y], [x]) == pytest.approx(0.5)

    def test_masks_of_infinity_are_equal_and_lone_ones_infinitely_far(self) -> None:
        masked = torch.tensor([1.0, -inf])
        assert distance([masked], [masked.clone()]) == 0
        assert distance([torch.tensor([1.0, 0.0])], [masked]) == inf
        assert distance([torch.tensor([nan, 0.0])], [torch.ones(2)]) == inf


class TestNoise:
    def test_tells_equal_weights_apart_and_is_the_same_twice(self) -> None:
        ones = torch.ones(8)
        first, second = shaken(ones, "norm1", 0), shaken(ones, "norm2", 0)
        assert not torch.allclose(first, second, atol=1e-2)
        assert torch.equal(first, shaken(ones, "norm1", 0))
        assert torch.equal(ones, torch.ones(8))

    def test_shows_through_a_vanishing_scale(self) -> None:
        assert shaken(torch.full((64,), 1e-6), "gamma", 0).abs().mean() > 0.01

    def test_leaves_a_matrix_about_as_it_is(self) -> None:
        weight = 0.02 * numbers(64, 64)
        gap = torch.linalg.vector_norm(shaken(weight, "w", 0) - weight) / torch.linalg.vector_norm(weight)
        assert 0.05 < gap < 0.2

    def test_keeps_variances_positive_and_whole_numbers_whole(self) -> None:
        assert (shaken(torch.full((64,), 1e-3), "var", 0) >= 0).all()
        assert torch.equal(shaken(torch.arange(4), "ids", 0), torch.arange(4))
        assert shaken(torch.zeros(0), "empty", 0).numel() == 0


class TestRuns:
    def test_tell_which_parts_are_called_in_which_order(self) -> None:
        trace = traced(Chain("cab"), Inputs((numbers(2, 8),)), 0)
        assert [call.name for call in trace.calls] == ["", "c", "a", "b"]
        assert trace.first_calls == {"": 0, "c": 1, "a": 2, "b": 3}
        assert trace.calls[0].given == trace.calls[1].given

    def test_tell_no_more_than_is_asked(self) -> None:
        trace = traced(Mixer("a", "b"), Inputs((numbers(2, 8, 8),)), 0, given=False, made=False)
        assert not any(call.given for call in trace.calls)
        assert trace.made == ()
        assert [tuple(output.shape) for output in trace.outputs] == [(2, 8, 8), (2, 3)]

    def test_change_neither_inputs_nor_hooks_nor_gradients(self) -> None:
        x, model = numbers(2, 8), _InPlace()
        before = x.clone()
        output = traced(model, Inputs((x,)), 0).outputs[0]
        assert torch.equal(x, before)
        assert not output.requires_grad
        assert not model._forward_pre_hooks

    def test_are_the_same_for_a_model_which_draws_numbers(self) -> None:
        first, second = (traced(_Drawing(), Inputs((numbers(2, 8),)), 3).outputs[0] for _ in range(2))
        assert torch.equal(first, second)

    @pytest.mark.parametrize(
        ("ending", "says"),
        [(SystemExit(7), "SystemExit: 7"), (_MuteError(), "_MuteError: it does not say why"), (None, "RecursionError")],
        ids=["leaves Python", "cannot say why", "an output in itself"],
    )
    def test_name_a_model_whose_run_ends_in_another_way(self, ending: BaseException | None, says: str) -> None:
        with pytest.raises(ModelError, match=f"_Ending failed on the probe's inputs: {says}"):
            traced(_Ending(ending), Inputs((numbers(2, 3),)), 0)

    def test_name_the_model_whose_code_fails_and_leave_no_hooks(self) -> None:
        model = part(layer=nn.Linear(3, 3))
        with pytest.raises(ModelError, match="Module failed on the probe's inputs: NotImplementedError"):
            traced(model, Inputs((numbers(2, 3),)), 0)
        assert not model._forward_pre_hooks


class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1)


class _Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class TestInputs:
    @pytest.mark.parametrize(("text", "shapes"), [("1x3x8x8", [(1, 3, 8, 8)]), ("7", [(7,)]), ("2x3,4x5", [(2, 3), (4, 5)])])
    def test_shapes_in_words_are_normal_numbers(self, text: str, shapes: list[tuple[int, ...]]) -> None:
        found = inputs_of(text, 0)
        assert [tuple(each.shape) for each in found.args] == shapes
        assert all(torch.equal(a, b) for a, b in zip(found.args, inputs_of(text, 0).args, strict=True))
        assert not torch.equal(found.args[0], inputs_of(text, 1).args[0])

    def test_a_function_is_called_under_the_seed(self) -> None:
        assert torch.equal(inputs_of(lambda: torch.randn(3), 0).args[0], inputs_of(lambda: torch.randn(3), 0).args[0])

    def test_a_dict_is_the_named_arguments_and_a_list_the_others(self) -> None:
        x = numbers(3)
        assert inputs_of({"x": x}, 0) == Inputs((), {"x": x})
        assert inputs_of([x, 3], 0) == Inputs((x, 3))
        assert inputs_of(x, 0).args[0] is x

    @pytest.mark.parametrize("text", ["", "x", "1x", "1x3x", "-1x3", "1.5x2", "1 x 3", "a.pt", "1x3,,4"])
    def test_other_words_are_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(ModelError, match="is no input") as error:
            inputs_of(text, 0)
        assert "1x3x224x224" in error.value.hint
