"""Which shapes may be one tensor, by which op they become each other, and which links a match of modules comes to."""

import pytest
from headers import header

from ckpt_surgeon.mapping.fitting import NEVER, changes, fit, main
from ckpt_surgeon.mapping.linking import links
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.mapping.matches import Match, rebase
from ckpt_surgeon.mapping.tree import Node, Tensor, Trees
from ckpt_surgeon.mapping.writing.proving import refused
from ckpt_surgeon.spec import Header, TensorSpec

Shape = tuple[int, ...]


def _module(shapes: dict[str, Shape], at: int = 0) -> Node:
    return Trees().tree(header(shapes)).modules[at]


def _one(shape: Shape, name: str = "a.weight") -> Node:
    return _module({name: shape})


def _reshape(*shape: int) -> Change:
    return Change("reshape", (("shape", shape),))


def _permute(*dims: int) -> Change:
    return Change("permute", (("dims", dims),))


# The source's shape, the target's, and what lies between them.
CHANGES: dict[str, tuple[Shape, Shape, tuple[Change, ...]]] = {
    "the same": ((4, 6), (4, 6), ()),
    "turned": ((4, 6), (6, 4), (Change("transpose"),)),
    "dims of size 1 put in": ((4, 6), (4, 6, 1, 1), (_reshape(4, 6, 1, 1),)),
    "dims of size 1 taken out": ((1, 50, 64), (50, 64), (_reshape(50, 64),)),
    "turned, then put in": ((4, 6), (6, 4, 1, 1), (Change("transpose"), _reshape(6, 4, 1, 1))),
    "taken out, then turned": ((6, 4, 1, 1), (4, 6), (_reshape(6, 4), Change("transpose"))),
    "a patch embedding as a matrix": ((64, 3, 16, 16), (64, 768), (_reshape(64, 768),)),
    "a matrix as a patch embedding": ((64, 768), (64, 3, 16, 16), (_reshape(64, 3, 16, 16),)),
    "kernels last": ((3, 3, 16, 32), (32, 16, 3, 3), (_permute(3, 2, 0, 1),)),
    "kernels first": ((32, 16, 3, 3), (3, 3, 16, 32), (_permute(2, 3, 1, 0),)),
    "depthwise kernels last": ((3, 3, 32, 1), (32, 1, 3, 3), (_permute(2, 3, 0, 1),)),
    "kernels along a line": ((5, 16, 32), (32, 16, 5), (_permute(2, 1, 0),)),
    "large kernels of few channels": ((5, 5, 3, 8), (8, 3, 5, 5), (_permute(3, 2, 0, 1),)),
    "and back": ((8, 3, 5, 5), (5, 5, 3, 8), (_permute(2, 3, 1, 0),)),
    "more channels": ((64, 3, 7, 7), (64, 12, 7, 7), (Change("adapt_in_channels", (("mode", "mean"), ("in_channels", 12))),)),
    "gray": ((64, 3, 7, 7), (64, 1, 7, 7), (Change("adapt_in_channels", (("mode", "sum"), ("in_channels", 1))),)),
    "time": ((64, 3, 7, 7), (64, 3, 4, 7, 7), (Change("inflate", (("mode", "mean"), ("time", 4))),)),
    "other positions": (
        (1, 197, 64),
        (1, 577, 64),
        (Change("resample_pos_embed", (("source_grid", "square"), ("target_grid", "target"))),),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_shapes_tell_the_op(name: str) -> None:
    before, after, wanted = CHANGES[name]
    tensors = [Tensor("key", "weight", TensorSpec.of("float32", *shape)) for shape in (after, before)]
    assert changes(*tensors) == wanted


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "other positions"])
def test_the_ops_lead_where_they_shall(name: str) -> None:
    before, after, _ = CHANGES[name]
    target, source = _one(after), _one(before)
    made = links(Match((target,), (source,), 1.0, "told"))
    sides = [Header({"a.weight": TensorSpec.of("float32", *shape)}) for shape in (before, after)]
    assert refused(made, *sides) == ""
    assert made[0].sources == made[-1].targets == ("a.weight",)


FITS: dict[str, tuple[Shape, Shape, bool]] = {
    "the same": ((8, 4), (8, 4), True),
    "turned": ((8, 4), (4, 8), True),
    "ones": ((8, 4), (8, 4, 1, 1), True),
    "other channels": ((8, 3, 7, 7), (8, 5, 7, 7), True),
    "time": ((8, 3, 7, 7), (8, 3, 5, 7, 7), True),
    "other classes": ((10, 64), (1000, 64), False),
    "dims in an order of no known layout": ((2, 3, 4, 5), (5, 3, 2, 4), False),
    "three dims in another order": ((2, 3, 4), (3, 2, 4), False),
    "other width": ((64, 64), (128, 128), False),
    "another kernel": ((8, 3, 7, 7), (8, 3, 3, 3), False),
    "other features": ((8, 3, 7, 7), (16, 3, 7, 7), False),
    "as many numbers by chance": ((8, 6), (12, 4), False),
    "a vector and a matrix": ((64,), (8, 8), False),
}


