"""Whatever two headers are: what is found is right or asked; links fit by their ops; nothing depends on chance."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest
from headers import answers, header, questions, vit
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon.mapping import aligning, modules, structure
from ckpt_surgeon.mapping.links import Mapping
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.mapping.tree import Node, Trees
from ckpt_surgeon.mapping.writing import written
from ckpt_surgeon.mapping.writing.proving import refused

Shapes = dict[str, tuple[int, ...]]
LAWS = settings(max_examples=40, deadline=None)

_LEAVES = ("attn.q", "attn.k", "attn.out", "norm1", "norm2", "fc1", "fc2", "conv", "gate")
_SHAPES: tuple[tuple[int, ...], ...] = ((8, 8), (8,), (16, 8), (8, 16), (8, 8, 3, 3), (24, 8))
_BLOCKS = ("blocks", "layers", "encoder.layer", "stages", "down")
_layers = st.dictionaries(st.sampled_from(_LEAVES), st.sampled_from(_SHAPES), min_size=1, max_size=5)
_blocks = st.dictionaries(st.sampled_from(_LEAVES), st.sampled_from(_SHAPES), min_size=2, max_size=5)


def _add(shapes: Shapes, place: str, layer: dict[str, tuple[int, ...]]) -> None:
    for name, shape in layer.items():
        shapes |= {f"{place}.{name}.weight": shape, f"{place}.{name}.bias": shape[:1]}


@st.composite
def _trees(draw: st.DrawFn) -> Shapes:
    """One or two lists of blocks, with layers before and after them."""
    shapes: Shapes = {}
    _add(shapes, "stem", draw(_layers))
    for name in draw(st.lists(st.sampled_from(_BLOCKS), min_size=1, max_size=2, unique=True)):
        layer = draw(_blocks)
        for index in range(draw(st.integers(1, 4))):
            _add(shapes, f"{name}.{index}", layer)
    shapes |= {"head.weight": (5, 8), "head.bias": (5,)}
    return shapes


@st.composite
def _renamings(draw: st.DrawFn) -> tuple[Shapes, dict[str, str]]:
    """A tree, and new names of its keys which keep the words of layers: blocks by words without meaning, everything in a wrapper."""
    shapes = draw(_trees())
    words = dict(zip(_BLOCKS, draw(st.permutations(("xu", "wibo.rak", "zif", "qed", "mol.tun"))), strict=True))
    wrapper = draw(st.sampled_from(("", "module.", "model.net.")))
    names = {}
    for key in shapes:
        block = next((block for block in _BLOCKS if key.startswith(f"{block}.")), None)
        names[key] = wrapper + (words[block] + key.removeprefix(block) if block else key)
    return shapes, names


def _shuffled(shapes: Shapes, draw: st.DrawFn) -> Shapes:
    keys = draw(st.sampled_from((list(shapes), sorted(shapes), random.Random(len(shapes)).sample(list(shapes), len(shapes)))))
    return {key: shapes[key] for key in keys}


@LAWS
@given(_renamings(), st.data())
def test_blocks_under_other_names_are_found_or_asked_never_wrong(case: tuple[Shapes, dict[str, str]], data: st.DataObject) -> None:
    shapes, names = case
    source = _shuffled(shapes, data.draw)
    mapping = match(header(source), header({names[key]: shape for key, shape in shapes.items()}))
    truth = {new: (key,) for key, new in names.items()}
    assert {key: sources for key, sources in answers(mapping).items() if sources != truth[key]} == {}
    assert answers(mapping).keys() | questions(mapping).keys() | set(mapping.missing) == truth.keys()


@LAWS
@given(_trees(), st.data())
def test_a_header_is_itself_and_needs_no_rule(shapes: Shapes, data: st.DataObject) -> None:
    source, target = header(_shuffled(shapes, data.draw)), header(shapes)
    found = written(match(source, target), source, target, 0.9)
    assert (found.rules.rules, found.questions, found.missing, found.unused) == ((), (), (), ())


@LAWS
@given(_trees())
def test_headers_of_other_sizes_have_nothing_in_common(shapes: Shapes) -> None:
    others = {f"x.{key}": tuple(7 * size + 1 for size in shape) for key, shape in shapes.items()}
    assert answers(match(header(others), header(shapes))) == {}


@LAWS
@given(_renamings())
def test_what_has_nothing_to_do_with_it_changes_nothing_which_is_sure(case: tuple[Shapes, dict[str, str]]) -> None:
    shapes, names = case
    target = header({names[key]: shape for key, shape in shapes.items()})
    more = shapes | {f"optimizer.{i}.buffer": (101, 3 + i) for i in range(3)}
    before, after = (answers(match(header(source), target)) for source in (shapes, more))
    assert {key: sources for key, sources in after.items() if sources != before.get(key, sources)} == {}
    assert not {source for sources in after.values() for source in sources if source.startswith("optimizer")}


@LAWS
@given(_trees(), _trees())
def test_any_two_headers_come_to_links_which_their_ops_carry_out(source: Shapes, target: Shapes) -> None:
    left, right = header(source), header({f"m.{key}": shape for key, shape in target.items()})
    mapping = match(left, right)
    for family in mapping.families:
        assert refused(family.links, left, right) == ""
        assert 0 <= family.confidence <= 1
        assert family.why
    _accounts(mapping, list(left), list(right))


def _accounts(mapping: Mapping, source: Sequence[str], target: Sequence[str]) -> None:
    """Each target key is made once, or is missing; each source key is used, or is not."""
    links = [link for family in mapping.families for link in family.links]
    made = Counter(key for link in links for key in link.targets)
    assert set(made.values()) <= {1}
    assert [key for key in target if key not in made] == list(mapping.missing)
    used = {key for link in links for key in link.sources}
    assert [key for key in source if key not in used] == list(mapping.unused)


@LAWS
@given(_renamings())
def test_the_same_twice(case: tuple[Shapes, dict[str, str]]) -> None:
    shapes, names = case
    sides = header(shapes), header({names[key]: shape for key, shape in shapes.items()})
    assert match(*sides) == match(*sides)


@pytest.mark.parametrize("way", ["there", "back"])
def test_twice_the_layers_are_about_twice_the_comparisons(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how often parts are compared, and modules laid against each other."""
    calls = count()

    def counted(left: Node, right: Node) -> float:
        next(calls)
        return compare(left, right)

    compare = modules.fit
    monkeypatch.setattr(modules, "fit", counted)
    likeness = structure.Structure.likeness
    monkeypatch.setattr(structure.Structure, "likeness", lambda self, *nodes: (next(calls), likeness(self, *nodes))[1])

    def cost(depth: int) -> int:
        sides = header(vit(depth)), header(vit(depth, prefix="h", names=("ln_1", "attn.in_proj", "attn.out", "ln_2", "ffn.up", "ffn.down")))
        before = next(calls)
        match(*(sides if way == "there" else sides[::-1]))
        return next(calls) - before

    few, many = cost(12), cost(24)
    assert few > 0
    assert many <= 4 * few


def test_blocks_which_are_alike_letter_by_letter_are_aligned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    inner = aligning.match_modules
    monkeypatch.setattr(aligning, "match_modules", lambda *words: (calls.append(1), inner(*words))[1])
    match(header(vit(24)), header(vit(24, prefix="layers")))
    assert len(calls) <= 10


def test_a_tree_counts_what_it_holds() -> None:
    tree = Trees().tree(header(vit(3)))
    assert tree.count == len(vit(3))
    assert sum(module.count for module in tree.modules) == tree.count
    assert sum(tree.shapes.values()) == tree.count
