"""Ops which give whole keys other names: rename, copy, tie."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from typing import ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.aliases import alias_of
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, text_pairs
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body, Copy, Edit, Move, NameOp, Tie
from ckpt_surgeon.ops.selection import Pairs

__all__ = ["CopyKeys", "Rename", "TieKeys"]


class _Paired(NameDefaults):
    """`{PATTERN: TEMPLATE}`, checked when the rule is read."""

    __slots__ = ()

    body: ClassVar[Body] = Body("pairs", only=True)
    pairs: Mapping[str, str]

    def __post_init__(self) -> None:
        assign(self, pairs=text_pairs(self.pairs, self.name))
        Pairs.of(self.pairs, self.name)

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases at the start of its patterns."""
        return tuple(dict.fromkeys(alias for pattern in self.pairs if (alias := alias_of(pattern))))

    def by_source(self, aliases: Collection[str]) -> dict[str, NameOp]:
        """The same op on the keys of one source each: alias -> its pairs; those which name none of the aliases are the main source's."""
        pairs: dict[str, dict[str, str]] = {}
        for pattern, template in self.pairs.items():
            alias = alias_of(pattern)
            pairs.setdefault(alias if alias in aliases else "", {})[pattern] = template
        return {alias: replace(self, pairs=own) for alias, own in pairs.items()}  # type: ignore[type-var]  # each is a dataclass


@dataclass(frozen=True, slots=True)
class Rename(_Paired):
    """Whole keys get other names, all pairs at once, so that two names can be swapped; each pair must match.

    >>> Rename({"fc.{leaf}": "head.{leaf}"}).edits(["fc.weight", "mlp.fc.weight"], None)
    [Move(source='fc.weight', target='head.weight')]
    """

    name: ClassVar[str] = "rename"

    pairs: Mapping[str, str] = field(hash=False)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each match. RulesError when a pair matches nothing while others do, or two match one key."""
        return [Move(key, place) for key, place in Pairs.of(self.pairs, self.name).places(keys, once=True)]


@dataclass(frozen=True, slots=True)
class CopyKeys(_Paired):
    """Independent tensors with the values of others, which stay.

    >>> CopyKeys({"encoder.{rest:path}": "momentum_encoder.{rest}"}).edits(["encoder.fc.bias", "fc.bias"], None)
    [Copy(source='encoder.fc.bias', target='momentum_encoder.fc.bias')]
    """

    name: ClassVar[str] = "copy"

    pairs: Mapping[str, str] = field(hash=False)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A copy for each match; a key may be copied by several pairs."""
        return [Copy(key, place) for key, place in _elsewhere(Pairs.of(self.pairs, self.name), keys)]


@dataclass(frozen=True, slots=True)
class TieKeys(_Paired):
    """Second names of tensors: both keys share one.

    >>> TieKeys({"embed.weight": "lm_head.weight"}).edits(["embed.weight"], None)
    [Tie(source='embed.weight', target='lm_head.weight')]
    """

    name: ClassVar[str] = "tie"

    pairs: Mapping[str, str] = field(hash=False)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A tie for each match; a key may be tied by several pairs."""
        return [Tie(key, place) for key, place in _elsewhere(Pairs.of(self.pairs, self.name), keys)]


def _elsewhere(pairs: Pairs, keys: Sequence[str]) -> list[tuple[str, str]]:
    places = pairs.places(keys, once=False)
    same = next((key for key, place in places if key == place), None)
    if same is not None:
        raise RulesError(f"{pairs.name}: {escape(same)} would get the name which it has", hint="Give it another one.")
    return places
