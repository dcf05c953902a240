"""What names mean: their words in the field's common terms, and how alike two names are."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise

from ckpt_surgeon.mapping.synonyms import FAINT, PHRASES, RELATED, WORDS

__all__ = ["likeness", "meanings", "terms", "without"]

_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PHRASES = tuple((f" {phrase} ", f" {meaning} ") for phrase, meaning in PHRASES)
_FAINT_WEIGHT = 0.25
_NUMBER_WEIGHT = 0.5
_ORDER_WEIGHT = 0.4  # of the words' order against the words
_ABBREVIATED = 0.75  # "proj" and "projection"
_AKIN = 0.5  # related words
_MOST_TELLING = 16  # segments of a path from its end, and words of a segment: names are compared word by word
_SHORTEST_ABBREVIATION = 3  # letters; shorter beginnings are shared by chance


@lru_cache(maxsize=1 << 16)
def meanings(path: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a path's segments in common terms: `("h", "0", "ln_1")` -> `block 0 norm first`."""
    text = " ".join(word for segment in path[-_MOST_TELLING:] for word in terms(segment))
    text = f" {text} "
    once = _rephrased(text)
    return tuple((once if once == text else _rephrased(once)).split())


def _rephrased(text: str) -> str:
    for phrase, meaning in _PHRASES:
        if phrase in text:
            text = text.replace(phrase, meaning)
    return text


@lru_cache(maxsize=1 << 16)
def terms(segment: str) -> tuple[str, ...]:
    """The words of one segment in common terms, each by itself: `normFFN2` -> `norm mlp 2`."""
    pieces = (piece.lower() for piece in _PIECES.findall(segment)[-_MOST_TELLING:])
    return tuple(WORDS.get(piece, piece) for piece in pieces)


@lru_cache(maxsize=1 << 16)
def likeness(left: tuple[str, ...], right: tuple[str, ...]) -> float:
    """How much of their words two names share: 0 (nothing) to 1; words which tell little count little."""
    total = sum(map(_weight, left)) + sum(map(_weight, right))
    if not total:
        return 0.0
    shared = (_found(left, right) + _found(right, left)) / total
    return shared * (1 - _ORDER_WEIGHT * (1 - _same_order(left, right)))


def _same_order(left: Sequence[str], right: Sequence[str]) -> float:
    """How many of the neighbors in both names are the same: "token to image" and "image to token" share words, not neighbors."""
    shared = set(left) & set(right)
    pairs = [set(pairwise(word for word in words if word in shared)) for words in (left, right)]
    return 2 * len(pairs[0] & pairs[1]) / (len(pairs[0]) + len(pairs[1])) if any(pairs) else 1.0


def _found(words: Collection[str], others: Collection[str]) -> float:
    return sum(_weight(word) * max((_same(word, other) for other in others), default=0.0) for word in words)


def _weight(word: str) -> float:
    if word.isdigit():
        return _NUMBER_WEIGHT
    return _FAINT_WEIGHT if word in FAINT else 1.0


@lru_cache(maxsize=1 << 16)
def _same(word: str, other: str) -> float:
    if word == other:
        return 1.0
    short, long = sorted((word, other), key=len)
    if len(short) >= _SHORTEST_ABBREVIATION and long.startswith(short):
        return _ABBREVIATED
    return _AKIN if frozenset((word, other)) in RELATED else 0.0


def without(words: Sequence[str], common: Collection[str]) -> tuple[str, ...]:
    """The words which are not in `common`."""
    return tuple(word for word in words if word not in common)
