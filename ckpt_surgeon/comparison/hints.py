"""Guesses at what the names of two headers have in common: wrappers, and the nearest name. For messages, never for a plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Entry

__all__ = ["Wrappers", "find_wrappers", "nearest_keys"]

_MOST_WRAPPERS = 6  # a name which differs in more parts is another name, not a wrapped one
_MOST_GUESSES = 50  # nobody reads more
_MOST_CANDIDATES = 2000  # of one leaf name; keeps the search linear on huge headers
_LOWEST_SCORE = 70  # of 100; below it the guesses are wrong more often than right


@dataclass(frozen=True, slots=True)
class Wrappers:
    """Parts by which names differ: `prefixes` at the start, `segments` anywhere; without them `matches` more keys agree."""

    prefixes: tuple[str, ...]
    segments: tuple[str, ...]
    matches: int

    @property
    def rule(self) -> str:
        """The rule which takes them away: `align_names: {prefixes: [module.], segments: [net]}`."""
        parts = {"prefixes": [f"{prefix}." for prefix in self.prefixes], "segments": list(self.segments)}
        words = [f"{name}: [{', '.join(values)}]" for name, values in parts.items() if values]
        return f"align_names: {{{', '.join(words)}}}"


def find_wrappers(unexpected: Collection[str], missing: Collection[str]) -> Wrappers | None:
    """The segments which only one side has and without which the other side's names appear; None where there are none."""
    if not unexpected or not missing:
        return None
    lone = {word for word in _words(unexpected) ^ _words(missing) if not word.isdigit()}
    counts = Counter(word for key in (*unexpected, *missing) for word in lone.intersection(key.split(".")[:-1]))
    words = [word for word, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_WRAPPERS]]
    matches = _agreement(unexpected, missing, words)
    if not words or not matches:
        return None
    for word in list(words):
        rest = [other for other in words if other != word]
        if _agreement(unexpected, missing, rest) == matches:
            words = rest
    prefixes = tuple(word for word in words if not any(f".{word}." in f"{key}." for key in (*unexpected, *missing)))
    return Wrappers(prefixes, tuple(word for word in words if word not in prefixes), matches)


def _words(keys: Iterable[str]) -> set[str]:
    """The segments of keys, the last of each left out."""
    found: set[str] = set()
    for key in keys:
        found.update(key.split(".")[:-1])
    return found


def _agreement(unexpected: Iterable[str], missing: Iterable[str], words: Iterable[str]) -> int:
    """How many names agree without the words."""
    lone = frozenset(words)
    if not lone:
        return len(set(missing).intersection(unexpected))
    names = {_without(key, lone) for key in unexpected}
    return sum([_without(key, lone) in names for key in missing])


def _without(key: str, words: frozenset[str]) -> str:
    segments = key.split(".")
    return key if words.isdisjoint(segments) else ".".join([word for word in segments if word not in words])


def nearest_keys(missing: Mapping[str, Entry], unexpected: Mapping[str, Entry]) -> dict[str, str]:
    """For the first missing keys, the unexpected key of the same last segment and shape whose name is most like it."""
    if not missing or not unexpected:
        return {}
    from rapidfuzz import fuzz, process

    candidates: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for key, entry in unexpected.items():
        candidates[_family(key, entry)].append(key)
    found = {}
    for key in list(missing)[:_MOST_GUESSES]:
        choices = candidates[_family(key, missing[key])][:_MOST_CANDIDATES]
        best = process.extractOne(key, choices, scorer=fuzz.ratio, score_cutoff=_LOWEST_SCORE)
        if best:
            found[key] = best[0]
    return found


def _family(key: str, entry: Entry) -> tuple[str, str]:
    return key.rpartition(".")[2], str(getattr(entry, "shape", entry))
