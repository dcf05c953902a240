"""What headers had settled, held against the values: turned where these are elsewhere, open where they are nowhere."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from probed_models import numbers, part, saved
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.mapping import links as mappings
from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.checking import EQUAL_THERE, checked

Weights = dict[str, Tensor]
SWAPPED = {"conv1": "conv2", "conv2": "conv1", "bn1": "bn2", "bn2": "bn1"}


def valued(source: object, target: object) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, values=True)


def residual(size: int = 8, seed: int = 1) -> Weights:
    """A small ResNet's: three blocks of two convolutions and two norms of one shape; all shifts are zeros, all counts alike."""
    torch.manual_seed(seed)
    block = [
        part(
            conv1=nn.Conv2d(size, size, 3, bias=False),
            bn1=nn.BatchNorm2d(size),
            conv2=nn.Conv2d(size, size, 3, bias=False),
            bn2=nn.BatchNorm2d(size),
        )
        for _ in range(3)
    ]
    weights = part(stem=nn.Conv2d(3, size, 7), layers=nn.ModuleList(block), fc=nn.Linear(size, 5)).state_dict()
    drawn = {key: numbers(*value.shape, seed=seed + at) for at, (key, value) in enumerate(weights.items()) if value.dim()}
    return {key: value if ".bias" in key or key not in drawn else value + 0.3 * drawn[key] for key, value in weights.items()}


def swapped(weights: Weights, where: str = "layers.", names: Mapping[str, str] = SWAPPED) -> Weights:
    """The weights of some blocks under each other's names, in the order of the names."""
    renamed = {(".".join(names.get(w, w) for w in key.split(".")) if key.startswith(where) else key): v for key, v in weights.items()}
    return {key: renamed[key] for key in weights}


def makes(found: surgeon.Suggestion, source: Weights, target: Weights) -> bool:
    """Whether the rules make of the source just the target."""
    made = surgeon.remap(source, found.rules, target)
    return made.keys() == target.keys() and all(torch.equal(made[key], value.to(made[key].dtype)) for key, value in target.items())


class TestNamesWhichLie:
    @pytest.mark.parametrize("where", ["layers.", "layers.1.", "layers.2.", "layers.1.conv"])
    @pytest.mark.parametrize("form", [dict, lambda weights: dict(sorted(weights.items()))])
    def test_are_seen_through(self, where: str, form: Callable[[Weights], Weights]) -> None:
        target = residual()
        source = form(swapped(target, where))
        by_headers = surgeon.suggestion(source, target)
        assert by_headers.is_settled
        assert not makes(by_headers, source, target)
        found = valued(source, target)
        assert found.is_settled
        assert makes(found, source, target)
        assert EQUAL_THERE in found.text

    @pytest.mark.parametrize("names", [{"conv1": "conv2", "conv2": "conv1"}, {"bn1": "bn2", "bn2": "bn1"}])
    def test_are_seen_through_where_others_do_not(self, names: Mapping[str, str]) -> None:
        target = residual()
        source = swapped(target, names=names)
        assert makes(valued(source, target), source, target)

    def test_in_a_ring_are_seen_through(self) -> None:
        target = residual()
        ring = {"0": "1", "1": "2", "2": "0"}
        source = {key: {".".join(ring.get(w, w) for w in k.split(".")): v for k, v in target.items()}[key] for key in target}
        assert makes(valued(source, target), source, target)

    def test_take_along_what_is_one_number_and_belongs_to_the_same_part(self) -> None:
        target = residual()
        source = swapped(target, "layers.1.")
        made = {key: recipe.key for key, recipe in valued(source, target).plan.recipes.items()}
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            assert made[f"layers.1.bn1.{leaf}"] == f"layers.1.bn2.{leaf}"
            assert made[f"layers.2.bn1.{leaf}"] == f"layers.2.bn1.{leaf}"

    @pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16), (torch.float16, torch.float64)])
    def test_are_seen_through_a_change_of_dtype(self, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
        weights = {key: value for key, value in residual().items() if value.dim()}
        source = {key: value.to(dtypes[0]) for key, value in swapped(weights).items()}
        target = {key: value.to(dtypes[1]) for key, value in weights.items()}
        found = valued(source, target)
        assert found.is_settled
        assert {key: recipe.key for key, recipe in found.plan.recipes.items() if "conv" in key} == {
            key: ".".join(SWAPPED.get(word, word) for word in key.split(".")) for key in weights if "conv" in key
        }

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".shards"])
    def test_are_seen_through_in_files(self, tmp_path: Path, suffix: str) -> None:
        target = residual()
        source = swapped(target)
        found = valued(saved(source, tmp_path / f"source{suffix}"), saved(target, tmp_path / f"target{suffix}"))
        assert makes(found, source, target)

    def test_below_another_name_on_the_other_side_are_seen_through(self) -> None:
        weights = residual()
        source = {f"module.{key}": value for key, value in swapped(weights).items()}
        assert makes(valued(source, weights), source, weights)

    def test_are_seen_through_beside_a_copy_of_all(self) -> None:
        target = residual()
        source = {f"{twin}.{key}": value.clone() for twin in ("model", "ema") for key, value in swapped(target).items()}
        found = valued(source, target)
        assert found.is_settled
        assert makes(found, source, target)
        assert {recipe.key.split(".")[0] for recipe in found.plan.recipes.values()} == {"model"}

    def test_about_a_model_and_its_average_are_seen_through(self) -> None:
        torch.manual_seed(0)
        weights = {key: value for key, value in residual().items() if value.dim()}
        average = {key: value + 1e-3 * torch.randn_like(value) for key, value in weights.items()}
        source = {f"model.{key}": value for key, value in average.items()} | {f"ema.{key}": value for key, value in weights.items()}
        found = valued(source, weights)
        made = {key: recipe.key for key, recipe in found.plan.recipes.items() if "conv" in key}
        assert made == {key: f"ema.{key}" for key in weights if "conv" in key}


