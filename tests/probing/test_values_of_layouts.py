"""`--values` on checkpoints as they lie about: fused, stacked and turned tensors, all formats, damage, odd dtypes, fresh models."""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from probed_models import Mixer, saved, trained
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, ModelError
from ckpt_surgeon.model import StateDictReader, header_of_state_dict
from ckpt_surgeon.probing import examined
from ckpt_surgeon.probing.values import valued as settled_by_values

Weights = dict[str, Tensor]
STRICT = 0.99  # so that fused tensors are asked about, too
PARTS = ("q", "k", "v")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def valued(source: Any, target: Any, least: float | None = None) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, values=True, min_confidence=least)


def makes(found: surgeon.Suggestion, source: Weights, target: Weights) -> bool:
    """Whether the rules make of the source just the target."""
    made = surgeon.remap(source, found.rules, target)
    return made.keys() == target.keys() and all(torch.equal(made[key], value) for key, value in target.items())


def projections() -> Weights:
    keys = [f"layers.{i}.attn.{part}_proj.{leaf}" for i in range(2) for part in PARTS for leaf in ("weight", "bias")]
    return {key: numbers(*((8, 8) if key.endswith("weight") else (8,)), seed=seed) for seed, key in enumerate(keys)}


def fused(weights: Weights, order: tuple[str, ...] = PARTS) -> Weights:
    return {
        f"blocks.{i}.attn.qkv.{leaf}": torch.cat([weights[f"layers.{i}.attn.{part}_proj.{leaf}"] for part in order])
        for i in range(2)
        for leaf in ("weight", "bias")
    }


class TestFusedProjections:
    def test_are_proven_by_their_values(self) -> None:
        source = projections()
        target = fused(source)
        assert not surgeon.suggestion(source, target, min_confidence=STRICT).is_settled
        found = valued(source, target, STRICT)
        assert found.is_settled
        assert found.confidence == 1.0
        assert makes(found, source, target)

    def test_are_proven_apart_too(self) -> None:
        target = projections()
        source = fused(target)
        found = valued(source, target, STRICT)
        assert found.confidence == 1.0
        assert makes(found, source, target)

    @pytest.mark.parametrize("order", [order for order in permutations(PARTS) if order != PARTS])
    def test_in_another_order_are_a_question(self, order: tuple[str, ...]) -> None:
        target = fused(projections(), order)
        assert set(valued(projections(), target, STRICT).open_targets) == set(target)


class TestStackedExperts:
    def apart(self) -> Weights:
        return {f"layers.{i}.experts.{n}.up.weight": numbers(16, 8, seed=4 * i + n) for i in range(2) for n in range(4)}

    def stacked(self, is_turned: bool) -> Weights:
        experts = self.apart()
        whole = {f"blocks.{i}.experts.up": torch.stack([experts[f"layers.{i}.experts.{n}.up.weight"] for n in range(4)]) for i in (0, 1)}
        return {key: value.transpose(1, 2).contiguous() if is_turned else value for key, value in whole.items()}

    @pytest.mark.parametrize("is_turned", [False, True])
    def test_are_proven_by_their_values(self, is_turned: bool) -> None:
        target = self.stacked(is_turned)
        found = valued(self.apart(), target, STRICT)
        assert found.confidence == 1.0
        assert makes(found, self.apart(), target)

    def test_in_another_order_are_a_question(self) -> None:
        target = {key: value.flip(0) for key, value in self.stacked(False).items()}
        assert set(valued(self.apart(), target, STRICT).open_targets) == set(target)


def mixer(seed: int = 1) -> Weights:
    torch.manual_seed(seed)
    return {key: value.detach() for key, value in trained(Mixer("a", "b"), seed).state_dict().items()}


def renamed(weights: Mapping[str, Tensor]) -> Weights:
    """The same weights, whose names lead to the wrong ones: b is tin here, a zinc."""
    names = {"a": "zinc", "b": "tin"}
    return {".".join(names.get(word, word) for word in key.split(".")): value for key, value in weights.items()}


def is_right(found: surgeon.Suggestion) -> bool:
    recipes = found.plan.recipes if found.plan else {}
    return (recipes["zinc.weight"].key, recipes["tin.weight"].key) == ("a.weight", "b.weight")


