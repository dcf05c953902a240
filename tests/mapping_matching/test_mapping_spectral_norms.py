"""Spectral norm: original and vectors become the plain weight by an op, never the original alone; other computed weights are asked."""

import pytest
import torch
import yaml
from headers import header
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.calibration import MIN_CONFIDENCE
from ckpt_surgeon.mapping.matching import match

Shapes = dict[str, tuple[int, ...]]

HOOKS = ("weight_orig", "weight_u", "weight_v")
PARAMETRIZED = ("parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v")
WAYS = pytest.mark.parametrize("leaves", [HOOKS, PARAMETRIZED], ids=["hooks", "parametrizations"])


def normed(name: str, shape: tuple[int, ...], leaves: tuple[str, ...], dim: int = 0) -> Shapes:
    """A layer under spectral norm, with its bias."""
    width = 1
    for at, size in enumerate(shape):
        width *= size if at != dim else 1
    original, left, right = leaves
    return {f"{name}.bias": shape[:1], f"{name}.{original}": shape, f"{name}.{left}": (shape[dim],), f"{name}.{right}": (width,)}


def plain(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def critic(name: str, layer: str, leaves: tuple[str, ...] | None) -> Shapes:
    """Three layers, two of them of one shape."""
    made: Shapes = {}
    for i, shape in enumerate(((8, 3, 3, 3), (8, 8, 3, 3), (8, 8, 3, 3))):
        made |= normed(f"{name}.{i}.{layer}", shape, leaves) if leaves else plain(f"{name}.{i}.{layer}", shape)
    return made


@WAYS
@pytest.mark.parametrize("order", ["natural", "sorted"])
@pytest.mark.parametrize(("name", "layer"), [("main", "conv"), ("module.main", "conv"), ("blocks", "c")])
def test_a_weight_is_baked_and_its_bias_follows(name: str, layer: str, leaves: tuple[str, ...], order: str) -> None:
    source, target = critic("main", "conv", leaves), critic(name, layer, None)
    given = header(dict(sorted(source.items())) if order == "sorted" else source)
    found = surgeon.suggestion(given, header(target))
    assert found.is_settled, found.text
    assert surgeon.diff(given, header(target), found.rules).same
    links = [link for family in found.families for link in family.links]
    baked = {link.targets[0]: link.sources for link in links if link.change is not None}
    assert baked == {f"{name}.{i}.{layer}.weight": tuple(f"main.{i}.conv.{leaf}" for leaf in leaves) for i in range(3)}
    assert {link.targets[0]: link.sources[0] for link in links if link.change is None} == {
        f"{name}.{i}.{layer}.bias": f"main.{i}.conv.bias" for i in range(3)
    }


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm], ids=["hooks", "parametrizations"])
@pytest.mark.parametrize(
    ("layer", "fresh"),
    [
        (lambda: nn.Conv2d(4, 8, 3), lambda: nn.Conv2d(4, 8, 3)),
        (lambda: nn.Linear(6, 5), lambda: nn.Linear(6, 5)),
        (lambda: nn.ConvTranspose1d(4, 8, 3), lambda: nn.ConvTranspose1d(4, 8, 3)),
    ],
    ids=["conv", "linear", "transposed"],
)
def test_the_suggested_rules_give_the_weight_which_the_layer_computes_with(norm, layer, fresh) -> None:
    torch.manual_seed(0)
    source, target = norm(layer()), fresh()
    for _ in range(5):
        source(torch.randn(2, *{3: (4, 9), 4: (4, 9, 9)}.get(source.weight.dim(), (6,))))
    source.eval()
    source(torch.randn(2, *{3: (4, 9), 4: (4, 9, 9)}.get(source.weight.dim(), (6,))))
    rules = surgeon.suggest(source.state_dict(), target)
    made = surgeon.remap(source.state_dict(), rules, model=target)
    torch.testing.assert_close(made["weight"], source.weight.detach())
    torch.testing.assert_close(made["bias"], source.bias.detach())


def test_the_second_dim_is_said_of_transposed_convolutions() -> None:
    found = surgeon.suggestion(header(normed("up", (8, 4, 5), HOOKS, dim=1)), header(plain("up", (8, 4, 5))))
    (rule,) = yaml.safe_load(found.text)["rules"]
    assert rule["bake_spectral_norm"] == {"source": "up.weight_{x:orig|u|v}", "target": "up.weight", "dim": 1}


@WAYS
def test_both_under_spectral_norm_are_renamed_and_nothing_is_baked(leaves: tuple[str, ...]) -> None:
    source, target = normed("a.conv", (8, 4, 3), HOOKS), normed("b.conv", (8, 4, 3), leaves)
    found = surgeon.suggestion(header(source), header(target))
    assert found.is_settled
    assert not [link for family in found.families for link in family.links if link.change]
    assert surgeon.diff(header(source), header(target), found.rules).same


@WAYS
def test_a_plain_weight_is_never_taken_for_an_original_with_confidence(leaves: tuple[str, ...]) -> None:
    mapping = match(header(plain("a.conv", (8, 4, 3))), header(normed("a.conv", (8, 4, 3), leaves)))
    assert all(family.confidence < MIN_CONFIDENCE for family in mapping.families)
    assert "no op parts one" in mapping.families[0].doubt


def test_an_original_of_another_parametrization_is_never_taken_for_the_weight_with_confidence() -> None:
    source = {"fc.bias": (8,), "fc.parametrizations.weight.original": (8, 4), "fc.parametrizations.weight.0.base": (8, 4)}
    mapping = match(header(source), header(plain("fc", (8, 4))))
    sure = {key for family in mapping.families if family.confidence >= MIN_CONFIDENCE for link in family.links for key in link.targets}
    assert "fc.weight" not in sure


def test_a_direction_beside_no_original_stays_one() -> None:
    source = {"fc.weight_g": (8, 1), "fc.weight_v": (8, 4), "fc.bias": (8,)}
    found = surgeon.suggestion(header(source), header(plain("fc", (8, 4))))
    assert "bake_weight_norm" in found.text
