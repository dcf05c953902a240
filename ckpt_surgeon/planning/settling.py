"""The end of a plan: the rewritten table against the target, key by key; all that is wrong is raised at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from ckpt_surgeon.comparison import fills_itself, fits
from ckpt_surgeon.errors import CoverageError, NothingLoadedError, Problem
from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.keys.matching import matches_any
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.planning.recipe import Derived, sources_of
from ckpt_surgeon.planning.table import Cell, Table
from ckpt_surgeon.rules.rule import Allow
from ckpt_surgeon.spec import Entry, Header, TensorSpec

__all__ = ["Settled", "settle"]

_MOST_LINES = 12
_FILLING_VERSION = 2  # of a batch norm's `_metadata`: from here on torch wants the counter in the file


@dataclass(frozen=True, slots=True)
class Settled:
    """A table which fits its target: in the target's order, with what torch fills, what may be missing and what is left over.

    dropped: source key -> why the target has no place for it.
    """

    table: Table
    filled: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def settle(table: Table, target: Header, allow: Allow, torch_metadata: Mapping[str, Mapping[str, object]]) -> Settled:
    """Fit a table to a target.

    Raises NothingLoadedError when no key of the target reads the source; CoverageError with every key which is missing,
    unexpected, mismatched or cast to a narrower type without being allowed to.
    """
    held = {key: cell for key, cell in table.items() if key in target.entries}
    _refuse_nothing(table, held, target)
    surplus = {key: cell for key, cell in table.items() if key not in target.entries}
    absent = _absent(held, target)
    filled = tuple(key for key in absent if fills_itself(key, target, held))
    missing = tuple(key for key in absent if key not in set(filled))
    problems = [
        *_missing_problems([key for key in missing if not matches_any(allow.missing, key)], target),
        *_surplus_problems({key: cell for key, cell in surplus.items() if not matches_any(allow.unexpected, key)}),
        *_shape_problems(held, target),
        *_cast_problems(held, target, allow),
    ]
    if problems:
        raise CoverageError(problems)
    held |= {key: _counter(target, key) for key in filled if _is_wanted(key, torch_metadata)}
    fitted = {key: _shaped(held[key], target.entries[key]) for key in target.entries if key in held}
    return Settled(fitted, filled, missing, tuple(surplus), _left_out(surplus), tuple(_notes(held, target, filled)))


def _left_out(surplus: Table) -> dict[str, str]:
    """For each source key of which something is left over the reason, by the name which it has now."""
    reasons = {}
    for name, cell in surplus.items():
        for key in cell.reads:
            reasons[key] = "the target has no such key" if key == name else f"the target has no key {escape(name)}, which it became"
    return reasons


def _refuse_nothing(table: Table, held: Table, target: Header) -> None:
    if not target.entries or not table or any(sources_of(cell.recipe) for cell in held.values()):
        return
    raise NothingLoadedError(
        f"nothing would be loaded: not one of the {len(table)} keys (first: {escape(next(iter(table)))}) "
        f"is among the target's {len(target)} (first: {escape(next(iter(target)))})",
        hint="`diff` shows what the names have in common; rules rename them",
    )


def _absent(held: Table, target: Header) -> list[str]:
    """The target's keys which neither stand in the table nor are tied to one which does."""
    firsts = {target.canonical(key) for key in held}
    return [key for key in target.entries if key not in held and target.canonical(key) not in firsts]


def _missing_problems(keys: list[str], target: Header) -> Iterable[Problem]:
    hint = "load them by a rule, or say `allow: {missing: [...]}` (--allow-missing PATTERN)"
    return _folded(keys, f"missing: {len(keys)} of the target's {len(target)} keys are not in the source", hint)


def _surplus_problems(surplus: Table) -> Iterable[Problem]:
    hint = "drop or rename them, or say `allow: {unexpected: [...]}` (--allow-unexpected PATTERN)"
    return _folded(
        list(surplus), f"unexpected: {len(surplus)} {'key has' if len(surplus) == 1 else 'keys have'} no place in the target", hint
    )


