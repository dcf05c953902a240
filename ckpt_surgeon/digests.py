"""Digests of tensors, taken while their bytes move past, and of all of them together, however a file lays them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from ckpt_surgeon.comparison import Digests
from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.planning import Source
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.formats.protocol import Part, Reader
    from ckpt_surgeon.sources import Progress

__all__ = ["ALGORITHMS", "Digester", "digests_of", "require_algorithm"]


class _Hash(Protocol):
    """What hashlib's objects, and blake3's, have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


class Digester:
    """Takes a digest of each tensor whose bytes pass through it."""

    def __init__(self, algorithm: str) -> None:
        """Raises SurgeryError as `require_algorithm` does."""
        self.algorithm = algorithm
        self._new = require_algorithm(algorithm)
        self._tensors: dict[str, str] = {}

    def passing(self, key: str, parts: Iterable[Part]) -> Iterator[bytes | bytearray | memoryview]:
        """The bytes of a tensor in pieces, each read once; its digest is known when all of them were taken.

        Raises CorruptError where the checksum of a range is another than stated.
        """
        seen = self._new()
        for part in parts:
            for piece in pieces(part) if isinstance(part, FileRange) else (part,):
                seen.update(piece)
                yield piece
        self._tensors[key] = seen.hexdigest()

    def digests(self, header: Header) -> Digests:
        """The digests of the tensors of a header, all of which have passed but the tied ones; opaque entries have none."""
        tensors = {key: self._tensors[header.canonical(key)] for key in header.tensors}
        whole = self._new()
        for line in _lines(header, tensors):
            whole.update(line)
        return Digests(self.algorithm, tensors, whole.hexdigest())


def _lines(header: Header, tensors: Mapping[str, str]) -> Iterator[bytes]:
    """One line of JSON for each tensor, sorted by key: key, dtype, shape, digest; of tied ones all but the first name it as well."""
    from json import JSONEncoder

    encode = JSONEncoder(separators=(",", ":")).encode  # `dumps` would make one anew for each line
    firsts: dict[str, str] = {}
    for key in sorted(tensors):
        spec, first = header.tensors[key], firsts.setdefault(header.canonical(key), key)
        row = [key, spec.dtype.name, spec.shape, tensors[key], *([first] if first != key else [])]
        yield encode(row).encode("ascii") + b"\n"


def digests_of(reader: Reader, algorithm: str, progress: Progress | None = None) -> Digests:
    """The digests of an open checkpoint, whose tensors are read once, a piece at a time.

    progress: called with (bytes done, bytes in all). Raises SurgeryError for an algorithm which is not there, and what reading raises.
    """
    digester, evaluator, header = Digester(algorithm), Evaluator({"": reader}), reader.header
    done = 0
    for key, spec in header.tensors.items():
        if key in header.aliases:
            continue
        for piece in digester.passing(key, evaluator.parts(Source(key, spec))):
            done += len(piece)
            if progress is not None:
                progress(done, header.nbytes)
    return digester.digests(header)


def require_algorithm(name: str) -> Callable[[], _Hash]:
    """What begins a digest. Raises SurgeryError for an algorithm which is unknown, or which is not installed."""
    if name not in ALGORITHMS:
        raise SurgeryError(f"{name!r} is no digest; known are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]()


def _sha256() -> Callable[[], _Hash]:
    import hashlib

    return hashlib.sha256


def _blake3() -> Callable[[], _Hash]:
    try:
        import blake3
    except ImportError as error:
        raise SurgeryError("blake3 is not installed", hint="install ckpt-surgeon[digest], or take sha256") from error
    new: Callable[[], _Hash] = blake3.blake3
    return new


ALGORITHMS: Final[Mapping[str, Callable[[], Callable[[], _Hash]]]] = {"sha256": _sha256, "blake3": _blake3}
