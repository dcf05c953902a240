"""A plan into its own source: where names, ties and metadata alone change, the weights stay where they are."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace

from ckpt_surgeon import disk
from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import Problem, RulesError, SurgeryError
from ckpt_surgeon.formats.edit import Edit
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.keeping import differences, kept
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning import Plan, Source, sources_of
from ckpt_surgeon.publishing import edited, require_editable
from ckpt_surgeon.readers import open_readers
from ckpt_surgeon.sources import split_table
from ckpt_surgeon.spec import Header

__all__ = ["edit", "obstacles"]

_HINT = "write a new file: -o OUT"
# As the field's tools name the shards of a checkpoint: their index names the keys of each.
_SHARD = re.compile(r"-[0-9]+-of-[0-9]+\.[^.]+$")
_MOST_LISTED = 5


def edit(plan: Plan, *, reader: Reader | None = None) -> Outcome:
    """Carry out a plan in the file which it was made from, whatever its size; the file is the old one, or the complete new one.

    Possible where each tensor of the file keeps its bytes: names, ties and metadata may change. The entries keep the order
    of the file. The file is opened again and compared with the plan, and is put back when it differs.
    reader: the file, where it is open already.

    Raises RulesError (nothing was touched) saying why it is not possible, DiskError, and LockedError when what went wrong could
    not be undone: then `recover` does it.
    """
    path, header, change = _prepared(plan, reader)
    if not change.is_empty:
        with edited(path, change):
            _read_back(path, header)
    is_reordered = list(header.entries) != list(plan.header.entries)
    notes = (*plan.notes, *(["edited in place: the entries keep the order of the file"] if is_reordered else []))
    return replace(plan.outcome, notes=notes)


def obstacles(plan: Plan, *, reader: Reader | None = None) -> tuple[Problem, ...]:
    """Why a plan cannot be carried out in its own source; empty when it can. Nothing is written."""
    try:
        _prepared(plan, reader)
    except SurgeryError as error:
        return error.problems
    return ()


def _prepared(plan: Plan, reader: Reader | None) -> tuple[str, Header, Edit]:
    """The file, the header which it gets, and what of it changes. Raises SurgeryError for whatever stands against it."""
    from ckpt_surgeon.formats.registry import FORMATS

    path = _path(plan)
    editor = FORMATS[plan.source.format].editor
    if editor is None or _SHARD.search(path):
        what = "one of several files of a checkpoint" if _SHARD.search(path) else f"a checkpoint of the format {plan.source.format}"
        raise RulesError(f"this is {what}, which is not edited in place", where=path, hint=_HINT)
    problems = list(_unmovable(plan))
    if problems:
        left = [Problem(f"and {len(problems) - _MOST_LISTED} more", path)] if len(problems) > _MOST_LISTED else []
        raise RulesError([*problems[:_MOST_LISTED], *left, Problem("in place, each tensor has to keep its bytes", path, _HINT)])
    header = _in_file_order(plan)
    with open_readers(plan, reader) as readers:
        _check_values(plan, readers)
        try:
            return path, header, editor(readers[""], header, kept(plan, readers[""]))
        except SurgeryError as error:
            raise error.located(path) from error


def _check_values(plan: Plan, readers: dict[str, Reader]) -> None:
    if plan.guards:
        from ckpt_surgeon.evaluation import Evaluator
        from ckpt_surgeon.guarding import check_values

        check_values(plan, Evaluator(readers))


def _path(plan: Plan) -> str:
    """The path of the one file which the plan was made from."""
    given = plan.given_source
    name = split_table(os.fspath(given))[0] if isinstance(given, str | os.PathLike) else ""
    with disk.reported(name):
        found = disk.status(name) if name else None
    if found is None:
        raise RulesError("only a file on this machine can be edited in place: no URL, no model, no state_dict", where=name, hint=_HINT)
    if stat.S_ISDIR(found.st_mode):
        raise RulesError("a folder is not edited in place", where=name, hint=f"name a file in it which holds all, or {_HINT}")
    require_editable(name)
    return name


def _unmovable(plan: Plan) -> Iterator[Problem]:
    """What of the plan needs other bytes than those which stand in the file, or leaves some of them behind."""
    used: dict[str, str] = {}
    read = {source.key for recipe in plan.recipes.values() for source in sources_of(recipe) if not source.file}
    for key, recipe in plan.recipes.items():
        if not isinstance(recipe, Source) or recipe.file:
            yield Problem("its bytes are made anew", where=escape(key))
        elif recipe.key in used:
            yield Problem(f"a second tensor of the bytes of {escape(used[recipe.key])}", where=escape(key))
        else:
            used[recipe.key] = key
    for key in plan.source.entries:
        if key not in plan.source.aliases and key not in read:
            yield Problem("it is not used, and its bytes would stay in the file", where=escape(key))
    if plan.optimizer.fate in ("reset", "dropped") and plan.source.envelope.optimizers:
        yield Problem(f"it is {plan.optimizer.fate}, and its bytes would stay in the file", where="optimizer state")
    if plan.optimizer.fate == "followed" and not _is_in_file_order(plan):
        yield Problem("it follows the target's order, and the entries keep that of the file", where="optimizer state")


def _is_in_file_order(plan: Plan) -> bool:
    """Whether the tensors which move come in the order of the source."""
    place = {key: i for i, key in enumerate(plan.source.entries)}
    places = [place[recipe.key] for recipe in plan.recipes.values() if isinstance(recipe, Source) and not recipe.file]
    return places == sorted(places)


def _in_file_order(plan: Plan) -> Header:
    """The header of the output, its entries in the order of the source where the plan has another."""
    if _is_in_file_order(plan):
        return plan.header
    place = {key: i for i, key in enumerate(plan.source.entries)}
    first = {key: place[recipe.key] for key, recipe in plan.recipes.items() if isinstance(recipe, Source)}
    ordered = sorted(plan.header.entries, key=lambda key: first[plan.header.canonical(key)])
    return replace(plan.header, entries={key: plan.header.entries[key] for key in ordered})


def _read_back(path: str, header: Header) -> None:
    from ckpt_surgeon.formats.opening import open_checkpoint

    with open_checkpoint(path, header.envelope.path or None, unfinished=True) as reader:
        wrong = differences(reader.header, header)
    if wrong:
        raise SurgeryError(Problem(f"the edited file does not read back as planned, and was put back: {each}", path) for each in wrong)