class TestFiles:
    @pytest.mark.parametrize("target_form", ["pt", "safetensors", "shards"])
    @pytest.mark.parametrize("source_form", ["pt", "safetensors", "shards"])
    def test_of_any_format_give_their_values(self, source_form: str, target_form: str, tmp_path: Path) -> None:
        source = saved(mixer(), tmp_path / f"source.{source_form}")
        target = saved(renamed(mixer()), tmp_path / f"target.{target_form}")
        found = valued(source, target)
        assert found.is_settled
        assert is_right(found)

    @pytest.mark.parametrize("side", ["source", "target"])
    def test_whose_open_tensors_are_damaged_are_told(self, side: str, tmp_path: Path) -> None:
        weights = {"source": mixer(), "target": renamed(mixer())}
        paths = {name: saved(each, tmp_path / f"{name}.pt") for name, each in weights.items()}
        _damage(paths[side], mixer()["a.weight"])
        with pytest.raises(CorruptError) as error:
            valued(paths["source"], paths["target"])
        assert f"{side}.pt" in str(error.value)
        assert error.value.exit_code == 3

    @pytest.mark.parametrize("side", ["source", "target"])
    def test_whose_sure_tensors_are_damaged_are_not_read(self, side: str, tmp_path: Path) -> None:
        weights = {"source": mixer(), "target": renamed(mixer())}
        paths = {name: saved(each, tmp_path / f"{name}.pt") for name, each in weights.items()}
        _damage(paths[side], mixer()["head.weight"])
        assert is_right(valued(paths["source"], paths["target"]))

    def test_which_are_cut_are_told(self, tmp_path: Path) -> None:
        path = saved(mixer(), tmp_path / "source.safetensors")
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(CorruptError):
            valued(path, renamed(mixer()))

    def test_of_which_a_shard_is_gone_are_told(self, tmp_path: Path) -> None:
        folder = saved(mixer(), tmp_path / "source.shards")
        next(folder.glob("*-of-*.safetensors")).unlink()
        with pytest.raises(surgeon.SurgeryError, match="model-0000"):
            valued(folder, renamed(mixer()))

    def test_with_an_envelope_give_the_weights_within(self, tmp_path: Path) -> None:
        torch.save({"state_dict": mixer(), "epoch": 3}, tmp_path / "source.pt")
        assert is_right(valued(tmp_path / "source.pt", renamed(mixer())))

    def test_which_hold_entries_of_no_tensor_beside_the_weights(self) -> None:
        assert is_right(valued(mixer() | {"version": "3"}, renamed(mixer()) | {"note": "x"}))


def _damage(path: Path, tensor: Tensor) -> None:
    """Flip a bit of the tensor's first occurrence in the file."""
    data = bytearray(path.read_bytes())
    data[data.index(tensor.numpy().tobytes())] ^= 1
    path.write_bytes(data)


class TestWhatIsRead:
    def read(self, least: float) -> tuple[set[str], set[str]]:
        """The first names of what is read of both sides."""
        source, target = _Noting(mixer()), _Noting(renamed(mixer()))
        mapping = examined(mixer(), renamed(mixer()), (source.header, target.header), least).mapping
        settled_by_values(mapping, source, target, least)
        return source.parts, target.parts

    def test_is_what_is_in_doubt(self) -> None:
        assert self.read(0.9) == ({"a", "b"}, {"tin", "zinc"})

    def test_is_all_where_nothing_is_sure_enough(self) -> None:
        assert self.read(1.0) == ({"a", "b", "head"}, {"tin", "zinc", "head"})

    def test_is_nothing_where_all_is_sure(self) -> None:
        source, target = _Noting(mixer()), _Noting(mixer())
        mapping = examined(mixer(), mixer(), (source.header, target.header), 0.5).mapping
        assert settled_by_values(mapping, source, target, 0.5) == mapping
        assert source.parts == target.parts == set()


class _Noting(StateDictReader):
    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, header=header_of_state_dict(weights))
        self.parts: set[str] = set()

    def read(self, key: str) -> Tensor:
        self.parts.add(key.split(".")[0])
        return super().read(key)


