"""Both models run on the same input: which of the open ways gives the same outputs, and whether the whole does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_surgeon.comparison import fills_itself
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.mapping import links
from ckpt_surgeon.mapping.links import Family
from ckpt_surgeon.mapping.writing.proving import refused, wanted_recipes
from ckpt_surgeon.planning import Derived
from ckpt_surgeon.probing.bench import Bench, Result
from ckpt_surgeon.probing.concluding import LACKING, Search, astray, concluded, is_lost_early, reason, told
from ckpt_surgeon.probing.deciding import Verdict, judged
from ckpt_surgeon.probing.groups import Group, Way, open_groups, square_groups
from ckpt_surgeon.probing.inputs import inputs_of
from ckpt_surgeon.probing.models import models_of
from ckpt_surgeon.probing.order import match_in_order
from ckpt_surgeon.probing.running import Trace, traced
from ckpt_surgeon.probing.settling import with_families
from ckpt_surgeon.probing.spare import SPARE, spare_families
from ckpt_surgeon.spec import Header

__all__ = ["Probe", "Probed", "Probing"]

_MOST_RUNS = 1 << 20  # more are a slip: each takes as long as the model does
_ROUNDS = 2  # a group may hang on one which runs later


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe needs.

    inputs: `1x3x224x224`, `pkg.module:inputs`, a function, or the arguments. source_model: SOURCE's module, where SOURCE is a
    checkpoint. seed: of all that is drawn. most: runs of the target by which ways are tried.
    Raises SurgeryError for a seed or a number of runs which is none.
    """

    inputs: Any
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
    """A mapping with what a probe has settled, and what it says of the whole."""

    mapping: links.Mapping
    remark: str


class Probing:
    """Both models, ready to run. Raises ModelError, and what reading SOURCE raises."""

    def __init__(self, probe: Probe, source: Any, target: Any, headers: tuple[Header, Header], arguments: Mapping[str, Any]) -> None:
        """source, target: as given; TARGET has to be a model. headers: theirs. arguments: of the factories."""
        self._probe, self._headers = probe, headers
        self._models = models_of(source, target, probe.source_model, headers[0], arguments, probe.seed)
        self._inputs = inputs_of(probe.inputs, probe.seed)
        models = self._models.source, self._models.target
        self._source_trace, self._target_trace = (traced(model, self._inputs, probe.seed, given=False, made=False) for model in models)

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
        search = _searched(bench, self._in_order(open_groups(families, least, *headers)), self._probe.most)
        _put_back(bench, search, len(mapping.families))
        final = bench.run()
        families = [family for family in concluded(families, search, final) if family.confidence or family.why != SPARE]
        is_whole = not search.open and all(bench.has(family.links) for family in families)
        if is_whole and final.is_apart and _is_whole(with_families(families, *headers), headers):
            families, final = self._looked_again(bench, families, final, least)
        elif is_whole and is_lost_early(final, with_families(families, *headers).missing):
            families = astray(families, final, self._idle())
        return Probed(with_families(families, *headers), told(final))

    def _in_order(self, groups: Iterable[Group]) -> list[Group]:
        """The groups in the order in which the target's parts run."""
        return sorted(groups, key=lambda group: _first_call(group, self._target_trace))

    def _looked_again(self, bench: Bench, families: list[Family], final: Result, least: float) -> tuple[list[Family], Result]:
        """What seemed sure and is not: square matrices may lie the other way, and what ran right before all went astray is open."""
        for group in square_groups(families, self._headers[0]):
            search = _searched(bench, [group], self._probe.most)
            if any(verdict.best.result.is_equal for verdict in search.clear):
                return concluded(families, search, equal := bench.run()), equal
            _put(bench, group, group.matched)
        doubtful = astray(families, final, self._idle())
        again = open_groups(doubtful, least, *self._headers)
        search = _searched(bench, self._in_order(again), self._probe.most)
        last = bench.run()
        return (concluded(doubtful, search, last), last) if last.is_equal else (doubtful, final)

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


def _is_whole(mapping: links.Mapping, headers: tuple[Header, Header]) -> bool:
    """Whether equal outputs are to be expected: nothing stays as it was built, all can be done, and no op changes what is computed."""
    made = {key for family in mapping.families for link in family.links for key in link.targets}
    if any(not fills_itself(key, headers[1], made) for key in mapping.missing):
        return False
    if any(refused(family.links, *headers) for family in mapping.families):
        return False
    recipes = [recipe for family in mapping.families for recipe in wanted_recipes(family.links, *headers).values()]
    return all(recipe.op.contract == "exact" for recipe in recipes if isinstance(recipe, Derived))
