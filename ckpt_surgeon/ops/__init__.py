"""Ops: what a rule does to names or to tensors. Each is a frozen dataclass, found by its name in OPS. Loaded on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon.ops.protocol import NameOp, TensorOp
    from ckpt_surgeon.ops.registry import OPS, OpType, load_plugins, register

__all__ = [
    "NameOp",
    "OPS",
    "OpType",
    "TensorOp",
    "load_plugins",
    "register",
]

__getattr__ = deferred(
    __name__,
    {
        "NameOp": "protocol",
        "OPS": "registry",
        "OpType": "registry",
        "TensorOp": "protocol",
        "load_plugins": "registry",
        "register": "registry",
    },
)
