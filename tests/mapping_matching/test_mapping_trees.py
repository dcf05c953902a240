"""Headers as trees, and runs of their parts lined up."""

import pytest
from headers import answers, header, layers, vit

from ckpt_surgeon.mapping import modules
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.mapping.runs import line_up, runs
from ckpt_surgeon.mapping.structure import Structure
from ckpt_surgeon.mapping.tree import Node, Trees


def _blocks(*sizes: int, name: str = "blocks") -> dict[str, tuple[int, ...]]:
    return {key: shape for i, size in enumerate(sizes) for key, shape in layers(f"{name}.{i}.", {"conv": (size, size, 3, 3)}).items()}


def _trees(*shapes: dict[str, tuple[int, ...]]) -> list[Node]:
    trees = Trees()
    return [trees.tree(header(each)) for each in shapes]


def test_modules_hold_the_tensors_of_one_layer() -> None:
    (tree,) = _trees({"a.weight": (2, 3), "a.bias": (2,), "attn.in_proj_weight": (6, 2), "attn.out.weight": (2, 2), "token": (1, 2)})
    assert [".".join(module.path) for module in tree.modules] == ["a", "attn.in_proj", "attn.out", "token"]
    assert [len(module.tensors) for module in tree.modules] == [2, 1, 1, 1]
    assert tree.numel == 6 + 2 + 12 + 4 + 2


def test_slashes_separate_as_dots_do() -> None:
    dots, slashes = _trees({"net.conv.weight": (2, 3), "net.bn.weight": (2,)}, {"net/conv/weight": (2, 3), "net/bn/weight": (2,)})
    assert [module.path for module in dots.modules] == [module.path for module in slashes.modules]


def test_signatures_are_of_shapes_and_templates_of_names_too() -> None:
    one, other = _trees(vit(), vit(prefix="layers"))
    assert one.signature == other.signature
    assert one.template != other.template
    blocks = [tree.children[2].children for tree in (one, other)]
    assert len({block.template for side in blocks for block in side}) == 1


def test_a_part_is_most_like_the_part_which_holds_the_same() -> None:
    whole, part = _trees({f"visual.{key}": shape for key, shape in vit().items()} | {"text.weight": (999, 7)}, vit())
    left, right = Structure().deepest(part, whole)
    assert (left.path, right.path) == ((), ("visual",))


def test_parts_of_equal_size_are_alike_however_they_are_cut() -> None:
    fused, apart = _trees(layers("", {"qkv": (192, 64)}), layers("", {"q": (64, 64), "k": (64, 64), "v": (64, 64)}))
    assert Structure().likeness(fused, apart) == pytest.approx(0.9)


RISING, FALLING = [(0, 0), (1, 1), (2, 2)], [(0, 2), (1, 1), (2, 0)]
LINES = {
    "the same": ((8, 16, 32), (8, 16, 32), RISING, True),
    "all alike": ((8, 8, 8), (8, 8, 8), RISING, True),
    "the other way round": ((32, 16, 8), (8, 16, 32), FALLING, True),
    "one left out": ((8, 16, 32), (8, 32), [(0, 0), (2, 1)], True),
    "one of two alike left out": ((8, 8), (8,), [(0, 0)], False),
}


@pytest.mark.parametrize("name", LINES)
def test_runs_line_up_by_what_their_parts_hold(name: str) -> None:
    left, right, wanted, sure = LINES[name]
    trees = _trees(_blocks(*left), _blocks(*right, name="layers"))
    first, second = (runs(tree.children[0].children or tree.children)[0] for tree in trees)
    _, lines = line_up(first, second, Structure().likeness, 0.6)
    assert [(line.left.numbers[0], line.right.numbers[0]) for line in lines] == wanted
    assert all(line.sure for line in lines) == sure


def test_parts_of_one_pattern_and_two_kinds_are_two_runs() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        shapes |= layers(f"down.{i}.0.", {"conv1": (8, 8, 3, 3), "conv2": (8, 8, 3, 3)})
        shapes |= layers(f"down.{i}.1.", {"q": (8, 8), "k": (8, 8)})
    (tree,) = _trees(shapes)
    parts = [part for block in tree.children[0].children for part in block.children]
    assert [[node.numbers for node in run.nodes] for run in runs(parts)] == [[(i, kind) for i in range(3)] for kind in range(2)]


