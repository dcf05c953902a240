"""Specs as they are displayed (`f32[2, 3]`), tensors of any type filled with noise, and their bytes; what samples are made of."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

from ckpt_surgeon.ops.protocol import Run, TensorOp
from ckpt_surgeon.spec import DTYPES, DType, TensorSpec

WEIGHTS = [dtype for dtype in DTYPES.values() if dtype.is_float and dtype.signed]
VALUED = [dtype for dtype in DTYPES.values() if not dtype.is_packed]
TYPES = [dtype for dtype in DTYPES.values() if hasattr(torch, dtype.name)]


@dataclass(frozen=True)
class Sample:
    """An op, bound, and inputs which it takes."""

    op: TensorOp
    specs: tuple[TensorSpec, ...]


Draw = Callable[[st.SearchStrategy[Any]], Any]
shapes = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
sizes = st.integers(0, 4)


def at_least(rank: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(sizes, min_size=rank, max_size=4).map(tuple)


def types(among: list[DType] = TYPES) -> st.SearchStrategy[DType]:
    return st.sampled_from([dtype for dtype in among if dtype in TYPES])


def signed(draw: Draw, dim: int, rank: int) -> int:
    """The same dim, counted from either end."""
    return draw(st.sampled_from([dim, dim - rank]))


SHORT = {dtype.short: dtype for dtype in DTYPES.values()}


def spec_from(text: str) -> TensorSpec:
    """`f32[2, 3]` -> its TensorSpec."""
    found = re.fullmatch(r"(\w+)\[([\d, ]*)\]", text)
    assert found is not None, text
    return TensorSpec(tuple(int(size) for size in found[2].split(",") if size.strip()), SHORT[found[1]])


def specs_of(texts: Sequence[str]) -> tuple[TensorSpec, ...]:
    return tuple(map(spec_from, texts))


def spec_of(tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec.of(str(tensor.dtype).removeprefix("torch."), *tensor.shape)


def tensor_of(spec: TensorSpec, seed: int = 0) -> torch.Tensor:
    """Noise in every byte; a bool only holds 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    high = 2 if spec.dtype.name == "bool" else 256
    raw = torch.randint(0, high, (spec.nbytes,), dtype=torch.uint8, generator=generator)
    return raw.view(getattr(torch, spec.dtype.name)).reshape(spec.shape)


def tensors_of(specs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor_of(spec, seed) for seed, spec in enumerate(specs))


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Contiguous little-endian bytes; of one-byte types also from a strided tensor, which torch does not copy for some."""
    if tensor.element_size() == 1:
        tensor = tensor.view(torch.uint8)
    flat = tensor.contiguous().as_strided((tensor.numel(),), (1,))  # a lone element may have any stride, and no view then
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, each second element of a longer tensor; the same tensor where torch cannot make that (no dims, `bits16`)."""
    if not tensor.dim() or (tensor.element_size() > 1 and not (tensor.is_floating_point() or tensor.is_complex())):
        return tensor
    plain = tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
    return torch.stack([plain, plain], -1).flatten(-2)[..., ::2].view(tensor.dtype)


def moved(runs: Sequence[Run], inputs: Sequence[bytes]) -> bytes:
    """What the runs take from the bytes of the inputs; none may reach beyond them."""
    assert all(run.offset >= 0 and run.offset + run.nbytes <= len(inputs[run.input]) for run in runs)
    return b"".join(inputs[run.input][run.offset : run.offset + run.nbytes] for run in runs)
