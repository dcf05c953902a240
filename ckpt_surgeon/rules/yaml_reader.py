"""YAML text -> plain data and where each part of it stands. YAML 1.2 core; whatever could mean two things is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.rules.document import Mark, Place, Text, where
from ckpt_surgeon.rules.node import MAX_PROBLEMS
from ckpt_surgeon.rules.scalars import resolve

if TYPE_CHECKING:
    import yaml

__all__ = ["MAX_BYTES", "read_yaml"]

MAX_BYTES = 1_000_000  # of a file; ten thousand renames written out take half of it
_MAX_DEPTH = 50
_MAX_EVENTS = 50_000  # keys, values, starts and ends; ten thousand renames take twenty thousand, and each event some 20 us
_MAX_LINES = 50_000  # ten thousand renames take ten thousand; lines of nothing take time, too
_MAX_WORD = 200  # characters of a word which a hint quotes; more than that is not shown

_INDENT = "Check the indentation, or quote a value which holds a colon and a blank."
_TAB = "YAML takes no tabs between words or at the start of a line: write blanks."
_QUOTE = "A pattern which YAML reads as something else has to be quoted"
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SPECIAL = re.compile(r"[*&!%@`{\[|]")  # YAML's signs which patterns use, too, or which start no word


def read_yaml(text: str, name: str) -> Text:
    """The one document in `text`; `name` is what errors call it. Mapping keys are always text, as written.

    Raises RulesError, with every place, for text which is no YAML, for duplicate keys, tags, anchors, aliases, merge keys, a second
    document, and for what is too long or too deep.
    """
    import yaml

    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise RulesError(f"{size} bytes; a rules file has at most {MAX_BYTES}", where=name)
    lines = text.count("\n") + 1
    if lines > _MAX_LINES:
        raise RulesError(f"{lines} lines; a rules file has at most {_MAX_LINES}", where=name)
    unprintable = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if unprintable:
        before = text[: unprintable.start()].split("\n")
        place = where(name, (len(before), len(before[-1]) + 1))
        raise RulesError(f"the character {escape(unprintable[0])} is not allowed in YAML", where=place)
    builder = _Builder(name, yaml.parse(text, Loader=yaml.SafeLoader))
    try:
        data = builder.document()
    except yaml.MarkedYAMLError as error:
        last = _syntax_problem(error, name, text)
        same_line = last.where.rpartition(":")[0] + ":"
        raise RulesError([*(one for one in builder.problems if not one.where.startswith(same_line)), last]) from None
    if builder.problems:
        raise RulesError(builder.problems)
    return Text(name, data, builder.values, builder.keys)


def _syntax_problem(error: yaml.MarkedYAMLError, name: str, text: str) -> Problem:
    """PyYAML's complaint, with the word which has to be quoted where that is what is wrong."""
    problem = escape(error.problem or "no YAML").replace("\\\\", "\\")  # PyYAML has escaped what it quotes already
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(f"no YAML: {problem}", name)
    if problem.startswith("mapping values"):
        return Problem(f"no YAML: {problem}", where(name, (mark.line + 1, mark.column + 1)), _INDENT)
    if "'\\t'" in problem:
        return Problem(f"no YAML: {problem}", where(name, (mark.line + 1, mark.column + 1)), _TAB)
    is_alias = "alias" in (error.context or "")
    line = "".join(text.split("\n")[mark.line : mark.line + 1])
    word, column = _word(line, mark.column, is_alias)
    hint = f"{_QUOTE}: '{escape(word)}'." if _SPECIAL.search(word) else ""
    return Problem(f"no YAML: {problem}", where(name, (mark.line + 1, column + 1 if hint else mark.column + 1)), hint)


def _word(line: str, column: int, is_alias: bool) -> tuple[str, int]:
    """The word around a column, and its column. An alias starts one before: at its star."""
    start = column - 1 if is_alias else max(line.rfind(blank, 0, column) + 1 for blank in (" ", ",", "\t"))
    words = line[start : start + _MAX_WORD].split(maxsplit=1)
    word = words[0].rstrip(",:") if words else ""
    while word[-1:] in ("}", "]") and word.count(word[-1]) > word.count("{" if word[-1] == "}" else "["):
        word = word[:-1]  # the end of the mapping or list around it
    if word[:1] == "{" and word.count("{") > word.count("}"):
        return word[1:], start + 1  # the start of the mapping around it
    return word, start