def _folded(keys: list[str], what: str, hint: str) -> Iterable[Problem]:
    if not keys:
        return
    names = [f"{escape(text)} x{count}" if count > 1 else escape(text) for text, count in fold(keys)]
    more = f"; and {len(names) - _MOST_LINES} more groups" if len(names) > _MOST_LINES else ""
    yield Problem(f"{what}: {'; '.join(names[:_MOST_LINES])}{more}", hint=hint)


def _shape_problems(held: Table, target: Header) -> Iterable[Problem]:
    wrong = [key for key, cell in held.items() if not fits(cell.recipe.spec, target.entries[key])]
    for key in wrong[:_MOST_LINES]:
        what = f"mismatched: {escape(key)} is {held[key].recipe.spec}, the target wants {target.entries[key]}"
        yield Problem(what, hint="adapt its shape by a rule (`fit`, `reshape`, `adapt_in_channels`, ...), or drop it")
    if len(wrong) > _MOST_LINES:
        yield Problem(f"mismatched: and {len(wrong) - _MOST_LINES} more keys")


def _cast_problems(held: Table, target: Header, allow: Allow) -> Iterable[Problem]:
    for key, (found, wanted) in _casts(held, target).items():
        if not wanted.dtype.holds(found.dtype) and not matches_any(allow.casts, key):
            what = f"{escape(key)} is {found.dtype}, the target {wanted.dtype}: loading it would lose values"
            yield Problem(what, hint=f"say `allow: {{casts: [{escape(key)!r}]}}` if that is meant")


def _casts(held: Table, target: Header) -> dict[str, tuple[TensorSpec, TensorSpec]]:
    pairs: dict[str, tuple[Entry, Entry]] = {key: (cell.recipe.spec, target.entries[key]) for key, cell in held.items()}
    return {
        key: (found, wanted)
        for key, (found, wanted) in pairs.items()
        if isinstance(found, TensorSpec) and isinstance(wanted, TensorSpec) and found.dtype != wanted.dtype
    }


def _is_wanted(counter: str, torch_metadata: Mapping[str, Mapping[str, object]]) -> bool:
    """Whether the output's `_metadata` makes torch expect the counter in the file instead of filling it."""
    version = torch_metadata.get(counter.rpartition(".")[0], {}).get("version")
    return isinstance(version, int) and version >= _FILLING_VERSION


def _counter(target: Header, key: str) -> Cell:
    spec = target.tensors[key]
    op = _tensor_op("init", value="zeros").bind(1, (spec,))
    return Cell(Derived(op, (), 0, spec), ("filled", key))


def _shaped(cell: Cell, wanted: Entry) -> Cell:
    """The cell, reshaped where `[1]` stands for `[]` or the other way round."""
    spec = cell.recipe.spec
    if not isinstance(spec, TensorSpec) or not isinstance(wanted, TensorSpec) or spec.shape == wanted.shape:
        return cell
    op = _tensor_op("reshape", shape=wanted.shape)
    return replace(cell, recipe=Derived(op, (cell.recipe,), 0, replace(spec, shape=wanted.shape)), identity=(op, cell.identity))


def _tensor_op(name: str, **parameters: object) -> TensorOp:
    from ckpt_surgeon.ops.registry import OPS

    op = OPS[name](**parameters)
    assert isinstance(op, TensorOp)  # the registry's own class, not input
    return op


def _notes(held: Table, target: Header, filled: tuple[str, ...]) -> Iterable[str]:
    for key, cell in held.items():
        if isinstance(cell.recipe.spec, TensorSpec) and cell.recipe.spec.shape != target.tensors[key].shape:
            yield f"{escape(key)}: {cell.recipe.spec} stands for {target.entries[key]}"
    casts = _casts(held, target)
    for pair in dict.fromkeys((str(found.dtype), str(wanted.dtype)) for found, wanted in casts.values()):
        keys = [key for key, (found, wanted) in casts.items() if (str(found.dtype), str(wanted.dtype)) == pair]
        yield f"{pair[0]}, which loading casts to the target's {pair[1]}: {len(keys)} (first: {escape(keys[0])})"
    if filled:
        yield f"absent from the source, and filled by torch itself: {len(filled)} (first: {escape(filled[0])})"
