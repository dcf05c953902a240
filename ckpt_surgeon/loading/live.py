"""load: a checkpoint into a live nn.Module, whole or not at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import CoverageError, ModelError
from ckpt_surgeon.evaluation import Evaluator, same_bytes
from ckpt_surgeon.guarding import watched
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.loading.staging import all_or_nothing
from ckpt_surgeon.model import header_of_module
from ckpt_surgeon.planning import Plan, make_plan
from ckpt_surgeon.readers import open_readers
from ckpt_surgeon.sources import allowing, header_of, headers_of, others_of, rules_of
from ckpt_surgeon.spec import Header, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["load"]


def load(
    model: nn.Module,
    source: Any,
    rules: Any = None,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    require_coverage: float | None = None,
    variables: Mapping[str, Any] | None = None,
    *,
    sources: Mapping[str, Any] | None = None,
) -> Outcome:
    """Load a checkpoint into a live model: plan it, read and check every tensor, then copy.

    source: a path, URL, state_dict or module. rules: a path, a document, a list of rules, Rules, or None.
    sources: alias -> another source, as rules name it (`alias::pattern`).
    The module's own `load_state_dict` runs, strictly, on a complete state_dict: keys which may be missing keep the
    model's values. Parameters stay the same objects, on their devices, in their dtypes. Peak: the model, its state_dict,
    and one tensor. (The values stand where the module's own code will put them before it runs, so one whose code ignores
    a tensor holds it nevertheless.)

    On any error the module is bit-identical to before. Raises NothingLoadedError when nothing matches, CoverageError when
    a key is neither loaded nor allowed to be missing (and the like), RulesError, ModelError (a model on meta or scripted,
    or its own code fails), and the errors of the source's format.
    """
    _refuse_unloadable(model)
    target = header_of_module(model)
    known = rules_of(rules)
    others = others_of(known, sources)
    made = make_plan(
        known,
        header_of(source),
        target,
        variables=variables,
        allow=allowing(allow_missing, allow_unexpected),
        require_coverage=require_coverage,
        others=headers_of(others),
    )
    plan = replace(made, given_source=source, given_target=model, given_others=others)
    values = _values(plan, target)
    state = _complete(model, values, plan.header.torch_metadata)
    with all_or_nothing(model, values):
        _load_strictly(model, state)
    return plan.outcome


def _refuse_unloadable(model: nn.Module) -> None:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"the first argument is the model; found {type(model).__name__}", hint="load(model, source)")
    meta = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if meta:
        hint = "build it on the CPU; copies into tensors on meta go nowhere"
        raise ModelError(f"the model has {len(meta)} tensors on the meta device (first: {escape(meta[0])})", hint=hint)
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError("the model is scripted, so that a failed load could not be undone", hint="load it before torch.jit.script")


def _values(plan: Plan, target: Header) -> dict[str, Any]:
    """Every value which is to be loaded, ties included, in the dtypes of the model."""
    with open_readers(plan) as readers:
        found = {key: _fitted(key, value, target) for key, value in watched(plan, Evaluator(readers))}
    values = found | {name: found[first] for name, first in plan.ties.items()}
    _refuse_rivals(values, target)
    return values


def _refuse_rivals(values: Mapping[str, Any], target: Header) -> None:
    """One tensor of the model cannot take two values: torch would let the last one win."""
    pairs = [(first, name) for name, first in target.aliases.items() if first in values and name in values]
    rivals = [pair for pair in pairs if not same_bytes(values[pair[0]], values[pair[1]])]
    if rivals:
        names = "; ".join(f"{escape(first)} and {escape(name)}" for first, name in rivals)
        hint = "drop one of them by a rule, or untie the model"
        raise CoverageError(f"the model ties them, and the source has different values: {names}", hint=hint)


def _fitted(key: str, value: Any, target: Header) -> Any:
    """The value in the dtype of the target's entry. Raises CoverageError when an op or a reader broke its word on the shape."""
    spec = target.entries[key]
    if not isinstance(spec, TensorSpec):
        return value
    if tuple(value.shape) != spec.shape:
        raise CoverageError(f"it came out as {list(value.shape)}, the model wants {spec}", where=escape(key))
    return value.to(_dtype(spec))


def _dtype(spec: TensorSpec) -> torch.dtype:
    import torch

    found: torch.dtype = getattr(torch, spec.dtype.name)
    return found


def _complete(model: nn.Module, values: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]]) -> OrderedDict[str, Any]:
    """The model's whole state_dict with the values in it, and with the `_metadata` of the source."""
    state = OrderedDict((key, values.get(key, value)) for key, value in model.state_dict().items())
    if metadata:
        vars(state)["_metadata"] = OrderedDict((module, dict(table)) for module, table in metadata.items())
    return state


def _load_strictly(model: nn.Module, state: Mapping[str, Any]) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except Exception as error:  # hooks and set_extra_state are the user's code
        name = type(model).__name__
        raise ModelError(f"{name}.load_state_dict() failed, nothing was loaded: {type(error).__name__}: {error}") from error
