"""A safetensors header: bytes -> the strictly checked table of tensors, and the other way round. Pure.

Source: https://github.com/huggingface/safetensors, `safetensors/src/tensor.rs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from ckpt_surgeon.disk import PAGE_BYTES
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.safetensors_plain import plain_header
from ckpt_surgeon.formats.strict_json import check_values, parse_json
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import DTYPES, DType, Entry, Opaque, TensorSpec

__all__ = ["ALIGNMENT", "LENGTH_BYTES", "MAX_HEADER_BYTES", "TAGS", "Table", "header_bytes", "parse_table"]

LENGTH_BYTES = 8
# The reference reader's limit: no honest header comes near it.
MAX_HEADER_BYTES = 100_000_000
# Sizes above this overflow the reference reader; so does a product of sizes which exceeds it.
_MAX_SIZE = 2**63 - 1
# The widest element, a C64.
_MAX_ITEM_BYTES = 8
# torch allows 64 dims in places, numpy 64; a longer shape only serves to make products slow.
_MAX_DIMS = 64
_METADATA = "__metadata__"
_WHAT = "the safetensors header"
_FIELDS = {"dtype", "shape", "data_offsets"}
ALIGNMENT = 8
# Of a header, left empty after it, for keys which get longer in place.
_ROOM_SHARE = 8
_Kind = tuple[Entry, int]
_Placed = tuple[int, int, _Kind]
_Parsed = tuple[dict[str, str], list[tuple[int, int, _Kind, str]]]
_first_two = itemgetter(0, 1)
_quoted = json.JSONEncoder(ensure_ascii=False).encode  # of a text, several times quicker than `json.dumps`
# Two four-bit values to a byte: torch counts bytes, safetensors values.
_PACKED_TAG, _PACKED = "F4", DTYPES["float4_e2m1fn_x2"]
# Bits of a value which torch has no dtype for, or not in every shape; the bytes are whole all the same.
_NARROW_BITS = {_PACKED_TAG: 4, "F6_E2M3": 6, "F6_E3M2": 6}

TAGS: Mapping[str, DType] = MappingProxyType(
    {
        "F64": DTYPES["float64"],
        "F32": DTYPES["float32"],
        "F16": DTYPES["float16"],
        "BF16": DTYPES["bfloat16"],
        "F8_E4M3": DTYPES["float8_e4m3fn"],
        "F8_E4M3FNUZ": DTYPES["float8_e4m3fnuz"],
        "F8_E5M2": DTYPES["float8_e5m2"],
        "F8_E5M2FNUZ": DTYPES["float8_e5m2fnuz"],
        "F8_E8M0": DTYPES["float8_e8m0fnu"],
        _PACKED_TAG: _PACKED,
        "C64": DTYPES["complex64"],
        "I64": DTYPES["int64"],
        "I32": DTYPES["int32"],
        "I16": DTYPES["int16"],
        "I8": DTYPES["int8"],
        "U64": DTYPES["uint64"],
        "U32": DTYPES["uint32"],
        "U16": DTYPES["uint16"],
        "U8": DTYPES["uint8"],
        "BOOL": DTYPES["bool"],
    }
)
# Every tag which may stand in a file, each once.
_KNOWN_TAGS = dict.fromkeys((*TAGS, *_NARROW_BITS))
_TAG_OF = {dtype: tag for tag, dtype in TAGS.items()}


@dataclass(frozen=True, slots=True)
class Table:
    """The tensors (or those of which torch has no like) in the order of their bytes, and the text metadata.

    offsets: where the bytes of each start, counted from the end of the header.
    """

    entries: dict[str, Entry]
    offsets: dict[str, int]
    metadata: Mapping[str, str]


def parse_table(data: bytes, data_bytes: int) -> Table:
    """The table in the JSON text `data`, whose tensors must fill `data_bytes` bytes without hole or overlap.

    Raises CorruptError for whatever the reference reader refuses, and for duplicate keys, NaN and unknown fields.
    """
    if data[:1] != b"{":
        raise CorruptError("the safetensors header does not start with '{'")
    metadata, found = _plain(data) or _strict(data)
    found.sort(key=_first_two)
    position = 0
    for begin, end, (entry, nbytes), key in found:
        if begin != position:
            raise CorruptError(f"its bytes start at {begin}, those before it end at {position}: a hole or an overlap", where=key)
        if end - begin != nbytes:
            raise CorruptError(f"{entry} takes {nbytes} bytes, its offsets hold {end - begin}", where=key)
        position = end
    _check_end(position, data_bytes)
    entries = {key: kind[0] for _, _, kind, key in found}
    if len(entries) < len(found):
        _strict(data)  # says which key stands twice
    return Table(entries, {key: begin for begin, _, _, key in found}, metadata)


def _plain(data: bytes) -> _Parsed | None:
    """The metadata and the tensors, if the text is spelled as all writers do; else None."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    check_values(text, _WHAT)
    plain = plain_header(text, _entry)
    if plain is None or any(begin > end for begin, end, _, _ in plain.entries):
        return None
    return _metadata(parse_json(plain.metadata, _WHAT) if plain.metadata else {}), plain.entries


def _strict(data: bytes) -> _Parsed:
    """The metadata and the tensors, from whatever is right; CorruptError for all else."""
    kinds: dict[tuple[object, ...], _Kind] = {}

    def compact(fields: dict[str, Any]) -> Any:
        """A tensor's fields as `_Placed`, so that 100,000s of tables need not stand in memory at once; whatever is wrong stays as it is."""
        if fields.keys() != _FIELDS:
            return fields
        try:
            return *_begin_end("", fields), _kind("", fields, kinds)
        except CorruptError:
            return fields

    items = parse_json(data, _WHAT, compact)
    metadata = _metadata(items.pop(_METADATA, {}))
    return metadata, [(*_placed(key, item, kinds), key) for key, item in items.items()]


