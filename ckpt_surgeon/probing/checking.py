"""Whether the values bear out what headers have settled: names may lie, and equal values cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Alternative, Family, Link, Mapping
from ckpt_surgeon.probing.companions import companions, torn
from ckpt_surgeon.probing.contradictions import contradicted
from ckpt_surgeon.probing.equals import equal_links, told_apart, told_whole
from ckpt_surgeon.probing.findings import Findings
from ckpt_surgeon.probing.groups import Links, is_open
from ckpt_surgeon.probing.leftovers import families_of, found_by_value
from ckpt_surgeon.probing.nearest import near_elsewhere
from ckpt_surgeon.probing.orders import laid_otherwise
from ckpt_surgeon.probing.origin import is_one_origin
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.settling import CERTAIN, with_families, without_links
from ckpt_surgeon.probing.strands import Strand, strands
from ckpt_surgeon.spec import Header

__all__ = ["EQUAL_THERE", "NEAR_THERE", "Checked", "checked"]

EQUAL_THERE = "the values are equal there, and not where names say"
NEAR_THERE = "the values are near there, and far where names say"
_ALONG = "it goes with its part, whose values are there"
_NEARER = "its values are nearer to another's than to those which names say"
_TORN = "the values of its part are elsewhere"
_CONTRADICTED = "the target's ones and zeros speak against it: scales start at 1, shifts at 0"
_UNLIKE = "its values are not the target's, where those of {} others are"
_NEARLY_CERTAIN = 0.999
_REFUTED = 0.5  # at most so sure is what the values speak against


@dataclass(frozen=True, slots=True)
class Checked:
    """A mapping, and what the values say of what headers had settled, in a sentence; empty where they say nothing."""

    mapping: Mapping
    remark: str


def checked(mapping: Mapping, source: Reader, target: Reader, least: float) -> Checked:
    """Hold the decisions which are at least so sure against the values, by samples; whole tensors are read of what these refute.

    Where the values are equal elsewhere, a decision turns there, with what belongs to the same part. What is equal nowhere is open
    where most tensors are equal; where most are not, the files hold other weights, and what headers settled stands.
    """
    held = _Held(source, target, Samples(source, target))
    settled = [(at, family) for at, family in enumerate(mapping.families) if not is_open(family, least)]
    known = [strand for at, family in settled for strand in strands(at, family, held.samples, source.header, target.header)]
    findings = _found(told_whole(known, mapping.unused, held.samples, source, target), _Pool.of(mapping, source, least), held)
    new = [*families_of(findings.equal, EQUAL_THERE), *families_of(findings.near, NEAR_THERE, _NEARLY_CERTAIN)]
    new += families_of(findings.along, _ALONG, _NEARLY_CERTAIN if findings.near else CERTAIN)
    return Checked(with_families([*_kept(mapping, findings, least), *new], source.header, target.header), findings.remark())


@dataclass(frozen=True, slots=True)
class _Held:
    """Both files, and the samples of both."""

    source: Reader
    target: Reader
    samples: Samples

    @property
    def headers(self) -> tuple[Header, Header]:
        """Both headers."""
        return self.source.header, self.target.header


@dataclass(frozen=True, slots=True)
class _Pool:
    """targets, sources: the keys of which headers settled nothing."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, mapping: Mapping, source: Reader, least: float) -> _Pool:
        links = [link for family in mapping.families if is_open(family, least) for link in family.links if link.change is None]
        used = (key for link in links for key in link.sources if key in source.header.entries)
        return cls((*mapping.missing, *(key for link in links for key in link.targets)), (*mapping.unused, *used))