class TestWhatIsEqualNowhere:
    def test_is_open_beside_what_is_equal(self) -> None:
        source = residual()
        target = source | {"layers.1.conv1.weight": numbers(8, 8, 3, 3, seed=99)}
        found = valued(source, target)
        assert set(found.open_targets) == {"layers.1.conv1.weight"}
        assert found.questions[0].doubt == "its values are not the target's, where those of 27 others are"
        assert "layers.2.conv1.weight" in found.plan.recipes
        assert found.remarks == ("values: 27 of 28 tensors which headers settled are equal on both sides; 1 is not, and open",)

    def test_but_near_stands_and_is_told(self) -> None:
        source = residual()
        moved = source["layers.1.conv1.weight"] + 0.05 * numbers(8, 8, 3, 3, seed=99)
        found = valued(source, source | {"layers.1.conv1.weight": moved})
        assert found.is_settled
        assert "1 is near, as after some training" in found.remarks[0]

    @pytest.mark.parametrize("value", [0.0, 1.0, torch.nan])
    def test_is_open_too_where_the_target_has_one_number(self, value: float) -> None:
        source = residual()
        found = valued(source, source | {"layers.1.conv1.weight": torch.full((8, 8, 3, 3), value)})
        assert set(found.open_targets) == {"layers.1.conv1.weight"}

    @pytest.mark.parametrize(("places", "is_settled"), [(("a",), True), (("a", "b"), False)])
    def test_but_in_places_of_another_name_turns_where_there_is_one(self, places: tuple[str, ...], is_settled: bool) -> None:
        target = residual()
        elsewhere = {f"spare.{place}.weight": target["layers.1.conv1.weight"].clone() for place in places}
        found = valued(target | {"layers.1.conv1.weight": numbers(8, 8, 3, 3, seed=99)} | elsewhere, target)
        assert found.is_settled == is_settled
        if is_settled:
            assert found.plan.recipes["layers.1.conv1.weight"].key == "spare.a.weight"
        else:
            assert set(found.open_targets) == {"layers.1.conv1.weight"}


