"""The parameters of an output as members of their optimizer's groups: where each stands, and what it takes along. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.moments import Moments, ResetError, uncast
from ckpt_surgeon.planning.optimizer import is_parameter
from ckpt_surgeon.planning.optimizer_plan import OPTIMIZER, Follower
from ckpt_surgeon.planning.recipe import Recipe, Source, sources_of
from ckpt_surgeon.spec import Header, ParameterId, state_key

__all__ = ["Member", "Surgery", "members"]


@dataclass(frozen=True, slots=True)
class Surgery:
    """What becomes of the weights: the recipes of the output in its order, the target, and the outcome."""

    source: Header
    recipes: Mapping[str, Recipe]
    target: Header | None
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Member:
    """A parameter of the output in the group of this number. order: its place there is among the others'. why: it loses its state."""

    key: str
    group: int
    order: int
    follower: Follower
    why: str = ""
    has_state: bool = False
    is_new: bool = False


def members(surgery: Surgery, moments: Moments, *, resets: bool) -> Iterator[Member]:
    """The parameters which read one of the optimizer's, or which another source gives; then those of the target which are new.

    New ones stand in the last group. The order is the target's, if the source's groups are in the order of its table; else that of the
    ids which are read. resets: none takes its state along.
    """
    groups, target = moments.state.groups, surgery.target
    group_of = {each: i for i, group in enumerate(groups) for each in group}
    place_of = {each: i for i, each in enumerate(chain.from_iterable(groups))}
    order = {key: i for i, key in enumerate(target)} if target and _is_in_order(surgery.source, moments) else {}
    seen: dict[Recipe, str] = {}
    for key, recipe in surgery.recipes.items():
        ids = [moments.ids[read.key] for read in sources_of(recipe) if not read.file and read.key in moments.ids]
        if target and target.kinds.get(key) == "buffer":
            continue
        if not ids:
            if groups and _is_taken(key, recipe, surgery, moments):
                at = moments.ids.get(key, "")
                place = order.get(key, place_of.get(at, len(place_of)))
                yield Member(key, group_of.get(at, len(groups) - 1), place, Follower(key), "its values come from another source")
            continue
        plain = uncast(recipe)
        first = seen.setdefault(plain, key)
        obstacle = _obstacle(key, first, {group_of[each] for each in ids}, resets)
        yield _member(key, plain, ids, moments, group_of[ids[0]], order.get(key, min(place_of[each] for each in ids)), obstacle)
    if target and groups:
        added = (key for key in _added(target, surgery.outcome))
        yield from (Member(key, len(groups) - 1, order.get(key, len(place_of)), Follower(key), is_new=True) for key in added)


def _is_taken(key: str, recipe: Recipe, surgery: Surgery, moments: Moments) -> bool:
    """Whether a parameter is made of other sources alone; without a target only what bears the name of one is known to be one."""
    if not any(read.file and not read.is_initial for read in sources_of(recipe)):
        return False
    if surgery.target is None:
        return key in moments.ids
    return key not in surgery.target.aliases and is_parameter(key, surgery.target)


def _is_in_order(source: Header, moments: Moments) -> bool:
    """Whether the parameters of each group come in the order in which the table has them."""
    place_of = {each: i for i, key in enumerate(source) if (each := moments.ids.get(key)) is not None}
    places = [[place_of[each] for each in group] for group in moments.state.groups]
    return all(group == sorted(group) for group in places)


def _obstacle(key: str, first: str, groups: set[int], resets: bool) -> str:
    if resets:
        return "as asked"
    if first != key:
        return f"a copy of {escape(first)}, which takes the state along"
    return "its parts stood in several groups" if len(groups) > 1 else ""


def _member(key: str, plain: Recipe, ids: Sequence[ParameterId], moments: Moments, group: int, order: int, obstacle: str) -> Member:
    if not any(moments.state.entries.get(each) for each in ids):
        return Member(key, group, order, Follower(key, ids[0]))
    try:
        if obstacle:
            raise ResetError(obstacle)
        made = {} if isinstance(plain, Source) else moments.of(plain)
    except ResetError as error:
        return Member(key, group, order, Follower(key), str(error))
    named = {name: (OPTIMIZER + state_key(moments.place, key, name), recipe) for name, recipe in made.items()}
    return Member(key, group, order, Follower(key, ids[0], named), has_state=True)


def _added(target: Header, outcome: Outcome) -> list[str]:
    """The target's parameters which are missing or initialized, tied ones once."""
    return [key for key in dict.fromkeys(outcome.new) if key in target.tensors and key not in target.aliases and is_parameter(key, target)]
