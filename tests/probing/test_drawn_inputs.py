"""Inputs which are drawn for a model's first layers, where none is given."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from probed_models import Llama, Mixer, Packed, trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.probing import Probe
from ckpt_surgeon.probing.drawn_inputs import fitted
from ckpt_surgeon.probing.models import Models


def drawn(source: nn.Module, target: nn.Module | None = None, seed: int = 0) -> Any:
    return fitted(Models(source, source if target is None else target, {}), seed)


class _Vision(nn.Module):
    """Patches of an image, a class token, and a table of positions of one size."""

    def __init__(self, image: int, patch: int, extra: int = 1, as_embedding: bool = False) -> None:
        super().__init__()
        rows = (image // patch) ** 2 + extra
        self.patches = nn.Conv2d(3, 8, patch, stride=patch)
        self.extra = nn.Parameter(torch.zeros(1, extra, 8))
        self.positions = nn.Embedding(rows, 8) if as_embedding else nn.Parameter(torch.randn(1, rows, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        positions = self.positions.weight if isinstance(self.positions, nn.Embedding) else self.positions
        return self.head((torch.cat([self.extra.expand(len(x), -1, -1), x], 1) + positions).mean(1))


class _Heads(nn.Module):
    """Built in another order than it runs: the last layer first."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(16, 2)
        self.stem = nn.Conv2d(4, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.stem(x).mean((2, 3)))


class _Pair(nn.Module):
    """It takes two arguments, and may do with more."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8)

    def forward(self, source: Tensor, target: Tensor, scale: float = 1.0, **more: Any) -> Tensor:
        return self.words(source) + scale * self.words(target)


class _Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


class TestTheFirstLayer:
    @pytest.mark.parametrize(
        ("model", "text"),
        [
            (lambda: nn.Sequential(nn.Linear(5, 3)), "2x8x5"),
            (_Flat, "2x784"),
            (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), "2x5"),
            (lambda: Mixer("a", "b"), "2x8x8"),
            (lambda: Packed("qkv", by_heads=False), "2x8x5"),
            (lambda: Llama("hf", False), "2x8 token ids"),
            (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)), "1x3x64x64"),
            (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 2)), "1x1x32x32"),
            (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1)), "2x2x64"),
            (lambda: nn.Sequential(nn.Conv1d(2, 4, 400), nn.AdaptiveAvgPool1d(1)), "2x2x512"),
            (lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.AdaptiveAvgPool3d(1)), "1x3x8x64x64"),
            (lambda: _Vision(48, 8), "1x3x48x48"),
            (lambda: _Vision(80, 16, extra=2), "1x3x80x80"),
            (lambda: _Vision(56, 8, extra=5, as_embedding=True), "1x3x56x56"),
            (_Heads, "1x4x64x64"),
            (_Pair, "2x8,2x8 token ids"),
        ],
    )
    def test_tells_what_the_model_takes(self, model: Callable[[], nn.Module], text: str) -> None:
        found = drawn(model().eval())
        assert found.text == text
        assert all(tensor.numel() for tensor in found.inputs.args)
        assert found.traces[0].calls

    @pytest.mark.parametrize("seed", [0, 7])
    def test_takes_the_same_numbers_for_the_same_seed(self, seed: int) -> None:
        first, second = (drawn(Mixer("a", "b"), seed=seed).inputs.args[0] for _ in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(first, drawn(Mixer("a", "b"), seed=seed + 1).inputs.args[0])

    @pytest.mark.parametrize("words", [3, 50, 5000])
    def test_of_token_ids_has_each_which_is_drawn(self, words: int) -> None:
        ids = drawn(nn.Sequential(nn.Embedding(words, 4), nn.Linear(4, 2))).inputs.args[0]
        assert 0 <= int(ids.min()) <= int(ids.max()) < words


class TestWhereNoneIsFound:
    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (nn.ReLU(), "no layer of the source's model tells what input it takes"),
            (nn.Bilinear(3, 4, 2), "no layer of the source's model tells"),
            (nn.Sequential(nn.Linear(5, 3), nn.Linear(4, 2)), "no input was found which both models take; tried 2x8x5, 2x5, 2x8x8x5"),
        ],
    )
    def test_it_is_said_what_was_tried_and_how_to_give_one(self, model: nn.Module, message: str) -> None:
        with pytest.raises(ModelError, match=message) as error:
            drawn(model)
        assert "--probe-input" in error.value.hint

    def test_of_both_models_the_reason_of_the_one_which_fails_is_told(self) -> None:
        with pytest.raises(ModelError, match="the last time Sequential failed on the probe's inputs: RuntimeError"):
            drawn(nn.Sequential(nn.Linear(5, 3)), nn.Sequential(nn.Linear(6, 3)))


class TestAProbeWithoutAnInput:
    @pytest.mark.parametrize("names", [("tin", "zinc"), ("zinc", "tin")])
    def test_settles_what_one_with_an_input_does(self, names: tuple[str, str]) -> None:
        source, target = trained(Mixer("a", "b")), Mixer(*names)
        found = surgeon.suggestion(source, target, probe=Probe())
        assert found.is_settled
        assert found.plan.recipes == surgeon.suggestion(source, target, probe=Probe("2x8x8")).plan.recipes
        assert found.remarks[0].endswith("run on 2x8x8, drawn for their first layers (--probe-input gives another)")

    def test_does_not_tell_of_an_input_which_is_given(self) -> None:
        found = surgeon.suggestion(trained(Mixer("a", "b")), Mixer("tin", "zinc"), probe=Probe("2x8x8"))
        assert "drawn" not in found.remarks[0]
