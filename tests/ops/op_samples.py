"""Specs as they are displayed (`f32[2, 3]`), tensors of any type filled with noise, and their bytes."""

import re
from collections.abc import Sequence

import torch

from ckpt_surgeon.ops.protocol import Run
from ckpt_surgeon.spec import DTYPES, TensorSpec

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


# These refuse what only values tell: a result too large for its type, a division by nothing.
_TOO_LARGE = ("adapt_in_channels", "collapse", "resample_patch_embed", "resample_pos_embed", "resample_rel_pos_bias")
CHOOSY = frozenset((*_TOO_LARGE, "fold_bn", "bake_weight_norm", "bake_spectral_norm"))


def inputs_of(name: str, specs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """Noise for an op; numbers from 0.5 to 1.5 for one which is choosy."""
    if name not in CHOOSY:
        return tensors_of(specs)
    generator = torch.Generator().manual_seed(0)
    return tuple((torch.rand(spec.shape, generator=generator) + 0.5).to(getattr(torch, spec.dtype.name)) for spec in specs)


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
