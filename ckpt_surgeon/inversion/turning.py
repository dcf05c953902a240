"""Patterns and templates turned round: the source becomes the target, each capture keeps its type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.syntax import REGEX_PREFIX, Braced, Capture, parse_capture, parse_segments
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["turned"]

_SHIFTED = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*([+-])\s*([0-9]+)\s*")


def turned(sources: Sequence[str], targets: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """(sources, targets) of the way back, or None where what was matched cannot be put back.

    Whether they lead back on the keys which are there is for the caller to try.

    >>> turned(["h.{i:int}.{rest:path}"], ["blocks.{i+1}.{rest}"])
    (['blocks.{i:int}.{rest:path}'], ['h.{i-1}.{rest}'])
    >>> turned(["attn.{x:q|k|v}.{leaf}"], ["attn.qkv.{leaf}"])
    (['attn.qkv.{leaf}'], ['attn.{x:q|k|v}.{leaf}'])
    """
    try:
        return _Turning.of(sources, targets).texts(sources, targets)
    except RulesError:
        return None


@dataclass(frozen=True, slots=True)
class _Turning:
    """captures: every name with its type. shifts: what a target adds to a number. shared: the names on both sides."""

    captures: dict[str, Capture] = field(default_factory=dict)
    shifts: dict[str, int] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, sources: Sequence[str], targets: Sequence[str]) -> _Turning:
        """Raises RulesError where a part has no name, or two targets count differently with one."""
        turning = cls()
        for source in sources:
            turning.captures.update(_captures(source))
        for target in targets:
            for body in _braced(target):
                name, shift, capture = _put(body)
                turning.captures.setdefault(name, capture)
                turning.shared.add(name)
                if turning.shifts.setdefault(name, shift) != shift:
                    raise RulesError(f"{name!r} is counted with in two ways")
        turning.shared.intersection_update(*[dict(_captures(source)) for source in sources])
        return turning

    def texts(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[list[str], list[str]]:
        """The targets as patterns, the sources as templates."""
        return [_rewritten(target, self._as_source) for target in targets], [_rewritten(source, self._as_target) for source in sources]

    def _as_source(self, body: str) -> str:
        name, _, _ = _put(body)
        return _typed(name, self.captures[name])

    def _as_target(self, body: str) -> str:
        name, capture = parse_capture(body)
        if name not in self.shared:
            return _typed(name, capture)
        shift = self.shifts[name]
        return f"{{{name}{-shift:+d}}}" if shift else f"{{{name}}}"


def _captures(source: str) -> Iterator[tuple[str, Capture]]:
    """Name and type of each capture. Raises RulesError for a pattern which holds what cannot be put back."""
    if source.startswith(REGEX_PREFIX):
        raise RulesError("a regular expression")
    for segment in parse_segments(source):
        for piece in segment:
            name, capture = parse_capture(piece.body) if isinstance(piece, Braced) else ("", None)
            if capture is not None and name:
                yield name, capture
            elif capture is not None or (not isinstance(piece, Braced) and "*" in piece.text):
                raise RulesError("a part without a name")


def _braced(text: str) -> Iterator[str]:
    return (piece.body for segment in parse_segments(text) for piece in segment if isinstance(piece, Braced))


def _put(body: str) -> tuple[str, int, Capture]:
    """(name, what is added to it, its type as far as it is written) of what a template puts in."""
    shifted = _SHIFTED.fullmatch(body)
    if shifted is None:
        name, capture = parse_capture(body)
        return name, 0, capture
    return shifted[1], int(shifted[2] + shifted[3]), Capture("int")


def _typed(name: str, capture: Capture) -> str:
    return f"{{{name}}}" if capture.kind == "text" else f"{{{name}:{capture}}}"


def _rewritten(text: str, rewrite: Callable[[str], str]) -> str:
    """The text with another body in each pair of braces."""
    segments = parse_segments(text)
    return ".".join("".join(rewrite(piece.body) if isinstance(piece, Braced) else piece.text for piece in segment) for segment in segments)
