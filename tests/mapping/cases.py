"""Random tables and random name rules which fit them more often than not."""

from itertools import count
from typing import Any

from hypothesis import strategies as st
from twin import Refused, judged

__all__ = ["alignments", "cases"]

Rule = dict[str, Any]

_SEGMENTS = ("module", "net", "a", "conv1", "conv2", "conv10", "norm", "0", "1", "12", "weight")
_MOST_RULES = 3
_keys = st.lists(st.lists(st.sampled_from(_SEGMENTS), min_size=1, max_size=4).map(".".join), min_size=1, max_size=8, unique=True)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Rule], list[str]]:
    """Rules, each made for a key of the table which those before it leave; and the keys of the first table."""
    keys = draw(_keys)
    rules: list[Rule] = []
    for _ in range(draw(st.integers(1, _MOST_RULES))):
        try:
            table = list(judged(rules, keys))
        except Refused:
            break
        rules.append(_rule(draw, table or keys))
    return rules, keys


_cores = st.lists(st.sampled_from(("a.weight", "a.0", "b", "conv1.weight")), min_size=1, max_size=3, unique=True)
_wrappers = ("module", "base", "module.base")


@st.composite
def alignments(draw: st.DrawFn) -> tuple[Rule, list[str], list[str]]:
    """A body of align_names; keys and targets which are the same names in other wrappings, most of the time."""
    body = {
        "prefixes": draw(st.lists(st.sampled_from(_wrappers), max_size=3, unique=True)),
        "segments": draw(st.lists(st.sampled_from(("net", "wrap")), min_size=1, max_size=2, unique=True)),
    }
    return body, draw(_wrapped()), draw(_wrapped())


@st.composite
def _wrapped(draw: st.DrawFn) -> list[str]:
    names = []
    for core in draw(_cores):
        parts = core.split(".")
        place = draw(st.integers(0, len(parts)))
        inner = draw(st.sampled_from([[], [], ["net"], ["wrap"], ["net", "wrap"]]))
        outer = draw(st.lists(st.sampled_from(_wrappers), max_size=2))
        names.append(".".join([*outer, *parts[:place], *inner, *parts[place:]]))
    return list(dict.fromkeys(names))


def _rule(draw: st.DrawFn, table: list[str]) -> Rule:
    name = draw(st.sampled_from(sorted(_BODIES)))
    relaxed = draw(st.booleans())
    return {name: _BODIES[name](draw, table)} | ({"expect": "any"} if relaxed else {})


def _strip_prefix(draw: st.DrawFn, table: list[str]) -> str | list[str]:
    prefixes = draw(st.lists(_prefixes(table), min_size=1, max_size=3))
    return prefixes[0] if len(prefixes) == 1 and draw(st.booleans()) else prefixes


def _prefixes(table: list[str]) -> st.SearchStrategy[str]:
    """The start of a key, whole or cut inside a segment, with its last dot or without."""
    found = [".".join(key.split(".")[:n]) for key in table for n in (1, 2)]
    return st.tuples(st.sampled_from([*found, "mod", "net"]), st.sampled_from(["", "."])).map("".join)


def _add_prefix(draw: st.DrawFn, table: list[str]) -> str | Rule:
    prefix = draw(st.sampled_from(["module", "module.", "new.net."]))
    return {"prefix": prefix, "match": _patterns(draw, table)} if draw(st.booleans()) else prefix


def _patterns(draw: st.DrawFn, table: list[str]) -> str | list[str]:
    patterns = [".".join(_general(draw, key, True)[0]) for key in draw(st.lists(st.sampled_from(table), min_size=1, max_size=3))]
    return patterns[0] if len(patterns) == 1 and draw(st.booleans()) else patterns


def _rename(draw: st.DrawFn, table: list[str]) -> dict[str, str]:
    keys = draw(st.lists(st.sampled_from(table), min_size=1, max_size=2))
    return dict(_pair(draw, key, True, 1) for key in keys)


def _replace(draw: st.DrawFn, table: list[str]) -> dict[str, str]:
    runs = []
    for key in draw(st.lists(st.sampled_from(table), min_size=1, max_size=3)):
        segments = key.split(".")
        start = draw(st.integers(0, len(segments) - 1))
        runs.append(".".join(segments[start : start + draw(st.integers(1, 2))]))
    return dict(_pair(draw, run, False, 0) for run in runs)


def _pair(draw: st.DrawFn, key: str, with_paths: bool, shortest: int) -> tuple[str, str]:
    """A pattern which matches the key, and a template which keeps most of what it captures, in some order."""
    parts, words = _general(draw, key, with_paths)
    words += draw(st.lists(st.sampled_from(_SEGMENTS), max_size=2))
    words = draw(st.permutations(words)) if draw(st.booleans()) else words
    kept = words if draw(st.integers(0, 3)) else words[:1]
    return ".".join(parts), ".".join(kept if len(kept) >= shortest else ["new"])


def _general(draw: st.DrawFn, key: str, with_paths: bool) -> tuple[list[str], list[str]]:
    """The parts of a pattern which matches the key, and for each what may stand for it in a template."""
    numbers, parts, words = count(), [], []
    segments = key.split(".")
    while segments:
        if with_paths and draw(st.integers(0, 4)) == 0:
            path, word = draw(st.sampled_from([("**", ""), (f"{{p{next(numbers)}:path}}", "{}")]))
            segments = segments[draw(st.integers(0, 2)) :]
        else:
            path, word = draw(st.sampled_from(_readings(segments.pop(0), next(numbers))))
        parts.append(path)
        words += [word.replace("{}", path.split(":")[0] + "}")] if word else []
    return parts, words


def _readings(segment: str, number: int) -> list[tuple[str, str]]:
    """(what matches a segment, what stands for it in a template)."""
    found = [
        (segment, segment),
        (segment, segment),
        ("*", ""),
        (f"{{x{number}}}", f"{{x{number}}}"),
        (f"{{{segment}|0}}".replace("{0|0}", "0"), ""),
    ]
    found.append((f"{{y{number}:norm|{segment}}}".replace("norm|norm", "norm"), f"my{{y{number}}}") if segment != "norm" else ("nor*", ""))
    if segment.isdigit():
        found += [(f"{{i{number}:int}}", f"{{i{number}{change}}}") for change in ("", "+1", "-1")]
    if segment.startswith("conv"):
        found += [("conv*", "")] + [(f"conv{{i{number}:int}}", f"stem{{i{number}{change}}}") for change in ("", "+1", "-1")]
    return found


_BODIES = {
    "strip_prefix": _strip_prefix,
    "add_prefix": _add_prefix,
    "replace": _replace,
    "rename": _rename,
    "drop": _patterns,
    "keep": _patterns,
}
