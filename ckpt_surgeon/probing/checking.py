"""Whether the values bear out what headers have settled: names may lie, and equal values cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.mapping.links import Alternative, Family, Link, Mapping
from ckpt_surgeon.probing.companions import companions
from ckpt_surgeon.probing.equals import equal_links, told_apart
from ckpt_surgeon.probing.groups import Links, is_open
from ckpt_surgeon.probing.leftovers import families_of, found_by_value
from ckpt_surgeon.probing.orders import laid_otherwise
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.settling import with_families, without_links
from ckpt_surgeon.probing.strands import Strand, strands

__all__ = ["EQUAL_THERE", "Checked", "checked"]

EQUAL_THERE = "the values are equal there, and not where names say"
_REFUTED = 0.5  # at most so sure is what the values speak against


@dataclass(frozen=True, slots=True)
class Checked:
    """A mapping, and what the values say of what headers had settled, in a sentence; empty where they say nothing."""

    mapping: Mapping
    remark: str


@dataclass(frozen=True, slots=True)
class _Findings:
    """strands: of what headers had settled. turned: what values say instead. left: what is not equal, there or elsewhere.

    is_same: whether both sides hold the same weights, for most are equal; else that some are not tells nothing.
    """

    strands: Sequence[Strand]
    turned: Sequence[Links]
    left: Sequence[Strand]
    is_same: bool

    @property
    def doubtful(self) -> list[Strand]:
        """What is not equal, nor near, though the files hold the same weights."""
        return [strand for strand in self.left if self.is_same and strand.standing == "unlike"]

    def count(self, standing: str) -> int:
        """How many tensors stand so."""
        return sum(len(strand.targets) for strand in self.strands if strand.standing == standing)


def checked(mapping: Mapping, source: Reader, target: Reader, least: float) -> Checked:
    """Hold the decisions which are at least so sure against the values, by samples; whole tensors are read of what these refute.

    Where the values are equal elsewhere, a decision turns there, with what belongs to the same part. What is equal nowhere is open
    where most tensors are equal; where most are not, the files hold other weights, and what headers settled stands.
    """
    samples = Samples(source, target)
    settled = [(at, family) for at, family in enumerate(mapping.families) if not is_open(family, least)]
    known = [strand for at, family in settled for strand in strands(at, family, samples, source.header, target.header)]
    findings = _found(known, mapping, least, samples, source, target)
    families = [*_kept(mapping, findings, least), *families_of(findings.turned, EQUAL_THERE)]
    return Checked(with_families(families, source.header, target.header), _remark(findings))


def _found(known: Sequence[Strand], mapping: Mapping, least: float, samples: Samples, source: Reader, target: Reader) -> _Findings:
    suspects = [strand for strand in known if strand.standing in ("near", "unlike")]
    open_links = [link for family in mapping.families if is_open(family, least) for link in family.links if link.change is None]
    targets = [*mapping.missing, *(key for link in open_links for key in link.targets)]
    used = [*(key for link in open_links for key in link.sources), *(key for strand in suspects for key in strand.sources)]
    sources = [*mapping.unused, *(key for key in used if key in source.header.entries)]
    equal = equal_links([*targets, *_single_targets(suspects)], sources, samples, source, target)
    turned: list[Links] = [(link,) for link in _nearest(equal, suspects)]
    left = _left(suspects, turned)
    found = {key for link in equal for key in link.targets}
    strange = sum(found.isdisjoint(strand.targets) for strand in suspects)
    is_same = sum(strand.standing == "equal" for strand in known) + len(suspects) - strange > strange
    if is_same and left:
        taken = {key for links in turned for link in links for key in link.sources}
        free = [key for key in dict.fromkeys(sources) if key not in taken]
        turned += [(link,) for family in found_by_value(_single_targets(left), free, source, target, ()) for link in family.links]
        turned += laid_otherwise(_left(left, turned), source, target)
    turned += companions(known, turned, samples, source.header, target.header)
    return _Findings(known, turned, _left(suspects, turned), is_same)


def _nearest(equal: Sequence[Link], suspects: Sequence[Strand]) -> list[Link]:
    """Of links between equal values those of which there are no two: first among the suspects, which may be under each other's names."""
    targets, sources = set(_single_targets(suspects)), {key for strand in suspects for key in strand.sources}
    among = told_apart([link for link in equal if link.targets[0] in targets and link.sources[0] in sources])
    taken = {key for link in among for key in (("to", *link.targets), ("of", *link.sources))}
    others = [link for link in equal if taken.isdisjoint((("to", *link.targets), ("of", *link.sources)))]
    return [*among, *told_apart(others)]


def _single_targets(found: Sequence[Strand]) -> list[str]:
    return [key for strand in found if strand.is_single for key in strand.targets]


def _left(suspects: Sequence[Strand], turned: Sequence[Links]) -> list[Strand]:
    made = {key for links in turned for link in links for key in link.targets}
    return [strand for strand in suspects if made.isdisjoint(strand.targets)]


def _kept(mapping: Mapping, findings: _Findings, least: float) -> Iterator[Family]:
    """The decisions without the links which are turned, or whose sources are; apart from them what the values put in doubt."""
    turned = [link for links in findings.turned for link in links]
    made = {key for link in turned for key in link.targets}
    used = {key for link in turned for key in link.sources}
    made |= {key for strand in findings.strands if not made.isdisjoint(strand.targets) for key in strand.targets}
    doubtful = {key for strand in findings.doubtful for key in strand.targets}
    doubt = f"its values are not the target's, where those of {findings.count('equal')} others are"
    for family in mapping.families:
        left = without_links(family, made, used)
        own = tuple(link for link in left.links if not doubtful.isdisjoint(link.targets))
        if is_open(family, least) or not own:
            yield left
            continue
        yield replace(left, links=tuple(link for link in left.links if link not in own), alternatives=())
        others = tuple(_narrowed(each, doubtful) for each in left.alternatives)
        yield Family(own, min(family.confidence, _REFUTED), family.why, doubt, others)


def _narrowed(alternative: Alternative, targets: set[str]) -> Alternative:
    return replace(alternative, links=tuple(link for link in alternative.links if not targets.isdisjoint(link.targets)))


def _remark(findings: _Findings) -> str:
    """What a user has to know of it, in a sentence."""
    equal = findings.count("equal")
    suspects = findings.count("near") + findings.count("unlike")
    if not equal + suspects:
        return ""
    told = f"values: {equal or 'none'} of {equal + suspects} tensors which headers settled {_are(equal)} equal on both sides"
    if not findings.is_same:
        return f"{told}: the files hold other weights, so that what headers settled stands"
    near, unlike = (sum(len(each.targets) for each in findings.left if each.standing == standing) for standing in ("near", "unlike"))
    turned = suspects - near - unlike
    parts = {
        f"{_are(turned)} elsewhere, and turned there": turned,
        f"{_are(near)} near, as after some training": near,
        f"{_are(unlike)} not, and open": unlike,
    }
    return "; ".join([told, *(f"{count} {what}" for what, count in parts.items() if count)])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
