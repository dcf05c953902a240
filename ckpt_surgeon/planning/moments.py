"""Moments: the recipes of what an optimizer holds for a parameter, made as the parameter is made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.optimizer_plan import OPTIMIZER
from ckpt_surgeon.planning.recipe import Derived, Recipe, Source, sources_of
from ckpt_surgeon.spec import Entry, OptimizerState, ParameterId, TensorSpec, state_key

__all__ = ["Moments", "ResetError", "uncast"]

# One number for the whole parameter, whatever shape that has.
_NUMBERS: Final = ("step", "mu_product", "eta", "mu")
# They lose elements, and so keep no function; yet each element which they give is one of the input's.
_CHOOSING: Final = ("slice", "take")


class ResetError(Exception):
    """What an optimizer holds for a parameter means nothing any more; says why."""


def uncast(recipe: Recipe) -> Recipe:
    """The recipe without its casts: an optimizer holds its own numbers in its own type."""
    if isinstance(recipe, Source):
        return recipe
    inputs = tuple(map(uncast, recipe.inputs))
    return inputs[0] if recipe.op.name == "cast" else replace(recipe, inputs=inputs)


@dataclass(frozen=True, slots=True)
class Moments:
    """One optimizer's state, from which moments are made. ids: source key -> id. number: key of a single number -> its bytes."""

    place: str
    state: OptimizerState
    ids: Mapping[str, ParameterId]
    number: Callable[[str], bytes]

    def of(self, recipe: Recipe) -> dict[str, Recipe]:
        """Name in the state -> Recipe, of each tensor which the state of the parameter `recipe` holds; numbers are not among them.

        Raises ResetError for values which are computed, and for inputs which do not agree.
        """
        sources = sources_of(recipe)
        held = [self._held(source) for source in sources]
        if any(list(each) != list(held[0]) for each in held):
            raise ResetError(f"the state of {_listed(sources)} is not of one kind")
        made = {name: self._made(recipe, name, sources, [each[name] for each in held]) for name in held[0]}
        return {name: each for name, each in made.items() if each is not None}

    def _held(self, source: Source) -> Mapping[str, Entry | str]:
        found = {} if source.file else self.state.entries.get(self.ids.get(source.key, ""), {})
        if not found:
            raise ResetError(f"{escape(source.name)}, which is a part of it, has no state")
        return found

    def _made(self, recipe: Recipe, name: str, sources: Sequence[Source], values: Sequence[Entry | str]) -> Recipe | None:
        """What `name` becomes; None for a number which all parameters have alike."""
        specs = [value for value in values if isinstance(value, TensorSpec)]
        if not specs and len(set(values)) == 1 and isinstance(values[0], str):
            return None
        if len(specs) < len(values):
            raise ResetError(f"{escape(name)} of {_listed(sources)} differs, or is no plain tensor")
        if name not in _NUMBERS and [spec.shape for spec in specs] == [_shape(source) for source in sources]:
            return self._moved(recipe, name)
        if any(spec.numel != 1 for spec in specs):
            raise ResetError(f"{escape(name)} has not the parameter's shape")
        numbers = [self._source(source, name) for source in sources]
        if len(numbers) > 1 and len({(each.spec, self.number(each.key)) for each in numbers}) > 1:
            raise ResetError(f"{escape(name)} of {_listed(sources)} differs")
        return numbers[0]

    def _moved(self, recipe: Recipe, name: str) -> Recipe:
        """The same op on the moments as on the parameters."""
        if isinstance(recipe, Source):
            return self._source(recipe, name)
        op = recipe.op
        if op.contract != "exact" and op.name not in _CHOOSING:
            raise ResetError(f"{op.name} computes its values anew")
        inputs = tuple(self._moved(part, name) for part in recipe.inputs)
        try:
            outputs = op.infer(tuple(each.spec for each in inputs if isinstance(each.spec, TensorSpec)))
        except RulesError as error:
            raise ResetError(f"{op.name} does not fit {escape(name)}: {error.problems[0].what}") from error
        return Derived(op, inputs, recipe.output, outputs[recipe.output])

    def _source(self, source: Source, name: str) -> Source:
        each = self.ids[source.key]
        return Source(state_key(self.place, each, name), _spec(self.state.entries[each][name]), OPTIMIZER)


def _spec(value: Entry | str) -> Entry:
    assert not isinstance(value, str)  # a number has no source of its own: see `_made`
    return value


def _shape(source: Source) -> tuple[int, ...] | None:
    return source.spec.shape if isinstance(source.spec, TensorSpec) else None


def _listed(sources: Sequence[Source]) -> str:
    return " and ".join(escape(source.key) for source in sources)
