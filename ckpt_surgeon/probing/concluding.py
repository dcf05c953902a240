"""What the runs of a probe come to: decisions settled, doubts named, and what ran right before the outputs went astray."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.folding import listed
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Alternative, Family
from ckpt_surgeon.probing.bench import Result
from ckpt_surgeon.probing.deciding import Verdict
from ckpt_surgeon.probing.dependence import Idle
from ckpt_surgeon.probing.groups import Group
from ckpt_surgeon.probing.likeness import OTHER
from ckpt_surgeon.probing.settling import doubted, settled

__all__ = [
    "LACKING",
    "Search",
    "astray",
    "concluded",
    "is_confirmed",
    "is_lost_early",
    "reason",
    "misled",
    "told",
    "untold",
    "with_another",
]

LACKING = "the source's model lacks what one of the ways takes, so that no run can tell"
_EVEN = "every way which was tried gives the same outputs on a random input"
_UNTRIED = "there were not runs enough to try it"
_UNCLEAR = "no way which was tried leads on to what the source computes"
_REFUTED = 0.5  # at most so sure is what ran right before the outputs went astray


@dataclass(frozen=True, slots=True)
class Search:
    """clear: the groups for which one way stood out. open: the others, and why they are open."""

    clear: tuple[Verdict, ...]
    open: Mapping[Group, str]


def reason(verdict: Verdict | None) -> str:
    """Why a group is open."""
    if verdict is None:
        return _UNTRIED
    return _EVEN if verdict.is_even else _UNCLEAR


def concluded(families: Sequence[Family], search: Search, final: Result) -> list[Family]:
    """The families, settled where the last run, with all best ways together, bears them out.

    What stays open though the outputs are not the source's is no rule, however sure it was but for its doubt.
    """
    found = list(families)
    most = _REFUTED if final.is_apart else None
    for verdict in search.clear:
        if _is_borne_out(verdict, final):
            assert verdict.best.way is not None  # the noise never leads furthest: `judged` takes the best before it is made
            found = settled(found, verdict.group, verdict.best.way, _why(verdict, final))
        else:
            found = doubted(found, verdict.group.members, _UNCLEAR, most)
    for group, why in search.open.items():
        found = doubted(found, group.members, why, most)
    return found


def _is_borne_out(verdict: Verdict, final: Result) -> bool:
    """Whether the outputs are equal, or some part which runs after all of the group's is given what no other way gave it."""
    if final.is_equal:
        return True
    later = [place for place in range(verdict.last + 1, len(final.calls)) if final.known[place]]
    return all(any(not other.result.known[place] for place in later if place < len(other.result.known)) for other in verdict.others)


def _why(verdict: Verdict, final: Result) -> str:
    ways = [trial for trial in verdict.others if trial.way is not None]
    others = {0: "other weights", 1: "the alternative"}.get(len(ways), f"the nearest of {len(ways)} alternatives")
    gaps = [trial.result.distance for trial in ways or verdict.others if trial.result.distance is not None]
    if final.is_equal and gaps and min(gaps) >= OTHER:
        return f"outputs {_equal(final)} on a random input; {others} differ{'' if not ways else 's'} by {min(gaps):.2g}"
    reach = max(trial.result.reach() for trial in ways or verdict.others)
    given = f"{final.reach()} of {len(final.calls)} parts are given what the source's are"
    return f"{given} on a random input; with {others} {reach}"


def _equal(final: Result) -> str:
    return f"equal to {final.distance:.0e}" if final.distance else "equal"


def astray(families: Sequence[Family], final: Result, idle: Collection[str]) -> list[Family]:
    """The families, those in doubt which may have led the outputs astray.

    They are those whose parts run here and not in the source (idle: its keys whose parts never do); else those which ran right before
    the first part which was given nothing of the source's; else all.
    """
    running = {call.name for call in final.calls}
    strange = [at for at, family in enumerate(families) if _owners(family) & running and _sources(family) <= set(idle)]
    last = _suspects(final)
    members = strange or [at for at, family in enumerate(families) if _owners(family) & last] or list(range(len(families)))
    apart = "parts are given something else" if final.distance is None else f"outputs differ by {final.distance:.2g}"
    doubt = f"{apart} on a random input, from here on"
    return doubted(families, members, doubt, _REFUTED)


def with_another(families: Sequence[Family]) -> list[Family]:
    """The families, those in doubt which have one answer, refuted by a run, with another: that nothing of the source is it."""
    none = (Alternative((), 1.0 - _REFUTED),)
    return [replace(each, alternatives=none) if each.doubt and not each.alternatives else each for each in families]


def is_lost_early(final: Result, missing: Collection[str]) -> bool:
    """Whether outputs which cannot be compared hide that some part is given something else, before any has run which is new."""
    lost = _lost(final)
    new = {key.rpartition(".")[0] for key in missing}
    return final.distance is None and lost < len(final.calls) and new.isdisjoint(call.name for call in final.calls[:lost])


def _sources(family: Family) -> set[str]:
    return {key for link in family.links for key in link.sources}


def _owners(family: Family) -> set[str]:
    return {key.rpartition(".")[0] for link in family.links for key in link.targets}


def misled(final: Result) -> set[str]:
    """The parts which may have led astray: the suspects, or all where every part is given what the source's are, and the outputs differ."""
    return _suspects(final) if _lost(final) < len(final.calls) else {call.name for call in final.calls}


def _suspects(final: Result) -> set[str]:
    """The last parts which were given what the source's are, and all which were given the same."""
    lost = _lost(final)
    before = [call for call in final.calls[:lost] if call.given]
    return {call.name for call in before if call.given == before[-1].given} if before else set()


def _lost(final: Result) -> int:
    places = (place for place, call in enumerate(final.calls) if call.given and not final.known[place])
    return next(places, len(final.calls))


def is_confirmed(final: Result, missing: Collection[str]) -> bool | None:
    """Whether the outputs are the source's; None where parts which are new keep both from being compared, and all before them agree."""
    if final.is_equal:
        return True
    return None if final.distance is None and missing and not is_lost_early(final, missing) else False


def untold(idle: Idle) -> str:
    """What equal outputs say nothing of."""
    found = f"; they do not depend on {listed(idle.parts)}: nothing confirms what is put there" if idle.parts else ""
    return found + (f"; whether they depend on {listed(idle.untried)} was not tried" if idle.untried else "")


def told(final: Result, missing: Collection[str] = (), tried: Sequence[str] = ()) -> str:
    """What the last run says of the whole. missing: the target's keys which stay as they were built. tried: what led no further."""
    if final.is_equal:
        return f"both models' outputs are {_equal(final)} on a random input"
    lost = _lost(final)
    where = f"; {escape(final.calls[lost].name)} is the first part which is given something else" if lost < len(final.calls) else ""
    apart = "the outputs of both models cannot be compared"
    if final.distance is not None:
        apart = f"both models' outputs differ by {final.distance:.2g} on a random input"
    parts = list(dict.fromkeys(key.rpartition(".")[0] or key for key in missing))
    new = f"; new there, and as it was built: {listed(parts)}" if parts else ""
    if is_confirmed(final, missing) is None:
        return apart + (where or "; every part is given what the source's are") + new
    return f"the probe does not confirm these rules: {apart}{where}{new}; tried: {', '.join(('the rules as they are', *tried))}"
