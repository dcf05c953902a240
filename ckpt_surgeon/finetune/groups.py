"""Parameter groups for torch's optimizers: by pattern, or by what became of each parameter when the model was loaded."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import ModelError, Problem, RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CLASSES", "param_groups"]

CLASSES = ("exact", "renamed", "adapted", "initialized", "missing", "new")
# The wider class which gives the rate where the class itself has none.
_WIDER = {"renamed": "exact", "initialized": "new", "missing": "new"}
_DEFAULT = "default"
_MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class _Trainable:
    """A parameter which takes gradients, and all its names (several where it is tied)."""

    names: tuple[str, ...]
    parameter: nn.Parameter


def param_groups(
    model: nn.Module,
    outcome: Outcome | None = None,
    lr: Mapping[str, float] | float | None = None,
    *,
    default: float | None = None,
    weight_decay: float | None = None,
    decay_vectors: bool = False,
) -> list[dict[str, Any]]:
    """Every parameter which takes gradients in exactly one group: `{"name": ..., "params": [...], "lr": ...}`.

    lr: rates. A key is a class of the outcome (`exact`, which covers `renamed` unless that is given; `adapted`;
    `new`, which covers `initialized` and `missing` unless they are given) or a pattern. A pattern wins over a class.
    A number instead of a mapping is the rate of all. default: the rate of all the others.
    weight_decay: put into each group; parameters of one dim (biases, norms) get a
    group of their own without it, unless `decay_vectors`.

    Groups stand in the order of `lr`, empty ones are left out; frozen parameters are in none.
    Raises RulesError for a parameter without a rate or with two, a pattern without a parameter, a rate which is no
    number of at least 0, a class without an outcome, and a model in which nothing is left to train; ModelError for a
    lazy parameter whose shape is not known yet.
    """
    given = {_DEFAULT: lr} if isinstance(lr, int | float) else lr or {}
    rates = {**given, **({} if default is None else {_DEFAULT: default})}
    _check_rates(rates, outcome, weight_decay)
    trainable = _trainable(model)
    patterns = {key: Pattern.parse(key) for key in rates if key not in (*CLASSES, _DEFAULT)}
    _check_patterns(patterns.values(), trainable, model)
    keys = _assigned(trainable, patterns, _classes(outcome, trainable, rates), rates)
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {(key, decays): [] for key in rates for decays in (True, False)}
    for each, key in zip(trainable, keys, strict=True):
        decays = weight_decay is None or decay_vectors or each.parameter.ndim > 1
        groups[key, decays].append(each.parameter)
    return [_group(key, decays, params, rates[key], weight_decay) for (key, decays), params in groups.items() if params]


def _group(key: str, decays: bool, params: list[nn.Parameter], rate: float, weight_decay: float | None) -> dict[str, Any]:
    group = {"name": key if decays else f"{key}/no_decay", "params": params, "lr": rate}
    return group if weight_decay is None else {**group, "weight_decay": weight_decay if decays else 0.0}


def _check_rates(rates: Mapping[str, float], outcome: Outcome | None, weight_decay: float | None) -> None:
    problems = [
        Problem(f"{key}: a rate is a number of at least 0, found {rate!r}")
        for key, rate in {**rates, **({} if weight_decay is None else {"weight_decay": weight_decay})}.items()
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < math.inf
    ]
    used = [key for key in rates if key in CLASSES]
    if used and outcome is None:
        hint = "give the outcome which load() returned, or patterns"
        problems.append(Problem(f"{used[0]!r} is a class of an outcome, and none is given", hint=hint))
    if problems:
        raise RulesError(problems)


def _trainable(model: nn.Module) -> list[_Trainable]:
    from torch.nn.parameter import is_lazy

    names: dict[int, list[str]] = {}
    parameters = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(id(parameter), []).append(name)
            parameters[id(parameter)] = parameter
    found = [_Trainable(tuple(names[identity]), parameter) for identity, parameter in parameters.items()]
    if not found:
        raise RulesError("there is nothing to train: no parameter of the model takes gradients", hint="freeze less")
    lazy = [each.names[0] for each in found if is_lazy(each.parameter)]
    if lazy:
        raise ModelError(f"{_listed(lazy)}: not initialized yet, the shape is unknown", hint="run one forward pass before")
    return found


def _check_patterns(patterns: Iterable[Pattern], trainable: list[_Trainable], model: nn.Module) -> None:
    problems = [_idle(pattern, model) for pattern in patterns if not any(_matches(pattern, each) for each in trainable)]
    if problems:
        raise RulesError(problems)


def _idle(pattern: Pattern, model: nn.Module) -> Problem:
    if any(pattern.match(name) is not None for name, _ in model.named_parameters(remove_duplicate=False)):
        return Problem(f"lr: the pattern {pattern.text!r} matches only frozen parameters", hint="leave it out, or freeze less")
    near = difflib.get_close_matches(pattern.text, CLASSES, n=1)
    hint = f"did you mean the class {near[0]!r}?" if near else f"the classes are {', '.join(CLASSES)}; all else is a pattern of names"
    return Problem(f"lr: {pattern.text!r} matches no parameter of the model", hint=hint)


def _matches(pattern: Pattern, each: _Trainable) -> bool:
    return any(pattern.match(name) is not None for name in each.names)


def _classes(outcome: Outcome | None, trainable: list[_Trainable], rates: Mapping[str, float]) -> list[str | None]:
    """The class of each parameter; of a tied one, that of the first of its names which was loaded."""
    if outcome is None:
        return [None] * len(trainable)
    known = outcome.classes
    found = [_class(known, each) for each in trainable]
    if not any(found) and any(key in CLASSES for key in rates):
        hint = "give the outcome of this model, and make the groups before it is wrapped (DataParallel, compile)"
        raise RulesError(f"the outcome knows none of the model's parameters (first: {trainable[0].names[0]})", hint=hint)
    return found


def _class(known: Mapping[str, str], each: _Trainable) -> str | None:
    classes = [known[name] for name in each.names if name in known]
    return next((name for name in classes if name != "missing"), classes[0] if classes else None)


def _assigned(
    trainable: list[_Trainable], patterns: Mapping[str, Pattern], classes: list[str | None], rates: Mapping[str, float]
) -> list[str]:
    """The key of `rates` which each parameter takes its rate from."""
    keys: list[str] = []
    problems: list[Problem] = []
    without: list[str] = []
    for each, class_ in zip(trainable, classes, strict=True):
        hits = [key for key, pattern in patterns.items() if _matches(pattern, each)]
        if len(hits) > 1:
            problems.append(Problem(f"lr: {each.names[0]} has two rates: {hits[0]!r} and {hits[1]!r}", hint="narrow one of the patterns"))
        key = hits[0] if hits else _class_key(class_, rates)
        if key is None:
            without.append(f"{each.names[0]} ({class_})" if class_ else each.names[0])
        keys.append(key or _DEFAULT)
    if without:
        hint = "give a rate to their class, a pattern, or a default"
        problems.append(Problem(f"lr: {len(without)} parameters have no rate: {_listed(without)}", hint=hint))
    if problems:
        raise RulesError(problems)
    return keys


def _class_key(class_: str | None, rates: Mapping[str, float]) -> str | None:
    candidates = (class_, _WIDER.get(class_ or ""), _DEFAULT)
    return next((key for key in candidates if key is not None and key in rates), None)


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
