"""What a plan reads: its source, other sources, the tensors of optimizers, a model's own initialization; opened again to move bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import DiskError, ModelError
from ckpt_surgeon.planning.optimizer_plan import OPTIMIZER
from ckpt_surgeon.planning.recipe import sources_of
from ckpt_surgeon.sources import is_factory, open_source, require_values
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.formats.protocol import Reader
    from ckpt_surgeon.planning import Plan

__all__ = ["open_others", "open_readers"]


@contextmanager
def open_readers(plan: Plan, reader: Reader | None = None) -> Iterator[dict[str, Reader]]:
    """The open readers which a plan's sources name: the source itself (empty), others by alias, the model's own initialization.

    reader: the source, where it is open already; it stays the caller's.
    Raises DiskError when a source is no longer what the plan was made from.
    """
    if plan.given_source is None:
        raise ModelError("the plan was made from a header alone; there are no weights to read", hint="make it from a path or a state_dict")
    with ExitStack() as stack:
        if reader is None:
            reader = stack.enter_context(open_source(plan.given_source, arguments=plan.arguments))
        _refuse_changed(reader.header, plan.source, "the source")
        beside = _read_beside(plan)
        others = {alias: header for alias, header in plan.others.items() if alias in beside}
        readers = {"": reader, **stack.enter_context(open_others(plan.given_others, others))}
        if plan.optimizer.recipes:
            readers[OPTIMIZER] = _optimizer_tensors(reader)
        for file, keys in beside.items():
            if file not in others:
                readers[file] = stack.enter_context(_initial(plan, file, keys))
        yield readers


def _optimizer_tensors(reader: Reader) -> Reader:
    from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint

    assert isinstance(reader, TorchCheckpoint)  # only such a source has optimizers, and the plan was made from this header
    return reader.optimizer_tensors


@contextmanager
def open_others(given: Mapping[str, Any], planned: Mapping[str, Header]) -> Iterator[dict[str, Reader]]:
    """The open readers of other sources, by alias, for those which are in `planned`; each must still have the header there.

    Raises DiskError where it has not, and ModelError for a source without weights.
    """
    with ExitStack() as stack:
        readers = {}
        for alias, header in planned.items():
            readers[alias] = stack.enter_context(open_source(given.get(alias, header)))
            require_values(readers[alias], f"source {alias!r}")
            _refuse_changed(readers[alias].header, header, f"the source {alias!r}")
        yield readers


def _refuse_changed(found: Header, planned: Header, name: str) -> None:
    if found is not planned and _planned_from(found) != _planned_from(planned):
        raise DiskError(f"{name} has changed since the plan was made", hint="run it again")


def _planned_from(header: Header) -> tuple[object, ...]:
    """What of a header a plan rests on: its entries in order, their ties, and what stands around them."""
    return list(header.entries.items()), dict(header.aliases), header.envelope


def _read_beside(plan: Plan) -> dict[str, list[str]]:
    """The keys which a plan reads of whatever is not the source itself: `Source.file` -> keys."""
    found: dict[str, list[str]] = {}
    for recipe in plan.recipes.values():
        for source in sources_of(recipe):
            if source.file:
                found.setdefault(source.file, []).append(source.key)
    return found


def _initial(plan: Plan, file: str, keys: list[str]) -> Reader:
    from ckpt_surgeon.model import initial_tensors

    model = plan.given_target
    is_path = isinstance(model, str | os.PathLike)
    if model is None or isinstance(model, Header | Mapping) or (is_path and not is_factory(os.fspath(model))):
        raise ModelError(
            "`init: {value: model}` needs a target which is a model: a module or `pkg.module:factory`", hint="or say value: zeros"
        )
    return initial_tensors(os.fspath(model) if is_path else model, int(file.partition(":")[2]), keys, arguments=plan.arguments)
