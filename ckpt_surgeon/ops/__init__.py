"""Ops: what a rule does to names or to tensors. Each is a frozen dataclass, found by its name in OPS."""

from ckpt_surgeon.ops.protocol import NameOp, TensorOp
from ckpt_surgeon.ops.registry import OPS, OpType, load_plugins, register

__all__ = ["OPS", "NameOp", "OpType", "TensorOp", "load_plugins", "register"]
