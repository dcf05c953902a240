"""Both models run on the same input: which of the open ways gives the same outputs, and whether the whole does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckpt_surgeon.comparison import fills_itself
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping import links
from ckpt_surgeon.mapping.links import Family
from ckpt_surgeon.mapping.writing.proving import refused, wanted_recipes
from ckpt_surgeon.planning import Derived
from ckpt_surgeon.probing.bench import Bench, Result
from ckpt_surgeon.probing.climbing import climbed
from ckpt_surgeon.probing.concluding import (
    LACKING,
    Search,
    astray,
    concluded,
    is_confirmed,
    is_lost_early,
    reason,
    told,
    untold,
    with_another,
)
from ckpt_surgeon.probing.deciding import Verdict, judged
from ckpt_surgeon.probing.dependence import Idle
from ckpt_surgeon.probing.drawn_inputs import fitted, given_inputs
from ckpt_surgeon.probing.groups import Group, Way, open_groups
from ckpt_surgeon.probing.models import models_of
from ckpt_surgeon.probing.order import match_in_order
from ckpt_surgeon.probing.running import Trace
from ckpt_surgeon.probing.second_looks import second_looks
from ckpt_surgeon.probing.settling import with_families
from ckpt_surgeon.probing.spare import SPARE, spare_families
from ckpt_surgeon.spec import Header

__all__ = ["Probe", "Probed", "Probing"]

_MOST_RUNS = 1 << 20  # more are a slip: each takes as long as the model does
_ROUNDS = 2  # a group may hang on one which runs later


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe needs.

    inputs: `1x3x224x224`, `pkg.module:inputs`, a function, or the arguments; None: drawn for the models' first layers.
    source_model: SOURCE's module, where SOURCE is a checkpoint. seed: of all that is drawn. most: runs by which ways are tried.
    Raises SurgeryError for a seed or a number of runs which is none.
    """

    inputs: Any = None
    source_model: Any = None
    seed: int = 0
    most: int = 64

    def __post_init__(self) -> None:
        for name, least, largest in (("seed", 0, (1 << 63) - 1), ("most", 1, _MOST_RUNS)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= largest:
                raise SurgeryError(f"a probe's {name} is {value!r}; whole numbers from {least} to {largest} are allowed")


@dataclass(frozen=True, slots=True)
class Probed:
    """A mapping with what a probe has settled, and what it says of the whole.

    is_confirmed: whether the outputs are the source's; None where new parts keep both from being compared, or where these do not depend
    on all which the rules fill.
    """

    mapping: links.Mapping
    remark: str
    is_confirmed: bool | None


class Probing:
    """Both models, ready to run. Raises ModelError, and what reading SOURCE raises."""

    def __init__(self, probe: Probe, source: Any, target: Any, headers: tuple[Header, Header], arguments: Mapping[str, Any]) -> None:
        """source, target: as given; TARGET has to be a model. headers: theirs. arguments: of the factories."""
        self._probe, self._headers = probe, headers
        self._models = models_of(source, target, probe.source_model, headers[0], arguments, probe.seed)
        given = fitted(self._models, probe.seed) if probe.inputs is None else given_inputs(self._models, probe.inputs, probe.seed)
        self._inputs, (self._source_trace, self._target_trace) = given.inputs, given.traces
        self._words = f"; run on {given.text}, drawn for their first layers (--probe-input gives another)" if given.text else ""

    def matched(self) -> links.Mapping:
        """The mapping of both headers in the order in which the models run."""
        return match_in_order(*self._headers, (self._source_trace, self._target_trace), self._models.names)

    def probed(self, mapping: links.Mapping, least: float) -> Probed:
        """Settle what is less sure than `least` by the outputs, with SOURCE's weights a little shaken, so that none are alike by chance."""
        headers = self._headers
        spare = spare_families(mapping, *headers)
        families = [*mapping.families, *spare]
        bench = Bench(self._models, self._inputs, headers, self._probe.seed, _used(families))
        _put_all(bench, mapping, headers)
        groups = self._in_order(open_groups(families, least, *headers))
        search = _searched(bench, groups, self._probe.most)
        _put_back(bench, search, len(mapping.families))
        final = bench.run()
        concluded_families = [family for family in concluded(families, search, final) if family.confidence or family.why != SPARE]
        found = with_families(concluded_families, *headers)
        tried = [f"{len(groups)} open decision{'s' if len(groups) > 1 else ''}"] if groups else []
        is_sure = not search.open and all(bench.has(family.links) for family in found.families)
        if is_sure and _is_astray(final, found, headers):
            found, final = self._looked_again(bench, found, final, least, tried)
        if not final.is_equal and bench.runs >= self._probe.most:
            tried.append(f"nothing further, for all {self._probe.most} runs are spent")
        new = _new(found, headers[1])
        confirmed = is_confirmed(final, new)
        idle = bench.idle(key for family in found.families for link in family.links for key in link.targets) if confirmed else Idle()
        return Probed(found, told(final, new, tried) + untold(idle) + self._words, None if idle else confirmed)

    def _in_order(self, groups: Iterable[Group]) -> list[Group]:
        """The groups in the order in which the target's parts run."""
        return sorted(groups, key=lambda group: _first_call(group, self._target_trace))

    def _looked_again(
        self, bench: Bench, found: links.Mapping, final: Result, least: float, tried: list[str]
    ) -> tuple[links.Mapping, Result]:
        """What seemed sure and is not: it may lie otherwise, or what ran right before all went astray is open. `tried` is told of it."""
        for look in second_looks(found.families, *self._headers):
            search = _searched(bench, [look.group], self._probe.most)
            tried += [look.what] if look.what not in tried else []
            if search.clear and not _is_astray(again := bench.run(), found, self._headers):
                return with_families(concluded(found.families, search, again), *self._headers), again
            _put(bench, look.group, look.group.matched)
        tried += ["siblings under each other's names"]
        if (way := climbed(bench, found.families, final, self._headers[1], self._probe.most)) is not None:
            return with_families(way[0], *self._headers), way[1]
        doubtful = astray(found.families, final, self._idle())
        if final.is_apart:
            search = _searched(bench, self._in_order(open_groups(doubtful, least, *self._headers)), self._probe.most)
            tried += ["what ran right before they went astray"]
            if (last := bench.run()).is_equal:
                return with_families(concluded(doubtful, search, last), *self._headers), last
        return with_families(with_another(doubtful), *self._headers), final

    def _idle(self) -> set[str]:
        """SOURCE's keys whose parts never run."""
        ran = self._source_trace.first_calls
        return {name for key, name in self._models.names.items() if key.rpartition(".")[0] not in ran}


def _first_call(group: Group, trace: Trace) -> int:
    found = [place for key in group.targets if (place := trace.first_calls.get(key.rpartition(".")[0])) is not None]
    return min(found, default=-1)


def _used(families: Iterable[Family]) -> set[str]:
    """Every key of the source which any way takes."""
    ways = [each for family in families for each in (family.links, *(other.links for other in family.alternatives))]
    return {key for found in ways for link in found for key in link.sources}


def _put_all(bench: Bench, mapping: links.Mapping, headers: tuple[Header, Header]) -> None:
    for family in mapping.families:
        if bench.has(family.links) and not refused(family.links, *headers):
            bench.put(family.links)


def _put_back(bench: Bench, search: Search, count: int) -> None:
    """Give what stays open what the mapping says: to the first `count` decisions what was matched, to the others nothing."""
    for group in search.open:
        bench.reset(group.targets)
        for at, matched in zip(group.members, group.matched, strict=True):
            if at < count and bench.has(matched):
                bench.put(matched)


def _put(bench: Bench, group: Group, way: Way) -> None:
    bench.reset(group.targets)
    bench.put([link for found in way for link in found])


def _searched(bench: Bench, groups: Sequence[Group], most: int) -> Search:
    """Decide the groups in the order in which they run, and once more those which may hang on a later one."""
    waiting = [group for group in groups if all(bench.has(links) for options in group.options for links in options)]
    closed = {group: LACKING for group in groups if group not in waiting}
    clear: list[Verdict] = []
    left: dict[Group, str] = {}
    for _ in range(_ROUNDS):
        verdicts = {group: judged(bench, group, most - bench.runs) for group in waiting}
        found = [verdict for verdict in verdicts.values() if verdict is not None and verdict.is_clear]
        clear += found
        decided = {verdict.group for verdict in found}
        left = {group: reason(verdict) for group, verdict in verdicts.items() if group not in decided}
        if not found:
            break
        waiting = list(left)
    return Search(tuple(clear), closed | left)


def _is_astray(final: Result, found: links.Mapping, headers: tuple[Header, Header]) -> bool:
    """Whether outputs which should be equal are not, or those which cannot be compared hide that parts are given something else."""
    return (final.is_apart and _is_whole(found, headers)) or is_lost_early(final, found.missing)


def _new(mapping: links.Mapping, target: Header) -> list[str]:
    """The target's keys which stay as they were built, and are not filled by torch itself."""
    made = {key for family in mapping.families for link in family.links for key in link.targets}
    return [key for key in mapping.missing if not fills_itself(key, target, made)]


def _is_whole(mapping: links.Mapping, headers: tuple[Header, Header]) -> bool:
    """Whether equal outputs are to be expected: nothing stays as it was built, all can be done, and no op changes what is computed."""
    if _new(mapping, headers[1]):
        return False
    if any(refused(family.links, *headers) for family in mapping.families):
        return False
    recipes = [recipe for family in mapping.families for recipe in wanted_recipes(family.links, *headers).values()]
    return all(recipe.op.contract == "exact" for recipe in recipes if isinstance(recipe, Derived))
