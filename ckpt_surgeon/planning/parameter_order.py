"""Which parameter an optimizer's state belongs to: id -> key, by the names in its groups, else by the order of the table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Final

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning.optimizer import is_parameter
from ckpt_surgeon.planning.recipe import Recipe, sources_of
from ckpt_surgeon.spec import Header, Kind, OptimizerState, ParameterId, TensorSpec

__all__ = ["UnknownOrderError", "keys_of", "optimized"]

# What torch's optimizers hold in the shape of the parameter.
_MOMENTS: Final = (
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta", "sum", "ax",
    "prev", "step_size",
)  # fmt: skip


class UnknownOrderError(Exception):
    """Nobody can tell which state is whose; says why."""


def optimized(source: Header, recipes: Mapping[str, Recipe], target: Header | None) -> dict[str, TensorSpec]:
    """The source's parameters in file order, tied ones once.

    What is a parameter the source's kinds tell; where it has none, those of the target's keys which read the tensor; else its name.
    """
    kinds: dict[str, Kind] = dict(source.kinds)
    if target is not None and not kinds:
        reads = ((read.key, target.kinds.get(key)) for key, recipe in recipes.items() for read in sources_of(recipe) if not read.file)
        kinds = {key: kind for key, kind in reads if kind is not None}
    told = Header(source.entries, kinds=kinds)
    return {key: spec for key, spec in source.tensors.items() if key not in source.aliases and is_parameter(key, told)}


def keys_of(state: OptimizerState, source: Header, parameters: Mapping[str, TensorSpec]) -> dict[ParameterId, str]:
    """Id -> the source key (the first of tied ones) of its parameter. Raises UnknownOrderError where that can't be told for certain."""
    found = _by_name(state, source) if state.names else _by_order(state, parameters)
    for each, key in found.items():
        if not _fits(state, each, source.tensors[key]):
            raise UnknownOrderError(f"the state of parameter {each} has not the shape of {escape(key)}")
    return found


def _by_name(state: OptimizerState, source: Header) -> dict[ParameterId, str]:
    for name in state.names.values():
        if name not in source.tensors:
            raise UnknownOrderError(f"it names the parameter {escape(name)}, which is not in the table")
    found = {each: source.canonical(name) for each, name in state.names.items()}
    if len(set(found.values())) < len(found):
        raise UnknownOrderError("it names a parameter twice")
    return found


def _by_order(state: OptimizerState, parameters: Mapping[str, TensorSpec]) -> dict[ParameterId, str]:
    """Each group is in the order of the table, but groups may take turns there: a key has to fit the next parameter of a single one."""
    count = len(list(chain.from_iterable(state.groups)))
    if count != len(parameters):
        raise UnknownOrderError(f"it has {count} parameters, the table {len(parameters)}, and no names tell which are whose")
    waiting = _Waiting(state)
    return {waiting.take(key, spec): key for key, spec in parameters.items()}


class _Waiting:
    """The groups, by the shape of the first parameter which was not taken yet (None: it has no state, so any shape may be its own)."""

    def __init__(self, state: OptimizerState) -> None:
        self._state = state
        self._rest = [iter(group) for group in state.groups]
        self._next: dict[tuple[int, ...] | None, dict[int, ParameterId]] = {}
        for i in range(len(self._rest)):
            self._advance(i)

    def take(self, key: str, spec: TensorSpec) -> ParameterId:
        """The parameter which must be the one of this key. Raises UnknownOrderError where none, or several, may be."""
        fitting = [(shape, i) for shape in (spec.shape, None) for i in self._next.get(shape, ())]
        if len(fitting) != 1:
            what = "several groups hold a parameter which fits" if fitting else "no group holds next a parameter which fits"
            raise UnknownOrderError(f"{what} {escape(key)}, and no names tell which are whose")
        shape, i = fitting[0]
        taken = self._next[shape].pop(i)
        self._advance(i)
        return taken

    def _advance(self, i: int) -> None:
        each = next(self._rest[i], None)
        if each is not None:
            shapes = (entry.shape for name in _MOMENTS if isinstance(entry := self._state.entries.get(each, {}).get(name), TensorSpec))
            self._next.setdefault(next(shapes, None), {})[i] = each


def _fits(state: OptimizerState, parameter: ParameterId, spec: TensorSpec) -> bool:
    held = state.entries.get(parameter, {})
    shapes = (entry.shape for name in _MOMENTS if isinstance(entry := held.get(name), TensorSpec))
    return all(shape == spec.shape for shape in shapes)
