"""What a tensor is, never where: DType, TensorSpec, and Header, the ordered table which checkpoint and model share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any, Literal

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = [
    "DTYPES",
    "DType",
    "Entry",
    "Envelope",
    "Header",
    "Kind",
    "LINEAGE",
    "Opaque",
    "OptimizerState",
    "ParameterId",
    "TableSummary",
    "TensorSpec",
    "state_key",
]

# The text metadata in which an output tells where its keys come from.
LINEAGE = "ckpt_surgeon.lineage"

Kind = Literal["parameter", "buffer"]
ParameterId = int | str


@dataclass(frozen=True, slots=True)
class DType:
    """An element type. A finite value is `m * 2**e`: `precision` bits of m, steps from `2**low`, sizes below `2**high`.

    `name` is torch's (`float32`), `short` the displayed one (`f32`), `itemsize` in bytes.
    """

    name: str
    short: str
    itemsize: int
    signed: bool = True
    precision: int = 0
    low: int = 0
    high: int = 0
    is_complex: bool = False
    has_zero: bool = True

    @property
    def is_float(self) -> bool:
        """Whether it holds fractions (complex types included)."""
        return self.low < 0

    @property
    def is_packed(self) -> bool:
        """Whether an element is a bit field without arithmetic of its own (`uint4`, `bits8`, `float4_e2m1fn_x2`)."""
        return self.precision == 0

    def __hash__(self) -> int:
        return hash(self.name)

    def holds(self, other: DType) -> bool:
        """Whether every finite value of `other` survives the conversion to this type."""
        if self is other or self == other:
            return True
        if self.is_packed or other.is_packed or (other.is_complex and not self.is_complex):
            return False
        wide = self.precision >= other.precision and self.low <= other.low and self.high >= other.high
        return wide and (self.signed or not other.signed) and (self.has_zero or not other.has_zero)

    def __str__(self) -> str:
        return self.short


def _float(name: str, short: str, itemsize: int, precision: int, low: int, high: int) -> DType:
    return DType(name, short, itemsize, True, precision, low, high)


def _complex(name: str, short: str, part: DType) -> DType:
    return DType(name, short, 2 * part.itemsize, True, part.precision, part.low, part.high, is_complex=True)


_HALF = _float("float16", "f16", 2, 11, -24, 16)
_SINGLE = _float("float32", "f32", 4, 24, -149, 128)
_DOUBLE = _float("float64", "f64", 8, 53, -1074, 1024)
_SIZES = (8, 16, 32, 64)
_NARROW = range(1, 8)

DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        dtype.name: dtype
        for dtype in (
            _DOUBLE,
            _SINGLE,
            _HALF,
            _float("bfloat16", "bf16", 2, 8, -133, 128),
            _float("float8_e4m3fn", "f8_e4m3fn", 1, 4, -9, 9),
            _float("float8_e4m3fnuz", "f8_e4m3fnuz", 1, 4, -10, 8),
            _float("float8_e5m2", "f8_e5m2", 1, 3, -16, 16),
            _float("float8_e5m2fnuz", "f8_e5m2fnuz", 1, 3, -17, 16),
            DType("float8_e8m0fnu", "f8_e8m0fnu", 1, False, 1, -127, 128, has_zero=False),
            _complex("complex32", "c32", _HALF),
            _complex("complex64", "c64", _SINGLE),
            _complex("complex128", "c128", _DOUBLE),
            DType("bool", "bool", 1, False, 1, 0, 1),
            *(DType(f"int{bits}", f"i{bits}", bits // 8, True, bits - 1, 0, bits - 1) for bits in _SIZES),
            *(DType(f"uint{bits}", f"u{bits}", bits // 8, False, bits, 0, bits) for bits in _SIZES),
            DType("float4_e2m1fn_x2", "f4x2", 1),
            *(DType(f"int{bits}", f"i{bits}", 1) for bits in _NARROW),
            *(DType(f"uint{bits}", f"u{bits}", 1) for bits in _NARROW),
            *(DType(name, name, 1) for name in ("bits8", "bits1x8", "bits2x4", "bits4x2")),
            DType("bits16", "bits16", 2),
        )
    }
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of a tensor; renders as `f32[64, 3, 7, 7]`. nbytes: of the contiguous tensor; asked for many times, so it is kept."""

    shape: tuple[int, ...]
    dtype: DType
    nbytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", prod(self.shape) * self.dtype.itemsize)

    @classmethod
    def of(cls, dtype: str, *shape: int) -> TensorSpec:
        """A spec from torch's dtype name and sizes: `TensorSpec.of("float32", 64, 3, 7, 7)`."""
        return cls(shape, DTYPES[dtype])

    @property
    def numel(self) -> int:
        """Elements."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Opaque:
    """An entry which is no plain tensor: it can be renamed, copied and dropped, nothing else."""

    description: str

    def __str__(self) -> str:
        return self.description


Entry = TensorSpec | Opaque


@dataclass(frozen=True, slots=True)
class TableSummary:
    """One table of tensors inside an envelope: its dotted path (`state_dict_ema`), its tensors, their bytes."""

    path: str
    tensors: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around the weights.

    `path` is the chosen table (empty: the root itself), `tables` all of them, `contents` the other top-level
    entries in short words (`epoch` -> `12`), `scalars` those of them which are plain numbers and strings, as JSON,
    `optimizers` the dotted paths of optimizer state.
    """

    path: str = ""
    tables: tuple[TableSummary, ...] = ()
    contents: Mapping[str, str] = field(default_factory=dict)
    scalars: Mapping[str, str] = field(default_factory=dict)
    optimizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """What an optimizer holds, as its `state_dict()` has it: parameters go by ids, in torch's own numbers, in the order of the groups.

    groups: the ids in each group. names: id -> the parameter's name, where all groups tell them. entries: id -> what is held for
    the parameter, by name (`exp_avg`): TensorSpec, a number as its text, or Opaque for anything else.
    """

    groups: tuple[tuple[ParameterId, ...], ...]
    names: Mapping[ParameterId, str]
    entries: Mapping[ParameterId, Mapping[str, Entry | str]]


