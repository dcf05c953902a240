"""Which runs of segments to replace, so that few pairs say what many moves have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from heapq import heapify, heappop, heappush

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.writing.alignment import aligned
from ckpt_surgeon.mapping.writing.numbering import Counted, Numbered, Segment, letters_of, rendered
from ckpt_surgeon.mapping.writing.samples import Sample, samples_of
from ckpt_surgeon.ops.replacing import Replacer, Run

__all__ = ["chosen_runs"]

_MOST_LEFT = 3  # segments of context before a hunk
_MOST_RIGHT = 2
_MOST_JOINED = 3  # hunks in one run
_MOST_FAMILIES = 600  # names of more kinds, as many as in no model seen, have little in common which a pair could say
_LONGEST = 7  # segments of a run

_Place = tuple[int, int]  # a family and one of its hunks


@dataclass(slots=True)
class _Candidate:
    """A pair, and what it does to the samples. gains: how much of which hunk it takes care of, in shares of the family's samples.

    rivals: how many families need a longer run because of it. touched: the numbers of the samples in which it finds something.
    """

    source: str
    target: str
    length: int
    gains: dict[_Place, float] = field(default_factory=dict)
    rivals: float = 0.0
    touched: set[int] = field(default_factory=set)

    def gain(self, covered: Mapping[_Place, float]) -> float:
        """What it adds to what is taken care of already."""
        return sum(max(share - covered.get(place, 0.0), 0.0) for place, share in self.gains.items()) - self.rivals

    def rank(self, covered: Mapping[_Place, float]) -> tuple[float, int, str, str]:
        """Sorts what gains most first, then what is short."""
        return -round(self.gain(covered), 6), self.length, self.source, self.target


def chosen_runs(families: Sequence[Numbered], least_gain: float) -> dict[str, str]:
    """Pairs of `replace` which together do no harm to any sample; what they leave over is for others to rename.

    least_gain: how many hunks a pair takes care of, at least.
    """
    if len(families) > _MOST_FAMILIES:
        return {}
    samples = samples_of(families)
    candidates = _candidates(families)
    _weigh(candidates, samples)
    chosen = _greedy([each for each in candidates if each.gains], samples, least_gain)
    return _needed(chosen, samples)


def _candidates(families: Sequence[Numbered]) -> list[_Candidate]:
    found: dict[tuple[str, str], _Candidate] = {}
    for family in families:
        for source, target in _windows(family):
            names = letters_of(source)
            columns = {column for segment in target for part in segment if isinstance(part, Counted) for column in part.columns}
            if columns <= names.keys():
                pair = rendered(source, names, typed=True), rendered(target, names)
                found.setdefault(pair, _Candidate(*pair, len(source)))
    return list(found.values())


def _windows(family: Numbered) -> Iterator[tuple[tuple[Segment, ...], tuple[Segment, ...]]]:
    """Runs which hold hunks, with some of what stands beside them."""
    hunks = aligned(family.source, family.target)
    ends = [0, *(hunk.stop for hunk in hunks)]
    starts = [*(hunk.start for hunk in hunks), len(family.source)]
    for i, first in enumerate(hunks):
        for j in range(i, min(i + _MOST_JOINED, len(hunks))):
            last = hunks[j]
            for before in range(min(_MOST_LEFT, first.start - ends[i]) + 1):
                for after in range(min(_MOST_RIGHT, starts[j + 1] - last.stop) + 1):
                    source = family.source[first.start - before : last.stop + after]
                    if 0 < len(source) <= _LONGEST:
                        yield source, family.target[first.first - before : last.last + after]


def _weigh(candidates: Sequence[_Candidate], samples: Sequence[Sample]) -> None:
    """Try each candidate on the samples; one which does harm is left without gains."""
    sizes = Counter(sample.family for sample in samples)
    places: dict[str, list[tuple[int, int]]] = {}
    for number, sample in enumerate(samples):
        for at, segment in enumerate(sample.source):
            places.setdefault(segment, []).append((number, at))
    starting: dict[str, list[tuple[int, int]]] = {}
    for each in candidates:
        head = each.source.partition(".")[0]
        if head not in starting:
            pattern = Pattern.parse(head)
            starting[head] = [place for segment, found in places.items() if pattern.match(segment) is not None for place in found]
        if not all(_tried(each, number, samples[number], at, 1 / sizes[samples[number].family]) for number, at in starting[head]):
            each.gains.clear()


def _tried(each: _Candidate, number: int, sample: Sample, at: int, share: float) -> bool:
    """Whether the candidate does no harm at this place; what it does there is added up."""
    captures = Pattern.parse(each.source).match(".".join(sample.source[at : at + each.length]))
    if captures is None:
        return True
    try:
        run = Run(at, at + each.length, Template.parse(each.target).expand(captures) if each.target else "")
    except RulesError:
        return False
    each.touched.add(number)
    image = sample.image(run)
    if image is None and sample.is_rival(run) and "{" not in each.source:
        each.rivals += share
        return True
    if image is None:
        return sample.is_forgiven(run, is_literal="{" not in each.source)
    for hunk in sample.covered(run, image):
        place = sample.family, hunk
        each.gains[place] = each.gains.get(place, 0.0) + share
    return True


def _greedy(candidates: Sequence[_Candidate], samples: Sequence[Sample], least_gain: float) -> list[_Candidate]:
    covered: dict[_Place, float] = {}
    chosen: dict[str, _Candidate] = {}
    waiting = [(each.rank(covered), at) for at, each in enumerate(candidates)]
    heapify(waiting)
    while waiting:
        rank, at = heappop(waiting)
        each = candidates[at]
        now = each.rank(covered)
        if -now[0] < least_gain or each.source in chosen:
            continue
        if now != rank:
            heappush(waiting, (now, at))
            continue
        if _agrees(each, chosen, samples):
            chosen[each.source] = each
            covered |= {place: max(share, covered.get(place, 0.0)) for place, share in each.gains.items()}
    return list(chosen.values())


def _agrees(each: _Candidate, chosen: Mapping[str, _Candidate], samples: Sequence[Sample]) -> bool:
    """Whether no sample is left with two runs of one length."""
    replacer = Replacer.of({**{one.source: one.target for one in chosen.values()}, each.source: each.target})
    try:
        for number in sorted(each.touched):
            replacer.runs(samples[number].key)
    except RulesError:
        return False
    return True


def _needed(chosen: Sequence[_Candidate], samples: Sequence[Sample]) -> dict[str, str]:
    """The pairs without which a sample would be wrong that is right with them, in the order of the names in which they are found."""
    pairs = {each.source: each.target for each in chosen}
    for each in reversed(chosen):
        fewer = {source: target for source, target in pairs.items() if source != each.source}
        ours, theirs = Replacer.of(pairs), Replacer.of(fewer)
        touched = [samples[number] for number in sorted(each.touched)]
        if all(_is_right(theirs, sample) or not _is_right(ours, sample) for sample in touched):
            pairs = fewer
    places = {each.source: min(each.touched) for each in chosen}
    return dict(sorted(pairs.items(), key=lambda pair: places[pair[0]]))


def _is_right(replacer: Replacer, sample: Sample) -> bool:
    try:
        return (replacer.replaced(sample.key) or sample.key) == ".".join(sample.target)
    except RulesError:
        return False
