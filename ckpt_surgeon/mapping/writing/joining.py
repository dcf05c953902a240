"""Groups of keys which an op takes and makes together -> the fewest sources and targets which say them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.grouping import group
from ckpt_surgeon.keys.pattern import Pattern, quoted
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.writing.gathering import MARK, Gathered, gathered
from ckpt_surgeon.mapping.writing.numbering import Counted, Numbered, Segment, letters_of, numbered, numbers_of, rendered

__all__ = ["Group", "joined"]

Group = tuple[tuple[str, ...], tuple[str, ...]]

_BETWEEN = ("\n",)  # a segment between two keys of a list; a key which holds it is written out
_WORDS = re.compile("([A-Za-z]+)")
_WILD = re.compile(r"[*{}\n\x01]|^re:")
_HEAD = "block"  # the path before what an op works on
_NAMES = ("leaf", "part", "side")  # of alternatives by which what is said of several families differs


@dataclass(frozen=True, slots=True)
class _Said:
    """Patterns, templates, and the groups which they say."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    groups: tuple[Group, ...]


def joined(groups: Sequence[Group], names: Collection[str]) -> Iterator[tuple[str | list[str], str | list[str]]]:
    """`source` and `target` of rules which make these groups out of the table, and no others. names: the table's keys."""
    table = list(names)
    said = [each for each in _families(groups) if _is_right(each, table)]
    done = {one for each in said for one in each.groups}
    said += [_Said(tuple(map(quoted, one[0])), one[1], (one,)) for one in groups if one not in done]
    for name in _NAMES:
        said = list(_merged(said, name, table))
    said = list(_beheaded(said, table))
    for each in said:
        yield _short(each.sources), _short(each.targets)


def _short(texts: tuple[str, ...]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else list(texts)


def _families(groups: Sequence[Group]) -> Iterator[_Said]:
    """What groups say which differ in nothing but numbers."""
    alike: dict[tuple[str, str], list[tuple[Group, Gathered, Gathered]]] = {}
    for one in groups:
        if not any(_WILD.search(key) for keys in one for key in keys):
            source, target = map(gathered, one)
            alike.setdefault((source.capture, target.capture), []).append((one, source, target))
    for (folded, unfolded), members in alike.items():
        groups_of = {(source.text, target.text): one for one, source, target in members}
        for family in numbered(groups_of):
            own = tuple(groups_of[move] for move in family.moves)
            yield _Said(*_written(family, folded, unfolded), own)


def _written(family: Numbered, folded: str, unfolded: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The patterns and the templates of a family; numbers which are always equal bear one name."""
    first = _first_of(family)
    sources = [_renumbered(part, first) for part in _parts(family.source)]
    targets = [_renumbered(part, first) for part in _parts(family.target)]
    names = letters_of([segment for source in sources for segment in source])
    patterns = (rendered(source, names, typed=True).replace(MARK, folded) for source in sources)
    return tuple(patterns), tuple(rendered(target, names).replace(MARK, unfolded) for target in targets)


def _first_of(family: Numbered) -> dict[int, int]:
    """For each number of a joined source the first which equals it in all moves."""
    columns = list(zip(*(numbers_of(key) for key, _ in family.moves), strict=True))
    return {at: columns.index(values) for at, values in enumerate(columns)}


def _renumbered(segments: Sequence[Segment], first: dict[int, int]) -> tuple[Segment, ...]:
    return tuple(
        tuple(Counted(tuple(first[at] for at in part.columns), part.form) if isinstance(part, Counted) else part for part in segment)
        for segment in segments
    )


def _parts(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments of each key in a list."""
    parts: list[list[Segment]] = [[]]
    for segment in segments:
        if segment == _BETWEEN:
            parts.append([])
        else:
            parts[-1].append(segment)
    return parts


def _merged(said: Sequence[_Said], name: str, table: list[str]) -> Iterator[_Said]:
    """Those which differ in one word are said as one, with alternatives."""
    waiting = list(said)
    while waiting:
        first = waiting.pop(0)
        alike = {at: pair for at, other in enumerate(waiting) if (pair := _one_word(first, other)) is not None}
        places = next((places for places, _ in alike.values()), None)
        chosen = [at for at, (where, _) in alike.items() if where == places]
        merged = _with_words(first, [waiting[at] for at in chosen], [alike[at][1] for at in chosen], places, name) if places else first
        if merged is not first and _is_right(merged, table):
            waiting = [other for at, other in enumerate(waiting) if at not in chosen]
            first = merged
        yield first


def _beheaded(said: Sequence[_Said], table: list[str]) -> Iterator[_Said]:
    """Those which differ in nothing but where their sources and targets both stand are said as one, with a path."""
    groups: dict[tuple[str, str], list[_Said]] = {}
    for each in said:
        if len(each.sources) == len(each.targets) == 1:
            groups.setdefault(_without_head(each), []).append(each)
        else:
            yield each
    for (source, target), members in groups.items():
        groups_of = tuple(one for each in members for one in each.groups)
        merged = _Said((f"{{{_HEAD}:path}}.{source}",), (f"{{{_HEAD}}}.{target}",), groups_of)
        yield from [merged] if len(members) > 1 and _is_right(merged, table) else members


def _without_head(said: _Said) -> tuple[str, str]:
    """The one source and the one target without the segments with which both begin, but for the last of these."""
    sources, targets = (text.split(".") for text in (said.sources[0], said.targets[0]))
    pairs = list(zip(sources, targets, strict=False))
    same = next((at for at, (one, other) in enumerate(pairs) if one.replace(":int", "") != other), len(pairs))
    return ".".join(sources[max(same - 1, 0) :]), ".".join(targets[max(same - 1, 0) :])


def _words(said: _Said) -> list[list[str]]:
    return [_WORDS.split(text) for text in (*said.sources, *said.targets)]


_Places = tuple[tuple[int, int], ...]


def _one_word(one: _Said, other: _Said) -> tuple[_Places, tuple[str, str]] | None:
    """The places of the one word in which two differ, at most one in each text, and the word of either."""
    ours, theirs = _words(one), _words(other)
    if len(one.sources) != len(other.sources) or list(map(len, ours)) != list(map(len, theirs)):
        return None
    places = tuple((i, j) for i, text in enumerate(ours) for j, word in enumerate(text) if word != theirs[i][j])
    pairs = {(ours[i][j], theirs[i][j]) for i, j in places}
    is_once = len({i for i, _ in places}) == len(places) == len(ours)
    return (places, pairs.pop()) if len(pairs) == 1 and is_once and all(j % 2 for _, j in places) else None


def _with_words(one: _Said, others: Sequence[_Said], pairs: Sequence[tuple[str, str]], places: _Places, name: str) -> _Said:
    words = [pairs[0][0], *(theirs for _, theirs in pairs)]
    texts = _words(one)
    for i, j in places:
        texts[i][j] = f"{{{name}:{'|'.join(words)}}}" if i < len(one.sources) else f"{{{name}}}"
    joined_texts = tuple("".join(text) for text in texts)
    groups = tuple(each for said in (one, *others) for each in said.groups)
    return _Said(joined_texts[: len(one.sources)], joined_texts[len(one.sources) :], groups)


def _is_right(said: _Said, table: list[str]) -> bool:
    """Whether it makes its groups out of the table, and no others."""
    outputs = dict(said.groups)
    try:
        sources, targets = [Pattern.parse(text) for text in said.sources], [Template.parse(text) for text in said.targets]
        found = group(table, sources, targets, lambda inputs: len(outputs.get(inputs, ())))
    except RulesError:
        return False
    return {each.inputs: each.outputs for each in found} == outputs
