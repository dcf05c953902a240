"""Weights which a layer computes from other tensors: under weight norm, under spectral norm, or by code of its own."""

from __future__ import annotations

from typing import Any

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Change
from ckpt_surgeon.mapping.tree import Node, Tensor
from ckpt_surgeon.mapping.words import meanings

__all__ = ["Baked", "baked", "is_computed", "is_either_dim"]

_UPWARDS = frozenset(("up", "ups", "upsample", "deconv", "transposed", "transpose", "convtranspose", "decoder", "tconv"))
_WEIGHT_NORM, _SPECTRAL_NORM = ("magnitude", "direction"), ("original", "left", "right")


@dataclass(frozen=True, slots=True)
class Baked:
    """What makes a plain weight of the tensors of a layer. role: of the one among them which has the weight's shape."""

    role: str
    inputs: tuple[Tensor, ...]
    change: Change


def baked(target: Node, source: Node) -> Baked | None:
    """The op by which the source's weight becomes a plain one, where the target's is plain and the source's is computed so."""
    found = {tensor.role: tensor for tensor in source.tensors}
    if is_computed(target):
        return None
    if found.keys() >= set(_WEIGHT_NORM):
        magnitude, direction = (found[role] for role in _WEIGHT_NORM)
        return Baked("direction", (magnitude, direction), Change("bake_weight_norm", _norm_dim(magnitude)))
    if found.keys() >= set(_SPECTRAL_NORM):
        original, left, right = (found[role] for role in _SPECTRAL_NORM)
        return Baked("original", (original, left, right), Change("bake_spectral_norm", _vector_dim(original, left)))
    return None


def is_computed(module: Node) -> bool:
    """Whether the weight is none of the tensors, but computed from them."""
    roles = {tensor.role for tensor in module.tensors}
    return roles >= set(_WEIGHT_NORM) or "original" in roles


def is_either_dim(target: Node, source: Node) -> bool:
    """Whether the dim of a spectral norm is not to be seen: of a kernel with as many inputs as outputs whose name says upwards."""
    bake = baked(target, source)
    if bake is None or bake.role != "original":
        return False
    shape = bake.inputs[0].spec.shape
    words = {word for node in (target, source) for word in meanings(node.path)}
    return len(shape) > 2 and shape[0] == shape[1] and not _UPWARDS.isdisjoint(words)


def _norm_dim(magnitude: Tensor) -> tuple[tuple[str, Any], ...]:
    """The dim along which the magnitude has its size, where it is not the first."""
    shape = magnitude.spec.shape
    sizes = [dim for dim, size in enumerate(shape) if size > 1]
    if sizes:
        return (("dim", sizes[0]),) if sizes[0] else ()
    return () if shape else (("dim", "all"),)


def _vector_dim(original: Tensor, left: Tensor) -> tuple[tuple[str, Any], ...]:
    """The dim of which the left vector has the size: the second of transposed convolutions, else the first."""
    return () if left.spec.shape == original.spec.shape[:1] else (("dim", 1),)
