"""Roles: what an op calls its inputs and outputs where they are not alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Roles"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of an op's unlike inputs and outputs, each in the op's order (empty: they are alike, or there is only one).

    optional: inputs which a rule may leave out. An op with roles has a field `inputs`, which the reader of rules fills with
    the roles which a rule gives; it stays None where a rule gives a list, whose number then has to tell.
    """

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The inputs which every rule has to give."""
        return tuple(role for role in self.sources if role not in self.optional)

    def checked(self, given: Sequence[str] | None, op: str) -> tuple[str, ...] | None:
        """An op's `inputs`: in the op's order, none unknown, none twice, none of the required ones left out. For its `__post_init__`."""
        if given is None:
            return None
        for role in given:
            if role not in self.sources:
                near = nearest(str(role), self.sources)
                raise RulesError(
                    f"{op}: no input is called {role!r}", hint=f"Did you mean {near!r}?" if near else f"Known: {self._listed()}."
                )
        lacking = [role for role in self.required if role not in given]
        if lacking or len(set(given)) < len(given):
            raise RulesError(f"{op}: {'no ' + lacking[0] if lacking else 'one input twice'} among its inputs: {', '.join(given)}")
        return tuple(role for role in self.sources if role in given)

    def named(self, given: tuple[str, ...] | None, values: Sequence[Value], op: str) -> dict[str, Value]:
        """Each input by its role. Raises RulesError where their number does not tell which they are."""
        roles = given or next((roles for roles in (self.sources, self.required) if len(roles) == len(values)), ())
        if len(roles) == len(values):
            return dict(zip(roles, values, strict=True))
        wanted = ", ".join(given) if given else self._listed()
        raise RulesError(
            f"{op}: {len(values)} inputs; it takes {wanted}", hint="A mapping tells which is which: `source: {ROLE: PATTERN, ...}`."
        )

    def _listed(self) -> str:
        return ", ".join(f"{role} (optional)" if role in self.optional else role for role in self.sources)