def state_key(place: str, parameter: ParameterId, name: str) -> str:
    """What a tensor of an optimizer's state is called: `optimizer.state.3.exp_avg`."""
    return f"{place}.state.{parameter}.{name}"


@dataclass(frozen=True)
class Header:
    """A state_dict without its weights, in file order.

    entries: key -> TensorSpec, or Opaque for what is no plain tensor.
    kinds: `parameter` or `buffer`, only for keys where a model or a whole module tells.
    aliases: tied key -> the first key which names the same storage and view.
    metadata: safetensors' own text metadata; torch_metadata: the state_dict's `_metadata` (module -> {"version": n}).
    format: `safetensors`, `torch`, `torch-legacy`, `model`, `state_dict`, `distributed`, or empty.
    """

    entries: Mapping[str, Entry]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    torch_metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: str = ""
    envelope: Envelope = Envelope()

    @cached_property
    def tensors(self) -> dict[str, TensorSpec]:
        """The plain tensors, in file order."""
        return {key: entry for key, entry in self.entries.items() if isinstance(entry, TensorSpec)}

    @cached_property
    def opaque(self) -> dict[str, Opaque]:
        """The entries which are no plain tensor, in file order."""
        return {key: entry for key, entry in self.entries.items() if isinstance(entry, Opaque)}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, tied ones once."""
        return sum(spec.nbytes for key, spec in self.tensors.items() if key not in self.aliases)

    @property
    def numel(self) -> int:
        """Elements of all tensors, tied ones once."""
        return sum(spec.numel for key, spec in self.tensors.items() if key not in self.aliases)

    def canonical(self, key: str) -> str:
        """The first of the tied keys to which `key` belongs, or `key` itself."""
        return self.aliases.get(key, key)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __contains__(self, key: object) -> bool:
        return key in self.entries
