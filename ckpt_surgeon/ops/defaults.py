"""What most ops answer: no target needed, nothing to fill in, no spans, no inverse."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from ckpt_surgeon.ops.arguments import parameters_of
from ckpt_surgeon.ops.protocol import Body, NameOp, Run, TensorOp
from ckpt_surgeon.spec import TensorSpec

__all__ = ["NameDefaults", "TensorDefaults"]


class NameDefaults(NameOp, Protocol):
    """The common answers of name ops."""

    body: ClassVar[Body] = Body()
    needs_target: ClassVar[bool] = False

    def parameters(self) -> dict[str, Any]:
        """The parameters as plain JSON values, but for those which are None."""
        return parameters_of(self)


class TensorDefaults(TensorOp, Protocol):
    """The common answers of tensor ops."""

    body: ClassVar[Body] = Body()
    is_elementwise: ClassVar[bool] = False

    @property
    def needs_target(self) -> bool:
        """Whether a parameter is to be taken from the target."""
        return False

    def count(self, specs: tuple[TensorSpec, ...]) -> int | None:
        """How many outputs there are, where the op itself knows."""
        return None

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> TensorOp:
        """The op with its sizes filled in."""
        return self

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """Each output as runs of input bytes; None where it is computed."""
        return None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The op which undoes this one bit for bit, or None."""
        return None

    def parameters(self) -> dict[str, Any]:
        """The parameters as plain JSON values, but for those which are None."""
        return parameters_of(self)
