"""Whatever a user may hand in: a path, a URL, a state_dict, a module, a factory, a Header -> an open Reader; rules -> Rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from ckpt_surgeon.errors import CorruptError, DiskError, ModelError
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    import torch

    from ckpt_surgeon.disk import FileRange
    from ckpt_surgeon.formats.protocol import Reader
    from ckpt_surgeon.keys.pattern import Pattern
    from ckpt_surgeon.planning import Plan
    from ckpt_surgeon.rules.rule import Allow, Rules

__all__ = ["Progress", "allowing", "header_of", "is_factory", "open_readers", "open_source", "require_values", "rules_of", "split_table"]

Progress = Callable[[int, int | None], None]

_NO_WEIGHTS = "give a checkpoint; are source and target the wrong way round?"
_SCHEMES = ("http://", "https://")


class HeaderReader:
    """A header without weights: a model to be, or a Header given as a value."""

    def __init__(self, header: Header) -> None:
        self.header = header

    def read(self, key: str) -> torch.Tensor:
        raise ModelError("there are no weights to read: a model, or a header alone, was given as the source", where=key, hint=_NO_WEIGHTS)

    def read_opaque(self, key: str) -> Any:
        raise ModelError("there are no weights to read: a model, or a header alone, was given as the source", where=key, hint=_NO_WEIGHTS)

    def span(self, key: str) -> FileRange | None:
        return None

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_source(given: Any, *, arguments: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Reader:
    """Open what a user gave.

    given: a path (`PATH#table` picks a table of the envelope), an http(s) URL, `pkg.module:factory` (built on the meta
    device with `arguments`), a state_dict, an nn.Module, or a Header. An existing path wins over both `a:b` and `a#b`.
    Raises DiskError (no such file), ModelError, CorruptError and the other errors of the formats.
    """
    if isinstance(given, Header):
        return HeaderReader(given)
    if isinstance(given, str | os.PathLike):
        return _open_name(os.fspath(given), arguments or {}, progress)
    from ckpt_surgeon.model import StateDictReader

    if isinstance(given, Mapping):
        return StateDictReader(given)
    if not hasattr(given, "state_dict"):
        raise ModelError(f"a path, a state_dict, an nn.Module or a Header is wanted; found {type(given).__name__}")
    return StateDictReader.of_module(given)


def header_of(given: Any, *, arguments: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Header:
    """The header of what a user gave; see `open_source`."""
    if isinstance(given, Header):
        return given
    with open_source(given, arguments=arguments, progress=progress) as reader:
        return reader.header


def require_values(reader: Reader, role: str) -> None:
    """ModelError where the header is all that there is. role: what it is called in the message, `source`."""
    if isinstance(reader, HeaderReader):
        raise ModelError(
            f"the {role} has no values: it is a model on the meta device, or a header alone",
            hint="give a checkpoint; in Python, a module or a state_dict with weights",
        )


def is_factory(name: str) -> bool:
    """Whether a name is `pkg.module:factory` and no existing path."""
    from ckpt_surgeon.model import is_spec

    return is_spec(name) and not os.path.lexists(name)


def split_table(name: str) -> tuple[str, str | None]:
    """`PATH#table` -> its two halves; the table is None where there is none, or where the whole is an existing path."""
    path, mark, table = name.rpartition("#")
    if not mark or os.path.lexists(name) or not path:
        return name, None
    return path, table


def _open_name(name: str, arguments: Mapping[str, Any], progress: Progress | None) -> Reader:
    from ckpt_surgeon.formats.opening import open_checkpoint

    if is_factory(name):
        from ckpt_surgeon.model import build, header_of_module

        return HeaderReader(header_of_module(build(name, arguments)))
    path, table = split_table(name)
    if path.lower().startswith(_SCHEMES):
        from ckpt_surgeon.fetch import fetch

        return _open_fetched(fetch(path, progress=progress), table)
    if not os.path.lexists(path):
        raise DiskError("no such file or folder", where=path, hint="a model is written `pkg.module:factory`")
    return open_checkpoint(path, table)


def _open_fetched(path: str, table: str | None) -> Reader:
    from ckpt_surgeon.formats.opening import open_checkpoint

    try:
        return open_checkpoint(path, table)
    except CorruptError as error:
        hint = f"the download is kept; delete it to fetch it again: {path}"
        raise CorruptError(replace(problem, hint=hint) for problem in error.problems) from error


@contextmanager
def open_readers(plan: Plan, reader: Reader | None = None) -> Iterator[dict[str, Reader]]:
    """The open readers which a plan's sources name: the source itself (empty), and the model's own initialization.

    reader: the source, where it is open already; it stays the caller's.
    Raises DiskError when the source is no longer what the plan was made from.
    """
    if plan.given_source is None:
        raise ModelError("the plan was made from a header alone; there are no weights to read", hint="make it from a path or a state_dict")
    from ckpt_surgeon.planning.optimizer_plan import OPTIMIZER

    with ExitStack() as stack:
        if reader is None:
            reader = stack.enter_context(open_source(plan.given_source, arguments=plan.arguments))
        if reader.header is not plan.source and _planned_from(reader.header) != _planned_from(plan.source):
            raise DiskError("the source has changed since the plan was made", hint="run it again")
        readers = {"": reader}
        if plan.optimizer.recipes:
            readers[OPTIMIZER] = _optimizer_tensors(reader)
        for file, keys in _initialized(plan).items():
            readers[file] = stack.enter_context(_initial(plan, file, keys))
        yield readers


def _optimizer_tensors(reader: Reader) -> Reader:
    from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint

    assert isinstance(reader, TorchCheckpoint)  # only such a source has optimizers, and the plan was made from this header
    return reader.optimizer_tensors


def _planned_from(header: Header) -> tuple[object, ...]:
    """What of a header a plan rests on: its entries in order, their ties, and what stands around them."""
    return list(header.entries.items()), dict(header.aliases), header.envelope


def _initialized(plan: Plan) -> dict[str, list[str]]:
    from ckpt_surgeon.planning import sources_of

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


def rules_of(given: Any) -> Rules:
    """Rules from a path, a document, a list of rules, Rules, or None. yaml is imported only to read a file."""
    from ckpt_surgeon.rules.rule import Rules

    if given is None:
        return Rules()
    if isinstance(given, Rules):
        return given
    if isinstance(given, str) and not os.path.lexists(given):
        hint = "a text is the path of a rules file; rules themselves are a list: [{'strip_prefix': 'module.'}]"
        raise DiskError("no such file", where=given, hint=hint)
    from ckpt_surgeon.rules.reader import as_rules

    return as_rules(given)


def allowing(missing: Iterable[str] = (), unexpected: Iterable[str] = ()) -> Allow:
    """What a call allows beside its rules. Raises RulesError for a bad pattern."""
    from ckpt_surgeon.rules.rule import Allow

    return Allow(missing=_patterns(missing), unexpected=_patterns(unexpected))


def _patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    words = tuple(texts)
    if not words:
        return ()
    from ckpt_surgeon.keys.pattern import Pattern

    return tuple(map(Pattern.parse, words))
