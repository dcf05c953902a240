"""The links which a match of modules comes to: tensor by tensor, with the ops which shapes ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ckpt_surgeon.mapping.baking import Baked, baked
from ckpt_surgeon.mapping.fitting import changes, main
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.tree import Node, Tensor

__all__ = ["links"]

Shape = tuple[int, ...]


def links(match: Match, sources: tuple[Node, ...] | None = None) -> tuple[Link, ...]:
    """The links of a match, or of the same with other sources."""
    given = sources or match.sources
    if match.form == "plain":
        return tuple(_plain(match.targets[0], given[0], match.turned))
    if match.form in ("concat", "split"):
        return tuple(_flat(match, given))
    return tuple(_stacked(match, given))


def _plain(target: Node, source: Node, turned: bool) -> Iterator[Link]:
    bake = baked(target, source)
    for tensor, other in _pairs(target, source, bake):
        ops = (Change("transpose"),) if turned and tensor is main(target) else changes(tensor, other)
        if bake is not None and other.role == bake.role:
            made = f"{other.key}{_BAKED}" if ops else tensor.key
            yield Link(tuple(each.key for each in bake.inputs), (made,), bake.change)
            yield from _chain(made, tensor.key, ops) if ops else ()
        else:
            yield from _chain(other.key, tensor.key, ops)


def _pairs(target: Node, source: Node, bake: Baked | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Tensors of one role which fit; what is left by shapes, and the largest of both where it has no partner."""
    free = {tensor.role: tensor for tensor in source.tensors}
    free |= {"weight": free.pop(bake.role)} if bake is not None else {}
    rest = []
    for tensor in target.tensors:
        other = free.get(tensor.role)
        if other is not None and (_fits(tensor, other) or tensor is main(target)):
            yield tensor, free.pop(tensor.role)
        else:
            rest.append(tensor)
    for tensor in rest:
        fitting = [other for other in free.values() if _fits(tensor, other) or (tensor is main(target) and other is main(source))]
        if len(fitting) == 1:
            yield tensor, free.pop(fitting[0].role)


def _fits(tensor: Tensor, other: Tensor) -> bool:
    return tensor.squeezed == other.squeezed or tensor.spec.shape == other.spec.shape[::-1]


def _chain(source: str, target: str, ops: Sequence[Change]) -> Iterator[Link]:
    """One link for each op, with keys of neither header between them; one without an op where there is none."""
    keys = [source, *(f"{target}.step{number}" for number in range(1, len(ops))), target]
    for (left, right), op in zip(pairwise(keys), ops or (None,), strict=True):
        yield Link((left,), (right,), op)


def _flat(match: Match, sources: Sequence[Node]) -> Iterator[Link]:
    """One op for each role: concat of the sources' tensors, or split into the targets'."""
    parts, (whole,) = (sources, match.targets) if match.form == "concat" else (match.targets, sources)
    for tensor in whole.tensors:
        keys = tuple(_role(node, tensor.role).key for node in parts)
        if match.form == "concat":
            yield Link(keys, (tensor.key,), Change("concat", (("dim", 0),)))
        else:
            sizes = tuple(_role(node, tensor.role).spec.shape[0] for node in parts)
            yield Link((tensor.key,), keys, Change("split", (("dim", 0), ("sizes", sizes))))


def _role(node: Node, role: str) -> Tensor:
    return next(tensor for tensor in node.tensors if tensor.role == role)


def _stacked(match: Match, sources: Sequence[Node]) -> Iterator[Link]:
    """Concat within each repetition where it has several parts, stack, transpose where the whole lies the other way."""
    parts, (whole,) = (sources, match.targets) if match.form == "stack" else (match.targets, sources)
    tensor = main(whole)
    keys = [main(node).key for node in parts]
    if match.parts > 1:
        keys = [f"{main(node).key}{_JOINED}" for node in parts[:: match.parts]]
    rows = [main(node) for node in parts]
    row = rows[0].spec.shape
    height = sum(node.spec.shape[0] for node in rows[: match.parts])
    turned = match.turned or tensor.spec.shape[1:] != (height, *row[1:])
    joined = [
        (tuple(main(node).key for node in parts[i : i + match.parts]), keys[i // match.parts]) for i in range(0, len(parts), match.parts)
    ]
    stacked = f"{tensor.key}{_TURNED}" if turned else tensor.key
    sizes = tuple(node.spec.shape[0] for node in rows[: match.parts])
    turn = Change("transpose", (("dims", (1, 2)),))
    if match.form == "stack":
        if match.parts > 1:
            yield from (Link(some, (key,), Change("concat", (("dim", 0),))) for some, key in joined)
        yield Link(tuple(keys), (stacked,), Change("stack"))
        if turned:
            yield Link((stacked,), (tensor.key,), turn)
        return
    if turned:
        yield Link((tensor.key,), (stacked,), turn)
    yield Link((stacked,), tuple(keys), Change("unstack"))
    if match.parts > 1:
        yield from (Link((key,), some, Change("split", (("dim", 0), ("sizes", sizes)))) for some, key in joined)


_BAKED = ".baked"
_JOINED = ".joined"  # keys of neither header, between two ops
_TURNED = ".turned"
