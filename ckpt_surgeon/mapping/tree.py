"""A header read as a tree of modules: the tensors of one layer together, repeated blocks recognizable by what they hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from math import prod

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.roles import place, plain_path
from ckpt_surgeon.mapping.words import meanings
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["Node", "Tensor", "Trees"]

_DOTS = re.compile(r"[./]")  # JAX and TensorFlow separate by slashes
_INDICES = frozenset(("int64", "bool"))  # of positions, and masks: many a file lacks them, and they are no weights
# Parts of a weight besides that which has its shape: a model with a plain weight is the same model.
_UNTOLD = frozenset(("tracked", "magnitude", "left", "right"))
_DIGITS = re.compile(r"\d+")
_MOST_SEGMENTS = 64  # of a path; the longest honest one has some 20, and each is a step of recursion
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One key: its role in its module (`weight`, `bias`, `mean`, `var`, `tracked`, or the name it has), and its spec."""

    key: str
    role: str
    spec: TensorSpec

    @property
    def squeezed(self) -> Shape:
        """The shape without its 1s; whole numbers apart from fractions."""
        shape = tuple(size for size in self.spec.shape if size != 1)
        return shape if self.spec.dtype.is_float else (-1, *shape)

    @property
    def sizes(self) -> Shape:
        """The squeezed shape, whichever way it lies."""
        return tuple(sorted(self.squeezed))


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A part of the tree; a module (a leaf here) holds tensors, any other part holds parts.

    path: segments from the root. shapes: how often each squeezed shape stands beneath, whichever way it lies.
    signature: a number, equal for equal shapes (for a module: lying the same way); template: a number, equal for parts which
    are alike in names, order and shapes.
    modules: the leaves beneath, itself for a leaf. first: the place in the file of its first tensor. beside: the name of the only
    other part in a numbered parent, which tells what the number is: in `layer.1`, the `attention` beside a `norm`.
    """

    path: tuple[str, ...]
    children: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    shapes: Mapping[Shape, int]
    signature: int
    template: int
    modules: tuple[Node, ...]
    numel: int
    count: int
    first: int
    beside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last segment of the path; for tensors beside parts, that of both."""
        return next((segment for segment in reversed(self.path[-2:]) if segment), "")

    @property
    def pattern(self) -> str:
        """The path with its numbers left out: equal for the repetitions of one place."""
        return _pattern(self.path)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in the path, in order."""
        return _numbers(self.path)

    @property
    def unwrapped(self) -> Node:
        """The part within wrappers of a single part: whether `0` or `0.attn` is at hand, it is the same."""
        node = self
        while len(node.children) == 1:
            node = node.children[0]
        return node

    def next_to(self, other: Node) -> Node:
        """The same module beside another part; any other part as it is."""
        if self.children:
            return self
        node = replace(self, beside=other.path[-1:])
        object.__setattr__(node, "modules", (node,))
        return node

    def __iter__(self) -> Iterator[Node]:
        return iter(self.children)


@lru_cache(maxsize=1 << 16)
def _pattern(path: tuple[str, ...]) -> str:
    return _DIGITS.sub("#", ".".join(path))


@lru_cache(maxsize=1 << 16)
def _numbers(path: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(map(int, _DIGITS.findall(".".join(path))))


_Branches = dict[str, "_Branch"]


@dataclass(slots=True)
class _Branch:
    children: _Branches = field(default_factory=dict)
    tensors: list[tuple[int, Tensor]] = field(default_factory=list)

    def child(self, name: str) -> _Branch:
        return self.children.setdefault(name, _Branch())


def _bring_home(branch: _Branch) -> None:
    """Biases which stand beside their layers go to them: `q_bias` beside `q_proj.weight`, the one part of that meaning."""
    for name, child in list(branch.children.items()):
        if child.children or [tensor.role for _, tensor in child.tensors] != ["bias"]:
            continue
        size = child.tensors[0][1].spec.shape
        homes = [home for other, home in branch.children.items() if _is_home(home, size) and _own(name, other)]
        if len(homes) == 1:
            homes[0].tensors += branch.children.pop(name).tensors


def _is_home(branch: _Branch, size: Shape) -> bool:
    """Whether it is a layer without a bias, of so many outputs."""
    tensors = [tensor for _, tensor in branch.tensors]
    return not branch.children and [tensor.role for tensor in tensors] == ["weight"] and tensors[0].spec.shape[:1] == size


def _own(name: str, layer: str) -> bool:
    """Whether the name of a bias is that of a layer: `q`, of `q_proj` or `query`."""
    return set(meanings((name,))) <= set(meanings((layer,)))


def _told_apart(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors of a module; beside an original, what would be the direction of weight norm is the right vector of spectral norm."""
    if all(tensor.role != "original" for tensor in tensors):
        return tuple(tensors)
    return tuple(replace(tensor, role="right") if tensor.role == "direction" else tensor for tensor in tensors)


