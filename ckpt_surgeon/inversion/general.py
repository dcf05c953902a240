"""Changes of keys -> few patterns which stand for many of them: names which differ in nothing but their numbers, whole modules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.pattern import Pattern, quoted
from ckpt_surgeon.keys.syntax import REGEX_PREFIX
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.recipe import Change

__all__ = ["Form", "covering", "folded", "plain", "require_writable"]

_DIGITS = re.compile("([0-9]+)")
_LETTERS = "ijklmnop"  # names of numbers; a key with more of them is written out
_COUNTER = "n"
_WILD = re.compile(rf"[*{{}}]|^{REGEX_PREFIX}")


@dataclass(frozen=True, slots=True)
class Form:
    """Sources and targets of a rule, as texts, and the changes for which they stand."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    changes: tuple[Change, ...]


def plain(changes: Iterable[Change]) -> list[Form]:
    """Each change by itself, its keys written out."""
    return [Form(tuple(map(quoted, inputs)), outputs, ((inputs, outputs),)) for inputs, outputs in changes]


def require_writable(names: Iterable[str]) -> None:
    """Raises RulesError for a name which no template can write: with braces or a star, or one which begins as a regular expression."""
    for name in names:
        if _WILD.search(name):
            raise RulesError(f"{escape(name)} cannot be written as a target: it holds braces or a star, or begins with {REGEX_PREFIX}")


def folded(changes: Sequence[Change], keys: Iterable[str]) -> list[Form]:
    """The changes, those which differ in nothing but numbers in one form, as long as it matches none but their inputs among `keys`."""
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Change]] = {}
    for change in changes:
        alike.setdefault(_numbered(change), []).append(change)
    by_skeleton: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        by_skeleton.setdefault(_skeleton(key), []).append(key)
    forms: list[Form] = []
    for (sources, targets), members in alike.items():
        form = Form(sources, targets, tuple(members))
        is_short = (len(members) > 1 or len(sources) + len(targets) < sum(map(len, members[0]))) and _is_exact(form, by_skeleton)
        forms += [form] if is_short else plain(members)
    return forms


def _is_exact(form: Form, keys: dict[tuple[str, ...], list[str]]) -> bool:
    """Whether its sources match the inputs of its changes and no other key."""
    wanted = {key for inputs, _ in form.changes for key in inputs}
    try:
        patterns = [Pattern.parse(source) for source in form.sources]
    except RulesError:  # more numbers in a segment than a pattern takes
        return False
    candidates = {key for member in wanted for key in keys[_skeleton(member)]}
    return {key for key in candidates if any(pattern.match(key) is not None for pattern in patterns)} == wanted


def _skeleton(key: str) -> tuple[str, ...]:
    """The texts between the numbers of a key."""
    return tuple(_DIGITS.split(key)[::2])


def _numbers(key: str) -> list[str]:
    return _DIGITS.findall(key)


def _numbered(change: Change) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sources and targets with captures for the numbers which all keys of the change share; as they are, where that says too little."""
    inputs, outputs = change
    many, few = (outputs, inputs) if len(outputs) > len(inputs) else (inputs, outputs)
    written = tuple(map(quoted, inputs)), outputs
    rows = [_numbers(key) for key in many]
    if any(map(_WILD.search, (*inputs, *outputs))) or len({len(row) for row in rows}) != 1 or len(rows[0]) > len(_LETTERS):
        return written
    shared = [at for at in range(len(rows[0])) if len({row[at] for row in rows}) == 1]
    if any(_numbers(key) != [rows[0][at] for at in shared] for key in few):
        return written
    names = {at: _LETTERS[i] for i, at in enumerate(shared)}
    is_source = many is inputs
    if _is_counted(many, rows, shared):
        (counter,) = set(range(len(rows[0]))) - set(shared)
        texts: tuple[str, ...] = (_put(many[0], names | {counter: _COUNTER}, {counter} | (set(names) if is_source else set())),)
    else:
        texts = tuple(_put(key, names, set(names) if is_source else set()) for key in many)
    places = dict(enumerate(names.values()))
    others = tuple(_put(key, places, set() if is_source else set(places)) for key in few)
    return (texts, others) if is_source else (others, texts)


def _is_counted(keys: Sequence[str], rows: Sequence[Sequence[str]], shared: Sequence[int]) -> bool:
    """Whether the keys are one name with the numbers 0, 1, 2 ... at one place."""
    loose = [at for at in range(len(rows[0])) if at not in shared]
    if len(loose) != 1 or len({_skeleton(key) for key in keys}) != 1:
        return False
    return [row[loose[0]] for row in rows] == [str(at) for at in range(len(rows))]


def _put(key: str, names: dict[int, str], typed: Collection[int]) -> str:
    """The key with a capture at each place of `names`, written with its type where that is wanted."""
    parts = _DIGITS.split(key)
    for at, name in names.items():
        parts[2 * at + 1] = f"{{{name}:int}}" if at in typed else f"{{{name}}}"
    return "".join(parts)


def covering(wanted: Collection[str], keys: Collection[str]) -> tuple[str, ...]:
    """Patterns which match `wanted` and nothing else among `keys`: whole modules where they are wanted, else folded by number."""
    by_module = tuple(dict.fromkeys(_modules(wanted, keys)))
    forms = folded([((key,), (key,)) for key in wanted], keys)
    by_number = tuple(dict.fromkeys(source for form in forms for source in form.sources))
    return by_number if len(by_number) < len(by_module) else by_module


def _modules(wanted: Collection[str], keys: Iterable[str]) -> Iterator[str]:
    """For each wanted key the shortest path below which everything is wanted; the key itself where there is none."""
    every, ours = _census(keys), _census(wanted)
    for key in wanted:
        path = next((path for path in _paths(key) if every[path] == ours[path]), key)
        is_lone = every[path] == 1 or every[path] > ours[path] or _WILD.search(path)
        yield "**" if not path else quoted(key) if is_lone else f"{path}.**"


def _census(keys: Iterable[str]) -> dict[str, int]:
    """How many keys stand at or below each path."""
    found: dict[str, int] = {}
    for key in keys:
        for path in _paths(key):
            found[path] = found.get(path, 0) + 1
    return found


def _paths(key: str) -> Iterator[str]:
    """The root, each module on the way, and the key."""
    yield ""
    at = key.find(".")
    while at >= 0:
        yield key[:at]
        at = key.find(".", at + 1)
    yield key