def header_bytes(specs: Mapping[str, TensorSpec], metadata: Mapping[str, str], phase: int | None = None) -> bytes:
    """Length, JSON and padding for tensors which follow one another in the order of `specs`; a multiple of 8 bytes.

    phase: the place within a page (bytes) at which the tensors have to start; the padding then leaves room for longer names.
    """
    items = [f'"{_METADATA}":{_json(dict(metadata))}'] if metadata else []
    starts: dict[int, str] = {}  # by identity: a model has few specs many times, and a look at its hash costs more than all the rest
    position = 0
    for key, spec in specs.items():
        start = starts.get(id(spec)) or starts.setdefault(id(spec), _start(spec))
        end = position + spec.nbytes
        items.append(f"{_quoted(key)}:{start}{position},{end}]}}")
        position = end
    text = f"{{{','.join(items)}}}".encode()
    if phase is not None:
        text += b" " * (len(text) // _ROOM_SHARE)
        text += b" " * ((phase - LENGTH_BYTES - len(text)) % PAGE_BYTES)
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _start(spec: TensorSpec) -> str:
    """How an entry's JSON begins, up to its offsets."""
    return f'{{"dtype":{_json(_TAG_OF[spec.dtype])},"shape":{_json(_stored_shape(spec))},"data_offsets":['


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise CorruptError("__metadata__ is no table of text -> text")
    return value


def _placed(key: str, item: Any, kinds: dict[tuple[object, ...], _Kind]) -> _Placed:
    """Where a tensor lies, and what it is; CorruptError naming it for whatever `compact` left as it was."""
    return item if type(item) is tuple else (*_begin_end(key, item), _kind(key, item, kinds))


def _begin_end(key: str, item: Any) -> tuple[int, int]:
    """The offsets of one tensor, begin <= end, after the item's fields are found to be the right ones."""
    if not isinstance(item, dict) or item.keys() != _FIELDS:
        raise CorruptError("the entry needs dtype, shape and data_offsets, and nothing else", where=key)
    offsets = item["data_offsets"]
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CorruptError("data_offsets are not [begin, end] with 0 <= begin <= end", where=key)
    return offsets[0], offsets[1]


def _kind(key: str, item: dict[str, Any], kinds: dict[tuple[object, ...], _Kind]) -> _Kind:
    """What the item is, from `kinds` where one of its dtype and shape was there before: models repeat themselves."""
    shape, tag = item["shape"], item["dtype"]
    if not _are_sizes(shape):
        raise _no_shape(key)
    if not isinstance(tag, str):
        raise _no_dtype(key, tag)
    name = (tag, *shape)
    if name not in kinds:
        kinds[name] = _entry(key, tag, shape)
    return kinds[name]


def _entry(key: str, tag: str, shape: list[int]) -> _Kind:
    """The tensor, and its bytes."""
    if len(shape) > _MAX_DIMS:
        raise _no_shape(key)
    if tag not in _KNOWN_TAGS:
        raise _no_dtype(key, tag)
    # An empty tensor is held to this too: torch counts its strides, and the reference the sizes before the 0.
    if prod(max(size, 1) for size in shape) * _MAX_ITEM_BYTES > _MAX_SIZE:
        raise CorruptError(f"{tag}{shape} takes more bytes than a file can hold", where=key)
    if tag not in _NARROW_BITS:
        spec = TensorSpec(tuple(shape), TAGS[tag])
        return spec, spec.nbytes
    return _narrow_entry(key, tag, shape)


def _no_shape(key: str) -> CorruptError:
    return CorruptError("the shape is no list of sizes >= 0", where=key)


def _no_dtype(key: str, tag: object) -> CorruptError:
    return CorruptError(f"the dtype {tag!r} is not known; known are {', '.join(_KNOWN_TAGS)}", where=key)


def _narrow_entry(key: str, tag: str, shape: list[int]) -> tuple[Entry, int]:
    """A tensor of values which are narrower than a byte; opaque unless torch can hold it too."""
    nbytes, bits = divmod(prod(shape) * _NARROW_BITS[tag], 8)
    if bits:
        raise CorruptError(f"{tag}{shape} does not end with a byte", where=key)
    if tag == _PACKED_TAG and shape and shape[-1] % 2 == 0:
        return TensorSpec((*shape[:-1], shape[-1] // 2), _PACKED), nbytes
    return Opaque(f"{tag}{shape}, of which torch has no like"), nbytes


def _are_sizes(value: Any) -> bool:
    """Whether it is a list of numbers which can be sizes; a loop, since this is asked twice of each of 100,000s."""
    if not isinstance(value, list):
        return False
    for size in value:  # noqa: SIM110
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            return False
    return True


def _stored_shape(spec: TensorSpec) -> list[int]:
    if spec.dtype == _PACKED:
        return [*spec.shape[:-1], spec.shape[-1] * 2]
    return list(spec.shape)


def _check_end(position: int, data_bytes: int) -> None:
    if data_bytes < position:
        raise CorruptError(
            f"the file ends {position - data_bytes} bytes early: its tensors take {position} bytes, {data_bytes} are there",
            hint="the file is cut; download or copy it again",
        )
    if data_bytes > position:
        raise CorruptError(f"{data_bytes - position} bytes follow the last tensor")
