"""verify: reopen a checkpoint and prove it: its header, every tensor, the plan it came from, a strict load on the device."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import CoverageError, ModelError, UnsafeError, refuse
from ckpt_surgeon.evaluation import Evaluator, same_bytes
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning import Plan, Source, make_plan, sources_of
from ckpt_surgeon.readers import open_readers
from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.sources import Progress, allowing, header_of, headers_of, is_factory, open_source, others_of, rules_of
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Device", "verify"]

Device = Literal["auto", "meta", "cpu", "cuda"]


def verify(
    path: Any,
    target: Any,
    device: str = "auto",
    *,
    rules: Any = None,
    source: Any = None,
    variables: Mapping[str, Any] | None = None,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    require_coverage: float | None = None,
    sources: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Prove that the checkpoint at `path` is what `target` needs; nothing but weights may be missing, and only where allowed.

    Its header is the target's; every tensor is read back; where the target is a model, torch's own strict
    `load_state_dict` runs on a copy of it, on `device` (`auto`: the GPU if there is one, else the CPU), and every tensor
    is compared with the file afterwards. At most the model and its largest tensor are in memory; the given model stays as
    it is. rules: what they allow holds here too. source: the checkpoint from which rules made this one; header and bytes
    must be those of the plan. sources: alias -> another source which the rules name.

    Returns the outcome of the load, whose last notes say what was done and on which device. Raises CoverageError for
    whatever is not so, ModelError for a device which is not there, and the errors of the file's format.
    """
    known = rules_of(rules).allowing(allowing(allow_missing, allow_unexpected))
    model = _model(target, arguments)
    place = _place(device, model)
    wanted = header_of(target if model is None else model)
    with open_source(path) as reader:
        allowed = Rules(allow=known.allow)
        plan = make_plan(allowed, reader.header, wanted, variables=variables, require_coverage=require_coverage)
        others = others_of(known, sources)
        given = {"given_target": target, "given_others": others, "arguments": dict(arguments or {})}
        notes = [f"{_count(reader.header)} were read back"]
        passes = (source is not None) + (2 if place in ("cpu", "cuda") else 1)
        check = _Check(reader, plan, _Steps(progress, reader.header, passes))
        if source is not None:
            made = make_plan(known, header_of(source), wanted, variables=variables, others=headers_of(others))
            notes.append(check.against_plan(replace(made, given_source=source, **given)))
        if model is None:
            check.read_all()
        else:
            notes += check.load(model, place)
    return replace(plan.outcome, notes=(*plan.outcome.notes, *notes))


def _model(target: Any, arguments: Mapping[str, Any] | None) -> nn.Module | None:
    """The target as a module without weights; None where it is a checkpoint or a header."""
    if isinstance(target, Header | Mapping):
        return None
    if isinstance(target, str | os.PathLike) and not is_factory(os.fspath(target)):
        return None
    from ckpt_surgeon.model import build, skeleton

    return skeleton(build(os.fspath(target), arguments) if isinstance(target, str | os.PathLike) else target)


def _place(device: str, model: nn.Module | None) -> str:
    if device not in get_args(Device):
        raise ModelError(f"there is no device {device!r}", hint=f"the devices are {', '.join(get_args(Device))}")
    if model is None:
        if device in ("cpu", "cuda"):
            raise ModelError(f"nothing can be loaded on {device}: the target is no model", hint="give pkg.module:factory as the target")
        return "meta"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here", hint="take --device cpu, or auto")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@dataclass(slots=True)
class _Steps:
    """Progress in bytes over one or several passes through the file."""

    progress: Progress | None
    header: Header
    passes: int
    done: int = field(default=0, init=False)

    def step(self, nbytes: int) -> None:
        self.done += nbytes
        if self.progress is not None:
            self.progress(self.done, self.passes * self.header.nbytes)


