"""Moves of keys -> families which differ in nothing but numbers, with what each number of a target is in those of its source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Counted", "Move", "Numbered", "Segment", "letters_of", "numbered", "numbers_of", "rendered"]

# A number without leading zeros, which arithmetic gives back as it was written; more digits than any index has are text.
_NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,8})(?![0-9])")
_LETTERS = "ijklmnpq"  # no `o`, which looks like 0
_MOST_STEP = 32  # of `{i//n}`

Move = tuple[str, str]
_Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """A number computed of captured ones. columns: which numbers of the source; form: `{0}`, `{0}+1`, `{0}*2+{1}`."""

    columns: tuple[int, ...]
    form: str = "{0}"


Segment = tuple[str | Counted, ...]


@dataclass(frozen=True, slots=True)
class Numbered:
    """Moves which one pattern and one template say: the segments of both, in which what varies is counted."""

    source: tuple[Segment, ...]
    target: tuple[Segment, ...]
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class _Member:
    """A move, taken apart: the texts around the numbers of its target, and the numbers of both names."""

    move: Move
    after: tuple[str, ...]
    numbers: _Row
    images: _Row


_Form = int | Counted
_Fit = tuple[list[_Member], list[_Form]]


def numbered(moves: Iterable[Move]) -> list[Numbered]:
    """The fewest families which are found. Of two whose patterns match one key, the one which matches fewer keys is meant."""
    alike: dict[tuple[str, ...], list[_Member]] = {}
    for move in moves:
        (before, numbers), (after, images) = map(_split, move)
        alike.setdefault(before, []).append(_Member(move, after, numbers, images))
    return [_family(before, *fit) for before, members in alike.items() for fit in _fits(members)]


def rendered(segments: Sequence[Segment], names: Mapping[int, str], *, typed: bool = False) -> str:
    """The segments as a pattern (`typed`) or as a template, with these names for the numbers of the source."""
    return ".".join("".join(_text(part, names, typed) for part in segment) for segment in segments)


def letters_of(segments: Sequence[Segment]) -> dict[int, str]:
    """A letter for each number which segments of a source capture, in the order in which they stand there."""
    columns = dict.fromkeys(part.columns[0] for segment in segments for part in segment if isinstance(part, Counted))
    return {column: _LETTERS[at] for at, column in enumerate(columns)}


def numbers_of(key: str) -> tuple[int, ...]:
    """The numbers of a name; none where they are too many to be told apart."""
    return _split(key)[1]


def _text(part: str | Counted, names: Mapping[int, str], typed: bool) -> str:
    if isinstance(part, str):
        return part
    text = part.form.format(*(names[column] for column in part.columns))
    return f"{{{text}:int}}" if typed else f"{{{text}}}"


def _split(key: str) -> tuple[tuple[str, ...], _Row]:
    """The texts between the numbers of a key, and the numbers: always one text more than numbers."""
    parts = _NUMBER.split(key)
    if len(parts) > 2 * len(_LETTERS) + 1:
        return (key,), ()
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


def _family(before: tuple[str, ...], members: list[_Member], forms: list[_Form]) -> Numbered:
    columns = zip(*(member.numbers for member in members), strict=True)
    own = [values[0] if len(set(values)) == 1 else Counted((at,)) for at, values in enumerate(columns)]
    return Numbered(_segments(before, own), _segments(members[0].after, forms), tuple(member.move for member in members))


def _segments(texts: Sequence[str], numbers: Sequence[_Form]) -> tuple[Segment, ...]:
    """The segments of a name which is made of texts and, between them, numbers."""
    segments: list[list[str | Counted]] = [[]]
    for at, text in enumerate(texts):
        first, *others = text.split(".")
        segments[-1].append(first)
        segments += [[other] for other in others]
        if at < len(numbers):
            number = numbers[at]
            segments[-1].append(number if isinstance(number, Counted) else str(number))
    return tuple(_joined(segment) for segment in segments)


def _joined(parts: Iterable[str | Counted]) -> Segment:
    """Texts side by side as one, empty ones left out."""
    joined: list[str | Counted] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return tuple(joined)


def _fits(members: list[_Member]) -> list[_Fit]:
    """The members in parts, each with one form for every number of its targets."""
    forms = _forms(members)
    if forms is not None:
        return [(members, forms)]
    found = [_with_exceptions(members)] if len(members) > 2 else []
    for at in range(len(members[0].numbers)):
        parts = _by_value(members, at)
        if len(parts) > 1:
            found.append([fit for part in parts for fit in _fits(part)])
    known = [each for each in found if each]
    if not known:  # several places for one key: nothing tells them apart
        return [fit for member in members for fit in _fits([member])]
    return min(known, key=len)


def _by_value(members: list[_Member], at: int) -> list[list[_Member]]:
    parts: dict[int, list[_Member]] = {}
    for member in members:
        parts.setdefault(member.numbers[at], []).append(member)
    return list(parts.values())


def _with_exceptions(members: list[_Member]) -> list[_Fit]:
    """The most members which one set of forms fits, and the others in parts; empty where those are not the most of all."""
    ((after, _),) = Counter(member.after for member in members).most_common(1)
    usual = [member for member in members if member.after == after]
    for at in range(len(usual[0].images)):
        if _form(at, usual) is None:
            usual = _most_alike(usual, at)
    forms = _forms(usual)
    if forms is None or 2 * len(usual) <= len(members) or len(usual) == len(members):
        return []
    known = {id(member) for member in usual}
    return [*_fits([member for member in members if id(member) not in known]), (usual, forms)]


def _most_alike(members: list[_Member], at: int) -> list[_Member]:
    """The members in which number `at` of the target is most often the same way off a number of the source."""
    offsets = Counter((j, member.images[at] - value) for member in members for j, value in enumerate(member.numbers))
    if not offsets:
        return members
    (j, offset), _ = max(offsets.items(), key=lambda item: item[1])
    return [member for member in members if member.images[at] - member.numbers[j] == offset]


def _forms(members: list[_Member]) -> list[_Form] | None:
    """What each number of the targets is, in those of the sources; None where there is no one answer for all."""
    if any(member.after != members[0].after for member in members):
        return None
    forms = [_form(at, members) for at in range(len(members[0].images))]
    known = [form for form in forms if form is not None]
    return known if len(known) == len(forms) else None


def _form(at: int, members: list[_Member]) -> _Form | None:
    images = [member.images[at] for member in members]
    if len(set(images)) == 1:
        return images[0]
    columns = {j: [member.numbers[j] for member in members] for j in range(len(members[0].numbers))}
    varying = {j: values for j, values in columns.items() if len(set(values)) > 1}
    return next(_candidates(images, dict(sorted(varying.items(), key=lambda item: abs(item[0] - at)))), None)


def _candidates(images: list[int], columns: Mapping[int, list[int]]) -> Iterator[Counted]:
    """Forms which give these numbers, the plainest first."""
    for j, values in columns.items():
        if values == images:
            yield Counted((j,))
    for j, values in columns.items():
        yield from _shifted(j, values, images)
    for j, values in columns.items():
        yield from _divided(j, values, images)
    for j, values in columns.items():
        for k, others in columns.items():
            if j != k:
                yield from _laid_out(j, k, values, others, images)


def _shifted(j: int, values: list[int], images: list[int]) -> Iterator[Counted]:
    """`{i+1}`, `{i-1}`, `{3-i}`."""
    differences = {image - value for value, image in zip(values, images, strict=True)}
    sums = {image + value for value, image in zip(values, images, strict=True)}
    if len(differences) == 1:
        (offset,) = differences
        yield Counted((j,), f"{{0}}{offset:+d}")
    elif len(sums) == 1:
        yield Counted((j,), f"{sums.pop()}-{{0}}")


def _divided(j: int, values: list[int], images: list[int]) -> Iterator[Counted]:
    """`{i//2}`, `{i%2}`, `{i*2}`, `{i*2+1}`."""
    for n in range(2, _MOST_STEP):
        if _is_whole(values, images, n):
            yield Counted((j,), f"{{0}}//{n}")
        if all(image == value % n for value, image in zip(values, images, strict=True)):
            yield Counted((j,), f"{{0}}%{n}")
        rests = {image - value * n for value, image in zip(values, images, strict=True)}
        if len(rests) == 1:
            rest = rests.pop()
            yield Counted((j,), f"{{0}}*{n}{rest:+d}" if rest else f"{{0}}*{n}")


def _is_whole(values: list[int], images: list[int], n: int) -> bool:
    """Whether the images are n-ths of the values, and not by chance: several values share one, or all leave the same rest."""
    if any(image != value // n for value, image in zip(values, images, strict=True)):
        return False
    return len(set(images)) < len(set(values)) or len({value % n for value in values}) == 1


def _laid_out(j: int, k: int, values: list[int], others: list[int], images: list[int]) -> Iterator[Counted]:
    """`{i*6+j}`: stages of one depth, counted through."""
    rows = list(zip(values, others, images, strict=True))
    (first, second, image), *_ = rows
    steps = {(c - image - (b - second)) // (a - first) for a, b, c in rows if a != first}
    for n in steps if len(steps) == 1 else ():
        rests = {c - a * n - b for a, b, c in rows}
        if len(rests) == 1 and n > 1:
            rest = rests.pop()
            yield Counted((j, k), f"{{0}}*{n}+{{1}}{rest:+d}" if rest else f"{{0}}*{n}+{{1}}")
