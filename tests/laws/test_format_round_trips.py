"""Whatever was saved comes back, through every pair of formats: names, order, shapes, dtypes, bytes, ties, `_metadata`."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from generated import SAFE_DTYPES, TORCH_DTYPES, same_tables, state_dicts
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.model import header_of_state_dict
from ckpt_surgeon.sources import open_source
from ckpt_surgeon.spec import Header

EXAMPLES = 60
FORMS = {"zip": "x.pt", "safetensors": "x.safetensors", "sharded": "x"}


def saved(table: dict[str, Tensor], path: Path, legacy: bool) -> Path:
    torch.save(table, path, _use_new_zipfile_serialization=not legacy)
    return path


def converted(source: Path, folder: Path, form: str) -> Path:
    folder.mkdir()
    out = folder / FORMS[form]
    surgeon.write(surgeon.plan(source), out, max_shard_size=64 if form == "sharded" else None, to="sharded" if form == "sharded" else None)
    return out


def contents(path: Path) -> dict[str, Tensor]:
    """What the field's own readers find."""
    if path.suffix == ".pt":
        found: dict[str, Tensor] = torch.load(path, weights_only=True, mmap=True)
        return found
    found = {}
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with safe_open(file, "pt") as opened:
            found |= {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    return found


def read(path: Path) -> dict[str, Tensor]:
    with open_source(path) as reader:
        return {key: reader.read(key) for key in reader.header}


def what_counts(header: Header) -> tuple[object, ...]:
    """What no format may lose."""
    return list(header.entries.items()), dict(header.aliases), {module: dict(table) for module, table in header.torch_metadata.items()}


def without_ties(table: dict[str, Tensor], header: Header) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in table.items() if key not in header.aliases}


@settings(max_examples=EXAMPLES)
@given(table=state_dicts(SAFE_DTYPES), legacy=st.booleans(), first=st.sampled_from(list(FORMS)), second=st.sampled_from(list(FORMS)))
def test_every_chain_of_formats_keeps_everything(table: dict[str, Tensor], legacy: bool, first: str, second: str) -> None:
    wanted = header_of_state_dict(table)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = saved(table, folder / "source.pt", legacy)
        assert what_counts(surgeon.inspect(source)) == what_counts(wanted)
        for number, form in enumerate((first, second)):
            source = converted(source, folder / str(number), form)
            assert what_counts(surgeon.inspect(source)) == what_counts(wanted)
            assert same_tables(read(source), table)
            assert same_tables(contents(source), table if form == "zip" else without_ties(table, wanted))


def ties_with_elements(table: dict[str, Tensor]) -> dict[str, str]:
    """Tied keys; without those of empty tensors, which torch's allocator ties and unties as it likes."""
    return {key: first for key, first in header_of_state_dict(table).aliases.items() if table[key].numel()}


@settings(max_examples=EXAMPLES)
@given(table=state_dicts(TORCH_DTYPES), legacy=st.booleans())
def test_a_pt_holds_every_dtype_in_order_with_ties_and_metadata(table: dict[str, Tensor], legacy: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = saved(table, folder / "source.pt", legacy)
        # Not the table itself: torch forgets ties of empty tensors. Nor an older stream: torch cannot load float8 from one.
        before = torch.load(saved(table, folder / "before.pt", legacy=False), weights_only=True)
        loaded = torch.load(converted(source, folder / "out", "zip"), weights_only=True)
    assert list(loaded) == list(table)
    assert same_tables(loaded, table)
    assert getattr(loaded, "_metadata", {}) == getattr(table, "_metadata", {})
    assert ties_with_elements(loaded) == ties_with_elements(before)
    assert {key: type(value) for key, value in loaded.items()} == {key: type(value) for key, value in table.items()}


@settings(max_examples=EXAMPLES)
@given(table=state_dicts(SAFE_DTYPES))
def test_a_table_in_memory_is_written_as_its_file_is(table: dict[str, Tensor]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved(table, folder / "source.pt", legacy=False)
        for out, given_source in (("file", folder / "source.pt"), ("memory", table)):
            surgeon.write(surgeon.plan(given_source), folder / f"{out}.safetensors")
        assert (folder / "file.safetensors").read_bytes() == (folder / "memory.safetensors").read_bytes()


@settings(max_examples=EXAMPLES // 2)
@given(table=state_dicts(SAFE_DTYPES), form=st.sampled_from(list(FORMS)))
def test_two_runs_give_the_same_bytes(table: dict[str, Tensor], form: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = saved(table, folder / "source.pt", legacy=False)
        twice = [converted(source, folder / number, form) for number in ("one", "two")]
        files = [sorted(out.iterdir()) if out.is_dir() else [out] for out in twice]
        assert [file.name for file in files[0]] == [file.name for file in files[1]]
        assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_a_safetensors_of_a_safetensors_is_the_same_file(tmp_path: Path) -> None:
    surgeon.write(surgeon.plan({"b": torch.ones(2), "a": torch.zeros(3, 1)}), tmp_path / "one.safetensors")
    surgeon.write(surgeon.plan(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [torch.complex32, torch.complex128])
def test_a_dtype_which_safetensors_lacks_is_refused_by_name(tmp_path: Path, dtype: torch.dtype) -> None:
    with pytest.raises(surgeon.SurgeryError, match=f"odd: .*{str(dtype).removeprefix('torch.')}"):
        surgeon.write(surgeon.plan({"w": torch.ones(1), "odd": torch.zeros(2, dtype=torch.float32).to(dtype)}), tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == []
