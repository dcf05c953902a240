"""SafetensorsWriter: a `.safetensors` file, written from start to end, the same bytes for the same header and tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from ckpt_surgeon.disk import PAGE_BYTES, FileRange
from ckpt_surgeon.errors import LimitError, Problem, SurgeryError
from ckpt_surgeon.formats.carried import carried_metadata
from ckpt_surgeon.formats.protocol import Part
from ckpt_surgeon.formats.safetensors_table import ALIGNMENT, LENGTH_BYTES, MAX_HEADER_BYTES, TAGS, header_bytes
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.spec import Entry, Header, TensorSpec

__all__ = ["SafetensorsWriter", "check_writable"]

NOWHERE: Final[Mapping[str, int]] = MappingProxyType({})
_KNOWN = frozenset(TAGS.values())
# Of less, moving and sharing whole pages gains nothing.
_WORTH_SHARING_BYTES: Final = 1024 * 1024
_RESERVED_KEY = "__metadata__"


class SafetensorsWriter:
    """A safetensors file in the making; ties and `_metadata` go into its text metadata."""

    def __init__(self, path: str, header: Header, offsets: Mapping[str, int] = NOWHERE) -> None:
        """Make the file, reserve its space and write its header.

        offsets: key -> where in a file the bytes lie now which only move; most of them keep their place within a page, which
        lets the system move or share whole pages.
        Raises SurgeryError naming every entry which safetensors cannot hold, before anything is made; DiskError.
        """
        check_writable(header)
        self._specs = {key: spec for key, spec in header.tensors.items() if key not in header.aliases}
        head = header_bytes(self._specs, carried_metadata(header), _phase(self._specs, offsets))
        if len(head) - LENGTH_BYTES > MAX_HEADER_BYTES:
            raise LimitError(f"the header takes {len(head)} bytes, more than safetensors reads", hint="write a .pt file instead")
        self.nbytes = len(head) + sum(spec.nbytes for spec in self._specs.values())
        self._waiting = iter(self._specs)
        self._file = OutputFile(path)
        try:
            self._file.reserve(self.nbytes)
            self._file.write(head)
        except BaseException:
            self._file.abandon()
            raise

    def write(self, key: str, parts: Iterable[Part]) -> None:
        """The bytes of the next tensor in header order; ValueError for another key or another number of bytes."""
        expected = next(self._waiting, None)
        if key != expected:
            raise ValueError(f"{key!r} was written where {expected!r} is due")
        start, spec = self._file.position, self._specs[key]
        for part in parts:
            if isinstance(part, FileRange):
                self._file.copy(part)
            else:
                self._file.write(part)
        if self._file.position - start != spec.nbytes:
            raise ValueError(f"{key!r} came with {self._file.position - start} bytes; {spec} takes {spec.nbytes}")

    def close(self) -> None:
        """Sync and close the file; ValueError when a tensor is still due."""
        due = next(self._waiting, None)
        if due is not None:
            raise ValueError(f"{due!r} was never written")
        try:
            self._file.sync()
        finally:
            self._file.close()

    def abort(self) -> None:
        """Close the file without finishing it."""
        self._file.abandon()


def check_writable(header: Header) -> None:
    """SurgeryError which names, all at once, the entries which no safetensors file can hold."""
    problems = [Problem(what, where=key) for key, entry in header.entries.items() if (what := _obstacle(key, entry))]
    if problems:
        raise SurgeryError([*problems[:-1], Problem(problems[-1].what, problems[-1].where, _HINT)])


def _phase(specs: Mapping[str, TensorSpec], offsets: Mapping[str, int]) -> int | None:
    """Where in a page the data have to start so that as many bytes as can be keep their places within pages; None: anywhere."""
    votes: Counter[int] = Counter()
    position = 0
    for key, spec in specs.items():
        if key in offsets:
            votes[(offsets[key] - position) % PAGE_BYTES] += spec.nbytes
        position += spec.nbytes
    best = max(votes, key=lambda phase: votes[phase], default=None)
    if best is None or position < _WORTH_SHARING_BYTES:
        return None
    return 0 if best % ALIGNMENT else best


_HINT = "write a .pt file instead, or drop these entries; a plain tensor whose dtype it lacks can be cast"


def _obstacle(key: str, entry: Entry) -> str:
    """Why safetensors cannot hold this entry, or an empty string."""
    if not isinstance(entry, TensorSpec):
        return f"{entry} is no plain tensor, and safetensors holds nothing else"
    if entry.dtype not in _KNOWN:
        return f"safetensors has no dtype {entry.dtype.name}"
    if key == _RESERVED_KEY:
        return "safetensors keeps this name for its own use"
    if entry.dtype.name == "float4_e2m1fn_x2" and not entry.shape:
        return f"safetensors cannot hold a {entry.dtype.name} of no dims"
    if not key.isascii() and not _is_utf8(key):
        return "safetensors cannot hold this name: it is no valid Unicode"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
