"""A slow plain twin of the name rules, written from the design alone: dicts, whole lists of candidates, no cleverness.

A table is a dict `key -> the source key it came from`. A rule is what a YAML file says: `{"rename": {...}, "expect": "any"}`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Refused", "aligned", "judged"]

Captures = dict[str, str]
Table = dict[str, str]
_PATH = re.compile(r"\*\*|\{(?P<name>\w+):path\}")
_PART = re.compile(r"\*|\{(?P<name>\w+)(?::(?P<kind>[^}]+))?\}|\{(?P<choice>[^}:]*\|[^}]*)\}")


class Refused(Exception):  # noqa: N818
    """The rules do not fit these keys."""


def judged(rules: list[dict[str, Any]], keys: list[str]) -> Table:
    """The table which the rules leave, or Refused."""
    table = {key: key for key in keys}
    for rule in rules:
        name = next(word for word in rule if word in _OPS)
        moves = _OPS[name](rule[name], list(table))
        if not moves and rule.get("expect") != "any":
            raise Refused(f"{name} matches nothing")
        table = _moved(table, moves)
    return table


def _moved(table: Table, moves: dict[str, str | None]) -> Table:
    """All that moves is taken out before any is put back; None is a drop."""
    after = {key: origin for key, origin in table.items() if key not in moves}
    for source, target in moves.items():
        if target is None:
            continue
        if target in after:
            raise Refused(f"two recipes for {target}")
        if not target:
            raise Refused(f"nothing is left of {source}")
        after[target] = table[source]
    return after


def matches(pattern: str, key: str) -> Captures | None:
    """The captures of the match in which the leftmost path is as short as possible; None where there is no match."""
    return next(_all_matches(pattern.split("."), key.split(".")), None)


def _all_matches(parts: list[str], segments: list[str]) -> Iterator[Captures]:
    if not parts:
        if not segments:
            yield {}
        return
    path = _PATH.fullmatch(parts[0])
    if path is None:
        if segments and (found := _part(parts[0], segments[0])) is not None:
            yield from ({**found, **rest} for rest in _all_matches(parts[1:], segments[1:]))
        return
    for n in range(len(segments) + 1):
        found = {path["name"]: ".".join(segments[:n])} if path["name"] else {}
        yield from ({**found, **rest} for rest in _all_matches(parts[1:], segments[n:]))


def _part(part: str, segment: str) -> Captures | None:
    """One segment against one part of a pattern."""
    expression, end = "", 0
    for word in _PART.finditer(part):
        expression += re.escape(part[end : word.start()]) + _expression(word)
        end = word.end()
    found = re.fullmatch(expression + re.escape(part[end:]), segment)
    return found.groupdict() if found else None


def _expression(word: re.Match[str]) -> str:
    if word["choice"]:
        return "(?:" + "|".join(re.escape(each) for each in word["choice"].split("|")) + ")"
    if not word["name"]:
        return "[^.]*"
    if word["kind"] is None:
        return f"(?P<{word['name']}>[^.]+)"
    if word["kind"] == "int":
        return f"(?P<{word['name']}>[0-9]+)"
    return f"(?P<{word['name']}>" + "|".join(re.escape(each) for each in word["kind"].split("|")) + ")"


def filled(template: str, captures: Captures) -> str:
    """The template with its captures put back; an empty path takes its dot away with it."""

    def put(word: re.Match[str]) -> str:
        name, sign, number = word["name"], word["sign"], word["number"]
        if not sign:
            return captures[name]
        value = int(captures[name]) + (int(number) if sign == "+" else -int(number))
        if value < 0:
            raise Refused(f"{name} becomes negative")
        return str(value)

    text = re.sub(r"\{(?P<name>\w+)(?:(?P<sign>[+-])(?P<number>\d+))?\}", put, template)
    return ".".join(part for part in text.split(".") if part)


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _strip_prefix(prefixes: str | list[str], keys: list[str]) -> dict[str, str | None]:
    moves: dict[str, str | None] = {}
    for key in keys:
        rest = key
        for prefix in _listed(prefixes):
            rest = rest.removeprefix(prefix.removesuffix(".") + ".")
        if rest != key:
            moves[key] = rest
    return moves


def _add_prefix(body: str | dict[str, Any], keys: list[str]) -> dict[str, str | None]:
    prefix = body if isinstance(body, str) else body["prefix"]
    patterns = ["**"] if isinstance(body, str) else _listed(body.get("match", "**"))
    return {key: f"{prefix.removesuffix('.')}.{key}" for key in keys if _any(patterns, key)}


def _any(patterns: list[str], key: str) -> bool:
    return any(matches(pattern, key) is not None for pattern in patterns)


def _drop(patterns: str | list[str], keys: list[str]) -> dict[str, str | None]:
    return {key: None for key in keys if _any(_listed(patterns), key)}


def _keep(patterns: str | list[str], keys: list[str]) -> dict[str, str | None]:
    kept = {key: key for key in keys if _any(_listed(patterns), key)}
    return {key: kept.get(key) for key in keys} if kept else {}


def _rename(pairs: dict[str, str], keys: list[str]) -> dict[str, str | None]:
    moves: dict[str, str | None] = {}
    unused = False
    for pattern, template in pairs.items():
        found = {key: captures for key in keys if (captures := matches(pattern, key)) is not None}
        unused = unused or not found
        for key, captures in found.items():
            if key in moves:
                raise Refused(f"two pairs match {key}")
            moves[key] = filled(template, captures)
    if moves and unused:
        raise Refused("one pair matches, another does not")
    return moves


def _replace(pairs: dict[str, str], keys: list[str]) -> dict[str, str | None]:
    moves: dict[str, str | None] = {}
    for key in keys:
        before, after, touched = key.split("."), [], False
        while before:
            n, put = _longest(pairs, before)
            after.append(put)
            before = before[max(n, 1) :]
            touched = touched or n > 0
        if touched:
            moves[key] = ".".join(part for part in after if part)
    return moves


def _longest(pairs: dict[str, str], segments: list[str]) -> tuple[int, str]:
    """How many of the first segments the longest pair replaces, and by what; 0 and the first segment where none does.

    Of two of one length the one without wildcards; two with wildcards are refused.
    """
    found: dict[int, list[str]] = {}
    for pattern in pairs:
        n = len(pattern.split("."))
        if n <= len(segments) and matches(pattern, ".".join(segments[:n])) is not None:
            found.setdefault(n, []).append(pattern)
    if not found:
        return 0, segments[0]
    n = max(found)
    run = ".".join(segments[:n])
    best = [pattern for pattern in found[n] if pattern == run] or found[n]
    if len(best) > 1:
        raise Refused(f"{best} match {run}")
    return n, filled(pairs[best[0]], matches(best[0], run) or {})


_OPS: dict[str, Callable[[Any, list[str]], dict[str, str | None]]] = {
    "strip_prefix": _strip_prefix,
    "add_prefix": _add_prefix,
    "replace": _replace,
    "rename": _rename,
    "drop": _drop,
    "keep": _keep,
}


def aligned(prefixes: list[str], segments: list[str], keys: list[str], targets: list[str]) -> Table:
    """align_names: every shorter form of every key against every shorter form of every target's name."""
    moves: dict[str, str | None] = {}
    for key in keys:
        free = [name for name in targets if name not in keys]
        names = [key] if key in targets else [name for name in free if _forms(key, prefixes, segments) & _forms(name, prefixes, segments)]
        if len(names) > 1 or set(names) & set(moves.values()):
            raise Refused(f"two candidates for {key} or {names}")
        moves |= dict.fromkeys([key], *names) if names else {}
    if not moves:
        raise Refused("align_names matches nothing")
    return _moved({key: key for key in keys}, moves)


def _forms(key: str, prefixes: list[str], segments: list[str]) -> set[str]:
    """What can be left of a key when listed parts are taken away one by one; it never vanishes."""
    parts = key.split(".")
    shorter = [key.removeprefix(f"{prefix}.") for prefix in prefixes]
    shorter += [".".join(parts[:i] + parts[i + 1 :]) for i, part in enumerate(parts) if part in segments and len(parts) > 1]
    return {key}.union(*(_forms(form, prefixes, segments) for form in shorter if form != key))
