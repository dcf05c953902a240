"""Whoever wrote a checkpoint, it comes back from every chain of our formats byte for byte, with what stood around its weights."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from generated import SAFE_DTYPES, TORCH_DTYPES, same_tables, state_dicts
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.sources import open_source

EXAMPLES = 80
FORMS = {"torch": "x.pt", "safetensors": "x.safetensors", "sharded": "x"}
SHARD_BYTES = 48  # so small that most tables are cut

Write = Callable[[dict[str, Tensor], Path], None]


def by_torch(protocol: int, *, is_older: bool) -> Write:
    def write(table: dict[str, Tensor], path: Path) -> None:
        torch.save(table, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not is_older)

    return write


def by_safetensors(table: dict[str, Tensor], path: Path) -> None:
    """Which takes no tensor that shares its memory, nor `_metadata`."""
    save_file({key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in table.items()}, path)


WRITERS: dict[str, Write] = {
    **{f"torch, protocol {protocol}": by_torch(protocol, is_older=False) for protocol in (2, 3, 4, 5)},
    **{f"torch before 1.6, protocol {protocol}": by_torch(protocol, is_older=True) for protocol in (2, 3, 4, 5)},
    "safetensors": by_safetensors,
}


def remapped(source: Path, out: Path, form: str, *, bare: bool = False) -> Path:
    out.mkdir()
    path = out / FORMS[form]
    surgeon.write(surgeon.plan(source), path, to=form, max_shard_size=SHARD_BYTES if form == "sharded" else None, bare=bare)
    return path


def read(path: Path) -> dict[str, Tensor]:
    with open_source(path) as reader:
        return {key: reader.read(key) for key in reader.header}


def files_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir() if path.is_dir() else [path])}


@settings(max_examples=EXAMPLES)
@given(state_dicts(SAFE_DTYPES), st.sampled_from(list(WRITERS)), st.lists(st.sampled_from(list(FORMS)), min_size=1, max_size=4))
def test_the_tables_of_all_writers_come_back_from_any_chain_of_formats(table: dict[str, Tensor], writer: str, chain: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "source"
        WRITERS[writer](table, path)
        assert same_tables(read(path), table)
        for number, form in enumerate(chain):
            path = remapped(path, Path(name) / str(number), form)
        assert same_tables(read(path), table)
        if chain[-1] == "torch":
            assert same_tables(torch.load(path, weights_only=True), table)


@settings(max_examples=EXAMPLES)
@given(state_dicts(SAFE_DTYPES), st.sampled_from(list(WRITERS)), st.sampled_from(list(FORMS)), st.sampled_from(list(FORMS)))
def test_what_we_wrote_is_the_same_files_again_after_a_way_there_and_back(
    table: dict[str, Tensor], writer: str, first: str, second: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        WRITERS[writer](table, folder / "source")
        # Once through another format: a file of torch may hold its tensors as views of one storage, which no other format tells.
        ours = remapped(remapped(folder / "source", folder / "0", "safetensors"), folder / "1", first)
        again = remapped(remapped(ours, folder / "2", second), folder / "3", first)
        assert files_of(again) == files_of(ours)


# No empty bytes: torch writes them so that its own strict reader refuses them.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(min_size=1, max_size=8),
)
AROUND = st.dictionaries(
    st.sampled_from(["epoch", "best", "args", "hyper", "note"]),
    st.recursive(
        SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)), max_leaves=6
    ),
)


def with_optimizer(around: dict[str, Any], table: dict[str, Tensor]) -> dict[str, Any]:
    """The table in an envelope, beside the state of an optimizer which has stepped."""
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(2, 3)
    optimizer.step()
    return {**around, "state_dict": table, "optimizer": optimizer.state_dict()}


@settings(max_examples=EXAMPLES)
@given(state_dicts(TORCH_DTYPES), AROUND, st.sampled_from([writer for writer in WRITERS if writer.startswith("torch")]))
def test_what_stands_around_the_weights_comes_back_as_torch_reads_it(table: dict[str, Tensor], around: dict[str, Any], writer: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = with_optimizer(around, table)
        WRITERS[writer](whole, folder / "source")
        once = remapped(folder / "source", folder / "0", "torch")
        found = torch.load(once, weights_only=True)
        assert files_of(remapped(once, folder / "1", "torch")) == files_of(once)
    assert list(found) == list(whole)
    assert same_tables(found["state_dict"], table)
    assert {key: found[key] for key in around} == around
    assert found["optimizer"]["param_groups"] == whole["optimizer"]["param_groups"]
    assert same_tables(found["optimizer"]["state"][0], whole["optimizer"]["state"][0])


@settings(max_examples=EXAMPLES // 2)
@given(state_dicts(SAFE_DTYPES), st.sampled_from(list(FORMS)))
def test_a_bare_way_through_another_format_leaves_the_table_alone(table: dict[str, Tensor], form: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(with_optimizer({"epoch": 3}, table), folder / "source")
        path = remapped(remapped(folder / "source", folder / "0", form, bare=True), folder / "1", "torch")
        found = torch.load(path, weights_only=True)
    assert list(found) == list(table)
    assert same_tables(found, table)
    assert getattr(found, "_metadata", {}) == getattr(table, "_metadata", {})