class TestOddTensors:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_of_the_same_dtype_on_both_sides(self, dtype: torch.dtype) -> None:
        source = {key: value.to(dtype) for key, value in mixer().items()}
        assert is_right(valued(source, renamed(source)))

    @pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.int64, torch.uint16, torch.complex64])
    def test_of_dtypes_with_few_operators_settle_or_stay_open(self, dtype: torch.dtype) -> None:
        weights = [numbers(8, 8, seed=seed).mul(9).abs().to(dtype) for seed in range(4)]
        source = {"a.weight": weights[0], "b.weight": weights[1], "head.weight": numbers(3, 8)}
        assert is_right(valued(source, renamed(source)))
        others = source | {"a.weight": weights[2], "b.weight": weights[3]}
        assert set(valued(source, renamed(others)).open_targets) == {"tin.weight", "zinc.weight"}

    def test_of_complex_numbers_which_differ_in_one_part_only(self) -> None:
        wave = torch.complex(numbers(8, 8), numbers(8, 8, seed=1))
        source = {"a.weight": wave, "b.weight": wave.conj().resolve_conj(), "head.weight": numbers(3, 8)}
        assert is_right(valued(source, renamed(source)))
        assert is_right(valued(dict(reversed(source.items())), renamed(source)))

    @pytest.mark.parametrize(("broken", "target", "other"), [("a", "zinc", "tin"), ("b", "tin", "zinc")])
    def test_with_a_number_which_is_none_stay_open_alone(self, broken: str, target: str, other: str) -> None:
        source = mixer()
        source[f"{broken}.weight"][0, 0] = torch.nan
        found = valued(source, renamed(source))
        assert found.open_targets == (f"{target}.weight",)
        assert found.plan is not None
        assert found.plan.recipes[f"{other}.weight"].key == {"a": "b.weight", "b": "a.weight"}[broken]

    @pytest.mark.parametrize("shape", [(), (0, 8), (1,)])
    def test_of_which_values_tell_nothing_stay_open(self, shape: tuple[int, ...]) -> None:
        source = {"a.rows": torch.full(shape, 2.0), "b.rows": torch.full(shape, 3.0)}
        assert set(valued(source, {"x.rows": torch.full(shape, 3.0), "y.rows": torch.full(shape, 2.0)}).open_targets) == {
            "x.rows",
            "y.rows",
        }

    def test_which_are_twins_bit_for_bit_stay_a_question(self) -> None:
        twin = mixer()
        source = {f"{name}.{key}": value.clone() for name in ("one", "two") for key, value in twin.items()}
        assert not valued(source, twin).is_settled

    def test_whose_twin_is_lost_in_rounding_stay_a_question(self) -> None:
        twin = mixer()
        average = {key: value + 1e-3 * torch.randn_like(value) for key, value in twin.items()}
        source = {f"{name}.{key}": value for name, each in (("one", twin), ("two", average)) for key, value in each.items()}
        assert not valued(source, {key: value.bfloat16() for key, value in twin.items()}).is_settled


META, HF = (
    ("attention.wq", "attention.wk", "attention.wv", "attention.wo"),
    (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ),
)


def rotary(names: tuple[str, ...], heads: int = 0, size: int = 32) -> Weights:
    """Two layers of attention, with as many queries as keys. heads: whose rows are turned from interleaved to halves; 0: none."""
    found = {}
    for i in range(2):
        for at, name in enumerate(names):
            weight = numbers(size, size, seed=10 * i + at)
            is_turned = bool(heads) and at < 2
            rows = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(size, size) if is_turned else weight
            found[f"layers.{i}.{name}.weight"] = rows
    return found


class TestRotaryRowsOfAsManyQueriesAsKeys:
    @pytest.mark.parametrize("heads", [2, 4, 8])
    @pytest.mark.parametrize(("source", "target"), [(META, HF), (HF, META), (META, META)])
    def test_are_proven_under_whatever_names(self, source: tuple[str, ...], target: tuple[str, ...], heads: int) -> None:
        found = valued(rotary(source), rotary(target, heads))
        assert found.is_settled
        assert makes(found, rotary(source), rotary(target, heads))

    def test_are_asked_where_names_lie_as_well(self) -> None:
        target = rotary((HF[1], HF[0], *HF[2:]), heads=4)
        assert set(valued(rotary(META), target).open_targets) == {key for key in target if "q_proj" in key or "k_proj" in key}

    def test_are_none_where_the_order_is_the_same(self) -> None:
        found = valued(rotary(META), rotary(HF))
        assert found.is_settled
        assert makes(found, rotary(META), rotary(HF))
        assert "rope_permute" not in found.text


class TestFreshModels:
    def test_tell_nothing_of_layers_which_were_drawn(self) -> None:
        found = valued(mixer(), Mixer("tin", "zinc"))
        assert set(found.open_targets) == {"tin.weight", "tin.bias", "zinc.weight", "zinc.bias"}

    def test_by_their_factory_are_built_for_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "fresh_net.py").write_text(
            "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        torch.manual_seed(0)
        source = {"0.weight": numbers(8, 4), "0.bias": numbers(8), "1.p": 0.1 * numbers(8), "1.r": 1 + 0.1 * numbers(8)}
        found = valued(source, "fresh_net:net")
        made = {key: recipe.key for key, recipe in (found.plan.recipes if found.plan else {}).items()}
        assert (made["1.weight"], made["1.bias"]) == ("1.r", "1.p")

    @pytest.mark.parametrize("target", [Mixer("tin", "zinc").to("meta"), surgeon.inspect(Mixer("tin", "zinc"))])
    def test_without_values_are_refused(self, target: Any) -> None:
        with pytest.raises(ModelError, match="no values"):
            valued(mixer(), target)
