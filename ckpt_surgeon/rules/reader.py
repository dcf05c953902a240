"""Rules from a file, a text, a command line's `-e`, or values made in Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.rules.document import Given
from ckpt_surgeon.rules.rule import Rule, Rules
from ckpt_surgeon.rules.sections import read_document, read_list, read_single
from ckpt_surgeon.rules.yaml_reader import MAX_BYTES, read_yaml

__all__ = ["as_rules", "inline_rule", "parse_rules", "read_rules"]

_MAX_DEPTH = 50  # of lists and mappings made in Python, as in a file


def read_rules(path: str | os.PathLike[str]) -> Rules:
    """The rules of a YAML file.

    Raises RulesError with every problem at its `file:line:column`, DiskError when the file cannot be read.
    """
    name = os.fsdecode(path)
    with InputFile(name) as file:
        if file.nbytes > MAX_BYTES:
            raise RulesError(f"{file.nbytes} bytes; a rules file has at most {MAX_BYTES}", where=escape(name))
        data = file.read(0, file.nbytes)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RulesError(f"byte {error.start} is no UTF-8", where=escape(name), hint="Save the file as UTF-8.") from None
    return parse_rules(text, name, os.path.dirname(name))


def parse_rules(text: str, name: str, folder: str = "") -> Rules:
    """The rules of a YAML text; `name` is what errors call it, `folder` where the files are which it names.

    Raises RulesError with every problem.
    """
    return read_document(replace(read_yaml(text, escape(name)), folder=folder))


def inline_rule(text: str, name: str = "-e 1") -> Rules:
    """The one rule of a YAML text such as `strip_prefix: module.`. Raises RulesError with every problem."""
    return read_single(read_yaml(text, escape(name)))


def as_rules(given: object) -> Rules:
    """Rules from a path, from Rules or a Rule, from a document (a mapping as in a file), or from a list of rules (mappings or Rules).

    Raises what `read_rules` raises; places are such as `rules[2].split.sizes`.
    """
    if given is None:
        return Rules()
    if isinstance(given, Rules):
        return given
    if isinstance(given, Rule):
        return Rules((given,))
    if given == "":
        raise RulesError("no rules: an empty text is no path", hint="Give the path of a rules file, or None for no rules.")
    if isinstance(given, str | os.PathLike):
        return read_rules(given)
    if isinstance(given, Mapping):
        return read_document(Given(_plain(given)))
    if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray | memoryview):
        return Rules(tuple(_listed(given)))
    raise RulesError(f"no rules: {type(given).__name__}", hint="Give a path, a document (dict), a list of rules, or Rules.")


def _listed(given: Sequence[object]) -> Iterator[Rule]:
    """The rules of a list, those which are Rule already as they are."""
    read = iter(read_list(Given([_plain(item) for item in given if not isinstance(item, Rule)])))
    return (item if isinstance(item, Rule) else next(read) for item in given)


def _plain(value: Any, depth: int = 0) -> Any:
    """Mappings as dicts and sequences as lists, all the way down."""
    if depth > _MAX_DEPTH:
        raise RulesError(f"rules nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [_plain(item, depth + 1) for item in value]
    return value
