"""Freeze parameters by name or by index, and keep frozen batch norms from learning new statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.pattern import Pattern

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Space", "freeze", "unfreeze"]

Space = Literal["parameters", "state_dict"]


def freeze(
    model: nn.Module,
    patterns: str | Iterable[str] = (),
    *,
    below: int | None = None,
    space: Space | None = None,
    bn_eval: bool = True,
) -> tuple[str, ...]:
    """Turn gradients off for the parameters which a pattern names, and for those whose index is less than `below`.

    space: what `below` counts, since the same number means two things: `parameters` counts what
    `model.parameters()` gives, `state_dict` the entries of `model.state_dict()`, buffers among them.
    bn_eval: a batch norm whose parameters are all frozen (or which has none and is named itself) keeps its running
    statistics, also through `model.train()`; so does one whose running statistics a pattern names alone. Convert to
    SyncBatchNorm before: the conversion makes new modules, which know nothing of this.

    Returns the names of the parameters which are frozen now and were named here, tied names included.
    Raises RulesError for a pattern with nothing to freeze, an index without its space, or one past the end.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    norms = dict(_norms(model))
    named = _named(patterns, model, [*parameters, *(_statistics(norms) if bn_eval else ())])
    named |= _first(model, below, space)
    identities = {id(parameters[name]) for name in named if name in parameters}
    frozen = tuple(name for name, parameter in parameters.items() if id(parameter) in identities)
    for name in frozen:
        parameters[name].requires_grad = False  # requires_grad_() refuses lazy parameters
    if bn_eval:
        for name, norm in norms.items():
            if _is_frozen(name, norm, named | set(frozen)):
                _hold(norm)
    return frozen


def unfreeze(model: nn.Module, patterns: str | Iterable[str] = "**") -> tuple[str, ...]:
    """Turn gradients on again for the parameters which a pattern names, and let their batch norms learn again.

    Returns the names of these parameters. Raises RulesError for a pattern which names nothing that could be frozen.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    norms = dict(_norms(model))
    named = _named(patterns, model, [*parameters, *_statistics(norms)])
    identities = {id(parameters[name]) for name in named if name in parameters}
    freed = tuple(name for name, parameter in parameters.items() if id(parameter) in identities)
    for name in freed:
        parameters[name].requires_grad = True
    for name, norm in norms.items():
        if _own(name, norm) & (named | set(freed)):
            _release(norm, model.training)
    return freed


def _named(texts: str | Iterable[str], model: nn.Module, useful: Collection[str]) -> set[str]:
    """All parameters and buffers which the patterns match; each pattern must match a useful one."""
    if not isinstance(texts, Iterable):
        raise RulesError(
            f"a pattern or a list of patterns is wanted; found {texts!r}", hint='"layer1.**", or below=N with space=... for an index'
        )
    patterns = [Pattern.parse(text) for text in ([texts] if isinstance(texts, str) else texts)]
    tensors = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    matches = {pattern: {name for name, _ in tensors if pattern.match(name) is not None} for pattern in patterns}
    problems = [_idle(pattern, found) for pattern, found in matches.items() if not found.intersection(useful)]
    if problems:
        raise RulesError(problems)
    return set().union(*matches.values())


def _idle(pattern: Pattern, found: set[str]) -> Problem:
    if found:
        return Problem(f"the pattern {pattern.text!r} matches only buffers, which are not trained", hint="name the parameters beside them")
    hint = "a pattern matches whole names of parameters: `layer1.**` for all below layer1, `**.bn*.*` for batch norms"
    return Problem(f"the pattern {pattern.text!r} matches no parameter of the model", hint=hint)


def _first(model: nn.Module, below: int | None, space: Space | None) -> set[str]:
    if below is None:
        if space is not None:
            raise RulesError(f"space={space!r} is given without an index", hint="give below=N, or leave it out")
        return set()
    spaces = {"parameters": [name for name, _ in model.named_parameters()], "state_dict": list(model.state_dict())}
    sizes = f"{len(spaces['parameters'])} parameters and {len(spaces['state_dict'])} entries in its state_dict"
    if space not in spaces:
        what = f"an index needs its space, 'parameters' or 'state_dict', found {space!r}: the model has {sizes}"
        hint = "an index which was read off a state_dict freezes far more when it counts parameters: `i < 165` is all of a ResNet-50"
        raise RulesError(what, hint=hint)
    names = spaces[space]
    if isinstance(below, bool) or not 0 < below <= len(names):
        raise RulesError(f"below={below} does not count {space}: the model has {sizes}", hint=f"give a number from 1 to {len(names)}")
    return set(names[:below])


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules which update running statistics while they train: torch's norms, and others which keep its names."""
    return (
        (name, module) for name, module in model.named_modules(remove_duplicate=False) if module._buffers.get("running_mean") is not None
    )


def _own(name: str, norm: nn.Module) -> set[str]:
    tensors = {**norm._parameters, **norm._buffers}
    return {f"{name}.{leaf}" if name else leaf for leaf, tensor in tensors.items() if tensor is not None}


def _statistics(norms: dict[str, nn.Module]) -> list[str]:
    return [f"{name}.{leaf}" if name else leaf for name, norm in norms.items() for leaf in norm._buffers]


def _is_frozen(name: str, norm: nn.Module, named: set[str]) -> bool:
    """Whether a norm is named here, and nothing of it is left to train or only its statistics were named."""
    own = _own(name, norm) & named
    parameters = [parameter for parameter in norm._parameters.values() if parameter is not None]
    only_statistics = own <= set(_statistics({name: norm}))
    return bool(own) and (only_statistics or not any(parameter.requires_grad for parameter in parameters))


def _hold(norm: nn.Module) -> None:
    """Shadow `train` of this one module. A partial of a function in a module survives deepcopy and pickle, a closure does not."""
    norm.eval()
    norm.__dict__["train"] = partial(_train_held, norm)


def _release(norm: nn.Module, mode: bool) -> None:
    held = norm.__dict__.get("train")
    if isinstance(held, partial) and held.func is _train_held:
        del norm.__dict__["train"]
        norm.train(mode)


def _train_held(norm: nn.Module, mode: bool = True) -> nn.Module:
    """What `train(mode)` does for a held norm: it stays in eval mode, whatever the mode of its model; its children follow."""
    held = type(norm).train(norm, mode)
    held.training = False
    return held
