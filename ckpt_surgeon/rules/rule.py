"""Rule, Allow, Rules: what a rules file says, as values. Knows no YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern
    from ckpt_surgeon.keys.template import Template
    from ckpt_surgeon.ops.protocol import NameOp, TensorOp
    from ckpt_surgeon.rules.condition import Condition
    from ckpt_surgeon.rules.finetune import Finetune
    from ckpt_surgeon.rules.guards import Guard

__all__ = ["Allow", "Expect", "Rule", "Rules", "When"]

When = Literal["mismatched"]
Expect = int | Literal["any"] | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One op and on which keys it works.

    sources, targets: of a tensor op (a name op holds its own). No targets: each matched key stays where it is.
    when: only keys whose shape is not the target's. condition: whether the rule is there at all. expect: how many matches
    (None: at least one). where: `rules.yaml:12:5`.
    """

    op: NameOp | TensorOp
    sources: tuple[Pattern, ...] = ()
    targets: tuple[Template, ...] = ()
    when: When | None = None
    condition: Condition | None = None
    expect: Expect = None
    why: str = ""
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Allow:
    """What may stay unloaded, be left over, or be cast at a loss."""

    missing: tuple[Pattern, ...] = ()
    unexpected: tuple[Pattern, ...] = ()
    casts: tuple[Pattern, ...] = ()

    def joined(self, other: Allow) -> Allow:
        """What either allows."""
        return Allow(_union(self.missing, other.missing), _union(self.unexpected, other.unexpected), _union(self.casts, other.casts))


@dataclass(frozen=True)
class Rules:
    """All that one or several rules files say, in order. sources: what they call other checkpoints -> where these are.

    guards: what has to be true of the result; they change nothing of it.
    """

    rules: tuple[Rule, ...] = ()
    allow: Allow = Allow()
    finetune: Finetune | None = None
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    guards: tuple[Guard, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in hexadecimal: of what the rules do, not of where they stand or why, nor of where sources are."""
        from ckpt_surgeon.rules.digest import digest_of

        return digest_of([replace(rule, why="", where="") for rule in self.rules], self.allow, self.finetune)

    def joined(self, *others: Rules) -> Rules:
        """These rules, then the others'; what any of them allows; the last `finetune` section; the sources and guards of all.

        Raises RulesError where one alias stands for two sources.
        """
        joined = self
        for other in others:
            joined = Rules(
                joined.rules + other.rules,
                joined.allow.joined(other.allow),
                other.finetune or joined.finetune,
                _all_sources(joined.sources, other.sources),
                joined.guards + other.guards,
            )
        return joined

    def allowing(self, allow: Allow) -> Rules:
        """The same rules, which allow this as well."""
        return replace(self, allow=self.allow.joined(allow))


def _all_sources(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    twice = next((alias for alias in first if second.get(alias, first[alias]) != first[alias]), None)
    if twice is not None:
        raise RulesError(f"two sources are called {twice!r}: {first[twice]} and {second[twice]}", hint="give one of them another alias")
    return {**first, **second}


def _union(first: Iterable[Pattern], second: Iterable[Pattern]) -> tuple[Pattern, ...]:
    return tuple(dict.fromkeys((*first, *second)))
