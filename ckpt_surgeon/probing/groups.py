"""What a mapping leaves open: decisions which hang together, and the ways in which they may come out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.mapping.writing.proving import refused
from ckpt_surgeon.probing.layouts import is_query_or_key, layouts, rotary_layouts
from ckpt_surgeon.spec import Header

__all__ = ["Group", "Links", "Way", "is_open", "open_groups"]

_MOST_ROTARY = 2  # a query and its key; more are not tried together, each in every order of rows

Links = tuple[Link, ...]
Way = tuple[Links, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Decisions of which one takes what another may take, or which one doubt is about.

    members: their places among all decisions. options: of each member the links which it may have, first those which it has.
    layouts: ways in which the order of rows or dims changes; where a query and its key may be each other's, rotary ones of either way.
    """

    members: tuple[int, ...]
    options: tuple[tuple[Links, ...], ...]
    layouts: tuple[Way, ...]

    @property
    def matched(self) -> Way:
        """The way which the mapping says."""
        return tuple(options[0] for options in self.options)

    @property
    def targets(self) -> tuple[str, ...]:
        """The keys which the decisions are about."""
        return tuple(key for links in self.matched for link in links for key in link.targets)

    def ways(self, most: int) -> tuple[Way, ...] | None:
        """All ways in which no source is taken twice, then the layouts; None where there are more than `most`."""
        found = tuple(islice(_choices(self.options, frozenset()), most + 1))
        return None if len(found) > most else (*found, *self.layouts)

    def near(self, way: Way) -> Iterator[Way]:
        """The ways which differ from one in one member or two."""
        for other in _steps(way, self.options):
            if _is_once(other):
                yield other


def open_groups(families: Sequence[Family], least: float, source: Header, target: Header) -> tuple[Group, ...]:
    """The groups of what is less sure than `least`, or in doubt, and can be carried out. What a sure decision takes, no other may take."""
    wanting = [at for at, each in enumerate(families) if is_open(each, least) and not refused(each.links, source, target)]
    sure = {key for family in families if not is_open(family, least) for link in family.links for key in link.sources}
    own = {at: _own_ways(families[at], sure, source, target) for at in wanting}
    signs = {at: _signs(ways, families[at].doubt) for at, ways in own.items()}
    return tuple(_group(members, own, source, target) for members in _joined(signs))


def is_open(family: Family, least: float) -> bool:
    """Whether a decision is still to be made."""
    return family.confidence < least or bool(family.doubt)


def _own_ways(family: Family, sure: Collection[str], source: Header, target: Header) -> tuple[Links, ...]:
    """The family's links, and its alternatives which can be carried out: others wait for a number which a reader knows (`heads`)."""
    free = [each.links for each in family.alternatives if not any(key in sure for link in each.links for key in link.sources)]
    return tuple(dict.fromkeys((family.links, *(links for links in free if not refused(links, source, target)))))


def _signs(ways: Sequence[Links], doubt: str) -> set[object]:
    """What a decision shares with those which have to be made together with it."""
    keys: set[object] = {key for links in ways for link in links for key in link.sources}
    return keys | ({(doubt,)} if doubt and len(ways) == 1 else set())


def _joined(signs: dict[int, set[object]]) -> list[tuple[int, ...]]:
    groups: list[tuple[set[int], set[object]]] = []
    for at, own in signs.items():
        touching = [group for group in groups if group[1] & own]
        groups = [group for group in groups if group not in touching]
        groups.append(({at}.union(*(group[0] for group in touching)), own.union(*(group[1] for group in touching))))
    return sorted(tuple(sorted(members)) for members, _ in groups)


def _group(members: tuple[int, ...], own: dict[int, tuple[Links, ...]], source: Header, target: Header) -> Group:
    offered = dict.fromkeys(_sources(links) for at in members for links in own[at])
    options = []
    for at in members:
        first = own[at][0]
        moved = [links for sources in offered if (links := _with_sources(first, sources)) and not refused(links, source, target)]
        options.append(tuple(dict.fromkeys((*own[at], *moved))))
    return Group(members, tuple(options), tuple(_laid(options, source, target)))


def _laid(options: Sequence[tuple[Links, ...]], source: Header, target: Header) -> Iterator[Way]:
    """The orders of rows and dims of the only way, or the rotary ones of each in which queries and keys may be shared out."""
    matched = tuple(each[0] for each in options)
    if all(len(each) == 1 for each in options):
        yield from layouts(matched, source, target)
    elif len(options) <= _MOST_ROTARY and all(map(is_query_or_key, matched)):
        for way in _choices(options, frozenset()):
            yield from rotary_layouts(way, source, target)


def _sources(links: Links) -> tuple[tuple[str, ...], ...]:
    return tuple(link.sources for link in links)


def _with_sources(links: Links, sources: Sequence[tuple[str, ...]]) -> Links:
    """The links with other sources, one for one; none where they are not as many, or an op makes more of them."""
    if len(links) != len(sources) or any(link.change is not None for link in links):
        return ()
    return tuple(Link(given, link.targets) for link, given in zip(links, sources, strict=True))


def _choices(options: Sequence[tuple[Links, ...]], taken: frozenset[str]) -> Iterator[Way]:
    if not options:
        yield ()
        return
    for links in options[0]:
        sources = frozenset(key for link in links for key in link.sources)
        if not sources & taken:
            yield from ((links, *rest) for rest in _choices(options[1:], taken | sources))


def _steps(way: Way, options: Sequence[tuple[Links, ...]]) -> Iterator[Way]:
    for i, first in enumerate(options):
        for links in first:
            changed = (*way[:i], links, *way[i + 1 :])
            if links != way[i]:
                yield changed
                yield from _swaps(changed, way[i], options, i)


def _swaps(changed: Way, left: Links, options: Sequence[tuple[Links, ...]], i: int) -> Iterator[Way]:
    """The way in which a later member takes what member `i` has left."""
    for j in range(i + 1, len(options)):
        yield from ((*changed[:j], links, *changed[j + 1 :]) for links in options[j] if _sources(links) == _sources(left))


def _is_once(way: Way) -> bool:
    keys = [key for links in way for key in {key for link in links for key in link.sources}]
    return len(set(keys)) == len(keys)
