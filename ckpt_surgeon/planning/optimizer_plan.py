"""OptimizerPlan: what becomes of the optimizer's state beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Final, Literal

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import ParameterId

if TYPE_CHECKING:
    from ckpt_surgeon.planning.recipe import Recipe

__all__ = ["OPTIMIZER", "Fate", "Follower", "OptimizerPlan"]

Fate = Literal["kept", "followed", "reset", "dropped"]

# The alias in `Source.file` of the tensors which optimizers hold. No source of rules can bear a name with a colon.
OPTIMIZER: Final = "optimizer:"


@dataclass(frozen=True, slots=True)
class Follower:
    """A parameter in a group of an optimizer of the output.

    name: its key (None: groups and names stay as they stand). source: the id of the source's parameter whose state it takes; None:
    it begins without. made: name in the state (`exp_avg`) -> (the key under which it is written, Recipe), for tensors which are
    not the source's as they stand.
    """

    name: str | None
    source: ParameterId | None = None
    made: Mapping[str, tuple[str, Recipe]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OptimizerPlan:
    """The fate of all optimizer states of a source, and of each parameter in them, by its key.

    fate: `kept` (not a byte changes), `followed`, `reset` (the groups stay, each parameter begins without state) or `dropped`; why:
    of a dropped one the reason. groups: place of a state (`optimizer`, `optimizer_states.0`) -> the parameters of its groups.
    followed: parameters of the output which take their state along. reset, dropped: those which lose it, those of the source
    which are gone; with the reason. new: those of the target which the source has not, and which begin without state.
    """

    fate: Fate = "kept"
    why: str = ""
    groups: Mapping[str, tuple[tuple[Follower, ...], ...]] = field(default_factory=dict)
    followed: tuple[str, ...] = ()
    reset: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    new: tuple[str, ...] = ()

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The tensors which are made anew, by the keys under which they are written."""
        followers = (follower for groups in self.groups.values() for group in groups for follower in group)
        return dict(pair for follower in followers for pair in follower.made.values())
