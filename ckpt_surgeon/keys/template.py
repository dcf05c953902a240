"""Template: a target's name, made of what patterns captured. `{name}` puts a capture back, `{i+1}` counts with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from types import MappingProxyType

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.arithmetic import Expression, parse_expression
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.syntax import REGEX_PREFIX, Braced, Capture, Segment, parse_capture, parse_segments
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Template"]

_CACHE_SIZE = 16384  # templates; a rules file which renames key by key has one for each


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template; equal to another of the same text.

    names: every capture which it puts in, in the order written, those of `typed` included.
    typed: the captures written with their type (`{e:int}`, `{x:q|k|v}`).
    counted: the captures with which it does arithmetic.
    """

    text: str
    names: tuple[str, ...] = field(compare=False, repr=False)
    typed: Mapping[str, Capture] = field(compare=False, repr=False)
    counted: frozenset[str] = field(compare=False, repr=False)
    _segments: tuple[tuple[str | Expression, ...], ...] = field(compare=False, repr=False)
    _format: str = field(compare=False, repr=False)  # the same for `str.format`, which most keys can be made by; empty where it counts

    @staticmethod
    def parse(text: str) -> Template:
        """The template which `text` writes.

        >>> Template.parse("blocks.{i-1}.{rest}").expand({"i": "3", "rest": "mlp.weight"})
        'blocks.2.mlp.weight'

        Raises RulesError, without a place, when the text is no template.
        """
        return _parse(text)

    def expand(self, captures: Mapping[str, str]) -> str:
        """The name made of these captures; an empty path which fills a segment takes its dot away.

        Raises RulesError: a name not captured, arithmetic which fails or goes below zero, an empty result.
        """
        if self._format and all(map(captures.get, self.names)):
            return self._format.format_map(captures)
        try:
            parts = [_expanded(segment, captures) for segment in self._segments]
        except RulesError as error:
            raise RulesError(f"{self.text!r}: {error.problems[0].what}", hint=error.hint) from None
        name = ".".join(part for part in parts if part is not None)
        if not name:
            raise RulesError(f"{self.text!r} gives an empty name")
        return name

    def check(self, captures: Mapping[str, Capture]) -> None:
        """Raises RulesError unless every untyped name is among `captures`, fit for what is done with it, and the types agree."""
        for name in self.names:
            if name not in captures and name not in self.typed:
                raise RulesError(
                    f"{self.text!r}: {name!r} is not captured by the source",
                    hint=f"Captured: {', '.join(captures)}." if captures else f"Write {{{name}}} into the source pattern, too.",
                )
            self._check_kind(name, captures.get(name))

    def _check_kind(self, name: str, capture: Capture | None) -> None:
        typed = self.typed.get(name)
        if typed is not None and capture not in (None, typed):
            raise RulesError(f"{self.text!r}: {name!r} is {typed} here and {capture} in the source", hint=f"Write {{{name}}}.")
        capture = capture or typed
        if name in self.counted and capture is not None and capture.kind not in ("int", "regex"):
            raise RulesError(f"{self.text!r}: {name!r} is no number", hint=f"Capture it as {{{name}:int}} to count with it.")

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Callable[[str], Template], tuple[str]]:
        return Template.parse, (self.text,)


def _expanded(segment: tuple[str | Expression, ...], captures: Mapping[str, str]) -> str | None:
    """The text of a segment; None for a lone capture which is empty."""
    text = "".join([part if isinstance(part, str) else part.value(captures) for part in segment])
    return None if not text and len(segment) == 1 else text


@lru_cache(maxsize=_CACHE_SIZE)
def _parse(text: str) -> Template:
    if text.startswith(REGEX_PREFIX):
        raise RulesError(f"{escape(text)}: a target is no pattern", hint="`re:` belongs to sources; put its groups back with {name}.")
    typed: dict[str, Capture] = {}
    try:
        segments = tuple(tuple(_parts(segment, typed)) for segment in parse_segments(text))
    except RulesError as error:
        raise RulesError(f"'{escape(text)}': {error.problems[0].what}", hint=error.hint) from None
    expressions = [part for segment in segments for part in segment if isinstance(part, Expression)]
    names = tuple(dict.fromkeys(name for expression in expressions for name in expression.names))
    counted = frozenset(name for expression in expressions if expression.counts for name in expression.names)
    return Template(
        text, names, MappingProxyType(typed), counted, segments, "" if any(each.counts for each in expressions) else _format(segments)
    )


def _format(segments: Iterable[Sequence[str | Expression]]) -> str:
    """What `str.format` makes the same name of, as long as no capture is empty."""
    return ".".join("".join(_field(part) for part in segment) for segment in segments)


def _field(part: str | Expression) -> str:
    return f"{{{part.text}}}" if isinstance(part, Expression) else part.replace("{", "{{").replace("}", "}}")


def _parts(segment: Segment, typed: dict[str, Capture]) -> list[str | Expression]:
    parts: list[str | Expression] = []
    for piece in segment:
        if isinstance(piece, Braced):
            parts.append(_put(piece.body, typed))
            continue
        if "*" in piece.text:
            raise RulesError(
                "a target has no wildcards", hint="Capture what `*` matches with {name}, `**` with {name:path}, and put it back."
            )
        parts.append(piece.text)
    return parts


def _put(body: str, typed: dict[str, Capture]) -> Expression:
    if ":" not in body and "|" not in body:
        return parse_expression(body)
    name, capture = parse_capture(body)
    if not name:
        raise RulesError(f"{{{body}}}: alternatives need a name in a target", hint=f"Write {{name:{body}}}.")
    if typed.setdefault(name, capture) != capture:
        raise RulesError(f"the name {name!r} stands there with two types")
    return parse_expression(name)
