"""Arithmetic on shapes which the ops share: dims within a rank, inputs which must agree, runs of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.arguments import MAX_INTEGER, integers
from ckpt_surgeon.ops.precision import refuse_no_weights
from ckpt_surgeon.ops.protocol import Run
from ckpt_surgeon.spec import DType, TensorSpec

__all__ = [
    "bounded",
    "dim_within",
    "dims_within",
    "filled",
    "is_outermost",
    "one_input",
    "plain_shape",
    "refuse_unlike",
    "shared_out",
    "shares",
    "squeezed",
    "target_size",
    "weights_alike",
]


def one_input(specs: Sequence[TensorSpec], name: str) -> TensorSpec:
    """The only input."""
    if len(specs) != 1:
        raise RulesError(f"{name}: {len(specs)} inputs; it takes one tensor")
    return specs[0]


def dim_within(dim: int, rank: int, name: str, of: object) -> int:
    """A dim counted from the front; negative ones count from the end. `of` is what has this rank, for the message."""
    if -rank <= dim < rank:
        return dim % rank
    fits = f"{-rank}..{rank - 1}" if rank else "none, it has no dims"
    raise RulesError(f"{name}: dim {dim} of {of} is out of range", hint=f"Dims which fit: {fits}.")


def dims_within(dims: Iterable[int], rank: int, name: str, of: object) -> tuple[int, ...]:
    """Distinct dims counted from the front, in the order given."""
    found = tuple(dim_within(dim, rank, name, of) for dim in dims)
    if len(set(found)) < len(found):
        raise RulesError(f"{name}: dims {list(found)} of {of} name one dim twice")
    return found


def target_size(target: TensorSpec, dim: int, name: str) -> int:
    """The size which a target has along a dim."""
    return target.shape[dim_within(dim, len(target.shape), name, f"the target's {target}")]


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its 1s."""
    return tuple(size for size in shape if size != 1)


def is_outermost(shape: Sequence[int], dim: int) -> bool:
    """Whether no dim larger than 1 stands before `dim`: then a cut along it is a cut of the bytes."""
    return prod(shape[:dim]) == 1


def plain_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """A shape without negative sizes."""
    wrong = [size for size in shape if size < 0]
    if wrong:
        raise RulesError(f"{name}: size {wrong[0]} in {list(shape)}; sizes are 0 or more")
    return tuple(shape)


def bounded(shape: Sequence[int], dtype: DType, name: str) -> TensorSpec:
    """A spec whose sizes come from a rule: its bytes must be countable in an int64."""
    if prod(shape) * dtype.itemsize > MAX_INTEGER:
        raise RulesError(f"{name}: {dtype}{list(shape)} has more bytes than any file can hold")
    return TensorSpec(tuple(shape), dtype)


def filled(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The runs which hold any bytes."""
    return tuple(run for run in runs if run.nbytes)


def shares(value: object, what: str) -> tuple[int, ...]:
    """How many heads or rows each part has, for `shared_out`."""
    found = plain_shape(integers(value, what), what)
    if not found:
        raise RulesError(f"{what} is an empty list; at least one part is wanted")
    return found


def shared_out(size: int, parts: Sequence[int], what: str) -> tuple[int, ...]:
    """The sizes of parts whose shares are known: 6 by [1, 1, 1] is 2, 2, 2. `what` is what is shared out, for the message."""
    total = sum(parts)
    if (total == 0 and size) or (total and size % total):
        raise RulesError(
            f"{what} do not divide by the sizes {list(parts)}, {total} in all", hint="Give the heads, or the rows, of each part."
        )
    return tuple(part * (size // total) if total else 0 for part in parts)


def weights_alike(specs: Sequence[TensorSpec], name: str) -> TensorSpec:
    """The first of inputs which are computed with element by element. RulesError for other shapes, and for what holds no weights."""
    if not specs:
        raise RulesError(f"{name}: no inputs; it takes at least one tensor")
    first = specs[0]
    unlike = next((spec for spec in specs if spec.shape != first.shape), None)
    if unlike is not None:
        raise RulesError(f"{name}: {first} and {unlike} are not of one shape", hint="Adapt one of them by a rule before this one.")
    counter = next((spec for spec in specs if not spec.dtype.is_float), None)
    if counter is not None:
        hint = "Narrow the pattern to the weights, or `copy` such a key from one of its sources."
        raise RulesError(f"{name}: {counter} is of whole numbers, which have no such values between them", hint=hint)
    refuse_no_weights(specs, name)
    return first


def refuse_unlike(specs: Sequence[TensorSpec], dim: int, name: str) -> None:
    """RulesError unless the specs are alike but for their sizes along `dim`."""
    first = specs[0]
    for spec in specs[1:]:
        if spec.dtype != first.dtype:
            raise RulesError(f"{name}: {first} and {spec} differ in type", hint="`cast` one of them first.")
        if len(spec.shape) != len(first.shape):
            raise RulesError(f"{name}: {first} and {spec} differ in the number of dims")
        unlike = [i for i, sizes in enumerate(zip(first.shape, spec.shape, strict=True)) if i != dim and sizes[0] != sizes[1]]
        if unlike:
            raise RulesError(f"{name}: {first} and {spec} differ in dim {unlike[0]}; only dim {dim} may differ")
