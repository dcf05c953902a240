"""remap, pre_hook: a state_dict rewritten right before the model's own `load_state_dict`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.guarding import watched
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.readers import open_readers
from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.sources import allowing, header_of, headers_of, others_of, rules_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PreHook", "pre_hook", "remap"]


def remap(
    state_dict_or_path: Any,
    rules: Any,
    model: Any = None,
    variables: Mapping[str, Any] | None = None,
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    sources: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A new state_dict, rewritten by the rules, ready for `model.load_state_dict`; the given one stays as it is.

    model: the target, a module, `pkg.module:factory`, or a checkpoint; None when no rule needs it, and then keys which no
    rule names pass through. sources: alias -> another source, as rules name it (`alias::pattern`).
    Tied tensors are one object; `_metadata` moves with its modules.
    Raises RulesError, CoverageError, NothingLoadedError, and the errors of the source's format.
    """
    target = None if model is None else header_of(model)
    allow = allowing(allow_missing, allow_unexpected)
    known = rules_of(rules)
    others = others_of(known, sources)
    made = make_plan(known, header_of(state_dict_or_path), target, variables=variables, allow=allow, others=headers_of(others))
    plan = replace(made, given_source=state_dict_or_path, given_target=model, given_others=others)
    with open_readers(plan) as readers:
        found = dict(watched(plan, Evaluator(readers)))
    table = OrderedDict((key, found[plan.ties.get(key, key)]) for key in plan.header)
    if plan.header.torch_metadata:
        vars(table)["_metadata"] = OrderedDict((module, dict(entry)) for module, entry in plan.header.torch_metadata.items())
    return table


def pre_hook(rules: Any, variables: Mapping[str, Any] | None = None) -> PreHook:
    """A hook for `module.register_load_state_dict_pre_hook`: it rewrites what is being loaded, with the module as target.

    It raises before anything is copied when a key is neither loaded nor allowed to be missing by the rules; those which
    are allowed reach `load_state_dict`, so load with `strict=False` there. Rules which are to let the model's own files
    pass as well say `expect: any`.
    """
    return PreHook(rules_of(rules), dict(variables or {}))


@dataclass(frozen=True)
class PreHook:
    """What `pre_hook` gives: a value, so that a module which carries it can be copied and pickled."""

    rules: Rules
    variables: Mapping[str, Any]

    def __call__(self, module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
        """Rewrite in place the entries below `prefix`; the rest of torch's arguments is not needed."""
        below = OrderedDict((key.removeprefix(prefix), value) for key, value in state_dict.items() if key.startswith(prefix))
        metadata = getattr(state_dict, "_metadata", None)
        if metadata is not None:
            vars(below)["_metadata"] = metadata
        rewritten = remap(below, self.rules, module, self.variables)
        for key in below:
            del state_dict[prefix + key]
        state_dict.update({prefix + key: value for key, value in rewritten.items()})
        if metadata is not None:
            # torch reads the versions from this very object while it goes on to the submodules.
            metadata.update(getattr(rewritten, "_metadata", {}))