@dataclass(frozen=True, slots=True)
class _Check:
    """An open checkpoint, and the plan which says how it fits its target."""

    reader: Reader
    plan: Plan
    steps: _Steps

    def read_all(self) -> None:
        """Read every tensor of the file once."""
        for key in _distinct(self.reader.header):
            self._read(key)

    def against_plan(self, planned: Plan) -> str:
        """Compare header and bytes with those which the rules make of the source; returns a note."""
        found = self.reader.header
        keys = [key for key in {**planned.header.entries, **found.entries} if found.entries.get(key) != planned.header.entries.get(key)]
        wrong = [f"{escape(key)} is {found.entries.get(key)}, planned is {planned.header.entries.get(key)}" for key in keys]
        wrong += [] if dict(found.aliases) == dict(planned.header.aliases) else ["other keys are tied than planned"]
        refuse(wrong, "the checkpoint is not what the rules make of the source")
        with open_readers(planned) as readers:
            evaluator = Evaluator(readers)
            recipes = {key: recipe for key, recipe in planned.recipes.items() if isinstance(recipe.spec, TensorSpec)}
            wrong = [escape(key) for key, recipe in recipes.items() if not same_bytes(self._read(key), evaluator.tensor(recipe))]
        refuse(wrong, "these tensors are not those which the rules make of the source")
        return f"{len(recipes)} tensors are those which the rules make of the source"

    def load(self, model: nn.Module, place: str) -> list[str]:
        """Load strictly into a model on meta, which takes the tensors over as they are, and compare; returns notes."""
        self._refuse_rivals()
        state, notes = self._state(model, place)
        try:
            model.load_state_dict(state, strict=True, assign=True)
        except Exception as error:  # hooks and set_extra_state are the user's code
            name = type(model).__name__
            raise CoverageError(f"{name}.load_state_dict(strict=True) failed on {place}: {type(error).__name__}: {error}") from error
        if place == "meta":
            return [*notes, "a strict load on meta went well; no values are there to compare"]
        del state
        wrong = list(self._changed(model))
        refuse(wrong, f"these tensors are not the file's after a load on {place}")
        return [*notes, f"a strict load on {_described(place)} went well, and every tensor there is the file's"]

    def _refuse_rivals(self) -> None:
        """One tensor of the model cannot take two values: torch would let the last one win."""
        aliases = self.plan.target.aliases if self.plan.target is not None else {}
        loaded = self._loaded()
        pairs = [(first, name) for name, first in aliases.items() if {first, name} <= loaded.keys()]
        wrong = [" and ".join(map(escape, pair)) for pair in pairs if not same_bytes(*(self._fitted(key, loaded[key]) for key in pair))]
        refuse(wrong, "the model ties them, and the file has different values")

    def _state(self, model: nn.Module, place: str) -> tuple[OrderedDict[str, Any], list[str]]:
        """The complete state_dict on the device: the file's tensors, and what the model has itself where they may be missing."""
        own = model.state_dict()
        missing = set(self.plan.outcome.missing_keys)
        state: OrderedDict[str, Any] = OrderedDict((key, own[key]) for key in own if key in missing)
        notes = []
        for key, source in self._loaded().items():
            try:
                state[key] = self.reader.read_opaque(source.key) if isinstance(source.spec, Opaque) else self._on(place, key, source)
            except UnsafeError as error:
                state[key] = own[key]
                notes.append(f"{escape(key)} was not loaded: {error.problems[0].what}")
        state |= {name: state[first] for name, first in self.plan.ties.items() if first in state}
        if self.plan.header.torch_metadata:
            vars(state)["_metadata"] = OrderedDict((module, dict(table)) for module, table in self.plan.header.torch_metadata.items())
        return state, notes

    def _loaded(self) -> dict[str, Source]:
        """Target key -> the file's entry, for all but what torch is to fill itself."""
        return {key: source for key, recipe in self.plan.recipes.items() for source in sources_of(recipe)}

    def _on(self, place: str, key: str, source: Source) -> torch.Tensor:
        """The file's tensor on the device, in the model's dtype; a Parameter where the model has one, so that ties hold."""
        import torch

        try:
            tensor = self._fitted(key, source).to(place)
        except torch.OutOfMemoryError as error:
            raise ModelError(f"the model does not fit into the memory of {_described(place)}", hint="take --device cpu") from error
        is_parameter = self.plan.target is not None and self.plan.target.kinds.get(key) == "parameter"
        return torch.nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor

    def _fitted(self, key: str, source: Source) -> torch.Tensor:
        """The file's tensor in the dtype of the target's key."""
        import torch

        wanted = self.plan.target.entries[key] if self.plan.target is not None else None
        tensor = self._read(source.key)
        return tensor.to(getattr(torch, wanted.dtype.name)) if isinstance(wanted, TensorSpec) else tensor

    def _changed(self, model: nn.Module) -> Iterator[str]:
        """The keys whose tensors in the model differ from the file's, read once more."""
        loaded = model.state_dict()
        for key, source in self._loaded().items():
            if not isinstance(source.spec, TensorSpec):
                continue
            if loaded[key].is_meta or not same_bytes(loaded[key].cpu(), self._fitted(key, source)):  # on meta: it never took one
                yield escape(key)

    def _read(self, key: str) -> torch.Tensor:
        """One tensor of the file, which must be what the header says."""
        tensor = self.reader.read(key)
        spec = self.reader.header.tensors[key]
        if (tuple(tensor.shape), str(tensor.dtype)) != (spec.shape, f"torch.{spec.dtype.name}"):
            raise CoverageError(f"it reads as {tensor.dtype}{list(tensor.shape)}, the header says {spec}", where=escape(key))
        self.steps.step(spec.nbytes)
        return tensor


def _distinct(header: Header) -> list[str]:
    return [key for key in header.tensors if key not in header.aliases]


def _count(header: Header) -> str:
    return f"{len(_distinct(header))} tensors ({header.nbytes:,} bytes)"


def _described(place: str) -> str:
    import torch

    return f"{place} ({torch.cuda.get_device_name()})" if place == "cuda" else place
