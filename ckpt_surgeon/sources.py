"""Whatever a user may hand in: a path, a URL, a state_dict, a module, a factory, a Header -> an open Reader; rules -> Rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import CorruptError, DiskError, ModelError, RulesError
from ckpt_surgeon.model.header_reader import HeaderReader
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.formats.protocol import Reader
    from ckpt_surgeon.keys.pattern import Pattern
    from ckpt_surgeon.rules.rule import Allow, Rules

__all__ = [
    "Progress",
    "allowing",
    "header_of",
    "headers_of",
    "is_factory",
    "open_source",
    "others_of",
    "require_values",
    "rules_of",
    "split_table",
]

Progress = Callable[[int, int | None], None]

_SCHEMES = ("http://", "https://")


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


def others_of(rules: Rules, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The other sources which rules may name, by their aliases: those which the rules declare, or what is given instead.

    Raises RulesError for a name which is no alias.
    """
    from ckpt_surgeon.keys.aliases import is_alias

    for alias in given or {}:
        if not isinstance(alias, str) or not is_alias(alias):
            raise RulesError(f"{alias!r} is no alias of a source", hint="it is of letters, digits and underscores, and not `re`")
    return {**rules.sources, **(given or {})}


def headers_of(others: Mapping[str, Any], *, progress: Progress | None = None) -> dict[str, Header]:
    """The headers of other sources by their aliases; see `open_source`."""
    return {alias: header_of(given, progress=progress) for alias, given in others.items()}


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