def _found(known: Sequence[Strand], pool: _Pool, held: _Held) -> Findings:
    suspects = [strand for strand in known if strand.standing in ("near", "unlike")]
    entries = held.source.header.entries
    sources = list(dict.fromkeys((*pool.sources, *(key for strand in suspects for key in strand.sources if key in entries))))
    links = _nearest(equal_links([*pool.targets, *_single_targets(suspects)], sources, held.samples, held.source, held.target), suspects)
    equal: list[Links] = [(link,) for link in links]
    proven = [*links, *(link for strand in known if strand.standing == "equal" for link in strand.links)]
    near = near_elsewhere(_left(suspects, equal), _free(sources, equal), held.samples, *held.headers)
    nearby: list[Links] = [(link,) for link in near.turned]
    left = _left(suspects, [*equal, *nearby])
    is_same = is_one_origin(proven, [key for strand in left for key in strand.targets], held.samples, held.target.header)
    if is_same:
        equal += _elsewhere([strand for strand in left if strand.standing == "unlike"], _free(sources, [*equal, *nearby]), held)
    along = companions(known, [*equal, *nearby], held.samples, *held.headers)
    found = Findings(known, equal, nearby, along, is_same=is_same, is_blank=not proven and _is_blank(suspects, held.samples))
    return replace(found, doubts=_doubts(found, _left(suspects, found.turned), near.asked, len(proven), held))


def _doubts(found: Findings, left: Sequence[Strand], asked: Iterable[Strand], count: int, held: _Held) -> dict[str, str]:
    """Target key -> the last doubt which there is of it. count: of the links which are proven."""
    unlike = [strand for strand in left if found.is_same and strand.standing == "unlike"]
    doubts = dict.fromkeys(_targets(unlike), _UNLIKE.format(count)) | dict.fromkeys(_targets(asked), _NEARER)
    doubts |= dict.fromkeys(_targets(torn(found.strands, found.turned)), _TORN)
    doubts |= dict.fromkeys(_targets(contradicted(left, held.samples, *held.headers)), _CONTRADICTED)
    made = {key for links in found.turned for link in links for key in link.targets}
    return {key: doubt for key, doubt in doubts.items() if key not in made}


def _elsewhere(unlike: Sequence[Strand], free: Sequence[str], held: _Held) -> list[Links]:
    """Where the values of what is unlike are: under any name, whatever their layout, or in another order of the same sources."""
    families = found_by_value(_single_targets(unlike), free, held.source, held.target, ()) if unlike else []
    found: list[Links] = [(link,) for family in families for link in family.links]
    return [*found, *laid_otherwise(_left(unlike, found), held.source, held.target)]


def _free(sources: Iterable[str], turned: Sequence[Links]) -> list[str]:
    taken = {key for links in turned for link in links for key in link.sources}
    return [key for key in sources if key not in taken]


def _targets(found: Iterable[Strand]) -> list[str]:
    return [key for strand in found for key in strand.targets]


def _is_blank(suspects: Sequence[Strand], samples: Samples) -> bool:
    """Whether the target has nothing but constants, or no numbers, where it should have weights."""
    wanted = (samples.wanted(key).double() for strand in suspects if strand.is_single for key in strand.targets)
    return bool(suspects) and all(bool(((each == each[:1]) | each.isnan()).all()) for each in wanted)


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


def _kept(mapping: Mapping, findings: Findings, least: float) -> Iterator[Family]:
    """The decisions without the links which are turned, or whose sources are; apart from them what the values put in doubt."""
    turned = [link for links in findings.turned for link in links]
    made = {key for link in turned for key in link.targets}
    used = {key for link in turned for key in link.sources}
    made |= {key for strand in findings.strands if not made.isdisjoint(strand.targets) for key in strand.targets}
    for family in mapping.families:
        left = without_links(family, made, used)
        doubtful = [link for link in left.links if any(key in findings.doubts for key in link.targets)]
        if is_open(family, least) or not doubtful:
            yield left
            continue
        yield replace(left, links=tuple(link for link in left.links if link not in doubtful), alternatives=())
        by_doubt: dict[str, list[Link]] = defaultdict(list)
        for link in doubtful:
            by_doubt[next(findings.doubts[key] for key in link.targets if key in findings.doubts)].append(link)
        yield from (_doubted(family, left.alternatives, tuple(links), doubt) for doubt, links in by_doubt.items())


def _doubted(family: Family, alternatives: Sequence[Alternative], links: Links, doubt: str) -> Family:
    targets = {key for link in links for key in link.targets}
    others = tuple(_narrowed(each, targets) for each in alternatives)
    return Family(links, min(family.confidence, _REFUTED), family.why, doubt, others)


def _narrowed(alternative: Alternative, targets: set[str]) -> Alternative:
    return replace(alternative, links=tuple(link for link in alternative.links if not targets.isdisjoint(link.targets)))
