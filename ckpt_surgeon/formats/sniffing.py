"""Which format a file is of: by its content, never by its suffix; and what it is when it is no checkpoint."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from typing import NoReturn

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.safetensors_table import LENGTH_BYTES, MAX_HEADER_BYTES

__all__ = ["HEAD_BYTES", "is_distributed", "is_index", "is_safetensors", "is_torch_legacy", "is_torch_zip", "refuse", "require_file"]

# A tar archive is known by the bytes at 257; everything else by its first few.
HEAD_BYTES = 512
# The number with which torch.save began before its zip format, pickled as LONG1 of 10 bytes, with any protocol.
_MAGIC_NUMBER = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_PICKLE_HEADER = re.compile(rb"\x80[\x02-\x05](\x95.{8})?", re.DOTALL)
# The class of which a distributed checkpoint's `.metadata` is an object; protocols 0 to 3 part module and name by a newline.
_DISTRIBUTED = re.compile(rb"torch\.distributed\.[\w.]*checkpoint\.metadata(\n|\x94?.{1,5})Metadata\b", re.DOTALL)
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (lambda _: True, "a device"))
_LOCAL_HEADER, _NAME_AT = b"PK\x03\x04", 30

_DOWNLOAD = "download it again"
_CONVERT = "open it with the library which wrote it, and save its tensors with torch.save or safetensors"
_UNPACK = "unpack it first, and give the file which it holds"


def require_file(mode: int, path: str) -> None:
    """CorruptError when what is there, by its mode, is no regular file: nothing else is ever opened."""
    if not stat.S_ISREG(mode):
        what = next(what for is_kind, what in _KINDS if is_kind(mode))
        raise CorruptError(f"this is {what}, where a file should be", where=path)


def is_safetensors(head: bytes) -> bool:
    """Whether a file which starts so is meant as safetensors (it may be cut)."""
    if head[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        return False
    # With an oversized length it is one all the same, so that the reader names the limit; JSON text is not.
    is_oversized = int.from_bytes(head[:LENGTH_BYTES], "little") > MAX_HEADER_BYTES
    return not is_oversized or (not is_index(head) and head[LENGTH_BYTES:].startswith((b'{"', b"{}")))


def is_torch_zip(head: bytes) -> bool:
    """Whether it is a zip archive, but none of numpy's."""
    return head.startswith((_LOCAL_HEADER, b"PK\x05\x06")) and not _is_npz(head)


def is_torch_legacy(head: bytes) -> bool:
    """Whether it starts with the magic number of torch's older single-stream format."""
    match = _PICKLE_HEADER.match(head)
    return match is not None and head.startswith(_MAGIC_NUMBER, match.end())


def is_distributed(head: bytes) -> bool:
    """Whether it is the `.metadata` of a distributed checkpoint."""
    return _PICKLE_HEADER.match(head) is not None and _DISTRIBUTED.search(head) is not None


def is_index(head: bytes) -> bool:
    """Whether it is JSON, which among checkpoints is an index of shards."""
    return head.lstrip(b" \t\r\n").startswith(b"{")


def refuse(file: InputFile, head: bytes) -> NoReturn:
    """CorruptError which names what a file is that is of no format read here, and what to do."""
    if not head:
        raise CorruptError("the file is empty", where=file.path, hint=_DOWNLOAD)
    for matches, what, hint in _OTHERS:
        if matches(head):
            raise CorruptError(f"this is {what}, no checkpoint which can be read", where=file.path, hint=hint)
    if not head.strip(b"\0"):
        raise CorruptError("the file begins with nothing but zeros", where=file.path, hint=f"the disk or the copy failed; {_DOWNLOAD}")
    if file.nbytes <= LENGTH_BYTES:
        raise CorruptError(f"the file has only {file.nbytes} bytes: it is cut, or no checkpoint", where=file.path, hint=_DOWNLOAD)
    hint = "safetensors, torch.save files (.pt .pth .bin .ckpt), index.json files and distributed checkpoints are read"
    raise CorruptError(f"the file is of no known format; it begins with {head[:8].hex(' ')}", where=file.path, hint=hint)


def _is_npz(head: bytes) -> bool:
    name_length = int.from_bytes(head[26:28], "little")
    return head.startswith(_LOCAL_HEADER) and head[_NAME_AT : _NAME_AT + name_length].endswith(b".npy")


def _starts(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(prefixes)


def _is_html(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--"))


def _is_onnx(head: bytes) -> bool:
    """A protobuf whose first field is a small ir_version and whose second is a name: ONNX has no magic number."""
    return len(head) > 3 and head[0] == 0x08 and 1 <= head[1] <= 0x20 and head[2] in (0x12, 0x3A, 0x42)


_OTHERS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (_starts(b"version https://git-lfs", b"version https://hawser"), "a git-lfs pointer", "run `git lfs pull` to fetch the file itself"),
    (_is_html, "an HTML page", "the link may need a login or have moved; download the file itself"),
    (_is_npz, "a numpy archive (.npz)", _CONVERT),
    (_starts(b"\x93NUMPY"), "a numpy array (.npy)", _CONVERT),
    (_starts(b"\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras or h5py)", _CONVERT),
    (_starts(b"GGUF", b"GGML", b"ggml", b"tjgg"), "a GGUF file of llama.cpp", "take the checkpoint from which it was converted"),
    (_is_onnx, "what looks like an ONNX model", "take the checkpoint from which it was exported"),
    (lambda head: head[4:8] == b"TFL3", "a TensorFlow Lite model", _CONVERT),
    (lambda head: head[257:262] == b"ustar", "a tar archive", _UNPACK),
    (_starts(b"\x1f\x8b"), "a gzip file", _UNPACK),
    (_starts(b"BZh"), "a bzip2 file", _UNPACK),
    (_starts(b"\xfd7zXZ\0"), "an xz file", _UNPACK),
    (_starts(b"\x28\xb5\x2f\xfd"), "a zstd file", _UNPACK),
    (_starts(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"), "a 7z or rar archive", _UNPACK),
    (
        lambda head: _PICKLE_HEADER.match(head) is not None,
        "a bare pickle, not written by torch.save",
        "load it where it was written, if you trust it, and save its tensors with torch.save",
    ),
)