@pytest.mark.parametrize("name", FITS)
def test_modules_of_other_shapes_fit_where_an_op_leads_there(name: str) -> None:
    one, other, does = FITS[name]
    assert (fit(_one(other), _one(one)) > 0) is does
    assert does or fit(_one(one), _one(other)) == NEVER


def test_a_dim_of_time_is_put_in_and_never_taken_out() -> None:
    assert fit(_one((8, 3, 7, 7)), _one((8, 3, 5, 7, 7))) == NEVER


def test_positions_may_be_of_another_number_other_tables_may_not() -> None:
    sides = [(1, 50, 64), (1, 197, 64)]
    assert fit(*(_one(shape, "pos_embed") for shape in sides)) > 0
    assert fit(*(_one(shape, "prompt") for shape in sides)) == NEVER


@pytest.mark.parametrize(("before", "after", "prefix"), [(50, 197, 1), (49, 196, 0), (54, 201, 5), (51, 198, 2), (77, 99, 1)])
def test_tokens_which_are_no_places_leave_squares_on_both_sides(before: int, after: int, prefix: int) -> None:
    tensors = [Tensor("pos_embed", "", TensorSpec.of("float32", 1, rows, 8)) for rows in (after, before)]
    (change,) = changes(*tensors)
    assert dict(change.parameters).get("prefix_tokens", 1) == prefix


def test_whole_numbers_and_fractions_never_fit() -> None:
    counts = Trees().tree(Header({"a": TensorSpec.of("int64", 4)})).modules[0]
    assert fit(counts, _one((4,), "a")) == NEVER


def test_a_bias_of_another_size_forbids_it() -> None:
    one, other = _module({"a.weight": (8, 4), "a.bias": (8,)}), _module({"a.weight": (4, 8), "a.bias": (4,)})
    assert fit(one, other) == NEVER


def test_the_main_tensor_is_the_largest() -> None:
    assert main(_module({"a.bias": (8,), "a.weight": (8, 4)})).key == "a.weight"
    assert main(_module({"bn.running_mean": (8,), "bn.weight": (8,)})).spec.shape == (8,)


class TestPlainMatches:
    def test_link_tensors_of_one_role(self) -> None:
        target, source = _module({"n.weight": (4,), "n.bias": (4,)}), _module({"m.gamma": (4,), "m.beta": (4,)})
        made = links(Match((target,), (source,), 1.0, "told"))
        assert made == (Link(("m.gamma",), ("n.weight",)), Link(("m.beta",), ("n.bias",)))

    def test_leave_out_what_the_other_lacks(self) -> None:
        target, source = _module({"n.weight": (4,), "n.bias": (4,)}), _module({"m.weight": (4,)})
        assert links(Match((target,), (source,), 1.0, "told")) == (Link(("m.weight",), ("n.weight",)),)

    def test_never_link_statistics_to_weights(self) -> None:
        target = _module({"n.weight": (4,), "n.bias": (4,), "n.running_mean": (4,), "n.running_var": (4,)})
        source = _module({"m.running_var": (4,), "m.running_mean": (4,), "m.bias": (4,), "m.weight": (4,)})
        made = links(Match((target,), (source,), 1.0, "told"))
        assert {link.targets[0].split(".")[1] for link in made if link.targets[0][1:] != link.sources[0][1:]} == set()
        assert len(made) == 4

    def test_turn_a_square_one_where_they_are_told(self) -> None:
        target, source = _module({"n.weight": (4, 4), "n.bias": (4,)}), _module({"m.weight": (4, 4), "m.bias": (4,)})
        made = links(Match((target,), (source,), 1.0, "told", turned=True))
        assert [link.change for link in made] == [Change("transpose"), None]


class TestMatches:
    @pytest.mark.parametrize(("sure", "doubt", "wanted"), [(1.0, "", 0.8), (0.5, "", 0.4), (1.0, "why", 0.8)])
    def test_are_no_surer_than_what_they_are_part_of(self, sure: float, doubt: str, wanted: float) -> None:
        match = Match((_one((4,)),), (_one((4,)),), 0.8, "told").within(sure, doubt)
        assert match.confidence == pytest.approx(wanted)
        assert match.doubt == doubt

    def test_keep_their_own_doubt(self) -> None:
        match = Match((_one((4,)),), (_one((4,)),), 0.8, "told", doubt="mine")
        assert match.within(0.5, "yours").doubt == "mine"

    def test_of_one_block_hold_for_the_next(self) -> None:
        shapes = {f"{side}.{i}.{name}.weight": (4, 4) for side in ("h", "b") for i in range(2) for name in ("q", "k")}
        tree = Trees().tree(header(shapes))
        sources, targets = (side.children for side in tree.children)
        old = [Match((t,), (s,), 0.9, "told") for t, s in zip(targets[0].modules, sources[0].modules, strict=True)]
        new = rebase(old, (targets[0], sources[0]), (targets[1], sources[1]))
        assert [(m.targets[0].path, m.sources[0].path) for m in new] == [(("b", "1", name), ("h", "1", name)) for name in ("q", "k")]
        assert rebase(old, (targets[0], sources[0]), (targets[0], sources[0])) == old
