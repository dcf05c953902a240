"""Both models side by side: links put the source's weights into the target, and a run says how far they lead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.mapping.writing.proving import wanted_recipes
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.dependence import Idle, idle_parts, parts_of
from ckpt_surgeon.probing.inputs import Inputs
from ckpt_surgeon.probing.likeness import ALIKE, OTHER, Seen, distance
from ckpt_surgeon.probing.models import Models
from ckpt_surgeon.probing.noise import shaken
from ckpt_surgeon.probing.running import Call, traced
from ckpt_surgeon.spec import Header

__all__ = ["Bench", "Result"]

_UNLIKE = 1.0  # noise as large as the weights: nothing of them is left


@dataclass(frozen=True, slots=True)
class Result:
    """One run of the target.

    distance: of its outputs from the source's; None where they cannot be compared. calls: its parts' calls, in order.
    known: for each whether it was given what some part of the source was given or gave, too.
    """

    distance: float | None
    calls: tuple[Call, ...]
    known: tuple[bool, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the outputs are the source's."""
        return self.distance is not None and self.distance <= ALIKE

    @property
    def is_other(self) -> bool:
        """Whether the outputs are certainly not the source's, or cannot be compared."""
        return self.distance is None or self.distance >= OTHER

    @property
    def is_apart(self) -> bool:
        """Whether the outputs can be compared and are not the source's."""
        return self.distance is not None and self.is_other

    def reach(self, after: int = -1) -> int:
        """How many calls beyond place `after` were given what the source's are."""
        return sum(self.known[after + 1 :])

    def places(self, keys: Iterable[str]) -> tuple[int, int]:
        """The places of the first and last call of the parts to which target keys belong, or within which they do."""
        names = {call.name for call in self.calls}
        owners = {_owner(key, names) for key in keys}
        places = [place for place, call in enumerate(self.calls) if call.name in owners]
        return min(places), max(places)


def _owner(key: str, names: set[str]) -> str:
    """The innermost part around a key which was called; the whole model was."""
    name = key
    while name not in names:
        name = name.rpartition(".")[0]
    return name


class Bench:
    """Runs the target with weights which links take from the source's model, whose weights are shaken."""

    def __init__(self, models: Models, inputs: Inputs, headers: tuple[Header, Header], seed: int, used: set[str]) -> None:
        """headers: SOURCE's and TARGET's. used: the keys of SOURCE which links may take; no others are shaken."""
        self.runs = 0
        self._target, self._inputs, self._seed = models.target, inputs, seed
        self._source_header, self._target_header = headers
        self._given = _shake(models, used, seed)
        self._given |= {headers[0].canonical(key): tensor for key, tensor in self._given.items()}
        trace = traced(models.source, inputs, seed)
        self._seen = Seen((*(each for call in trace.calls for each in call.given), *trace.made))
        self._outputs = trace.outputs
        if any(bool(output.isnan().any()) for output in trace.outputs):
            raise ModelError("the source's outputs are no numbers on the probe's input", hint="give another input")
        self._fresh = {key: value.clone() for key, value in models.target.state_dict().items() if isinstance(value, Tensor)}
        self._evaluator = Evaluator({"": StateDictReader(self._given)})

    def has(self, links: Iterable[Link]) -> bool:
        """Whether the source's model holds all which the links take."""
        keys = {key for link in links for key in link.sources if key in self._source_header.entries}
        return keys <= self._given.keys()

    def put(self, links: Sequence[Link]) -> None:
        """Give the links' targets what they say."""
        self._load(self._values(links))

    def shake(self, links: Sequence[Link]) -> None:
        """Give the links' targets what has nothing to do with the source."""
        self._load({key: shaken(value, f"other {key}", self._seed, _UNLIKE) for key, value in self._values(links).items()})

    def reset(self, keys: Iterable[str]) -> None:
        """Give target keys what the model was built with."""
        self._load({key: self._fresh[key] for key in keys if key in self._fresh})

    def run(self) -> Result:
        """One run as the weights are now."""
        self.runs += 1
        trace = traced(self._target, self._inputs, self._seed, made=False)
        known = tuple(bool(call.given) and all(each in self._seen for each in call.given) for call in trace.calls)
        return Result(distance(trace.outputs, self._outputs), trace.calls, known)

    def idle(self, keys: Iterable[str]) -> Idle:
        """The parts with these keys on which the outputs do not depend, as the weights are now, which have to give the source's outputs."""
        return idle_parts(self._target, parts_of(self._target, list(keys)), self._inputs, self._seed, self._is_same)

    def _is_same(self, keys: Sequence[str]) -> bool:
        """Whether the outputs are the source's with these keys shaken."""
        state = self._target.state_dict()
        before = {key: state[key].clone() for key in keys}
        self._load({key: shaken(value, f"other {key}", self._seed, _UNLIKE) for key, value in before.items()})
        try:
            return self.run().is_equal
        finally:
            self._load(before)

    def _values(self, links: Sequence[Link]) -> dict[str, Tensor]:
        recipes = wanted_recipes(links, self._source_header, self._target_header)
        return {
            key: self._evaluator.tensor(recipe).reshape(self._fresh[key].shape) for key, recipe in recipes.items() if key in self._fresh
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self._target.load_state_dict(state, strict=False)


def _shake(models: Models, used: set[str], seed: int) -> dict[str, Tensor]:
    """Shake the weights of the source's model; returns SOURCE's key -> value, as the module has it afterwards."""
    state = {key: value for key, value in models.source.state_dict().items() if isinstance(value, Tensor)}
    pointers: dict[int, str] = {}
    firsts = {key: pointers.setdefault(value.data_ptr(), key) for key, value in state.items()}
    wanted = [key for key in state if models.names.get(key) in used]
    with torch.no_grad():
        models.source.load_state_dict({key: shaken(state[key].clone(), firsts[key], seed) for key in wanted}, strict=False)
    after = models.source.state_dict()
    return {name: after[key].clone() for key, name in models.names.items() if key in state}