def _inner_dots(key: str) -> list[int]:
    """Where the paths of the key's nearest ancestors end, that of its own module left out; -1 for the root's."""
    return [-1, *(match.start() for match in _DOTS.finditer(key))][-1 - _MOST_SEGMENTS : -1]


def _bounded(parents: Sequence[str]) -> list[str]:
    """The segments; where they are too many, the first of them as one."""
    over = max(len(parents) - _MOST_SEGMENTS, 0)
    return [".".join(parents[: over + 1]), *parents[over + 1 :]] if over else list(parents)


def _parent(key: str) -> str:
    """The key up to its last dot."""
    return key[: max(key.rfind("."), key.rfind("/"), 0)]


class Trees:
    """Makes trees whose signatures and templates can be compared with one another."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._sums: dict[Hashable, tuple[Mapping[Shape, int], int]] = {}

    def tree(self, header: Header) -> Node:
        """The header's plain tensors as a tree."""
        root = _Branch()
        inner = {key[: max(dot, 0)] for key in header.tensors for dot in _inner_dots(key)}
        for position, (key, spec) in enumerate(header.tensors.items()):
            *parents, leaf = plain_path(_DOTS.split(key))
            name, role = place(leaf, lone=_parent(key) not in inner)
            branch = root
            for segment in _bounded(parents):
                branch = branch.child(segment)
            branch = branch.child(name) if name else branch
            branch.tensors.append((position, Tensor(key, role, spec)))
        return self._node((), root)

    def _node(self, path: tuple[str, ...], branch: _Branch) -> Node:
        _bring_home(branch)
        if branch.tensors and branch.children:
            own = _Branch(tensors=branch.tensors)
            branch = _Branch({"": own, **branch.children})
        children = tuple(self._node((*path, name), child) for name, child in branch.children.items())
        if len(children) == 2 and path and path[-1].isdigit():
            children = children[0].next_to(children[1]), children[1].next_to(children[0])
        if not children:
            return self._module(path, branch)
        shapes, signature = self._sum(children)
        return Node(
            path,
            children,
            (),
            shapes,
            signature,
            self._number(tuple((child.name, child.template) for child in children)),
            tuple(module for child in children for module in child.modules),
            sum(child.numel for child in children),
            sum(child.count for child in children),
            min(child.first for child in children),
        )

    def _sum(self, children: tuple[Node, ...]) -> tuple[Mapping[Shape, int], int]:
        """The shapes of parts together, and their signature; computed once for parts of the same signatures."""
        parts = tuple((child.signature, bool(child.children)) for child in children)
        if parts not in self._sums:
            shapes: Counter[Shape] = Counter()
            for child in children:
                shapes.update(child.shapes)
            self._sums[parts] = shapes, self._number(frozenset(shapes.items()))
        return self._sums[parts]

    def _module(self, path: tuple[str, ...], branch: _Branch) -> Node:
        tensors = _told_apart([tensor for _, tensor in branch.tensors])
        told = [tensor for tensor in tensors if tensor.role not in _UNTOLD] or list(tensors)
        counted = [tensor for tensor in told if tensor.spec.dtype.name not in _INDICES]
        shapes = Counter(tensor.sizes for tensor in counted)
        lying = frozenset(Counter(tensor.squeezed for tensor in told).items())
        template = self._number(tuple((_DOTS.split(tensor.key)[-1], tensor.spec.shape) for tensor in tensors))
        numel = sum(prod(tensor.spec.shape) for tensor in counted)
        first = min((position for position, _ in branch.tensors), default=0)
        node = Node(path, (), tensors, shapes, self._number(lying), template, (), numel, len(counted), first)
        object.__setattr__(node, "modules", (node,))
        return node

    def _number(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))
