"""Headers as trees, and runs of their parts lined up."""

import pytest
from headers import header, layers, vit

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
