"""State_dicts as strangers save them: every dtype, odd layouts, ties, Parameters, `_metadata`, odd names. Strategies for hypothesis."""

from collections import OrderedDict
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ckpt_surgeon.spec import DTYPES

__all__ = ["KEYS", "SAFE_DTYPES", "TORCH_DTYPES", "random_bytes", "same_tables", "state_dicts"]

# Those whose tensors torch can save, load and index; sub-byte types it can only name.
TORCH_DTYPES = [getattr(torch, name) for name, dtype in DTYPES.items() if not dtype.is_packed]
SAFE_DTYPES = [dtype for dtype in TORCH_DTYPES if dtype is not torch.complex32 and dtype is not torch.complex128]

_SEGMENTS = ["a", "b", "weight", "bias", "0", "10", "layer-1", "é", "権", "a b", "__x", "'", '"', "\\", "/", "#t", ":", "{x}", "*", "😀"]
KEYS = st.one_of(
    st.lists(st.sampled_from(_SEGMENTS), min_size=1, max_size=3).map(".".join),
    st.sampled_from(["", ".", "a.", ".a", "a..b", "\n", "\x1b[31m", "\x7f", "format", "state", "n" * 200]),
)
_SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def random_bytes(count: int, seed: int) -> Tensor:
    """u8[count], the same for the same seed."""
    return torch.randint(0, 256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _plain(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Any bit pattern, NaN and all; of bool only its two."""
    count = 1
    for size in shape:
        count *= size
    values = random_bytes(count * dtype.itemsize, seed)
    return (values % 2 if dtype is torch.bool else values).view(dtype).reshape(shape)


def _turned(tensor: Tensor) -> Tensor:
    return tensor.t() if tensor.dim() == 2 else tensor


def _parameter(tensor: Tensor) -> Tensor:
    return torch.nn.Parameter(tensor, requires_grad=False)


_LAYOUTS = {
    "plain": lambda tensor: tensor,
    "transposed": _turned,
    "a row": lambda tensor: tensor[-1] if tensor.dim() and len(tensor) else tensor,
    "every second": lambda tensor: tensor[::2] if tensor.dim() else tensor,
    "the rest": lambda tensor: tensor[1:] if tensor.dim() else tensor,
    "expanded": lambda tensor: tensor.expand(2, *tensor.shape),
    "a parameter": _parameter,
}


@st.composite
def _tensors(draw: st.DrawFn, dtypes: list[torch.dtype]) -> Tensor:
    tensor = _plain(draw(_SHAPES), draw(st.sampled_from(dtypes)), draw(st.integers(0, 2**16)))
    return _LAYOUTS[draw(st.sampled_from(list(_LAYOUTS)))](tensor)


@st.composite
def state_dicts(draw: st.DrawFn, dtypes: list[torch.dtype] = TORCH_DTYPES, keys: st.SearchStrategy[str] = KEYS) -> dict[str, Tensor]:
    """A dict or an OrderedDict with `_metadata`; some keys are second names, or other views of one storage."""
    names = draw(st.lists(keys, min_size=1, max_size=7, unique=True))
    table: dict[str, Any] = OrderedDict() if draw(st.booleans()) else {}
    for name in names:
        how = draw(st.sampled_from(["new", "new", "new", "tied", "view"])) if table else "new"
        other = draw(st.sampled_from(list(table.values()))) if how != "new" else None
        if other is None:
            table[name] = draw(_tensors(dtypes))
        else:
            table[name] = other if how == "tied" else other.detach()[None]
    if isinstance(table, OrderedDict):
        modules = dict.fromkeys(["", *(name.rpartition(".")[0] for name in names)])
        vars(table)["_metadata"] = OrderedDict((module, {"version": draw(st.integers(1, 3))}) for module in modules)
    return table


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().resolve_conj().resolve_neg()
    flat = plain.view(torch.uint8) if plain.itemsize == 1 else plain
    flat = flat.contiguous()
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy().tobytes()


def same_tables(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    """Whether two tables hold the same keys with the same shapes, dtypes and bytes; says which do not."""
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
        assert (key, found[key].shape, found[key].dtype) == (key, tensor.shape, tensor.dtype)
        assert _bytes(found[key]) == _bytes(tensor), key
    return True
