"""Modules which are fused on one side and apart on the other: queries, keys and values, gates, experts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations

from ckpt_surgeon.mapping.doubts import by_heads
from ckpt_surgeon.mapping.fitting import main
from ckpt_surgeon.mapping.matches import Form, Match
from ckpt_surgeon.mapping.runs import Run, runs
from ckpt_surgeon.mapping.tree import Node
from ckpt_surgeon.mapping.words import meanings

__all__ = ["match_parts"]

# Parts in the order in which they are laid one behind the other, the words of the whole which say so, and whether it must.
_Group = tuple[tuple[str, ...], frozenset[str], bool]
_GATED = ("gate", "up")
_GROUPS: tuple[_Group, ...] = (
    (("q", "k", "v"), frozenset(("qkv",)), False),
    (("k", "v"), frozenset(("kv",)), False),
    (_GATED, frozenset(_GATED), False),
    (("first", "second"), frozenset(_GATED), True),
)
_GROUPED = "wqkv"  # InternLM2 packs each group's queries before its key and value
_NAMED, _UNNAMED, _EITHER_WAY = 0.985, 0.93, 0.5


def match_parts(targets: Sequence[Node], sources: Sequence[Node]) -> list[Match]:
    """The matches of n modules with one, of those which have no namesakes of the same shapes on the other side."""
    targets, sources = _apart(targets, sources), _apart(sources, targets)
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
    biases = [bias for match in found if match.form in ("concat", "split") for bias in _biases(match, targets, sources)]
    return [*found, *biases]


def _biases(match: Match, targets: Sequence[Node], sources: Sequence[Node]) -> Iterator[Match]:
    """The matches of biases which stand beside a whole without one: `q_bias` and `v_bias` beside `qkv.weight`."""
    parts, others = (match.sources, targets) if match.form == "concat" else (match.targets, sources)
    (whole,) = match.targets if match.form == "concat" else match.sources
    lone = [node for node in others if node.path[:-1] == whole.path[:-1] and [tensor.role for tensor in node.tensors] == ["bias"]]
    for part in parts:
        own = [node for node in lone if set(_last(node)) <= set(_last(part)) and _bias(node) == _bias(part)]
        if len(own) == 1:
            pair = (own[0], part) if match.form == "concat" else (part, own[0])
            yield Match(pair[:1], pair[1:], match.confidence, "the bias of a part, beside the whole")


def _bias(node: Node) -> tuple[int, ...] | None:
    return next((tensor.spec.shape for tensor in node.tensors if tensor.role == "bias"), None)


def _apart(nodes: Sequence[Node], others: Sequence[Node]) -> list[Node]:
    namesakes = {_place_and_sizes(node) for node in others}
    return [node for node in nodes if _place_and_sizes(node) not in namesakes]


def _place_and_sizes(node: Node) -> tuple[object, ...]:
    return node.path[-2:], frozenset(node.shapes.items())


_Found = tuple[tuple[Node, ...], Node, Form, float, str]


def _fused(parts: Sequence[Node], wholes: Sequence[Node], form: Form) -> Iterator[_Found]:
    own = {node.signature for node in parts}
    shaped: dict[tuple[int, ...], list[Node]] = {}
    for whole in wholes:
        shaped.setdefault(main(whole).spec.shape, []).append(whole)
    for letters, group, words, needed in _groups(parts):
        fitting = [whole for whole in shaped.get(_sum(group), ()) if _bear_its_roles(group, whole)]
        named = [whole for whole in fitting if words.issubset(_last(whole))]
        if not named and not needed:
            named, words = [whole for whole in fitting if bool(whole.numbers) == bool(group[0].numbers)], frozenset()
        if len(named) != 1 or (not words and named[0].signature in own):
            continue  # what is not named so may as well be the one of its shape which stands among the parts
        order = _told_order(letters, named[0].name)
        inside = tuple(group[letters.index(letter)] for letter in order or letters)
        if by_heads(named[0]) or (letters == ("q", "k", "v") and _are_grouped(inside) and _GROUPED in named[0].name):
            yield inside, named[0], form, _EITHER_WAY, "the whole may hold its parts head by head"
        elif not words and not order and letters == _GATED:
            yield inside, named[0], form, _EITHER_WAY, "which part comes first is not to be seen"
        else:
            yield inside, named[0], form, _NAMED if words or order else _UNNAMED, ""


def _are_grouped(parts: Sequence[Node]) -> bool:
    """Whether queries have more rows than keys: several of their heads go with one of these."""
    return main(parts[0]).spec.shape != main(parts[1]).spec.shape


def _told_order(letters: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The order in which a whole's name says that its parts lie: `kqv`, `up_gate_proj`; empty where it says none."""
    text = name.lower()
    if letters == _GATED:
        places = {letter: text.find(letter) for letter in letters}
        return tuple(sorted(letters, key=places.__getitem__)) if min(places.values()) >= 0 else ()
    if any(len(letter) > 1 for letter in letters):
        return ()
    return next((order for order in permutations(letters) if "".join(order) in text), ())


def _groups(nodes: Iterable[Node]) -> Iterator[tuple[tuple[str, ...], tuple[Node, ...], frozenset[str], bool]]:
    """Siblings whose names say that they are the parts of one whole, in its order."""
    families: dict[tuple[tuple[str, ...], str], dict[str, Node]] = {}
    for node in nodes:
        own = _last(node)
        for letters, *_ in _GROUPS:
            for letter in letters:
                if letter in own:
                    families.setdefault((node.path[:-1], letters[-1]), {})[letter] = node
    for members in families.values():
        for letters, words, needed in _GROUPS:
            if all(letter in members for letter in letters):
                yield letters, tuple(members[letter] for letter in letters), words, needed


def _last(node: Node) -> tuple[str, ...]:
    return meanings((node.name,))


def _sum(group: Sequence[Node]) -> tuple[int, ...]:
    """The shape of all laid one behind the other; none where they do not go together."""
    shapes = [main(node).spec.shape for node in group]
    rest = {shape[1:] for shape in shapes}
    return (sum(shape[0] for shape in shapes), *rest.pop()) if all(shapes) and len(rest) == 1 else ()


def _bear_its_roles(group: Sequence[Node], whole: Node) -> bool:
    roles = {tensor.role for tensor in whole.tensors}
    return main(whole).spec.shape != () and all(roles <= {tensor.role for tensor in node.tensors} for node in group)


def _stacks(parts: Sequence[Node], wholes: Sequence[Node], form: Form) -> Iterator[_Found]:
    named: dict[str, list[Node]] = {}
    for node in parts:
        named.setdefault(node.name, []).append(node)
    rows: dict[int, list[Run]] = {}
    for alike in named.values():
        for run in runs(alike) if len(alike) > 1 else ():
            rows.setdefault(len(run), []).append(run)
    for whole in wholes:
        shape = main(whole).spec.shape
        if len(shape) < 2 or shape[0] not in rows or len(whole.tensors) > 1:
            continue
        for group, doubt in _stackable(rows[shape[0]], whole):
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
