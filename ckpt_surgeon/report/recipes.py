"""Recipes in reports: as JSON values, as words, and many of them folded into few rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.recipe import Derived, Recipe, Source, sources_of
from ckpt_surgeon.report.page import Document

__all__ = ["RecipeRow", "fold_recipes", "ops_document", "ops_text", "recipe_document"]

_DIGITS = re.compile("[0-9]+")
_BRACES = re.compile(r"\{([0-9.,]+)\}")  # as `fold` writes them
_MOST_PARAMETERS = 60  # characters of an op's parameters in a table

_Member = tuple[str, tuple[str, ...], str]  # target key, source keys, ops in words


@dataclass(frozen=True, slots=True)
class RecipeRow:
    """Recipes alike but for the numbers in their keys: `count` targets (folded, not escaped), their sources and ops in words."""

    target: str
    count: int
    sources: str
    ops: str
    classification: str


def recipe_document(recipe: Recipe | None, classification: str) -> Document:
    """`{"sources": [...], "ops": [{"op": ..., ...}], "class": ...}`; without a recipe, both lists are empty."""
    sources = [] if recipe is None else [source.name for source in sources_of(recipe) if not source.is_initial]
    return {"sources": sources, "ops": [] if recipe is None else ops_document(recipe), "class": classification}


def ops_document(recipe: Recipe) -> list[Document]:
    """The ops of a recipe in the order in which they run, each once; `output` says which of several outputs is taken."""
    return [{"op": part.op.name, **part.op.parameters(), **_output(part)} for part in _derived(recipe)]


def _derived(recipe: Recipe) -> Iterator[Derived]:
    seen: set[int] = set()
    parts = [recipe]
    order: list[Derived] = []
    while parts:
        part = parts.pop()
        if isinstance(part, Source) or id(part) in seen:
            continue
        seen.add(id(part))
        order.append(part)
        parts.extend(part.inputs)
    return reversed(order)


def _output(part: Derived) -> dict[str, Any]:
    return {"output": part.output} if part.op.arity in ("1->n", "n->m") else {}


def ops_text(recipe: Recipe) -> str:
    """The ops in words: `split(dim=0, output 1), transpose(dims=[0, 1])`; empty for a source as it is."""
    return ", ".join(f"{part.op.name}({_parameters(part)})" for part in _derived(recipe))


def _parameters(part: Derived) -> str:
    words = [f"{name}={value}" for name, value in part.op.parameters().items() if value is not None]
    words += [f"output {output}" for output in _output(part).values()]
    return escape(", ".join(words), limit=_MOST_PARAMETERS)


def fold_recipes(recipes: Iterable[tuple[str, Recipe | None, str]], *, detailed: bool = False) -> list[RecipeRow]:
    """(target key, recipe, class) -> rows. Recipes which differ in numbers only share a row, where that says the whole truth."""
    groups: dict[tuple[object, ...], list[_Member]] = {}
    for key, recipe, classification in recipes:
        sources = () if recipe is None else tuple(source.name for source in sources_of(recipe) if not source.is_initial)
        ops = "" if recipe is None else ops_text(recipe)
        masks = key if detailed else tuple(_DIGITS.sub("0", name) for name in (key, *sources))
        groups.setdefault((masks, ops, classification), []).append((key, sources, ops))
    return [row for (_, _, classification), members in groups.items() for row in _rows(members, str(classification))]


def _rows(members: list[_Member], classification: str) -> Iterator[RecipeRow]:
    """Rows of one group: each row's n-th target must read its n-th sources, else nothing is folded."""
    ops = members[0][2]
    blocks = [fold(names) for names in zip(*((key, *sources) for key, sources, _ in members), strict=True)]
    rows = list(zip(*blocks, strict=True)) if len({len(block) for block in blocks}) == 1 else []
    told = [names for row in rows for names in zip(*(_expanded(*block) for block in row), strict=False)]
    if sorted(told) != sorted((key, *sources) for key, sources, _ in members):
        for key, sources, _ in members:
            yield RecipeRow(key, 1, ", ".join(map(escape, sources)), ops, classification)
        return
    for (target, count), *columns in rows:
        yield RecipeRow(target, count, ", ".join(escape(text) for text, _ in columns), ops, classification)


def _expanded(text: str, count: int) -> list[str]:
    """The names which a folded block stands for, in the order of its numbers."""
    if count == 1:
        return [text]
    parts = _BRACES.split(text)
    choices = [_numbers(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(names) for names in product(*choices)]


def _numbers(ranges: str) -> list[str]:
    """`0..2,5` -> 0, 1, 2, 5."""
    bounds = [part.partition("..") for part in ranges.split(",")]
    return [str(number) for first, _, last in bounds for number in range(int(first), int(last or first) + 1)]