class TestOtherWeights:
    """Nothing is equal: the headers' decisions stand, and it is said once."""

    @pytest.mark.parametrize(
        "target",
        [
            residual(seed=500),
            {key: value + 0.01 * numbers(*value.shape) if value.dim() else value for key, value in residual().items()},
        ],
    )
    def test_let_what_headers_settled_stand(self, target: Weights) -> None:
        found = valued(residual(), target)
        assert found.is_settled
        assert found.plan.recipes == surgeon.suggestion(residual(), target).plan.recipes
        (remark,) = found.remarks
        assert remark.startswith("values: none of ")
        assert remark.endswith("the files hold other weights, so that what headers settled stands")

    def test_of_a_model_as_it_was_built_do_too(self) -> None:
        model = part(stem=nn.Conv2d(3, 8, 7), norm=nn.BatchNorm2d(8), fc=nn.Linear(8, 5))
        weights = {key: value + 0.1 if value.is_floating_point() else value for key, value in model.state_dict().items()}
        fresh = part(stem=nn.Conv2d(3, 8, 7), norm=nn.BatchNorm2d(8), fc=nn.Linear(8, 5))
        found = valued(weights, fresh)
        assert found.is_settled
        assert "other weights" in found.remarks[0]

    def test_beside_tables_which_every_model_has_are_others_still(self) -> None:
        table = {"pos_embed": torch.sin(torch.arange(48.0)).reshape(6, 8), "index": torch.arange(36).reshape(6, 6)}
        found = valued(residual() | table, residual(seed=500) | table)
        assert found.is_settled
        assert found.remarks[0].startswith("values: 1 of ")
        assert "is equal on both sides: the files hold other weights" in found.remarks[0]

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_are_not_told_of_constants(self, value: float) -> None:
        weights = {f"{name}.weight": torch.full((8,), value) for name in ("a", "b")}
        found = valued(weights, dict(weights))
        assert found.is_settled
        assert found.remarks == ()

    @pytest.mark.parametrize("value", [0.0, torch.nan])
    def test_which_are_no_weights_at_all_are_told_of(self, value: float) -> None:
        weights = residual()
        blank = {key: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
        (remark,) = valued(weights, blank).remarks
        assert remark.endswith("the target's values are all one number, or none, and tell nothing")


def gated(order: tuple[int, ...] = (0, 1, 2, 3)) -> Weights:
    """Two recurrent layers with their gates in an order, between an embedding and a head."""
    drawn = {"emb.weight": numbers(40, 16), "out.weight": numbers(7, 16, seed=1)}
    for at, layer in enumerate(("enc", "dec")):
        gates = {"weight_ih_l0": (64, 16), "weight_hh_l0": (64, 16), "bias_ih_l0": (64,), "bias_hh_l0": (64,)}
        for leaf, shape in gates.items():
            rows = numbers(*shape, seed=10 * at + len(drawn)).chunk(4)
            drawn[f"{layer}.{leaf}"] = torch.cat([rows[i] for i in order])
    return drawn


class TestOneOrigin:
    """What is unlike is asked where some others are equal, though most are not."""

    def test_is_told_by_an_embedding_and_a_head(self) -> None:
        found = valued(gated(), gated((0, 1, 3, 2)))
        assert set(found.open_targets) == {key for key in gated() if "_l0" in key}
        assert found.remarks[0].endswith("8 are not, and open")

    @pytest.mark.parametrize("layers", [3, 30])
    def test_is_not_told_by_one_table_however_many_hold_it(self, layers: int) -> None:
        table = {f"table.{i}.inv_freq": 10000 ** -(torch.arange(8.0) / 8) for i in range(layers)}
        found = valued(residual() | table, residual(seed=500) | table)
        assert found.is_settled
        assert "other weights" in found.remarks[0]


def fresh_norms(scale: float, shift: float, count: int = 3) -> Weights:
    """Matrices and norms as they are built."""
    matrices = {f"h.{i}.fc.weight": numbers(24, 32, seed=100 + i) for i in range(count)}
    return matrices | {f"h.{i}.norm.{leaf}": torch.full((24,), v) for i in range(count) for leaf, v in (("weight", scale), ("bias", shift))}


def trained_norms(scale: float, shift: float) -> Weights:
    return {key: value + 0.1 * numbers(*value.shape, seed=at) for at, (key, value) in enumerate(fresh_norms(scale, shift).items())}


class TestAModelAsItWasBuilt:
    def test_speaks_against_a_scale_which_bears_the_name_of_the_shift(self) -> None:
        found = valued(trained_norms(0.0, 1.0), fresh_norms(1.0, 0.0))
        assert set(found.open_targets) == {key for key in fresh_norms(1.0, 0.0) if "norm" in key}
        assert "scales start at 1, shifts at 0" in found.text

    @pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.0, 0.0)])
    def test_says_nothing_against_an_honest_one_nor_one_which_starts_at_zero(self, scale: float, shift: float) -> None:
        assert valued(trained_norms(1.0, 0.0), fresh_norms(scale, shift)).is_settled


