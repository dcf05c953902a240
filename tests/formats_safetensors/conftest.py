"""Small checkpoints made byte by byte, by the reference libraries, or by our own writer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.formats.safetensors_reader import SafetensorsReader
from ckpt_surgeon.formats.safetensors_writer import SafetensorsWriter
from ckpt_surgeon.spec import Header


def _text(header: object) -> bytes:
    return header if isinstance(header, bytes) else json.dumps(header).encode()


@pytest.fixture
def raw(tmp_path) -> Callable[..., str]:
    """A file of this header (a JSON value, or bytes as they are), this data and this claimed length."""

    def make(header: object, data: bytes = b"", length: int | None = None, name: str = "raw.safetensors") -> str:
        text = _text(header)
        path = tmp_path / name
        path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
        return str(path)

    return make


@pytest.fixture
def read() -> Callable[[str], SafetensorsReader]:
    """Open a path with SafetensorsReader; closed at the end of the test."""
    opened: list[InputFile] = []

    def open_reader(path: str | Path) -> SafetensorsReader:
        opened.append(InputFile(str(path)))
        return SafetensorsReader(opened[-1])

    yield open_reader
    for file in opened:
        file.close()


@pytest.fixture
def written(tmp_path) -> Callable[..., str]:
    """A file written by SafetensorsWriter: the bytes of each tensor are its number, repeated."""

    def write(header: Header, name: str = "written.safetensors") -> str:
        path = str(tmp_path / name)
        writer = SafetensorsWriter(path, header)
        for i, (key, spec) in enumerate(header.tensors.items()):
            if key not in header.aliases:
                writer.write(key, [bytes([i % 2]) * spec.nbytes])
        writer.close()
        return path

    return write
