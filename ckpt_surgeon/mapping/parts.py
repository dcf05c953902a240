"""Modules which are fused on one side and apart on the other: queries, keys and values, gates, experts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations

from ckpt_surgeon.mapping.doubts import BY_HEADS
from ckpt_surgeon.mapping.fitting import main
from ckpt_surgeon.mapping.matches import Form, Match
from ckpt_surgeon.mapping.runs import Run, runs
from ckpt_surgeon.mapping.tree import Node
from ckpt_surgeon.mapping.words import meanings

__all__ = ["match_parts"]

# Parts in the order in which they are laid one behind the other, and the words of the whole which say so.
_GROUPS = ((("q", "k", "v"), "qkv"), (("k", "v"), "kv"), (("gate", "up"), ""))
_NAMED, _UNNAMED, _EITHER_WAY = 0.985, 0.93, 0.5


def match_parts(targets: Sequence[Node], sources: Sequence[Node]) -> list[Match]:
    """The matches of n modules with one."""
    found: list[Match] = []
    ways: tuple[tuple[Sequence[Node], Sequence[Node], Form, Form], ...] = (
        (sources, targets, "concat", "stack"),
        (targets, sources, "split", "unstack"),
    )
    for parts, wholes, flat, stacked in ways:
        taken: set[Node] = set()
        for group, whole, form, confidence, doubt in (*_fused(parts, wholes, flat), *_stacks(parts, wholes, stacked)):
            if whole in taken or not taken.isdisjoint(group):
                continue
            taken.update((whole, *group))
            left, right = ((whole,), group) if parts is sources else (group, (whole,))
            count = len(group) // main(whole).spec.shape[0] if form in ("stack", "unstack") else len(group)
            found.append(Match(left, right, confidence, "the parts' shapes add up to the whole's", form, count, doubt))
    return found


_Found = tuple[tuple[Node, ...], Node, Form, float, str]


def _fused(parts: Sequence[Node], wholes: Sequence[Node], form: Form) -> Iterator[_Found]:
    own = {node.signature for node in parts}
    shaped: dict[tuple[int, ...], list[Node]] = {}
    for whole in wholes:
        shaped.setdefault(main(whole).spec.shape, []).append(whole)
    for group, word in _groups(parts):
        fitting = [whole for whole in shaped.get(_sum(group), ()) if _bear_its_roles(group, whole)]
        named = [whole for whole in fitting if word and word in _last(whole)] or fitting
        is_named = len(named) == 1 and word in _last(named[0])
        if len(named) != 1 or (not is_named and named[0].signature in own):
            continue  # what is not named so may as well be the one of its shape which stands among the parts
        by_heads = BY_HEADS in named[0].name
        confidence = _EITHER_WAY if by_heads else _NAMED if is_named else _UNNAMED
        doubt = "the whole may hold its parts head by head" if by_heads else ""
        yield group, named[0], form, confidence, doubt


def _groups(nodes: Iterable[Node]) -> Iterator[tuple[tuple[Node, ...], str]]:
    """Siblings whose names say that they are the parts of one whole, in its order."""
    families: dict[tuple[tuple[str, ...], str], dict[str, Node]] = {}
    for node in nodes:
        for letters, _ in _GROUPS:
            for letter in letters:
                if letter in _last(node):
                    families.setdefault((node.path[:-1], letters[-1]), {})[letter] = node
    for members in families.values():
        for letters, word in _GROUPS:
            if all(letter in members for letter in letters):
                yield tuple(members[letter] for letter in letters), word


def _last(node: Node) -> tuple[str, ...]:
    return meanings(node.path[-1:])


def _sum(group: Sequence[Node]) -> tuple[int, ...]:
    """The shape of all laid one behind the other; none where they do not go together."""
    shapes = [main(node).spec.shape for node in group]
    rest = {shape[1:] for shape in shapes}
    return (sum(shape[0] for shape in shapes), *rest.pop()) if all(shapes) and len(rest) == 1 else ()


def _bear_its_roles(group: Sequence[Node], whole: Node) -> bool:
    roles = {tensor.role for tensor in whole.tensors}
    return main(whole).spec.shape != () and all({tensor.role for tensor in node.tensors} == roles for node in group)


def _stacks(parts: Sequence[Node], wholes: Sequence[Node], form: Form) -> Iterator[_Found]:
    named: dict[str, list[Node]] = {}
    for node in parts:
        named.setdefault(node.name, []).append(node)
    rows = [run for nodes in named.values() for run in runs(nodes) if len(run) > 1]
    for whole in wholes:
        shape = main(whole).spec.shape
        if len(shape) < 2 or len(whole.tensors) > 1:
            continue
        long = [run for run in rows if len(run) == shape[0]]
        for group, doubt in _stackable(long, whole):
            nodes = tuple(node for nodes in zip(*(run.nodes for run in group), strict=True) for node in nodes)
            yield nodes, whole, form, _EITHER_WAY if doubt else _NAMED, doubt


def _stackable(rows: Sequence[Run], whole: Node) -> Iterator[tuple[tuple[Run, ...], str]]:
    """The runs whose parts, one or two of each repetition, give a tensor of the whole's shape; with a doubt about their order."""
    shape = main(whole).spec.shape
    alike = _named([run for run in rows if _row(run) in (shape[1:], shape[:0:-1])], whole)
    if len(alike) == 1:
        yield (alike[0],), ""
    halves = [run for run in rows if len(shape) == 3 and _doubled(run, shape)]
    if len(halves) == 2:
        named = [
            pair
            for pair in permutations(halves)
            if all(word in _last(run.nodes[0]) for run, word in zip(pair, ("gate", "up"), strict=True))
        ]
        yield (named[0], "") if named else ((halves[0], halves[1]), "which part comes first is not to be seen")


def _named(alike: Sequence[Run], whole: Node) -> Sequence[Run]:
    """Of several runs of one shape those which share a word with the whole which not all of them have."""
    words = [{word for word in _last(run.nodes[0]) if not word.isdigit()} for run in alike]
    telling = set(_last(whole)) - set().union(*words[:1]).intersection(*words)
    return [run for run, own in zip(alike, words, strict=True) if own & telling] if len(alike) > 1 else alike


def _row(run: Run) -> tuple[int, ...]:
    return main(run.nodes[0]).spec.shape


def _doubled(run: Run, shape: tuple[int, ...]) -> bool:
    row = _row(run)
    return len(row) == 2 and (2 * row[0], row[1]) in (shape[1:], shape[:0:-1])
