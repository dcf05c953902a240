"""The optimizer follows the weights: each parameter's state goes where the parameter goes, by the same ops where they only move elements.

Pure; imported for the first optimizer which has to follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.members import Member, Surgery, members
from ckpt_surgeon.planning.moments import Moments
from ckpt_surgeon.planning.optimizer import Optimizers, is_parameter
from ckpt_surgeon.planning.optimizer_plan import Follower, OptimizerPlan
from ckpt_surgeon.planning.parameter_order import UnknownOrderError, keys_of, optimized
from ckpt_surgeon.planning.recipe import sources_of
from ckpt_surgeon.spec import OptimizerState, ParameterId

__all__ = ["follow"]


def follow(surgery: Surgery, lost: str | None, optimizers: Optimizers) -> OptimizerPlan:
    """The plan for all optimizer states: they follow together, or go together.

    lost: why they cannot stay as they stand; None where they can: then they do, where nobody can tell which state is whose.
    """
    states = optimizers.states()
    resets = optimizers.mode == "reset"
    try:
        _require_order(surgery)
        followed = [_Following.of(surgery, place, state, optimizers) for place, state in states.items()]
    except UnknownOrderError as error:
        if lost is not None:
            return OptimizerPlan("dropped", f"{lost}, and it cannot follow: {error}")
        return _emptied(states) if resets else OptimizerPlan()
    if not followed:
        return OptimizerPlan() if lost is None else OptimizerPlan("dropped", lost)
    if not resets and all(each.is_unchanged for each in followed):
        return OptimizerPlan()
    members = [member for each in followed for member in each.members]
    return OptimizerPlan(
        "reset" if resets else "followed",
        groups={each.moments.place: each.groups for each in followed},
        followed=tuple(member.key for member in members if member.has_state),
        reset={member.key: member.why for member in members if member.why},
        dropped={key: why for each in followed for key, why in each.dropped.items()},
        new=tuple(member.key for member in members if member.is_new),
    )


def _require_order(surgery: Surgery) -> None:
    """Raises UnknownOrderError where names change hands and no target tells the order of the parameters which bear them then."""
    if surgery.target is not None:
        return
    for key, recipe in surgery.recipes.items():
        is_taken = key in surgery.source.tensors and is_parameter(key, surgery.source)
        if is_taken and all(read.key != key for read in sources_of(recipe)):
            raise UnknownOrderError(f"{escape(key)} named another parameter, and only a target could tell the order")


def _emptied(states: Mapping[str, OptimizerState | None]) -> OptimizerPlan:
    """Every state emptied, the groups as they stand: for parameters whose order is the same, and whose names nobody can tell."""
    if None in states.values():
        return OptimizerPlan("dropped", "it is not what an optimizer's state_dict() gives, so there is nothing to reset")
    groups = {place: tuple(tuple(Follower(None) for _ in group) for group in state.groups) for place, state in states.items() if state}
    return OptimizerPlan("reset", groups=groups)


@dataclass(frozen=True, slots=True)
class _Following:
    """One optimizer's state, and the parameters of the output which belong to it. keys: id -> source key."""

    surgery: Surgery
    moments: Moments
    keys: Mapping[ParameterId, str]
    members: tuple[Member, ...]

    @classmethod
    def of(cls, surgery: Surgery, place: str, state: OptimizerState | None, optimizers: Optimizers) -> _Following:
        """Raises UnknownOrderError where nobody can tell which state is whose."""
        if state is None:
            raise UnknownOrderError(f"{escape(place)} is not what an optimizer's state_dict() gives")
        keys = keys_of(state, surgery.source, optimized(surgery.source, surgery.recipes, surgery.target))
        moments = Moments(place, state, {key: each for each, key in keys.items()}, optimizers.number)
        return cls(surgery, moments, keys, tuple(members(surgery, moments, resets=optimizers.mode == "reset")))

    @property
    def groups(self) -> tuple[tuple[Follower, ...], ...]:
        """The parameters of each group in order; a group whose parameters are all gone stays, empty."""
        groups: list[list[Member]] = [[] for _ in self.moments.state.groups]
        for member in sorted(self.members, key=lambda member: member.order):
            groups[member.group].append(member)
        return tuple(tuple(member.follower for member in group) for group in groups)

    @property
    def dropped(self) -> dict[str, str]:
        """The source's parameters of which nothing is left, with the reason."""
        kept = [member.key for member in self.members if not member.is_new]
        read = {source.key for key in kept for source in sources_of(self.surgery.recipes[key]) if not source.file}
        reasons = self.surgery.outcome.dropped
        return {key: reasons.get(key, "no parameter reads it any more") for key in self.keys.values() if key not in read}

    @property
    def is_unchanged(self) -> bool:
        """Whether the state can stay as it stands: the same ids in the same groups, under the same names."""
        state, followers = self.moments.state, list(chain.from_iterable(self.groups))
        names = [state.names[each] for each in chain.from_iterable(state.groups)] if state.names else [each.name for each in followers]
        same_ids = [[each.source for each in group] for group in self.groups] == [list(group) for group in state.groups]
        return same_ids and names == [each.name for each in followers] and not any(each.made for each in followers)