class TestTablesWhichDifferInOneRow:
    FILL = residual()
    A = numbers(3000, 64)
    B = torch.cat([A[:1234], numbers(1, 64, seed=1), A[1235:]])

    def test_are_compared_whole_where_both_are_there(self) -> None:
        found = valued(self.FILL | {"a.weight": self.A, "b.weight": self.B}, self.FILL | {"a.weight": self.B, "b.weight": self.A})
        assert {key: found.plan.recipes[key].key for key in ("a.weight", "b.weight")} == {"a.weight": "b.weight", "b.weight": "a.weight"}

    @pytest.mark.parametrize("other", [{}, {"b.weight": A}])
    def test_stay_where_names_say_so(self, other: Weights) -> None:
        found = valued(self.FILL | {"a.weight": self.A} | other, self.FILL | {"a.weight": self.A})
        assert found.plan.recipes["a.weight"].key == "a.weight"


A, B, C, Q, K, V = (numbers(8, 8, seed=seed) for seed in range(6))
SETTLED = {"a.weight": A, "b.weight": B, "c.weight": C}  # three which are equal on both sides, so that both hold the same weights


def checked_links(source: Weights, target: Weights, *links: Link, alternatives: tuple[Alternative, ...] = ()) -> mappings.Mapping:
    """Of a mapping which is sure of these links, beside three others, what the values leave."""
    others = tuple(Family((Link((key,), (key,)),), 1.0, "names") for key in SETTLED)
    mapping = mappings.Mapping((*others, Family(links, 0.999, "names", "", alternatives)))
    readers = StateDictReader(SETTLED | source), StateDictReader(SETTLED | target)
    return checked(mapping, *readers, 0.9).mapping


def sole(mapping: mappings.Mapping) -> Family:
    (family,) = [family for family in mapping.families if family.links[0].targets[0] not in SETTLED]
    return family


