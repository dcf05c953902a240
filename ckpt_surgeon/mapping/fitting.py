"""How far two modules of different shapes may be one module, and by which op its tensor becomes the other's."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from ckpt_surgeon.mapping.links import Change
from ckpt_surgeon.mapping.tree import Node, Tensor
from ckpt_surgeon.mapping.words import meanings

__all__ = ["NEVER", "changes", "fit", "main", "other_channels"]

NEVER = -10.0
_TO_KERNEL_LAST = ((3, 2, 0, 1), (2, 3, 0, 1))  # [h, w, in, out], and a depthwise kernel's [h, w, in, 1]
_TO_KERNEL_FIRST = ((2, 3, 1, 0), (2, 3, 0, 1))  # back to them
_LINE, _IMAGE = 3, 4  # dims of the kernels of convolutions along a line, [size, in, out] elsewhere, and over images
_MOST_TOKENS = 5  # before a grid of positions: a class token and four registers
Shape = tuple[int, ...]


@lru_cache(maxsize=1 << 16)
def main(module: Node) -> Tensor:
    """The module's largest tensor."""
    return max(module.tensors, key=lambda tensor: tensor.spec.numel)


def fit(target: Node, source: Node) -> float:
    """How well two modules of other shapes fit: from 0 (barely) to 1 (nearly the same); far below 0 where no op leads there."""
    left, right = main(target), main(source)
    if left.spec.dtype.is_float != right.spec.dtype.is_float or _contradict(target, source):
        return NEVER
    a, b = left.spec.shape, right.spec.shape
    if left.squeezed == right.squeezed:
        return 0.6
    if left.spec.numel == right.spec.numel:
        if left.sizes == right.sizes:
            return 0.6 if _is_known_turn(a, b) else NEVER
        return 0.5 if a[0] == b[0] else NEVER
    if other_channels(a, b) or _inflated(a, b):
        return 0.4
    if len(left.squeezed) == len(right.squeezed) == 2 and left.squeezed[-1] == right.squeezed[-1] and _positions(target, source):
        return 0.4 if _prefix(left.squeezed[0], right.squeezed[0]) is not None else NEVER
    return NEVER


def _is_known_turn(a: Shape, b: Shape) -> bool:
    """Whether dims of the same sizes in another order are a matrix turned, but for 1s, or a kernel in a known layout."""
    left, right = (tuple(size for size in shape if size != 1) for shape in (a, b))
    return (len(left) == 2 and left == right[::-1] and 2 in (len(a), len(b))) or _turned(a, b) is not None


def _contradict(target: Node, source: Node) -> bool:
    """Whether tensors of one role, but the largest, have different shapes."""
    others = {tensor.role: tensor.squeezed for tensor in source.tensors if tensor is not main(source)}
    left = (tensor for tensor in target.tensors if tensor is not main(target))
    return any(others.get(tensor.role, tensor.squeezed) != tensor.squeezed for tensor in left)


def _positions(target: Node, source: Node) -> bool:
    return "pos" in meanings(target.path) and "pos" in meanings(source.path)


def other_channels(a: Shape, b: Shape) -> bool:
    """Whether two kernels differ in the number of their input channels only."""
    return len(a) == len(b) > 2 and a[0] == b[0] > 1 and a[1] != b[1] and a[2:] == b[2:]  # [1, n, size] is a table, not a kernel


def _inflated(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) + 1 == 5 and a[:2] == b[:2] and a[3:] == b[2:]


def _turned(a: Shape, b: Shape) -> Shape | None:
    """The order of dims which takes a kernel from one layout to the other; None where no known layout does."""
    if len(a) != len(b) or sum(size > 1 for size in a) < 2:
        return None
    if len(a) == _LINE:
        return (2, 1, 0) if a == b[::-1] else None
    if len(a) != _IMAGE:
        return None
    is_last = b[0] * b[1] <= b[2] * b[3]
    layouts = (*_TO_KERNEL_LAST, *_TO_KERNEL_FIRST) if is_last else (*_TO_KERNEL_FIRST, *_TO_KERNEL_LAST)
    return next((dims for dims in layouts if a == tuple(b[dim] for dim in dims)), None)


def changes(target: Tensor, source: Tensor) -> tuple[Change, ...]:
    """The ops which give `source` the shape of `target`, in order; none where the bytes stay."""
    a, b = target.spec.shape, source.spec.shape
    if a == b:
        return ()
    if len(a) == len(b) == 2 and a == b[::-1]:
        return (Change("transpose"),)
    if (dims := _turned(a, b)) is not None:
        return (Change("permute", (("dims", dims),)),)
    reshape = Change("reshape", (("shape", a),))
    if len(b) == 2 and b[0] != b[1] and target.squeezed == b[::-1]:
        return Change("transpose"), reshape
    if len(a) == 2 and a[0] != a[1] and source.squeezed == a[::-1]:
        return Change("reshape", (("shape", a[::-1]),)), Change("transpose")
    return (reshape if target.spec.numel == source.spec.numel else _resized(a, b),)


def _resized(a: Shape, b: Shape) -> Change:
    if _inflated(a, b):
        return Change("inflate", (("mode", "mean"), ("time", a[2])))
    if other_channels(a, b):
        return Change("adapt_in_channels", (("mode", "sum" if a[1] == 1 else "mean"), ("in_channels", a[1])))
    prefix = _prefix(a[-2], b[-2])
    more = (("prefix_tokens", prefix),) if prefix is not None and prefix != 1 else ()
    return Change("resample_pos_embed", (("source_grid", "square"), ("target_grid", "target"), *more))


def _prefix(rows: int, others: int) -> int | None:
    """How many rows are no places of a grid, so that those of both are squares of other sizes; None where none are so."""
    if abs(rows - others) <= _MOST_TOKENS:
        return None
    counts = range(min(_MOST_TOKENS, rows - 1, others - 1) + 1)
    return next((count for count in counts if all(isqrt(n - count) ** 2 == n - count for n in (rows, others))), None)
