"""rearrange: the elements of a tensor in the order which an einops pattern writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, positive, text
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.reshaping import Reshape
from ckpt_surgeon.ops.shaping import filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Rearrange"]

_MAX_PATTERN = 1024  # characters; einops reads a pattern in time which grows with its length
_NAMES = re.compile(r"[^\W\d]\w*|\.\.\.")


@dataclass(frozen=True, slots=True)
class Rearrange(TensorDefaults):
    """Flatten, unflatten and reorder dims, written as an einops pattern: `(h d) i -> h d i`.

    pattern: the dims before and after, by names of its own; `()` flattens, `...` stands for dims which stay. axes: the sizes which do
    not follow from the tensor's. Nothing is summed and nothing repeated: both sides have the same names.
    Source: einops (Rogozhnikov, 2022), which reads the pattern and moves the elements.

    >>> op = Rearrange("(h three d) i -> (three h d) i", {"h": 16, "three": 3})
    >>> print(*op.infer((TensorSpec.of("float32", 3072, 1024),)))
    f32[3072, 1024]
    """

    name: ClassVar[str] = "rearrange"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    pattern: str
    axes: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(text(self.pattern, "rearrange: pattern")) > _MAX_PATTERN:
            raise RulesError(f"rearrange: a pattern of {len(self.pattern)} characters; at most {_MAX_PATTERN} are allowed")
        if not isinstance(self.axes, Mapping):
            raise RulesError(f"rearrange: axes is {self.axes!r}; a mapping is wanted: {{h: 12}}")
        if {"tensor", "pattern"} & set(self.axes):
            raise RulesError(
                f"rearrange: axes {list(self.axes)}: einops has no axis of the name tensor or pattern", hint="Name it otherwise."
            )
        assign(self, axes={text(name, "rearrange: axes"): positive(size, f"rearrange: axes: {name}") for name, size in self.axes.items()})
        if self.pattern.count("->") != 1:
            raise RulesError(f"rearrange: {self.pattern!r} is no pattern", hint="Write the dims before and after: `(h d) i -> h d i`.")
        left, right = self._sides()
        if sorted(_names(left)) != sorted(_names(right)) or len(set(_names(left))) < len(_names(left)):
            hint = "Nothing is summed, repeated or left out: each name stands once on either side."
            raise RulesError(f"rearrange: {self.pattern!r} has other dims on one side than on the other, or one twice", hint=hint)
        if "..." in left and not (_has_lone_ellipsis(left) and _has_lone_ellipsis(right)):
            hint = "Name the dims, or let `...` stand outside of parentheses on both sides."
            raise RulesError(f"rearrange: {self.pattern!r} could not be undone: it flattens `...`", hint=hint)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the shape which einops gives it."""
        spec = one_input(specs, self.name)
        return (TensorSpec(self._shape(self.pattern, self.axes, spec), spec.dtype),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The rearranged tensor, contiguous."""
        from einops import rearrange

        (tensor,) = tensors
        return (same_type(rearrange(as_movable(tensor), self.pattern, **self.axes).contiguous(), tensor),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, where both sides name the dims in one order."""
        self.infer(specs)
        left, right = self._sides()
        return (filled([Run(0, 0, specs[0].nbytes)]),) if _names(left) == _names(right) else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The sides exchanged, with every size named."""
        left, right = self._sides()
        spec = one_input(specs, self.name)
        return Rearrange(f"{right} -> {left}", self._sizes(left, spec)) if spec.numel else Reshape(spec.shape)

    def _sizes(self, side: str, spec: TensorSpec) -> dict[str, int]:
        """The size of each name, where a tensor of this spec has the dims of this side."""
        names = _names(side)
        sizes = list(self._shape(f"{side} -> {' '.join(names)}", self.axes, spec))
        if "..." in names:
            at = names.index("...")
            del sizes[at : at + len(sizes) - len(names) + 1], names[at]
        return dict(zip(names, sizes, strict=True))

    def _sides(self) -> tuple[str, str]:
        left, _, right = self.pattern.partition("->")
        return left.strip(), right.strip()

    def _shape(self, pattern: str, axes: Mapping[str, int], spec: TensorSpec) -> tuple[int, ...]:
        """What einops makes of the shape: of an array all of whose elements are one byte, so that nothing is allocated or moved."""
        import numpy
        from einops import EinopsError, rearrange

        try:
            array: Any = numpy.broadcast_to(numpy.int8(0), spec.shape)
            return tuple(rearrange(array, pattern, **axes).shape)
        except (EinopsError, ValueError) as error:
            what = str(error).strip().splitlines()[-1].strip()
            raise RulesError(f"rearrange: {pattern!r} with {dict(axes)} does not fit {spec}: {what}") from None


def _has_lone_ellipsis(side: str) -> bool:
    return "..." in re.sub(r"\([^)]*\)", "", side)


def _names(side: str) -> list[str]:
    """The names of a side, in order; `...` is one, a 1 none."""
    return _NAMES.findall(side)
