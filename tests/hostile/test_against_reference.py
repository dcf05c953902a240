"""The references as judges: whatever both read is the same; whatever the bytes, nothing but a SurgeryError comes out here."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.evaluation import same_bytes
from ckpt_surgeon.formats.opening import open_checkpoint

EXAMPLES = 300
TABLE = OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.arange(4, dtype=torch.int16), c=torch.tensor(True), d=torch.zeros(0, 2))


def torch_file(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


OLD = {"_use_new_zipfile_serialization": False}
SHARED = torch.arange(12.0)
HONEST: dict[str, Any] = {
    "a table": TABLE,
    "a plain dict": dict(TABLE),
    "views of one storage": {"a": SHARED, "b": SHARED[3:7], "c": SHARED.reshape(3, 4).t(), "d": SHARED[::2], "e": SHARED},
    "every dtype": {
        str(dtype): torch.ones(3, dtype=dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.bool, torch.complex64)
    },
    "8 bits": {"a": torch.ones(3).to(torch.float8_e5m2), "b": torch.ones(2, 2).to(torch.float8_e4m3fn)},
    "a module's state": torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3)).state_dict(),
    "parameters": {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.ones(1).expand(3, 3)},
    "odd names": {"": torch.ones(1), "a b": torch.ones(2), "\u00e9\u65e5": torch.ones(3), "x" * 500: torch.ones(4)},
    "one tensor": {"a": torch.tensor(1.0)},
}
SAVED: dict[str, dict[str, Any]] = {
    "zip": {},
    "older": OLD,
    **{f"protocol {n}": {"pickle_protocol": n} for n in (3, 4, 5)},
    "older, protocol 4": OLD | {"pickle_protocol": 4},
}


def ours(path: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint(str(path)) as reader:
        return {key: reader.read(key) for key in reader.header.tensors}


def torchs(path: Path, *, is_trusted: bool = False) -> dict[str, torch.Tensor]:
    return {key: value for key, value in torch.load(path, weights_only=not is_trusted).items() if isinstance(value, torch.Tensor)}


def huggings(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 it is no mapping


def assert_alike(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    assert sorted(found) == sorted(wanted)
    for key, tensor in found.items():
        assert same_bytes(tensor, wanted[key].detach()), key


@pytest.mark.parametrize("options", SAVED)
@pytest.mark.parametrize("case", HONEST)
def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path, case: str, options: str) -> None:
    if case == "8 bits" and "older" in options:
        pytest.skip("torch cannot read what it writes here")
    path = tmp_path / "x.pt"
    path.write_bytes(torch_file(HONEST[case], **SAVED[options]))
    assert_alike(ours(path), torchs(path, is_trusted="protocol" in options))  # weights_only knows protocols 2 and 3
    assert list(ours(path)) == list(HONEST[case])


@pytest.mark.parametrize("case", HONEST)
def test_what_safetensors_saves_is_read_as_it_reads_it(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({key: tensor.detach().clone().contiguous() for key, tensor in HONEST[case].items()}, {"format": "pt"}))
    assert_alike(ours(path), huggings(path))


EDIT = st.tuples(
    st.sampled_from(["set", "flip", "insert", "delete", "repeat", "zero"]), st.floats(0, 1, exclude_max=True), st.integers(0, 255)
)


def edited(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """The bytes with each edit made at its place, given as a part of the length."""
    changed = bytearray(data)
    for kind, where, value in edits:
        i = int(where * len(changed))
        if kind == "set":
            changed[i : i + 1] = bytes([value])
        elif kind == "flip":
            changed[i : i + 1] = bytes([changed[i] ^ (1 << value % 8)]) if i < len(changed) else b""
        elif kind == "insert":
            changed[i:i] = bytes([value])
        elif kind == "delete":
            del changed[i : i + 1 + value % 8]
        elif kind == "repeat":
            changed[i:i] = changed[i : i + value]
        else:
            changed[i : i + 8] = bytes(len(changed[i : i + 8]))
    return bytes(changed)


def in_the_pickle(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """A zip file whose data.pkl is edited and whose sums are right again, so that the edits reach the unpickler."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            record = source.read(name)
            target.writestr(name, edited(record, edits) if name.endswith("data.pkl") else record)
    return buffer.getvalue()


ZIP, OLDER, TENSORS = torch_file(TABLE), torch_file(TABLE, **OLD), save(dict(TABLE), {"format": "pt"})
SEEDS: dict[str, tuple[Callable[[list[Any]], bytes], Callable[[Path], dict[str, torch.Tensor]]]] = {
    "a zip file": (lambda edits: edited(ZIP, edits), torchs),
    "the pickle in a zip file": (lambda edits: in_the_pickle(ZIP, edits), torchs),
    "an older stream": (lambda edits: edited(OLDER, edits), torchs),
    "the pickles of an older stream": (lambda edits: edited(OLDER[:900], edits) + OLDER[900:], torchs),
    "safetensors": (lambda edits: edited(TENSORS, edits), huggings),
}


@pytest.mark.parametrize("seed", SEEDS)
def test_changed_bytes_are_read_as_the_reference_reads_them_or_refused(tmp_path_factory: pytest.TempPathFactory, seed: str) -> None:
    make, reference = SEEDS[seed]
    path = tmp_path_factory.mktemp("changed") / "x"
    both = 0

    @settings(max_examples=EXAMPLES, derandomize=True, database=None)
    @given(st.lists(EDIT, min_size=0, max_size=4))
    def check(edits: list[tuple[str, float, int]]) -> None:
        nonlocal both
        path.write_bytes(make(edits))
        try:
            found = ours(path)
        except SurgeryError:
            return
        try:
            wanted = reference(path)
        except Exception:  # noqa: BLE001 whatever the reference says against it
            return
        both += 1
        assert_alike(found, wanted)

    check()
    assert both


@settings(max_examples=EXAMPLES, derandomize=True, database=None)
@given(st.lists(EDIT, min_size=1, max_size=4))
def test_a_changed_index_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, float, int]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "indexed"
    folder.mkdir(exist_ok=True)
    for name in "ab":
        (folder / f"{name}.safetensors").write_bytes(save({name: torch.ones(2)}))
    index = {"metadata": {"total_size": 16}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_bytes(edited(json.dumps(index).encode(), edits))
    try:
        found = ours(folder)
    except SurgeryError:
        return
    assert_alike(found, {"a": torch.ones(2), "b": torch.ones(2)})
