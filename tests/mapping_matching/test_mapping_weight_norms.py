"""Weight norm: magnitude and direction become the plain weight by an op, never the direction alone; and nothing parts a plain weight."""

import pytest
import torch
import yaml
from headers import header

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.matching import match

Shapes = dict[str, tuple[int, ...]]
Leaves = tuple[str, str]

HOOKS: Leaves = ("weight_g", "weight_v")
PARAMETRIZED: Leaves = ("parametrizations.weight.original0", "parametrizations.weight.original1")


def _normed(name: str, shape: tuple[int, ...], leaves: Leaves = HOOKS, dim: int = 0) -> Shapes:
    """A layer under weight norm, with its bias."""
    magnitude = tuple(size if at == dim else 1 for at, size in enumerate(shape))
    return {f"{name}.{leaves[0]}": magnitude, f"{name}.{leaves[1]}": shape, f"{name}.bias": shape[:1]}


def _plain(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _vocoder(name: str, layer: str, leaves: Leaves | None) -> Shapes:
    made: Shapes = {}
    for i, width in enumerate((16, 8)):
        shape = (width, 2 * width, 3)
        made |= _normed(f"{name}.{i}.{layer}", shape, leaves) if leaves else _plain(f"{name}.{i}.{layer}", shape)
    return made


@pytest.mark.parametrize("order", ["natural", "sorted"])
@pytest.mark.parametrize("leaves", [HOOKS, PARAMETRIZED], ids=["hooks", "parametrizations"])
@pytest.mark.parametrize(("name", "layer"), [("ups", "conv"), ("module.ups", "conv"), ("upsampler", "conv_post"), ("ups", "net")])
def test_a_weight_is_baked_and_its_bias_follows(name: str, layer: str, leaves: Leaves, order: str) -> None:
    source, target = _vocoder("ups", "conv", leaves), _vocoder(name, layer, None)
    given = header(dict(sorted(source.items())) if order == "sorted" else source)
    found = surgeon.suggestion(given, header(target))
    assert found.is_settled
    assert surgeon.diff(given, header(target), found.rules).same
    links = [link for family in found.families for link in family.links]
    baked = {link.targets[0]: link.sources for link in links if link.change is not None}
    assert baked == {f"{name}.{i}.{layer}.weight": (f"ups.{i}.conv.{leaves[0]}", f"ups.{i}.conv.{leaves[1]}") for i in range(2)}
    assert {link.targets[0]: link.sources[0] for link in links if link.change is None} == {
        f"{name}.{i}.{layer}.bias": f"ups.{i}.conv.bias" for i in range(2)
    }


def test_the_suggested_rules_give_the_weight_which_the_layer_computes_with() -> None:
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(4, 8, 3))
    plain = torch.nn.Conv1d(4, 8, 3)
    rules = surgeon.suggest(layer.state_dict(), plain)
    made = surgeon.remap(layer.state_dict(), rules, model=plain)
    torch.testing.assert_close(made["weight"], layer.weight.detach())
    torch.testing.assert_close(made["bias"], layer.bias.detach())


@pytest.mark.parametrize(("dim", "said"), [(0, {}), (1, {"dim": 1}), (2, {"dim": 2})])
def test_the_dim_is_the_one_along_which_the_magnitude_has_its_size(dim: int, said: dict[str, int]) -> None:
    found = surgeon.suggestion(header(_normed("pos", (8, 4, 5), dim=dim)), header(_plain("pos", (8, 4, 5))))
    (rule,) = yaml.safe_load(found.text)["rules"]
    assert rule["bake_weight_norm"] == {"source": "pos.weight_{x:g|v}", "target": "pos.weight", **said}


def test_one_magnitude_for_all_of_a_weight() -> None:
    source = {"pos.weight_g": (), "pos.weight_v": (8, 4), "pos.bias": (8,)}
    found = surgeon.suggestion(header(source), header(_plain("pos", (8, 4))))
    assert surgeon.diff(header(source), header(_plain("pos", (8, 4))), found.rules).same
    assert "dim: all" in found.text


def test_a_baked_weight_takes_its_new_shape_afterwards() -> None:
    source, target = _normed("fc", (8, 4)), {"conv.weight": (8, 4, 1), "conv.bias": (8,)}
    found = surgeon.suggestion(header(source), header(target))
    assert surgeon.diff(header(source), header(target), found.rules).same
    assert [next(iter(rule)) for rule in yaml.safe_load(found.text)["rules"]] == ["rename", "bake_weight_norm", "reshape"]


@pytest.mark.parametrize("leaves", [HOOKS, PARAMETRIZED])
def test_both_under_weight_norm_are_renamed_and_nothing_is_baked(leaves: Leaves) -> None:
    source, target = _normed("a.conv", (8, 4, 3)), _normed("b.conv", (8, 4, 3), leaves)
    found = surgeon.suggestion(header(source), header(target))
    assert found.is_settled
    assert not [link for family in found.families for link in family.links if link.change]
    assert surgeon.diff(header(source), header(target), found.rules).same


@pytest.mark.parametrize("leaves", [HOOKS, PARAMETRIZED])
def test_a_plain_weight_is_never_taken_for_a_direction_with_confidence(leaves: Leaves) -> None:
    source, target = _plain("a.conv", (8, 4, 3)), _normed("a.conv", (8, 4, 3), leaves)
    mapping = match(header(source), header(target))
    assert [family.confidence < 0.9 for family in mapping.families] == [True]
    assert "magnitude and direction" in mapping.families[0].doubt


def test_a_square_weight_lies_as_it_did() -> None:
    source, target = _normed("a.fc", (8, 8)), _plain("b.linear", (8, 8))
    assert surgeon.suggestion(header(source), header(target)).is_settled