AKIN = {
    "a wrapper in one of them": (("a", "b"), ("inner.a", "inner.b"), 1),
    "two wrappers": (("a", "b"), ("x.y.a", "x.y.b"), 1),
    "one more layer": (("a", "b"), ("a", "b", "c"), 1),
    "fewer numbered parts": (("0.a", "1.b"), ("0.a",), 1),
    "another kind": (("a", "b"), ("c", "d"), 2),
    "another kind in a wrapper": (("a", "b"), ("inner.c", "inner.d"), 2),
}


@pytest.mark.parametrize("name", AKIN)
@pytest.mark.parametrize("is_turned", [False, True])
def test_parts_repeat_each_other_in_a_wrapper_too(name: str, is_turned: bool) -> None:
    *sides, kinds = AKIN[name]
    sides = sides[::-1] if is_turned else sides
    (tree,) = _trees({f"blocks.{i}.{layer}.weight": (4, 4) for i, side in enumerate(sides) for layer in side})
    assert len(runs(tree.children[0].children)) == kinds


@pytest.mark.parametrize("wrapped", [(0,), (3,), (1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("wrapper", ["module", "_checkpoint_wrapped_module", "0", "fn.inner"])
def test_blocks_in_wrappers_keep_their_numbers(wrapped: tuple[int, ...], wrapper: str) -> None:
    target = vit(4)
    names = {key: key for key in target}
    for i in wrapped:
        names |= {key: key.replace(f"blocks.{i}.", f"blocks.{i}.{wrapper}.") for key in target if key.startswith(f"blocks.{i}.")}
    source = {names[key]: shape for key, shape in target.items()}
    assert answers(match(header(source), header(target))) == {key: (name,) for key, name in names.items()}
    assert answers(match(header(target), header(source))) == {name: (key,) for key, name in names.items()}


@pytest.mark.parametrize(
    "shapes",
    [{"weight": (5, 4), "bias": (5,)}, {"weight": (5, 4)}, {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)}],
)
@pytest.mark.parametrize("place", ["fc.", "module.", "a.b.c."])
def test_a_lone_layer_is_found_in_a_wrapper_and_taken_out_of_it(shapes: dict[str, tuple[int, ...]], place: str) -> None:
    inside = {f"{place}{key}": shape for key, shape in shapes.items()}
    assert answers(match(header(shapes), header(inside))) == {f"{place}{key}": (key,) for key in shapes}
    assert answers(match(header(inside), header(shapes))) == {key: (f"{place}{key}",) for key in shapes}


def test_parts_which_fill_a_lone_layer_are_laid_together() -> None:
    apart = layers("", {"q": (4, 4), "k": (4, 4), "v": (4, 4)})
    whole = {"weight": (12, 4), "bias": (12,)}
    mapping = match(header(apart), header(whole))
    assert {link.targets: link.sources for family in mapping.families for link in family.links} == {
        (leaf,): tuple(f"{x}.{leaf}" for x in "qkv") for leaf in ("weight", "bias")
    }


EXPERTS = {
    "separate stacks": ("gate", "down", "up"),
    "by their numbers": ("w1", "w2", "w3"),
}


@pytest.mark.parametrize("name", EXPERTS)
def test_many_experts_are_compared_with_few_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: four times the experts are not sixteen times the comparisons."""
    counted: list[int] = []

    def fit(target: Node, source: Node) -> float:
        counted.append(1)
        return compare(target, source)

    compare = modules.fit
    monkeypatch.setattr(modules, "fit", fit)

    def cost(experts: int) -> int:
        source, target = {}, {}
        for part, whole, shape in zip(EXPERTS[name], ("gate", "down", "up"), ((6, 4), (4, 6), (6, 4)), strict=True):
            source |= {f"layers.{i}.experts.{e}.{part}.weight": shape for i in range(3) for e in range(experts)}
            target |= {f"blocks.{i}.experts.{whole}": (experts, *shape) for i in range(3)}
        counted.clear()
        found = answers(match(header(source), header(target)))
        assert {key: len(sources) for key, sources in found.items()} == dict.fromkeys(target, experts)
        return len(counted) + experts

    assert cost(32) <= 6 * cost(8)
