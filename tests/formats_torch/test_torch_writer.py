"""TorchWriter: what torch reads of its files, what stays of the source's object graph, and what shares memory."""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import assert_same, checkpoint, converted, kept, opened, pickle_in, raw_bytes, saved, storage_node, table_node, tensor_node

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, DiskError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Persistent
from ckpt_surgeon.formats.protocol import Keep
from ckpt_surgeon.formats.torch_bytes import swapped
from ckpt_surgeon.formats.torch_reader import TorchReader
from ckpt_surgeon.formats.torch_writer import TorchWriter
from ckpt_surgeon.formats.zip_reader import read_archive
from ckpt_surgeon.spec import DTYPES, Header, Opaque, TensorSpec


class Thing:
    """A class which torch's weights-only reader does not know."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


def net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))


def adam(model: torch.nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def tied() -> collections.OrderedDict[str, torch.Tensor]:
    weight = torch.arange(6.0).reshape(2, 3)
    return collections.OrderedDict({"embed.weight": weight, "bias": torch.ones(2), "head.weight": weight[:]})


def loaded(path: Path, *, trusted: bool = False) -> Any:
    return torch.load(path, weights_only=not trusted, mmap=True)


def bare(path: Path, header: Header, tensors: dict[str, torch.Tensor]) -> Path:
    """A file of these tensors without any source."""
    writer = TorchWriter(str(path), header, Keep())
    for key in header.tensors:
        if key not in header.aliases:
            writer.write(key, [raw_bytes(tensors[key])])
    writer.close()
    assert path.stat().st_size == writer.nbytes
    return path


def header_of(tensors: dict[str, torch.Tensor], **more: Any) -> Header:
    entries = {key: TensorSpec(tuple(t.shape), DTYPES[str(t.dtype).removeprefix("torch.")]) for key, t in tensors.items()}
    return Header(entries, **more)


UNTOUCHED: dict[str, Any] = {
    "state_dict": net().state_dict(),
    "plain dict": dict(net().state_dict()),
    "envelope": {"state_dict": net().state_dict(), "epoch": 3, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "x": {1, 2}},
    "optimizer": {"epoch": 1, "model": (model := net()).state_dict(), "optimizer": adam(model)},
    "an EMA of the same storages": (lambda t: {"net": {"a": t, "b": torch.ones(3)}, "shared": [t, (t, t)]})(torch.ones(4)),
    "ties": {"model": tied()},
    "parameters": {"model": {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.nn.Parameter(torch.ones(3), requires_grad=False)}},
    "opaque entries": {"a": torch.ones(2), "b": torch.ones(2), "s": torch.eye(3).to_sparse(), "_extra_state": {"x": torch.ones(1)}},
    "fp8 and bf16": {"a": torch.ones(3).to(torch.float8_e4m3fn), "b": torch.ones(3).bfloat16(), "c": torch.ones(2, dtype=torch.uint16)},
    "empty tensors": {"a": torch.empty(0), "b": torch.empty(3, 0), "c": torch.tensor(1.0)},
    "unknown classes": {"model": net().state_dict(), "config": Thing(name="x", inner=Thing(layers=[1, 2]))},
    "an empty state_dict": collections.OrderedDict(),
    "1,001 tensors": {f"layer{index}.weight": torch.full((1,), float(index)) for index in range(1001)},
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_an_untouched_file_keeps_its_object_graph_byte_for_byte(tmp_path: Path, name: str) -> None:
    source = saved(tmp_path, UNTOUCHED[name])
    with opened(source) as reader:
        out = converted(reader, tmp_path / "out.pt")
    assert pickle_in(out) == pickle_in(source)
    before, after = (read_archive(InputFile(str(path)).whole) for path in (source, out))
    storages = [record for record in before.records if record.startswith("data/")]
    assert [record for record in after.records if record.startswith("data/")] == storages
    assert all(before.read(record) == after.read(record) for record in storages)


BARE = ["state_dict", "ties without views", "fp8 and bf16", "empty tensors", "an empty state_dict", "1,001 tensors"]


@pytest.mark.parametrize("name", BARE)
def test_a_table_without_a_source_is_written_as_torch_would(tmp_path: Path, name: str) -> None:
    weight = torch.ones(2, 3)
    value = {"a": weight, "b": torch.ones(2), "c": weight[:]} if name == "ties without views" else UNTOUCHED[name]
    state = collections.OrderedDict(value)
    if hasattr(value, "_metadata"):
        state._metadata = value._metadata
    source = saved(tmp_path, state)
    with opened(source) as reader:
        out = converted(reader, tmp_path / "out.pt", keep=Keep())
    assert pickle_in(out) == pickle_in(source)


@pytest.mark.parametrize("name", ["state_dict", "ties", "fp8 and bf16", "empty tensors", "parameters"])
def test_torch_reads_the_values_with_weights_only_and_mmap(tmp_path: Path, name: str) -> None:
    value = UNTOUCHED[name]
    wanted = value.get("model", value)
    with opened(saved(tmp_path, value)) as reader:
        for keep in (kept(reader), Keep()):
            out = converted(reader, tmp_path / f"{keep.reader is None}.pt", keep=keep)
            found = loaded(out)
            found = found.get("model", found)
            assert list(found) == list(wanted)
            for key in wanted:
                assert_same(found[key], wanted[key])


def test_python_finds_no_fault_in_the_archive(tmp_path: Path) -> None:
    with opened(saved(tmp_path, UNTOUCHED["envelope"])) as reader:
        out = converted(reader, tmp_path / "out.pt")
    done = subprocess.run([sys.executable, "-m", "zipfile", "-t", str(out)], capture_output=True, text=True, check=True)
    assert done.stdout == "Done testing\n"


def test_specs_which_share_a_shape_are_written_like_others(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(2, 3)}
    together = Header(dict.fromkeys(tensors, TensorSpec.of("float32", 2, 3)))
    first, second = (bare(tmp_path / name, header, tensors) for name, header in (("a.pt", header_of(tensors)), ("b.pt", together)))
    assert first.read_bytes() == second.read_bytes()


def test_two_runs_give_the_same_bytes_whatever_the_file_is_called(tmp_path: Path) -> None:
    with opened(saved(tmp_path, UNTOUCHED["optimizer"])) as reader:
        for name in ("one.pt", "two.ckpt"):
            converted(reader, tmp_path / name)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.ckpt").read_bytes()


@pytest.mark.parametrize(
    "dtype", [name for name in DTYPES if name.startswith(("float", "bfloat", "complex")) or not DTYPES[name].is_packed]
)
def test_every_dtype_is_written_and_read_back(tmp_path: Path, dtype: str) -> None:
    data = (torch.arange(6 * DTYPES[dtype].itemsize) % 2).to(torch.uint8)
    tensor = data.bool() if dtype == "bool" else data.view(getattr(torch, dtype))
    out = bare(tmp_path / "out.pt", header_of({"a": tensor}), {"a": tensor})
    assert_same(loaded(out)["a"], tensor)
    with opened(out) as reader:
        assert_same(reader.read("a"), tensor)


def test_metadata_is_written_without_a_source(tmp_path: Path) -> None:
    metadata = {"": {"version": 1}, "bn": {"version": 2, "x": [1, {"y": None}]}}
    out = bare(tmp_path / "out.pt", header_of({"a": torch.ones(1)}, torch_metadata=metadata), {"a": torch.ones(1)})
    assert dict(loaded(out)._metadata) == metadata
    with opened(out) as reader:
        assert dict(reader.header.torch_metadata) == metadata


def _renamed(reader: TorchReader, rename: Any) -> tuple[Header, Keep]:
    """The header and what to keep when every key is renamed (None: dropped)."""
    header = reader.header
    names = {key: rename(key) for key in header if rename(key) is not None}
    entries = {new: header.entries[old] for old, new in names.items()}
    aliases = {names[alias]: names[key] for alias, key in header.aliases.items() if alias in names}
    moved = {new: old for old, new in names.items() if old in header.tensors and old not in header.aliases}
    opaque = {new: old for old, new in names.items() if old in header.opaque}
    return replace(header, entries=entries, aliases=aliases), Keep(reader, opaque, moved)


def test_renamed_keys_stay_in_place_in_the_envelope(tmp_path: Path) -> None:
    value = {"epoch": 3, "state_dict": net().state_dict(), "args": argparse.Namespace(lr=0.1), "after": [1, 2]}
    with opened(saved(tmp_path, value)) as reader:
        header, keep = _renamed(reader, lambda key: f"module.{key}")
        out = converted(reader, tmp_path / "out.pt", header, keep)
    found = loaded(out, trusted=True)
    assert list(found) == list(value)
    assert (found["epoch"], found["args"], found["after"]) == (3, argparse.Namespace(lr=0.1), [1, 2])
    assert type(found["state_dict"]) is collections.OrderedDict
    assert list(found["state_dict"]) == [f"module.{key}" for key in value["state_dict"]]
    for key, tensor in value["state_dict"].items():
        assert_same(found["state_dict"][f"module.{key}"], tensor)


def test_new_metadata_replaces_the_old_and_other_attributes_stay(tmp_path: Path) -> None:
    state = net().state_dict()
    state.note = "kept"
    with opened(saved(tmp_path, state)) as reader:
        header = replace(reader.header, torch_metadata={"new": {"version": 5}})
        found = loaded(converted(reader, tmp_path / "a.pt", header), trusted=True)
        none = loaded(converted(reader, tmp_path / "b.pt", replace(header, torch_metadata={})), trusted=True)
    assert (dict(found._metadata), found.note) == ({"new": {"version": 5}}, "kept")
    assert (hasattr(none, "_metadata"), none.note) == (False, "kept")


def test_a_plain_dict_stays_one_and_takes_metadata_as_an_ordered_dict(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"model": dict(net().state_dict())})) as reader:
        header, keep = _renamed(reader, str.upper)
        plain = loaded(converted(reader, tmp_path / "a.pt", header, keep))
        told = loaded(converted(reader, tmp_path / "b.pt", replace(header, torch_metadata={"": {"version": 1}}), keep))
    assert (type(plain["model"]), type(told["model"])) == (dict, collections.OrderedDict)


def test_other_tables_and_the_optimizer_are_untouched(tmp_path: Path) -> None:
    model = net()
    value = {"ema": {key: t + 1 for key, t in model.state_dict().items()}, "model": model.state_dict(), "optimizer": adam(model)}
    with opened(saved(tmp_path, value), "model") as reader:
        header, keep = _renamed(reader, lambda key: key.replace("0.", "stem."))
        found = loaded(converted(reader, tmp_path / "out.pt", header, keep))
    assert next(iter(found["model"])) == "stem.weight"
    for key, tensor in value["ema"].items():
        assert_same(found["ema"][key], tensor)
    assert found["optimizer"]["param_groups"] == value["optimizer"]["param_groups"]
    for index, state in value["optimizer"]["state"].items():
        assert_same(found["optimizer"]["state"][index]["exp_avg"], state["exp_avg"])


PLACES: dict[str, tuple[Any, Any]] = {
    "a dict": (
        lambda model, o: {"model": model, "optimizer": o, "epoch": 1},
        lambda found: "optimizer" not in found and found["epoch"] == 1,
    ),
    "a list of them": (lambda model, o: {"model": model, "states": [o, o]}, lambda found: "states" not in found),
    "a dict inside": (lambda model, o: {"model": model, "inner": {"opt": o, "x": 1}}, lambda found: found["inner"] == {"x": 1}),
    "an OrderedDict": (lambda model, o: collections.OrderedDict(o=o, model=model), lambda found: list(found) == ["model"]),
    "an object": (lambda model, o: {"model": model, "t": Thing(o=o, y=2)}, lambda found: found["t"] == Thing(y=2)),
    "a list": (lambda model, o: [1, o, model], lambda found: found[0] == 1 and len(found) == 2),
    "a tuple": (lambda model, o: (model, o, 2), lambda found: found[1:] == (2,)),
    "two places": (lambda model, o: {"model": model, "a": o, "b": {"c": o}}, lambda found: "a" not in found),
    "none": (lambda model, _: {"model": model, "epoch": 1}, lambda found: found["epoch"] == 1),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_optimizer_is_left_out_where_it_is_to_be(tmp_path: Path, name: str) -> None:
    build, check = PLACES[name]
    model = net()
    source = saved(tmp_path, build(model.state_dict(), adam(model)))
    with opened(source) as reader:
        out = converted(reader, tmp_path / "out.pt", keep=kept(reader, drops_optimizer=True))
    assert check(loaded(out, trusted=True))
    with opened(out) as again:
        assert len(again.header) == 9
        assert again.header.envelope.optimizers == ()
    if name != "none":
        assert out.stat().st_size < source.stat().st_size


def test_what_is_dropped_takes_no_space(tmp_path: Path) -> None:
    value = {"model": {"a": torch.ones(10_000), "b": torch.ones(3)}, "epoch": 1}
    with opened(saved(tmp_path, value)) as reader:
        header, keep = _renamed(reader, lambda key: key if key == "b" else None)
        out = converted(reader, tmp_path / "out.pt", header, keep)
    assert out.stat().st_size < 4000
    assert list(loaded(out)["model"]) == ["b"]


def test_a_dropped_tensor_stays_where_the_envelope_needs_it(tmp_path: Path) -> None:
    tensor = torch.arange(5.0)
    with opened(saved(tmp_path, {"model": {"a": tensor, "b": torch.ones(3)}, "keep": [tensor]})) as reader:
        header, keep = _renamed(reader, lambda key: key if key == "b" else None)
        found = loaded(converted(reader, tmp_path / "out.pt", header, keep))
    assert_same(found["keep"][0], tensor)


def _same_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def test_ties_share_one_storage_with_and_without_a_source(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"model": tied()})) as reader:
        outs = [converted(reader, tmp_path / "a.pt"), converted(reader, tmp_path / "b.pt", keep=Keep())]
        outs.append(converted(reader, tmp_path / "c.pt", *_renamed(reader, lambda key: f"x.{key}")))
    for out, prefix in zip(outs, ("", "", "x."), strict=True):
        found = loaded(out)
        found = found.get("model", found)
        assert _same_memory(found[f"{prefix}embed.weight"], found[f"{prefix}head.weight"])
        with opened(out) as again:
            assert dict(again.header.aliases) == {f"{prefix}head.weight": f"{prefix}embed.weight"}


def test_a_tie_which_is_cut_gives_two_tensors(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"model": tied()})) as reader:
        header = replace(reader.header, aliases={})
        keep = Keep(reader, moved={"embed.weight": "embed.weight", "bias": "bias", "head.weight": "embed.weight"})
        out = converted(reader, tmp_path / "out.pt", header, keep)
    found = loaded(out)["model"]
    assert not _same_memory(found["embed.weight"], found["head.weight"])
    assert_same(found["head.weight"], found["embed.weight"])
    with opened(out) as again:
        assert dict(again.header.aliases) == {}


def test_a_new_tie_is_one_tensor(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"model": {"a": torch.ones(3), "b": torch.zeros(2)}})) as reader:
        header = replace(reader.header, entries={**reader.header.entries, "c": reader.header.entries["a"]}, aliases={"c": "a"})
        found = loaded(converted(reader, tmp_path / "out.pt", header))["model"]
    assert list(found) == ["a", "b", "c"]
    assert _same_memory(found["a"], found["c"])


def test_a_moved_tensor_stays_shared_with_the_envelope_and_a_changed_one_does_not(tmp_path: Path) -> None:
    first, second = torch.arange(3.0), torch.arange(4.0)
    with opened(saved(tmp_path, {"model": {"a": first, "b": second}, "shared": [first, second]})) as reader:
        writer = TorchWriter(str(tmp_path / "out.pt"), reader.header, Keep(reader, moved={"a": "a"}))
        writer.write("a", [raw_bytes(first)])
        writer.write("b", [raw_bytes(second * 10)])
        writer.close()
    found = loaded(tmp_path / "out.pt")
    assert _same_memory(found["model"]["a"], found["shared"][0])
    assert (found["model"]["b"].tolist(), found["shared"][1].tolist()) == ([0, 10, 20, 30], [0, 1, 2, 3])


def test_views_become_tensors_of_their_own(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    value = {"model": {"half": base[:6], "rows": base.reshape(3, 4).t(), "wide": base[:1].expand(3, 3), "whole": base}, "base": base}
    with opened(saved(tmp_path, value)) as reader:
        out = converted(reader, tmp_path / "out.pt")
    found = loaded(out)
    for key, tensor in value["model"].items():
        assert_same(found["model"][key], tensor)
        assert found["model"][key].is_contiguous()
    assert _same_memory(found["model"]["whole"], found["base"])
    assert not _same_memory(found["model"]["half"], found["base"])


def test_another_shape_of_the_same_bytes_is_written_as_told(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"model": {"a": torch.arange(6.0), "b": torch.ones(2)}, "x": 1})) as reader:
        header = replace(reader.header, entries={**reader.header.entries, "a": TensorSpec.of("float32", 2, 3)})
        found = loaded(converted(reader, tmp_path / "out.pt", header))
    assert found["model"]["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_parameter_stays_one_where_it_was_moved(tmp_path: Path) -> None:
    attributed = torch.nn.Parameter(torch.arange(2.0))
    attributed.note = "attribute"
    value = {
        "whole": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "view": torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t()),
        "attributed": attributed,
        "attributed view": torch.nn.Parameter(torch.arange(6.0)[::2]),
        "plain": torch.ones(1),
    }
    value["attributed view"].note = "other"
    with opened(saved(tmp_path, {"model": value, "x": 1})) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt"), trusted=True)["model"]
    assert {key: type(tensor) for key, tensor in found.items()} == {key: type(tensor) for key, tensor in value.items()}
    assert [found[key].requires_grad for key in ("whole", "view")] == [False, True]
    assert (found["attributed"].note, found["attributed view"].note) == ("attribute", "other")
    for key, tensor in value.items():
        assert_same(found[key], tensor)


def test_a_changed_parameter_becomes_a_tensor(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"model": {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.ones(1)}, "x": 1})) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt", keep=Keep(reader)))
    assert type(found["model"]["a"]) is torch.Tensor


def test_a_whole_module_becomes_its_state_dict(tmp_path: Path) -> None:
    model = net()
    model[2].weight = torch.nn.Parameter(model[0].weight[:2, :, 0, 0].clone())
    with opened(saved(tmp_path, {"net": model, "epoch": 2, "best": [1]})) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt"))
    assert (found["epoch"], found["best"], type(found["net"])) == (2, [1], collections.OrderedDict)
    assert list(found["net"]) == list(model.state_dict())
    for key, tensor in model.state_dict().items():
        assert type(found["net"][key]) is torch.Tensor
        assert_same(found["net"][key], tensor)


def test_opaque_entries_are_carried_under_new_names(tmp_path: Path) -> None:
    value = {
        "a": torch.ones(2),
        "b": torch.ones(1),
        "s": torch.eye(3).to_sparse(),
        "_extra_state": {"x": [1, torch.ones(1)]},
        "c": torch.ones(3),
    }
    with opened(saved(tmp_path, {"model": value})) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt", *_renamed(reader, lambda key: f"m.{key}")))["model"]
    assert list(found) == [f"m.{key}" for key in value]
    assert found["m.s"].is_sparse
    assert torch.equal(found["m.s"].to_dense(), torch.eye(3))
    assert_same(found["m._extra_state"]["x"][1], torch.ones(1))


def test_opaque_entries_without_a_source_are_named_and_nothing_is_made(tmp_path: Path) -> None:
    header = Header({"a": TensorSpec.of("float32", 1), "s": Opaque("sparse tensor"), "x": Opaque("dict of 1")})
    with pytest.raises(UnsafeError) as caught:
        TorchWriter(str(tmp_path / "out.pt"), header, Keep())
    assert [problem.where for problem in caught.value.problems] == ["s", "x"]
    assert list(tmp_path.iterdir()) == []


def _write_all(writer: TorchWriter, keys: list[str]) -> None:
    for key in keys:
        writer.write(key, [bytes(4)])


@pytest.mark.parametrize("order", [["b", "a"], ["a", "a"], ["c"]])
def test_tensors_out_of_order_are_an_error(tmp_path: Path, order: list[str]) -> None:
    writer = TorchWriter(str(tmp_path / "out.pt"), header_of({"a": torch.ones(1), "b": torch.ones(1)}), Keep())
    with pytest.raises(ValueError, match="is due"):
        _write_all(writer, order)
    writer.abort()
    writer.abort()


@pytest.mark.parametrize("data", [b"", bytes(3), bytes(5)])
def test_another_number_of_bytes_is_an_error(tmp_path: Path, data: bytes) -> None:
    writer = TorchWriter(str(tmp_path / "out.pt"), header_of({"a": torch.ones(1)}), Keep())
    with pytest.raises(ValueError, match="4 were promised"):
        writer.write("a", [data])
    writer.abort()


def test_closing_before_the_last_tensor_is_an_error(tmp_path: Path) -> None:
    writer = TorchWriter(str(tmp_path / "out.pt"), header_of({"a": torch.ones(1), "b": torch.ones(1)}), Keep())
    writer.write("a", [bytes(4)])
    with pytest.raises(ValueError, match="'b' was never written"):
        writer.close()
    writer.abort()


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.pt").write_bytes(b"precious")
    with pytest.raises(DiskError):
        TorchWriter(str(tmp_path / "out.pt"), header_of({"a": torch.ones(1)}), Keep())
    assert (tmp_path / "out.pt").read_bytes() == b"precious"


def test_a_reordered_table_is_written_in_its_new_order(tmp_path: Path) -> None:
    value = {"model": {key: torch.full((2,), float(index)) for index, key in enumerate("abcd")}, "last": torch.ones(5)}
    with opened(saved(tmp_path, value)) as reader:
        header = replace(reader.header, entries={key: reader.header.entries[key] for key in "dbca"})
        found = loaded(converted(reader, tmp_path / "out.pt", header))
    assert list(found["model"]) == list("dbca")
    assert {key: tensor.tolist() for key, tensor in found["model"].items()} == {key: t.tolist() for key, t in value["model"].items()}


def test_storages_before_between_and_after_the_table_are_copied(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    value = {"first": [torch.ones(2), shared], "model": {"a": torch.ones(3), "b": shared, "c": torch.zeros(2)}, "last": [torch.ones(5)]}
    with opened(saved(tmp_path, value)) as reader:
        header = replace(reader.header, entries={key: reader.header.entries[key] for key in "cba"})
        found = loaded(converted(reader, tmp_path / "out.pt", header))
    assert_same(found["first"][0], torch.ones(2))
    assert_same(found["last"][0], torch.ones(5))
    assert _same_memory(found["first"][1], found["model"]["b"])
    assert found["model"]["b"].tolist() == [0, 1, 2, 3]


def test_a_big_endian_source_is_written_little_endian(tmp_path: Path) -> None:
    tensor = torch.tensor([1.5, -2.0, 3.25, 4, 5, 6])
    data = bytes(swapped(raw_bytes(tensor), 4))
    root = Dict([("model", table_node(a=tensor_node())), ("beside", tensor_node(storage_node("1")))])
    with opened(checkpoint(tmp_path, root, {"0": data, "1": data}, byteorder=b"big")) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt"))
    assert_same(found["model"]["a"], tensor.reshape(2, 3))
    assert_same(found["beside"], tensor.reshape(2, 3))


def test_a_big_endian_storage_without_a_type_is_refused(tmp_path: Path) -> None:
    untyped = storage_node("1", "UntypedStorage", 24, module="torch.storage")
    beside = tensor_node(untyped, 0, (2, 3), (3, 1), Global("torch", "float32"), function="_rebuild_tensor_v3")
    root = Dict([("model", table_node(a=tensor_node())), ("beside", beside)])
    with (
        opened(checkpoint(tmp_path, root, {"0": bytes(24), "1": bytes(24)}, byteorder=b"big")) as reader,
        pytest.raises(UnsafeError, match="has no type"),
    ):
        converted(reader, tmp_path / "out.pt")


def test_a_compressed_source_is_written_stored(tmp_path: Path) -> None:
    root = Dict([("model", table_node(a=tensor_node())), ("beside", tensor_node(storage_node("1")))])
    data = raw_bytes(torch.arange(6.0))
    with opened(checkpoint(tmp_path, root, {"0": data, "1": data}, method=zipfile.ZIP_DEFLATED)) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt"))
    assert found["model"]["a"].tolist() == found["beside"].tolist() == [[0, 1, 2], [3, 4, 5]]


SUBCLASSED = Global("torch._tensor", "_rebuild_from_type_v2")
PARAMETER = Global("torch.nn.parameter", "Parameter")


@pytest.mark.parametrize("is_rebuilt", [True, False])
def test_a_strided_parameter_in_the_form_of_a_subclass_stays_one(tmp_path: Path, is_rebuilt: bool) -> None:
    inner = tensor_node(None, 0, (3, 2), (1, 3))
    rebuild = Call(Global("torch._utils", "_rebuild_parameter"), (inner, True, Call(Global("collections", "OrderedDict"), ())))
    call = rebuild if is_rebuilt else inner
    node = Call(SUBCLASSED, (call.function, PARAMETER, call.arguments, Dict([("note", "kept")])))
    root = Dict([("model", table_node(a=node)), ("x", 1)])
    with opened(checkpoint(tmp_path, root, {"0": raw_bytes(torch.arange(6.0))})) as reader:
        found = loaded(converted(reader, tmp_path / "out.pt"), trusted=True)["model"]["a"]
    assert (type(found), found.tolist(), found.note) == (torch.nn.Parameter, [[0, 3], [1, 4], [2, 5]], "kept")


def test_an_optimizer_among_the_items_of_an_object_is_left_out(tmp_path: Path) -> None:
    optimizer = Dict([("state", Dict()), ("param_groups", [])])
    held = Call(Global("collections", "deque"), (), items=[1, optimizer, 2])
    root = Dict([("model", table_node(a=tensor_node())), ("held", held)])
    with opened(checkpoint(tmp_path, root, {"0": bytes(24)})) as reader:
        assert reader.header.envelope.optimizers == ("held.1",)
        found = loaded(converted(reader, tmp_path / "out.pt", keep=kept(reader, drops_optimizer=True)), trusted=True)
    assert found["held"] == collections.deque([1, 2])


@pytest.mark.parametrize("pid", ["text", ("other", 1), ("storage",), ("storage", Global("torch", "FloatStorage"), "9", "cpu", 6)])
def test_a_persistent_id_which_is_no_storage_of_the_file_is_refused_wherever_it_stands(tmp_path: Path, pid: Any) -> None:
    root = Dict([("model", table_node(a=tensor_node())), ("odd", Call(Global("a", "B"), (Persistent(pid),)))])
    with pytest.raises(CorruptError, match=r"persistent id|not in the file"):
        opened(checkpoint(tmp_path, root, {"0": bytes(24)}))


def test_storages_are_numbered_again_in_the_order_in_which_they_are_met(tmp_path: Path) -> None:
    root = Dict([("a", tensor_node(storage_node("x7"))), ("b", tensor_node(storage_node("3"))), ("c", tensor_node(storage_node("x7")))])
    with opened(checkpoint(tmp_path, root, {"3": raw_bytes(torch.ones(6)), "x7": raw_bytes(torch.arange(6.0))})) as reader:
        out = converted(reader, tmp_path / "out.pt")
    archive = read_archive(InputFile(str(out)).whole)
    assert [name for name in archive.records if name.startswith("data/")] == ["data/0", "data/1"]
    found = loaded(out)
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert _same_memory(found["a"], found["c"])


DTYPE_NAMES = st.sampled_from(["float32", "float16", "bfloat16", "int64", "uint8", "bool", "complex64", "float8_e4m3fn", "uint16"])
SHAPES = st.lists(st.integers(0, 4), max_size=3)


@st.composite
def _state_dicts(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Any few tensors, some of them tied, transposed or expanded."""
    table: dict[str, torch.Tensor] = {}
    for key in draw(st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=1, max_size=6)):
        kind = draw(st.sampled_from(["new", "new", "tied", "transposed", "expanded"]))
        if kind == "tied" and table:
            table[key] = table[draw(st.sampled_from(sorted(table)))]
            continue
        shape, dtype = draw(SHAPES), getattr(torch, draw(DTYPE_NAMES))
        tensor = torch.zeros(shape, dtype=dtype)
        tensor.view(-1).view(torch.uint8).fill_(draw(st.integers(0, 1)))
        table[key] = (
            tensor.expand(2, *shape) if kind == "expanded" else tensor.transpose(0, -1) if kind == "transposed" and shape else tensor
        )
    return table


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=80)
@given(_state_dicts(), st.booleans())
def test_any_state_dict_is_written_and_read_with_the_same_header_and_bytes(
    tmp_path: Path, table: dict[str, torch.Tensor], is_bare: bool
) -> None:
    out = tmp_path / "out.pt"
    out.unlink(missing_ok=True)
    with opened(saved(tmp_path, {"model": table, "x": 1})) as reader:
        converted(reader, out, keep=Keep() if is_bare else None)
        with opened(out) as again:
            assert dict(again.header.entries) == dict(reader.header.entries)
            assert dict(again.header.aliases) == dict(reader.header.aliases)
    found = loaded(out)
    found = found if is_bare else found["model"]
    assert list(found) == list(table)
    for key, tensor in table.items():
        assert_same(found[key], tensor)
