"""Links with a tensor op -> the fewest entries of a rules file: which keys of the table the op takes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.mapping.writing.covering import covering
from ckpt_surgeon.mapping.writing.joining import joined
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["bound", "change_entries"]

Entry = dict[str, Any]


def change_entries(links: Sequence[Link], names: Collection[str], target: Header) -> Iterator[Entry]:
    """Entries in an order in which each finds its sources. names: the table's keys, as they are called when the first one runs."""
    table = dict.fromkeys(names)
    waiting: dict[Change, list[Link]] = {}
    for link in links:
        waiting.setdefault(plainest(link, target), []).append(link)
    while waiting:
        change, ready, rest = _next(waiting, table)
        del waiting[change]
        waiting |= {change: rest} if rest else {}
        yield from _entries(change, ready, table)
        for link in ready:
            for key in link.sources:
                table.pop(key, None)
            table |= dict.fromkeys(link.targets)


def _next(waiting: Mapping[Change, Sequence[Link]], table: Mapping[str, None]) -> tuple[Change, list[Link], list[Link]]:
    """The first change some of whose links find all sources, these, and its others. Raises RulesError where there is none."""
    for change, links in waiting.items():
        sides: tuple[list[Link], list[Link]] = [], []
        for link in links:
            sides[all(key in table for key in link.sources)].append(link)
        rest, ready = sides
        if ready:
            return change, ready, rest
    lacking = next(key for links in waiting.values() for link in links for key in link.sources if key not in table)
    raise RulesError(f"{lacking} is neither in the table nor made by another link")


def _entries(change: Change, links: Sequence[Link], table: Mapping[str, None]) -> Iterator[Entry]:
    parameters = dict(change.parameters)
    staying = [link.sources[0] for link in links if link.sources == link.targets]
    if staying:
        match = covering(staying, table)
        yield {change.op: {"match": match[0] if len(match) == 1 else list(match), **parameters}}
    moving = [(link.sources, link.targets) for link in links if link.sources != link.targets]
    for source, target in joined(moving, table):
        yield {change.op: {"source": source, "target": target, **parameters}}


def bound(link: Link, target: Header) -> TensorOp:
    """The link's op, with the sizes which it takes from the target. Raises RulesError for parameters which the op refuses."""
    assert link.change is not None  # the caller's business: without a change there is no op
    kind = OPS.get(link.change.op)
    if kind is None or not hasattr(kind, "infer"):
        raise RulesError(f"{link.change.op} is no op on tensors")
    op = cast(TensorOp, kind(**dict(link.change.parameters)))
    specs = tuple(target.entries[key] for key in link.targets if key in target.entries)
    known = tuple(spec for spec in specs if isinstance(spec, TensorSpec))
    return op.bind(len(link.targets), known if len(known) == len(link.targets) else None)


def plainest(link: Link, target: Header) -> Change:
    """The link's change without the parameters which follow from the target anyway, or with `target` for them."""
    assert link.change is not None
    change = link.change
    try:
        wanted = bound(link, target)
    except (RulesError, TypeError):
        return change
    for name, _ in change.parameters:
        for instead in ((), ((name, "target"),)):
            parameters = tuple(pair for each in change.parameters for pair in (instead if each[0] == name else (each,)))
            shorter = Change(change.op, parameters)
            if shorter != change and _means(shorter, link, target, wanted):
                change = shorter
                break
    return change


def _means(change: Change, link: Link, target: Header, wanted: TensorOp) -> bool:
    try:
        return bound(Link(link.sources, link.targets, change), target) == wanted
    except (RulesError, TypeError, ValueError):
        return False
