"""Rows of a tensor along a dim, kept bit for bit under new numbers, and new ones among them: heads and vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.arguments import integer, one_of
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.precision import has_arithmetic, narrowed, widened
from ckpt_surgeon.ops.protocol import Run
from ckpt_surgeon.ops.shaping import is_outermost
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["NEW_ROWS", "check_new_rows", "drawing", "refuse_new_rows", "row_runs", "taken_rows"]

NEW_ROWS = ("zero", "mean", "normal")
_SPREAD = 1e-9  # of the new rows' covariance over the old ones': transformers' epsilon
_MAX_RUNS = 256  # of one output; more pieces cost more than a computed output does
_MAX_SEED = 2**63 - 1  # what torch.manual_seed takes


def check_new_rows(policy: object, seed: object, name: str, word: str) -> None:
    """RulesError for a policy or a seed which is none; `word` is what the op calls the policy."""
    one_of(policy, NEW_ROWS, f"{name}: {word}")
    if not 0 <= integer(seed, f"{name}: seed") <= _MAX_SEED:
        raise RulesError(f"{name}: seed is {seed}; 0 or more is wanted")


def refuse_new_rows(spec: TensorSpec, policy: str, size: int, name: str) -> None:
    """RulesError where new rows cannot be made: of a type without zero or without a mean, or of no old rows. size: how many there are."""
    if policy == "zero":
        if spec.dtype.is_packed or not spec.dtype.has_zero:
            raise RulesError(f"{name}: {spec} has no zero for new rows")
        return
    if not has_arithmetic(spec.dtype):
        hint = "`zero` needs no arithmetic; a quantized weight is to be dequantized first."
        raise RulesError(f"{name}: {spec} holds no weights of which a mean could be taken", hint=hint)
    if not size:
        raise RulesError(f"{name}: {spec} has no rows of which a mean could be taken", hint="`zero` needs none.")


def row_runs(spec: TensorSpec, dim: int, rows: Sequence[int | None], blocks: int = 1) -> tuple[Run, ...] | None:
    """The kept rows as runs of input bytes, merged where they touch; None where some are new, stand apart or are too many."""
    if None in rows or not is_outermost(spec.shape, dim):
        return None
    nbytes, size = prod(spec.shape[dim + 1 :]) * spec.dtype.itemsize, spec.shape[dim] // blocks
    runs: list[Run] = []
    for row in (block * size + row for block in range(blocks) for row in rows if row is not None):
        last = runs[-1] if runs else None
        if last is not None and last.offset + last.nbytes == row * nbytes:
            runs[-1] = Run(0, last.offset, last.nbytes + nbytes)
        else:
            runs.append(Run(0, row * nbytes, nbytes))
        if len(runs) > _MAX_RUNS:
            return None
    return tuple(run for run in runs if run.nbytes)


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for each name, so that what one draws does not depend on the others."""
    from hashlib import sha256

    return int.from_bytes(sha256(f"{seed}:{name}".encode()).digest()[:7], "big")


def drawing(seed: int) -> torch.Generator:
    """A source of random numbers of its own: torch's is neither read nor moved."""
    import torch

    return torch.Generator().manual_seed(seed)


def taken_rows(
    tensor: torch.Tensor, dim: int, rows: Sequence[int | None], policy: str, generator: torch.Generator, name: str
) -> torch.Tensor:
    """For each new row the old one of that number bit for bit, or one made by the policy (None)."""
    import torch

    old = as_movable(tensor.detach()).movedim(dim, 0)
    new_at = [i for i, row in enumerate(rows) if row is None]
    kept = torch.tensor([0 if row is None else row for row in rows], dtype=torch.int64)
    result = old.index_select(0, kept) if len(old) else old.new_empty((len(rows), *old.shape[1:]))
    if new_at:
        made = _new_rows(tensor.detach().movedim(dim, 0), len(new_at), policy, generator, name)
        result[torch.tensor(new_at)] = as_movable(made)
    return same_type(result.movedim(0, dim).contiguous(), tensor)


def _new_rows(old: torch.Tensor, count: int, policy: str, generator: torch.Generator, name: str) -> torch.Tensor:
    """`[n, ...] -> [count, ...]`: zeros, the mean of the old rows, or drawn from their normal.

    `normal` is that of transformers' mean_resizing: the mean of the old rows and 1e-9 of their covariance; the mean itself where
    the covariance is not positive definite, as with fewer rows than features. Of numbers (a bias) 1e-9 of the deviation.

    Source: transformers 5.24, `PreTrainedModel._init_added_embeddings_weights_with_mean`, `_init_added_lm_head_bias_with_mean`.
    """
    import torch

    if policy == "zero":
        return torch.zeros((count, *old.shape[1:]), dtype=torch.float32).to(old.dtype)
    flat = widened(old).contiguous().reshape(len(old), -1)
    mean = flat.mean(0)
    made = mean.repeat(count, 1)
    if policy == "normal":
        factor = _deviation(flat) if old.dim() == 1 else _covariance_root(flat, mean)
        noise = torch.normal(torch.zeros_like(made), torch.ones_like(made), generator=generator)
        made = made if factor is None else mean + (factor @ noise.unsqueeze(-1)).squeeze(-1)
    return narrowed(made.reshape(count, *old.shape[1:]), old.dtype, name)


def _deviation(numbers: torch.Tensor) -> torch.Tensor | None:
    """`[n, 1] -> [1, 1]`: the deviation which new numbers have; None for a lone one."""
    return _SPREAD * numbers.std(0).diag() if len(numbers) > 1 else None


def _covariance_root(flat: torch.Tensor, mean: torch.Tensor) -> torch.Tensor | None:
    """`[n, features] -> [features, features]`: the triangular root of the covariance which new rows have; None where there is none."""
    import torch

    if len(flat) <= flat.shape[1]:
        return None  # of lower rank, whatever rounding makes of it
    centered = flat - mean
    root, fault = torch.linalg.cholesky_ex(_SPREAD * (centered.T @ centered / len(flat)))
    return None if fault.item() else root