class TestOpsWhichTheValuesRefute:
    @pytest.mark.parametrize("made", [("q", "k", "v"), ("k", "q", "v"), ("v", "k", "q"), ("k", "v", "q")])
    def test_take_their_parts_in_another_order(self, made: tuple[str, ...]) -> None:
        parts = {"q": Q, "k": K, "v": V}
        target = {"qkv": torch.cat([parts[name] for name in made])}
        family = sole(checked_links(parts, target, Link(("q", "k", "v"), ("qkv",), Change("concat", (("dim", 0),)))))
        assert family.links == (Link(made, ("qkv",), Change("concat", (("dim", 0),))),)
        assert family.why == ("names" if made == ("q", "k", "v") else EQUAL_THERE)

    @pytest.mark.parametrize("order", [("q", "k", "v"), ("v", "q", "k"), ("k", "q", "v")])
    def test_give_their_parts_in_another_order(self, order: tuple[str, ...]) -> None:
        source = {"qkv": torch.cat([Q, K, V])}
        target = dict(zip(order, (Q, K, V), strict=True))
        family = sole(checked_links(source, target, Link(("qkv",), ("q", "k", "v"), Change("split", (("dim", 0),)))))
        assert family.links[0].targets == order

    def test_are_none_where_a_square_matrix_lies_as_it_should(self) -> None:
        family = sole(checked_links({"q": Q}, {"x": Q.clone()}, Link(("q",), ("x",), Change("transpose"))))
        assert family.links == (Link(("q",), ("x",)),)

    def test_are_missing_where_a_square_matrix_lies_the_other_way(self) -> None:
        family = sole(checked_links({"q": Q}, {"x": Q.T.contiguous()}, Link(("q",), ("x",))))
        assert family.links == (Link(("q",), ("x",), Change("transpose")),)

    def test_are_missing_where_rotary_rows_stand_in_another_order(self) -> None:
        turned = Q.unflatten(0, (2, 2, 2)).transpose(1, 2).flatten(0, 2)
        family = sole(checked_links({"q": Q}, {"x": turned}, Link(("q",), ("x",))))
        assert family.links[0].change is not None
        assert family.links[0].change.op == "rope_permute"

    def test_in_two_steps_are_turned_whole(self) -> None:
        heads = (("groups", 2),)
        parts = ("x.1", "x.2", "x.3")
        links = (Link(("packed",), parts, Change("deinterleave", heads)), Link(parts, ("x",), Change("concat")))
        packed = numbers(24, 8)
        assert sole(checked_links({"packed": packed}, {"x": packed.clone()}, *links)).doubt  # no way back is known here
        by_parts = packed.unflatten(0, (2, 3, 4)).transpose(0, 1).flatten(0, 2)
        assert sole(checked_links({"packed": packed}, {"x": by_parts}, *links)).links == links

    def test_which_nothing_mends_are_open(self) -> None:
        link = Link(("q", "k", "v"), ("qkv",), Change("concat", (("dim", 0),)))
        other = Alternative((Link(("v", "k", "q"), ("qkv",), Change("concat", (("dim", 0),))),), 0.1, "reversed")
        parts = {"q": Q, "k": K, "v": V}
        family = sole(checked_links(parts, {"qkv": numbers(24, 8, seed=77)}, link, alternatives=(other,)))
        assert family.confidence <= 0.5
        assert family.doubt
        assert family.alternatives == (other,)


class TestADecisionOfSeveralTensors:
    def test_is_cut_where_only_some_are_refuted(self) -> None:
        links = tuple(Link((name,), (f"x.{name}",)) for name in "qkv")
        target = {"x.q": Q, "x.k": numbers(8, 8, seed=77), "x.v": V}
        families = checked_links({"q": Q, "k": K, "v": V}, target, *links).families
        held, open_one = (family for family in families if family.links[0].targets[0] not in SETTLED)
        assert (held.links, held.doubt, held.confidence) == ((links[0], links[2]), "", 0.999)
        assert open_one.links == (links[1],)
        assert open_one.doubt

    def test_gives_back_a_source_which_belongs_elsewhere(self) -> None:
        target = {"x.q": K.clone(), "x.k": numbers(8, 8, seed=77)}
        found = checked_links({"q": Q, "k": K}, target, Link(("q",), ("x.q",)), Link(("k",), ("x.k",)))
        assert sole(found).links == (Link(("k",), ("x.q",)),)
        assert (found.missing, found.unused) == (("x.k",), ("q",))


class TestWhatIsRead:
    def test_no_more_than_samples_of_what_is_equal(self) -> None:
        source, target = _Asked(residual()), _Asked(residual())
        mapping = mappings.Mapping(tuple(Family((Link((key,), (key,)),), 1.0, "names") for key in source.header))
        checked(mapping, source, target, 0.9)
        assert max(source.asked.count(key) for key in source.asked) == 1
        assert max(target.asked.count(key) for key in target.asked) == 1

    def test_a_damaged_tensor_which_samples_refute_is_said_to_be_damaged(self, tmp_path: Path) -> None:
        weights = residual()
        path = saved(swapped(weights), tmp_path / "model.pt")
        wanted = weights["layers.1.conv1.weight"].numpy().tobytes()
        data = path.read_bytes()
        at = data.index(wanted) + 1500  # sampled by none of the runs
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(CorruptError):
            valued(path, weights)


class _Asked(StateDictReader):
    """A reader which keeps the names of what is read."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.asked: list[str] = []

    def read(self, key: str) -> Tensor:
        self.asked.append(key)
        return super().read(key)
