"""How many matches a rule found, against how many it expects; and what a rule without any may have meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.aliases import split_alias
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.planning.table import listed
from ckpt_surgeon.rules.rule import Rule

__all__ = ["check_count", "idle_patterns"]

_ONE_SOURCE = "keys of another source are taken by `rename`, `copy`, `tie`, and by `source:` with `target:`; check their names, too"
_SYNTAX = frozenset("*{}|^$()[]\\")


def check_count(rule: Rule, matches: Sequence[str], keys: Collection[str]) -> None:
    """Raises RulesError when the number of matches among `keys` is not what the rule expects (by default: at least one)."""
    if rule.expect == "any":
        return
    if rule.expect is None and not matches:
        raise RulesError(f"{rule.op.name}: nothing matches {_named(rule)}", hint=_guess(rule, keys))
    if rule.expect is not None and len(matches) != rule.expect:
        found = f": {listed(list(matches))}" if matches else ""
        wanted = f"{rule.expect} {'match' if rule.expect == 1 else 'matches'}"
        raise RulesError(f"{rule.op.name}: expected {wanted} of {_named(rule)}, found {len(matches)}{found}")


def idle_patterns(rule: Rule, keys: Collection[str]) -> list[str]:
    """Of a rule's listed patterns (of `drop`, `keep` or a `match`) those which match no key, in a sentence each: likely a typo."""
    texts = [pattern.text for pattern in rule.sources] or list(getattr(rule.op, "patterns", ()))
    if len(texts) < 2 or rule.expect == "any":
        return []
    idle = [text for text in texts if not _matches_one(Pattern.parse(text), keys)]
    return [f"{rule.where}: {rule.op.name}: nothing matches {escape(text)!r}, one of {len(texts)} patterns" for text in idle]


def _matches_one(pattern: Pattern, keys: Collection[str]) -> bool:
    return pattern.text in keys if pattern.is_literal else any(pattern.match(key) is not None for key in keys)


def _named(rule: Rule) -> str:
    return listed(list(_patterns(rule)), lambda pattern: repr(escape(pattern))) or "this rule"


def _patterns(rule: Rule) -> Iterator[str]:
    """What the rule looks for, as written: its sources, or whatever texts its op holds."""
    if rule.sources:
        yield from (pattern.text for pattern in rule.sources)
        return
    for field in fields(rule.op):  # type: ignore[arg-type]  # every op is a dataclass
        value = getattr(rule.op, field.name)
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Mapping | tuple) else []
        yield from (text for text in texts if isinstance(text, str))


def _guess(rule: Rule, keys: Collection[str]) -> str:
    """The word of a pattern which stands in no key, with the one which is most like it."""
    known = dict.fromkeys(word for key in keys for word in key.split("."))
    for pattern in _patterns(rule):
        if split_alias(pattern)[0]:
            return _ONE_SOURCE
        for word in pattern.split("."):
            if word and word not in known and not _SYNTAX & set(word):
                near = nearest(word, known)
                return f"no key has a part {escape(word)!r}" + (f"; did you mean {escape(near)!r}?" if near else "")
    return "check it against `inspect`, or say `expect: any`"