@dataclass
class _Builder:
    """Builds data from the parser's events; goes on after a problem where it can, so that all are told at once."""

    name: str
    events: Iterator[Any]
    problems: list[Problem] = field(default_factory=list)
    values: dict[Place, Mark] = field(default_factory=dict)
    keys: dict[Place, Mark] = field(default_factory=dict)
    count: int = 0

    def document(self) -> Any:
        """The data of the one document; None for an empty one."""
        import yaml

        data, documents = None, 0
        for event in self.events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                raise self._refused("a second document; a rules file is one", event)
            data = self._node(self._next(), ())
        return data

    def _next(self) -> Any:
        self.count += 1
        event = next(self.events)
        if self.count > _MAX_EVENTS:
            raise self._refused(f"more than {_MAX_EVENTS} keys and values", event)
        return event

    def _node(self, event: Any, place: Place, depth: int = 0) -> Any:
        import yaml

        self.values[place] = _mark(event)
        self._check(event)
        if depth > _MAX_DEPTH:
            raise self._refused(f"nested more than {_MAX_DEPTH} deep", event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, place, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        return self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None

    def _mapping(self, start: Any, place: Place, depth: int) -> dict[str, Any]:
        import yaml

        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, found, place, depth)
            value = self._next()
            if start.flow_style and isinstance(value, yaml.ScalarEvent) and not value.value and not value.style:
                self._complain("a mapping without a value", start, f"{_QUOTE}: '{{{escape(key)}}}...'. An empty text is written \"\".")
            item = self._node(value, (*place, key), depth + 1)
            found.setdefault(key, item)
        return found

    def _key(self, event: Any, found: Mapping[str, Any], place: Place, depth: int) -> str:
        """The text of a key; a stand-in where it is none."""
        import yaml

        self._check(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._complain("a key has to be text", event, f"{_QUOTE}.")
            if not isinstance(event, yaml.AliasEvent):
                self._node(event, (*place, "?"), depth + 1)
            return "?"
        key = _joined(str(event.value))
        if key == "<<" and not event.style:
            self._complain("merge keys are not read", event, "Write the entries out.")
        elif key in found:
            line, column = self.keys[(*place, key)]
            self._complain(f"the key '{escape(key)}' stands here a second time; first at {line}:{column}", event)
        self.keys.setdefault((*place, key), _mark(event))
        return key

    def _sequence(self, place: Place, depth: int) -> list[Any]:
        import yaml

        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._node(event, (*place, len(found)), depth + 1))
        return found

    def _scalar(self, event: Any) -> Any:
        if event.style:
            return _joined(event.value)
        try:
            return resolve(event.value)
        except RulesError as error:
            self._complain(error.problems[0].what, event, error.hint)
            return event.value

    def _check(self, event: Any) -> None:
        """Aliases, anchors and tags: what a pattern with `*`, `&` or `!` in front turns into."""
        import yaml

        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            self._complain("aliases are not read", event, f"{_QUOTE}: '*{escape(str(anchor))}'.")
        elif anchor is not None:
            self._complain("anchors are not read", event, f"{_QUOTE}: '&{escape(str(anchor))}'.")
        if getattr(event, "tag", None) is not None:
            self._complain(f"tags such as {escape(str(event.tag))} are not read", event, f"{_QUOTE}.")

    def _complain(self, what: str, event: Any, hint: str = "") -> None:
        self.problems.append(Problem(what, where(self.name, _mark(event)), hint))
        if len(self.problems) > MAX_PROBLEMS:
            raise RulesError([*self.problems[:MAX_PROBLEMS], Problem("and more problems, which are not looked for")])

    def _refused(self, what: str, event: Any) -> RulesError:
        return RulesError(what, where=where(self.name, _mark(event)))


def _joined(text: str) -> str:
    """The text with one character for each pair of escapes by which JSON writes what lies beyond 16 bits."""
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _mark(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1
