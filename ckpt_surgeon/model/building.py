"""`pkg.module:factory` -> an nn.Module, on the meta device: shapes without weights."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model.factories import spec_parts

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "called"]

# An exception's text may hold a whole tensor; one line of a terminal or two say what is wrong.
_MESSAGE_CHARACTERS = 300


def build(spec: str, arguments: Mapping[str, Any] | None = None, device: str = "meta") -> nn.Module:
    """Import `pkg.module:factory` and call it; the current folder is importable meanwhile.

    What stands after the colon may be dotted, and be a function, a class, or (without arguments) an nn.Module.
    On the meta device torch's initializers do nothing; a factory which cannot be built there (it reads values) is
    built on the CPU instead, which calls it a second time. What the user's code prints goes to stderr.

    Raises ModelError when the module cannot be imported, the factory fails, or its result is no nn.Module.
    """
    parts = spec_parts(spec)
    if parts is None:
        raise ModelError(f"{spec!r} is no model", hint="write pkg.module:factory, for example net:build_model")
    given = dict(arguments or {})
    with _current_folder_importable(), contextlib.redirect_stdout(sys.stderr):
        found = _attribute(_import(parts[0], spec), parts[1], spec)
        return _as_module(found, given, device, spec)


def called(spec: str) -> Any:
    """Import `pkg.module:function` and call it without arguments, as `build` does, but for what comes out.

    Raises ModelError when it cannot be imported, is no function, or fails.
    """
    parts = spec_parts(spec)
    if parts is None:
        raise ModelError(f"{spec!r} is no function", hint="write pkg.module:function")
    with _current_folder_importable(), contextlib.redirect_stdout(sys.stderr):
        found = _attribute(_import(parts[0], spec), parts[1], spec)
        if not callable(found):
            raise ModelError(f"it is a {type(found).__name__}, not a function", where=spec)
        _check_arguments(found, {}, spec)
        with _users_code(spec, "calling it"):
            return found()


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = os.getcwd()
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


def _import(name: str, spec: str) -> ModuleType:
    try:
        with _users_code(spec, f"importing {name}"):
            return importlib.import_module(name)
    except ModelError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            hint = "run it in the folder where the module lies, or put that folder on PYTHONPATH"
            raise ModelError(f"there is no module {cause.name!r}", where=spec, hint=hint) from cause
        raise


def _attribute(module: ModuleType, path: str, spec: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, [word for word in dir(found) if not word.startswith("_")], n=3)
            owner = getattr(found, "__name__", type(found).__name__)
            hint = f"did you mean {', '.join(near)}?" if near else "give the name of a function or class which makes the model"
            raise ModelError(f"{owner} has no {name!r}", where=spec, hint=hint)
        found = getattr(found, name)
    return found


def _as_module(found: Any, arguments: dict[str, Any], device: str, spec: str) -> nn.Module:
    from torch import nn

    if isinstance(found, nn.Module):
        if arguments:
            raise ModelError("it is a finished model and takes no arguments", where=spec, hint="leave out the model arguments")
        return found
    if not callable(found):
        raise ModelError(f"it is a {type(found).__name__}, neither a factory nor a model", where=spec)
    _check_arguments(found, arguments, spec)
    result = _call(found, arguments, device, spec)
    if not isinstance(result, nn.Module):
        raise ModelError(
            f"it returned {type(result).__name__}, not an nn.Module", where=spec, hint="let the factory return the model itself"
        )
    return result


def _check_arguments(factory: Callable[..., Any], arguments: dict[str, Any], spec: str) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        hint = "give what it needs with --model-arg name=value"
        raise ModelError(f"its arguments do not fit: {error}; it takes {signature}", where=spec, hint=hint) from error


def _call(factory: Callable[..., Any], arguments: dict[str, Any], device: str, spec: str) -> Any:
    import torch

    from ckpt_surgeon.model.undrawn import undrawn

    if device == "meta":
        with contextlib.suppress(ModelError), _users_code(spec, "building the model"), undrawn(), torch.device("meta"):
            return factory(**arguments)
    with _users_code(spec, "building the model"), torch.device("cpu" if device == "meta" else device):
        return factory(**arguments)


@contextmanager
def _users_code(spec: str, doing: str) -> Iterator[None]:
    """Turn whatever the user's code raises into a ModelError which says where; an interrupt passes."""
    try:
        yield
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:_MESSAGE_CHARACTERS]
        what = f"{doing} failed{_place(error.__traceback__)}: {type(error).__name__}{': ' if text else ''}{text}"
        hint = "mend the model's code, or give another factory, which needs no files and no arguments"
        raise ModelError(what, where=spec, hint=hint) from error


def _place(trace: TracebackType | None) -> str:
    """` in net.py:12`: the last line of code outside torch and the standard library which was running."""
    installed = (os.path.dirname(os.path.dirname(os.__file__)), os.path.dirname(__file__))
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if not frame.filename.startswith((*installed, "<frozen")) and "site-packages" not in frame.filename
    ]
    return f" in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
