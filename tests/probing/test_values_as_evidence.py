"""Values as evidence: what a way makes of the source against what the target has, and scales against shifts."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from probed_models import Llama, Mixer, Packed, Twins, part, trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, ModelError
from ckpt_surgeon.mapping.links import Family, Link, Mapping
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.values import valued as settled_by_values

Weights = dict[str, Tensor]


def valued(source: Any, target: Any) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, values=True)


def remapped(found: surgeon.Suggestion, source: Weights, target: Weights) -> bool:
    """Whether the rules make of the source just the target."""
    made = surgeon.remap(source, found.rules, target)
    return made.keys() == target.keys() and all(torch.equal(made[key], value) for key, value in target.items())


def renamed(weights: Weights, **names: str) -> Weights:
    """The same tensors with other words in their keys."""
    return {".".join(names.get(word, word) for word in key.split(".")): value for key, value in weights.items()}


def mixer(seed: int = 1) -> Weights:
    torch.manual_seed(seed)
    return trained(Mixer("a", "b"), seed).state_dict()


class TestTheSameWeightsOnBothSides:
    @pytest.mark.parametrize("names", [{"a": "tin", "b": "zinc"}, {"a": "zinc", "b": "tin"}])
    def test_tell_which_of_two_layers_is_which(self, names: dict[str, str]) -> None:
        source = mixer()
        target = renamed(source, **names)
        assert not surgeon.suggestion(source, target).is_settled
        found = valued(source, target)
        assert found.is_settled
        assert remapped(found, source, target)
        assert "its values are the target's, and no other's; confidence 1.000" in found.text

    @pytest.mark.parametrize("twin", ["first", "second"])
    def test_tell_a_model_from_its_running_average(self, twin: str) -> None:
        source = trained(Twins("first", "second")).state_dict()
        target = {key.removeprefix(f"{twin}."): value for key, value in source.items() if key.startswith(twin)}
        assert not surgeon.suggestion(source, target).is_settled
        found = valued(source, target)
        assert found.is_settled
        assert remapped(found, source, target)

    def test_tell_a_square_matrix_which_lies_the_other_way(self) -> None:
        source = mixer()
        target = {key: value.T.contiguous() if key in ("a.weight", "b.weight") else value for key, value in source.items()}
        target = renamed(target, a="zinc", b="tin")
        found = valued(source, target)
        assert found.is_settled
        assert remapped(found, source, target)

    def test_tell_the_order_of_rotary_rows(self) -> None:
        source = trained(Llama("meta", interleaved=True)).state_dict()
        rules = surgeon.suggestion(Llama("meta", True), Llama("hf", False), probe=surgeon.Probe((torch.arange(6)[None],))).rules
        target = surgeon.remap(source, rules)
        found = valued(source, target)
        assert found.is_settled
        assert remapped(found, source, target)
        assert {rule.op.source_layout for rule in found.rules.rules if rule.op.name == "rope_permute"} == {"interleaved"}

    def test_tell_whether_heads_are_packed(self) -> None:
        source = trained(Packed("query_key_value", by_heads=True)).state_dict()
        rows = {key: value.unflatten(0, (2, 3, 4)).transpose(0, 1).flatten(0, 2) for key, value in source.items() if "query" in key}
        target = renamed(source | rows, query_key_value="qkv")
        found = valued(source, target)
        assert found.is_settled
        assert remapped(found, source, target)

    def test_are_the_same_in_half_precision(self) -> None:
        source = mixer()
        target = {key: value.half() for key, value in renamed(source, a="zinc", b="tin").items()}
        found = valued(source, target)
        assert found.plan.recipes["zinc.weight"].key == "a.weight"


class TestWhatSomeTrainingMadeOfThem:
    def test_is_near_enough_to_tell(self) -> None:
        source = mixer()
        torch.manual_seed(0)
        target = {key: value + 0.01 * torch.randn_like(value) for key, value in renamed(source, a="zinc", b="tin").items()}
        found = valued(source, target)
        assert found.plan.recipes["zinc.weight"].key == "a.weight"
        assert "from the target's, the next best's" in found.text

    def test_does_not_tell_a_model_from_its_running_average(self) -> None:
        torch.manual_seed(0)
        model = mixer()
        average = {key: value + 1e-3 * torch.randn_like(value) for key, value in model.items()}
        source = {f"{twin}.{key}": value for twin, weights in (("one", model), ("two", average)) for key, value in weights.items()}
        target = {key: value + 0.05 * torch.randn_like(value) for key, value in model.items()}
        assert not valued(source, target).is_settled

    def test_other_weights_tell_nothing(self) -> None:
        found = valued(mixer(1), renamed(mixer(2), a="tin", b="zinc"))
        assert {key.split(".")[0] for key in found.open_targets} == {"tin", "zinc"}


class _Norms(nn.Module):
    """Two blocks, of each a norm of its own making: a scale and a shift."""

    def __init__(self, scale: str, shift: str) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 8)
        blocks = [sorted({scale: torch.ones(8), shift: torch.zeros(8)}.items()) for _ in range(2)]
        self.blocks = nn.ModuleList(part(**{name: nn.Parameter(value) for name, value in block}) for block in blocks)


def _spread(weights: Weights) -> Weights:
    """As training spreads them: shifts on both sides of zero."""
    torch.manual_seed(3)
    return {key: value + 0.2 * torch.randn_like(value) for key, value in weights.items()}


class TestScalesAndShifts:
    @pytest.mark.parametrize("source", [("a", "b"), ("b", "a")])
    @pytest.mark.parametrize("target", [("s", "t"), ("t", "s")])
    def test_are_told_apart_by_what_a_fresh_model_holds(self, source: tuple[str, str], target: tuple[str, str]) -> None:
        weights = _spread(_Norms(*source).state_dict())
        assert not surgeon.suggestion(weights, _Norms(*target)).is_settled
        found = valued(weights, _Norms(*target))
        assert found.is_settled
        made = {key: recipe.key for key, recipe in found.plan.recipes.items()}
        assert [made[f"blocks.1.{name}"] for name in target] == [f"blocks.1.{name}" for name in source]

    def test_of_which_several_fit_stay_open(self) -> None:
        weights = _spread({"blocks.0.a": torch.ones(8), "blocks.0.b": torch.ones(8)})
        found = valued(weights, {"blocks.0.s": torch.ones(8), "blocks.0.t": torch.ones(8)})
        assert set(found.open_targets) == {"blocks.0.s", "blocks.0.t"}

    def test_of_a_new_part_are_not_those_of_an_old_one(self) -> None:
        torch.manual_seed(0)
        shared = {"blocks.0.up.weight": torch.randn(16, 8), "blocks.0.up.bias": torch.randn(16)}
        source = shared | {"blocks.0.layer_scale.gamma": 1 + 0.1 * torch.randn(8)}
        target = shared | {"blocks.0.adapter.rows": torch.ones(8)}
        links = tuple(Link((key,), (key,)) for key in shared)
        mapping = Mapping((Family(links, 1.0, "the same names"),), ("blocks.0.adapter.rows",), ("blocks.0.layer_scale.gamma",))
        found = settled_by_values(mapping, StateDictReader(source), StateDictReader(target), 0.9)
        assert found == mapping


class TestWhatIsRead:
    def test_nothing_but_what_is_open(self, tmp_path: Path) -> None:
        source = mixer()
        path = tmp_path / "model.pt"
        torch.save(source, path)
        _damage(path, source["head.weight"])
        target = renamed(source, a="zinc", b="tin")
        assert valued(path, target).is_settled  # the head is sure, and its damage is not seen

    def test_what_is_open_with_its_checksum(self, tmp_path: Path) -> None:
        source = mixer()
        path = tmp_path / "model.pt"
        torch.save(source, path)
        _damage(path, source["a.weight"])
        with pytest.raises(CorruptError):
            valued(path, renamed(source, a="zinc", b="tin"))

    @pytest.mark.parametrize("source", [Mixer("a", "b").to("meta"), surgeon.inspect(mixer())])
    def test_no_values_are_refused(self, source: Any) -> None:
        with pytest.raises(ModelError, match="no values"):
            valued(source, renamed(mixer(), a="tin", b="zinc"))


def _damage(path: Path, tensor: Tensor) -> None:
    """Flip a bit of the record which holds the tensor's bytes."""
    wanted = tensor.numpy().tobytes()
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        name = next(each for each in archive.namelist() if archive.read(each) == wanted)
    assert name
    data[data.index(wanted)] ^= 1
    path.write_bytes(data)


def test_a_probe_settles_what_values_leave() -> None:
    source = trained(Mixer("a", "b"))
    target = Mixer("tin", "zinc")
    assert not valued(source, target).is_settled
    found = surgeon.suggestion(source, target, values=True, probe=surgeon.Probe("2x8x8"))
    assert found.plan.recipes["tin.weight"].key == "a.weight"
