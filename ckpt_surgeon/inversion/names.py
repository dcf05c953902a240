"""Names taken back: the moves, drops, copies and ties of one rule -> the name ops which undo them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.inversion.general import covering, folded, plain, require_writable
from ckpt_surgeon.inversion.turning import turned
from ckpt_surgeon.ops.prefixes import AddPrefix, StripPrefix
from ckpt_surgeon.ops.protocol import NameOp
from ckpt_surgeon.ops.renaming import CopyKeys, Rename, TieKeys
from ckpt_surgeon.ops.replacing import Replace
from ckpt_surgeon.ops.selecting import DropKeys
from ckpt_surgeon.planning.table import Table

__all__ = ["dropping", "renaming_back", "twins_back", "twins_of"]

_MOST_PREFIXES = 8  # rules for one; with more, names are written out by their numbers


def dropping(keys: Collection[str], among: Collection[str]) -> list[NameOp]:
    """What leaves out `keys`, and none else of `among`."""
    return [DropKeys(covering(keys, among))] if keys else []


def twins_of(dropped: Collection[str], table: Table, staying: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """dropped key -> (a key which stays and is the same tensor, whether both are tied); those without one are left out."""
    if not dropped:
        return {}
    tied: dict[object, str] = {}
    equal: dict[object, str] = {}
    for key in staying:
        tied.setdefault(table[key].identity, key)
        equal.setdefault(table[key].recipe, key)
    found: dict[str, tuple[str, bool]] = {}
    for key in dropped:
        cell = table[key]
        if cell.identity in tied:
            found[key] = tied[cell.identity], True
        elif cell.recipe in equal:
            found[key] = equal[cell.recipe], False
    return found


def twins_back(twins: Mapping[str, tuple[str, bool]], keys: Collection[str]) -> list[NameOp]:
    """What gives keys back by their twins, of which all stand among `keys`."""
    ops: list[NameOp] = []
    for kind, is_tied in ((TieKeys, True), (CopyKeys, False)):
        pairs = [(twin, key) for key, (twin, tied) in twins.items() if tied == is_tied]
        ops += [kind(_pairs(layer, keys)) for layer in _layers(pairs)]
    return ops


def _layers(pairs: Sequence[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """The pairs, each source once in a mapping."""
    left = list(pairs)
    while left:
        layer: dict[str, str] = {}
        rest = [pair for pair in left if layer.setdefault(*pair) != pair[1]]
        yield layer
        left = rest


def renaming_back(op: NameOp, moves: Mapping[str, str], keys: Sequence[str]) -> list[NameOp]:
    """Ops which rename as `moves` says, and nothing else among `keys`; the shortest form which is found to do so. op: what made the moves.

    Raises RulesError where no op can: a name which holds braces or a star.
    """
    if not moves:
        return []
    for candidate in _candidates(op, moves, keys):
        try:
            ops = list(candidate)
            if _renamed(ops, keys) == {key: moves.get(key, key) for key in keys}:
                return ops
        except RulesError:  # the op does not take these texts, or finds two ways
            continue
    return [Rename(_pairs(moves, ()))]


def _candidates(op: NameOp, moves: Mapping[str, str], keys: Sequence[str]) -> Iterator[Iterator[NameOp]]:
    """Ops which may do it, the most telling first; each raises RulesError where it cannot be made."""
    yield _turned(op)
    yield _stripping(moves)
    yield _adding(moves, keys)
    yield iter([Rename(_pairs(moves, keys))])


def _turned(op: NameOp) -> Iterator[NameOp]:
    """The op's own pairs, turned round."""
    if not isinstance(op, Rename | Replace):
        raise RulesError("it has no pairs")
    pairs: dict[str, str] = {}
    for source, target in op.pairs.items():
        found = turned([source], [target]) if target else None
        if found is None or found[0][0] in pairs:
            raise RulesError("a pair which cannot be turned round")
        pairs[found[0][0]] = found[1][0]
    yield type(op)(pairs)


def _stripping(moves: Mapping[str, str]) -> Iterator[NameOp]:
    heads = dict.fromkeys(_head(key, place) for key, place in moves.items())
    if len(heads) > _MOST_PREFIXES:
        raise RulesError("too many prefixes")
    yield StripPrefix(tuple(heads))


def _adding(moves: Mapping[str, str], keys: Sequence[str]) -> Iterator[NameOp]:
    groups: dict[str, list[str]] = {}
    for key, place in moves.items():
        groups.setdefault(_head(place, key), []).append(key)
    if len(groups) > _MOST_PREFIXES:
        raise RulesError("too many prefixes")
    current = dict.fromkeys(keys)
    for head, members in groups.items():
        yield AddPrefix(head, covering(members, current))
        current = dict.fromkeys(f"{head}{key}" if moves.get(key) == f"{head}{key}" else key for key in current)


def _head(long: str, short: str) -> str:
    """What stands before `short` in `long`, with its dot. Raises RulesError where the one does not end as the other."""
    head = long.removesuffix(short)
    if not head.endswith(".") or head + short != long:
        raise RulesError("no prefix")
    return head


def _pairs(moves: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    """Patterns and templates, folded by number among `keys`; written out where none are given. Raises RulesError for a brace."""
    require_writable(moves.values())
    changes = [((key,), (place,)) for key, place in moves.items()]
    forms = folded(changes, keys) if keys else plain(changes)
    return {form.sources[0]: form.targets[0] for form in forms}


def _renamed(ops: Sequence[NameOp], keys: Sequence[str]) -> dict[str, str]:
    """What becomes of each key. Raises RulesError where two keys become one, or an op finds nothing to do."""
    names = list(keys)
    for op in ops:
        places = {edit.source: edit.target for edit in op.edits(names, None) if hasattr(edit, "target")}
        if not places:
            raise RulesError("an op without an effect")
        names = [places.get(name, name) for name in names]
        if len(set(names)) < len(names):
            raise RulesError("two keys of one name")
    return dict(zip(keys, names, strict=True))
