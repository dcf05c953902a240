"""What becomes of optimizer state: it stays while its parameters are the same, in order and shape; else it follows them, or goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.optimizer_plan import OptimizerPlan
from ckpt_surgeon.planning.recipe import Derived, Recipe
from ckpt_surgeon.spec import Header, OptimizerState

__all__ = ["Optimizers", "OptimizerMode", "is_parameter", "lost_order", "optimizer_notes", "optimizer_plan"]

OptimizerMode = Literal["follow", "reset", "drop"]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _no_number(key: str) -> bytes:
    raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Optimizers:
    """What is to become of the optimizers' states, and what they hold; the latter is asked only where it is needed.

    states: place -> state (None: of a form which is not known). has_names: whether they name their parameters.
    number: key of a tensor of one element -> its bytes.
    """

    mode: OptimizerMode = "follow"
    states: Callable[[], Mapping[str, OptimizerState | None]] = dict
    has_names: bool = True
    number: Callable[[str], bytes] = _no_number

    def __post_init__(self) -> None:
        if self.mode not in get_args(OptimizerMode):
            raise RulesError(f"{self.mode!r} is nothing that can become of an optimizer's state", hint="say follow, reset or drop")


def optimizer_plan(
    source: Header, recipes: Mapping[str, Recipe], target: Header | None, outcome: Outcome, optimizers: Optimizers
) -> OptimizerPlan:
    """The fate of the optimizer states beside `source`, whose weights become `recipes`."""
    if not source.envelope.optimizers:
        return OptimizerPlan()
    if optimizers.mode == "drop":
        return OptimizerPlan("dropped", "as asked")
    lost = lost_order(source, recipes, target)
    is_same = lost is None and not (optimizers.has_names and _is_renamed(recipes))
    if optimizers.mode == "follow" and is_same and not (target and (target.kinds or outcome.new)):
        return OptimizerPlan()
    from ckpt_surgeon.planning.following import follow
    from ckpt_surgeon.planning.members import Surgery

    return follow(Surgery(source, recipes, target, outcome), lost, optimizers)


def _is_renamed(recipes: Mapping[str, Recipe]) -> bool:
    return any(isinstance(recipe, Derived) or recipe.key != key for key, recipe in recipes.items())


def optimizer_notes(source: Header, plan: OptimizerPlan) -> tuple[str, ...]:
    """For each optimizer state which is dropped a line which says why."""
    if plan.fate != "dropped":
        return ()
    return tuple(f"the optimizer state {path!r} is dropped: {plan.why}" for path in source.envelope.optimizers)


def lost_order(source: Header, recipes: Mapping[str, Recipe], target: Header | None) -> str | None:
    """Why the state of `source`'s optimizer, as it stands, does not fit the output's parameters; None where it does, or there is none.

    torch finds state by the order of the parameters. They are told from buffers by the headers' kinds; where nobody tells, by the
    names of a batch norm's buffers.
    """
    if not source.envelope.optimizers:
        return None
    before = [key for key in source.tensors if key not in source.aliases and is_parameter(key, source)]
    position = 0
    for key, recipe in recipes.items():
        if isinstance(recipe, Derived) or recipe.file:
            if is_parameter(key, target or source):
                return f"{escape(key)} is adapted or new"
            continue
        if recipe.key in source.opaque or not is_parameter(recipe.key, source):
            continue
        if position >= len(before) or recipe.key != before[position]:
            return f"{escape(key)} does not stand where its parameter stood"
        if key != recipe.key and key in source.tensors:
            return f"{escape(key)} now names what was {escape(recipe.key)}"
        position += 1
    return None if position == len(before) else f"{escape(before[position])} is gone"


def is_parameter(key: str, header: Header) -> bool:
    """Whether a key is a parameter's, and not a buffer's: by its kind, or, where that is not known, by its name."""
    if key in header.kinds:
        return header.kinds[key] == "parameter"
    return key.rpartition(".")[2] not in _BUFFERS
