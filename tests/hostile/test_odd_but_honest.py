"""Odd but honest entries: listed, carried unchanged from .pt to .pt, refused by name for safetensors; never dropped or densified."""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from doors import contents, invoke

import ckpt_surgeon as surgeon


class Marked(torch.Tensor):
    """A subclass of the user's."""


def _attributed() -> torch.Tensor:
    tensor = torch.ones(2, 3)
    tensor.note = "kept"
    return tensor


EYE = torch.eye(3)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch warns of some layouts (beta, unchecked invariants) when they are first made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


with _quiet():
    OPAQUE: dict[str, Any] = {
        "sparse coo": EYE.to_sparse(),
        "sparse coo, not coalesced": torch.sparse_coo_tensor(torch.tensor([[0, 0], [1, 1]]), torch.ones(2), (2, 2)),
        "sparse csr": EYE.to_sparse_csr(),
        "sparse csc": EYE.to_sparse_csc(),
        "sparse bsr": torch.eye(4).to_sparse_bsr((2, 2)),
        "quantized by tensor": torch.quantize_per_tensor(EYE, 0.1, 0, torch.qint8),
        "quantized by channel": torch.quantize_per_channel(EYE, torch.ones(3), torch.zeros(3), 0, torch.quint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "a subclass": torch.ones(2, 3).as_subclass(Marked),
        "meta": torch.empty(2, device="meta"),
        "a number": 3,
        "a text": "words",
        "nothing": None,
        "a list": [1, [2, EYE]],
        "a random state's bytes": b"\0\xff" * 10,
        "a dtype": torch.float16,
    }
PLAIN: dict[str, torch.Tensor] = {
    "a tensor with attributes": _attributed(),
    "a parameter": torch.nn.Parameter(torch.ones(2)),
    "a buffer": torch.nn.Buffer(torch.ones(2)),
    "a view": torch.arange(6.0)[1:3],
    "turned": torch.arange(6.0).reshape(2, 3).t(),
    "conjugated": torch.arange(4).to(torch.complex64).mul(1j).conj(),
    "of no elements": torch.empty(0, 3),
    "of no dims": torch.tensor(3.0),
    "expanded": torch.ones(1).expand(4),
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def saved(folder: Path, odd: Any, *, is_old: bool = False) -> Path:
    torch.save({"a": torch.ones(2), "odd": odd, "b": torch.zeros(3)}, folder / "x.pt", _use_new_zipfile_serialization=not is_old)
    return folder / "x.pt"


def records(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("case", [*OPAQUE, *PLAIN])
def test_it_is_listed_and_carried_unchanged(tmp_path: Path, case: str) -> None:
    path = saved(tmp_path, {**OPAQUE, **PLAIN}[case])
    header = surgeon.inspect(path)
    assert list(header) == ["a", "odd", "b"]
    assert ("odd" in header.opaque) == (case in OPAQUE)
    assert invoke("inspect", str(path)).exit_code == 0
    surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    before, after = records(path), records(tmp_path / "out.pt")
    if case in OPAQUE:
        assert after["data.pkl"] == before["data.pkl"]
        assert {name: after[name] for name in before if name.startswith("data/")} == {
            name: before[name] for name in before if name.startswith("data/")
        }
    assert str(surgeon.inspect(tmp_path / "out.pt").entries) == str(header.entries)


@pytest.mark.parametrize("case", OPAQUE)
def test_it_is_refused_by_name_where_it_cannot_stand(tmp_path: Path, case: str) -> None:
    path = saved(tmp_path, OPAQUE[case])
    for out in ("out.safetensors", "out"):
        result = invoke("remap", str(path), "-o", str(tmp_path / out), "--bare")
        assert result.exit_code not in (0, 2, 70), result.output
        assert "odd" in result.stderr
    assert contents(tmp_path) == ["x.pt"]
    assert invoke("remap", str(path), "-o", str(tmp_path / "out.safetensors"), "-e", "drop: odd").exit_code == 0


@pytest.mark.parametrize("case", [name for name in OPAQUE if name not in ("nested", "meta")])
def test_it_survives_the_older_stream_too(tmp_path: Path, case: str) -> None:
    try:
        path = saved(tmp_path, OPAQUE[case], is_old=True)
    except (NotImplementedError, RuntimeError) as error:
        pytest.skip(f"torch cannot write it so: {error}")
    assert list(surgeon.inspect(path)) == ["a", "odd", "b"]
    surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=False)["odd"]
    assert type(found) is type(OPAQUE[case])
    assert str(found) == str(OPAQUE[case])


def test_a_renamed_odd_entry_is_the_same_object(tmp_path: Path) -> None:
    path = saved(tmp_path, OPAQUE["sparse csr"])
    surgeon.write(surgeon.plan(path, [{"rename": {"odd": "even"}}]), tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert list(found) == ["a", "even", "b"]
    assert found["even"].layout == torch.sparse_csr
    assert torch.equal(found["even"].to_dense(), EYE)


HELD = {"bytes": b"raw", "no bytes": b"", "set": {1, 2}, "empty set": set(), "frozenset": frozenset({3}), "bytearray": bytearray(b"x")}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_value_in_the_table_is_carried_from_any_protocol(tmp_path: Path, protocol: int) -> None:
    source, out = tmp_path / "x.pt", tmp_path / "y.pt"
    torch.save({"a": torch.ones(1), "b": torch.ones(1), **HELD}, source, pickle_protocol=protocol)
    done = invoke("remap", str(source), "-o", str(out))
    assert (done.exit_code, done.stderr) == (0, "")
    found = torch.load(out, weights_only=False)
    assert {key: found[key] for key in HELD} == HELD
    assert [type(found[key]) for key in HELD] == [type(value) for value in HELD.values()]
    assert surgeon.inspect(out).entries == surgeon.inspect(source).entries
