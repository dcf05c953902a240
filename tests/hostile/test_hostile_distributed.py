"""Distributed checkpoints which lie, through the public door; beside them those which look odd and are sound."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import torch
from doors import assert_described, assert_refused
from hostile_distributed import (
    FILE,
    NUMBER,
    PACKAGE,
    TENSOR,
    VALUE,
    archived,
    built,
    chunk,
    folder,
    index,
    info,
    listing,
    made,
    metadata,
    properties,
    single,
    size,
)
from hostile_files import FLOATS, Entry, archive, called, listed, mapping, name, number, sequence, tensor, text, whole, zipped

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.spec import TensorSpec

LEFT, RIGHT = archived(2, 1), archived(2, 2, start=3)
HALVES = {FILE: LEFT + RIGHT}
WHERE = info(nbytes=len(TENSOR))


def halves(first: bytes = chunk((0, 0), (2, 1)), second: bytes = chunk((0, 1), (2, 2)), **changes: bytes) -> bytes:
    """One tensor f32[2, 3] cut into columns 0 and 1-2; `changes`: the two places."""
    places = [
        (index(offsets=(0, 0)), changes.pop("left", info(0, len(LEFT)))),
        (index(offsets=(0, 1)), changes.pop("right", info(len(LEFT), len(RIGHT)))),
    ]
    return metadata({"a": listing(first, second)}, places)


def pair(paths: bytes = b"N", first: bytes = info(nbytes=len(TENSOR)), second: bytes = info(len(TENSOR), len(TENSOR))) -> bytes:
    """Two tensors, `a` and `b`, in one file one after the other."""
    return metadata({"a": listing(), "b": listing()}, [(index("a"), first), (index("b"), second)], planner_data=paths)


def planned(**paths: bytes) -> bytes:
    return mapping(*((text(key), path) for key, path in paths.items()))


def one_of_class(path: str) -> bytes:
    """The metadata of a tensor in which one class bears another name."""
    return single().replace(name(PACKAGE + path), name("torch.distributed.other." + path))


SOUND: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "one tensor": (single(), {FILE: TENSOR}),
    "a tensor and a value": (
        metadata({"a": listing(), "n": VALUE}, [(index(), WHERE), (index("n", None), info(len(TENSOR), len(NUMBER)))]),
        {FILE: TENSOR + NUMBER},
    ),
    "an index without its hint": (single(index=index(index=None)), {FILE: TENSOR}),
    "a list of transforms which is empty": (single(info=info(nbytes=len(TENSOR), transform_descriptors=b"]")), {FILE: TENSOR}),
    "no transforms at all": (single(info=info(nbytes=len(TENSOR), transform_descriptors=b"N")), {FILE: TENSOR}),
    "two chunks": (halves(), HALVES),
    "chunks in two files": (
        halves(left=info(0, len(LEFT), "x.distcp"), right=info(0, len(RIGHT), "y.distcp")),
        {"x.distcp": LEFT, "y.distcp": RIGHT},
    ),
    "chunks listed backwards": (halves(chunk((0, 1), (2, 2)), chunk((0, 0), (2, 1))), HALVES),
    "a chunk without elements, with bytes": (
        metadata(
            {"a": listing(chunk(), chunk((2, 0), (0, 3)))}, [(index(), WHERE), (index(offsets=(2, 0)), info(len(TENSOR), len(NUMBER)))]
        ),
        {FILE: TENSOR + NUMBER},
    ),
    "a chunk without elements, without bytes": (single(entry=listing(chunk(), chunk((2, 0), (0, 3)))), {FILE: TENSOR}),
    "a tensor without elements": (
        metadata({"a": listing(), "e": listing(chunk((0,), (0,)), size=size(0))}, [(index(), WHERE)]),
        {FILE: TENSOR},
    ),
    "bytes between and after": (single(info=info(5, len(TENSOR))), {FILE: b"\1" * 5 + TENSOR + b"\2" * 5}),
    "a planner of another kind": (single(planner_data=called("some.where.Plan", number(1))), {FILE: TENSOR}),
    "a planner's data of another kind": (single(planner_data=planned(a=number(3))), {FILE: TENSOR}),
    "plain tuples for sizes": (
        single(entry=listing(built("metadata.ChunkStorageMetadata", offsets=sequence(number(0), number(0)), sizes=size(2, 3)))),
        {FILE: TENSOR},
    ),
    "properties with attributes, as long ago": (
        single(entry=listing(properties=built("metadata.TensorProperties", dtype=name("torch.float32")))),
        {FILE: TENSOR},
    ),
    "classes where they were long ago": (
        single().replace(
            b"torch.distributed.checkpoint.metadata\nTensorProp", b"torch.distributed._shard.sharded_tensor.metadata\nTensorProp"
        ),
        {FILE: TENSOR},
    ),
    "an object of a stranger beside the data": (single(storage_meta=called("some.where.Thing")), {FILE: TENSOR}),
}


@pytest.mark.parametrize("case", SOUND)
def test_an_odd_but_sound_checkpoint_is_read(tmp_path: Path, case: str) -> None:
    path = folder(tmp_path / "in", *SOUND[case])
    for given in (path, path / ".metadata"):
        assert assert_described(given).entries["a"] == TensorSpec.of("float32", 2, 3)
    assert torch.equal(surgeon.remap(path, None)["a"].flatten().sort().values, torch.arange(1.0, 7))


CORRUPT: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "no metadata but a dict": (mapping(), {FILE: TENSOR}),
    "no table of tensors": (single(state_dict_metadata=b"N"), {FILE: TENSOR}),
    "no places": (single(storage_data=b"N"), {FILE: TENSOR}),
    "places in a list": (single(storage_data=listed(index(), WHERE)), {FILE: TENSOR}),
    "a tensor without a place": (metadata({"a": listing()}, []), {FILE: TENSOR}),
    "a value without a place": (metadata({"a": listing(), "n": VALUE}, [(index(), WHERE)]), {FILE: TENSOR}),
    "a place without a tensor": (metadata({}, [(index(), WHERE)]), {FILE: TENSOR}),
    "a place of another chunk": (single(index=index(offsets=(1, 0))), {FILE: TENSOR}),
    "a tensor with the place of a value": (single(index=index(offsets=None)), {FILE: TENSOR}),
    "one place twice": (metadata({"a": listing()}, [(index(), WHERE), (index(), WHERE)]), {FILE: TENSOR}),
    "one key twice": (
        single(state_dict_metadata=mapping((text("a"), listing()), (text("a"), listing()))),
        {FILE: TENSOR},
    ),
    "a key which is a number": (single(state_dict_metadata=mapping((number(1), listing()))), {FILE: TENSOR}),
    "an index whose key is a number": (single(index=index(fqn=number(1))), {FILE: TENSOR}),
    "an index which is a string": (single(index=text("a")), {FILE: TENSOR}),
    "a place which is a string": (single(info=text(FILE)), {FILE: TENSOR}),
    "a place without a file": (single(info=info(nbytes=len(TENSOR), relative_path=None)), {FILE: TENSOR}),
    "a place without a length": (single(info=info(length=None)), {FILE: TENSOR}),
    "a negative offset": (single(info=info(-1, len(TENSOR))), {FILE: TENSOR}),
    "a negative length": (single(info=info(0, -1)), {FILE: TENSOR}),
    "a length which is true": (single(info=info(length=b"\x88")), {FILE: TENSOR}),
    "an offset beyond all files": (single(info=info(2**62, len(TENSOR))), {FILE: TENSOR}),
    "an offset of 100 digits": (single(info=info(10**100, len(TENSOR))), {FILE: TENSOR}),
    "a length past the end": (single(info=info(nbytes=len(TENSOR) + 1)), {FILE: TENSOR}),
    "a length of nothing": (single(info=info(nbytes=0)), {FILE: TENSOR}),
    "a cut file": (single(), {FILE: TENSOR[:-1]}),
    "an empty file": (single(), {FILE: b""}),
    "a missing file": (single(), {"other.distcp": TENSOR}),
    "a file above": (single(info=info(nbytes=len(TENSOR), file="../" + FILE)), {FILE: TENSOR}),
    "a file at the root": (single(info=info(nbytes=len(TENSOR), file="/etc/passwd")), {FILE: TENSOR}),
    "a file of no name": (single(info=info(nbytes=len(TENSOR), file="")), {FILE: TENSOR}),
    "the folder itself": (single(info=info(nbytes=len(TENSOR), file=".")), {FILE: TENSOR}),
    "a file with a NUL": (single(info=info(nbytes=len(TENSOR), file="a\0b")), {FILE: TENSOR}),
    "two tensors on the same bytes": (pair(second=WHERE), {FILE: TENSOR + TENSOR}),
    "two tensors on bytes which overlap": (pair(second=info(len(TENSOR) - 1, len(TENSOR))), {FILE: TENSOR + TENSOR}),
    "a shape which the chunks do not fill": (single(entry=listing(size=size(3, 3))), {FILE: TENSOR}),
    "a shape which the chunk leaves": (single(entry=listing(size=size(2, 2))), {FILE: TENSOR}),
    "a shape of fewer dims": (single(entry=listing(size=size(6))), {FILE: TENSOR}),
    "no chunks": (single(entry=listing(chunks=b"]")), {FILE: TENSOR}),
    "chunks which are no list": (single(entry=listing(chunks=b"N")), {FILE: TENSOR}),
    "a chunk which is no chunk": (single(entry=listing(number(1))), {FILE: TENSOR}),
    "a chunk without sizes": (single(entry=listing(built("metadata.ChunkStorageMetadata", offsets=size(0, 0)))), {FILE: TENSOR}),
    "chunks which overlap": (halves(second=chunk((0, 0), (2, 2))), HALVES),
    "chunks which leave a gap": (halves(second=chunk((0, 2), (2, 1))), HALVES),
    "chunks which overlap and leave a gap": (
        metadata(
            {"a": listing(chunk((0, 0), (2, 2)), chunk((0, 1), (1, 2)))},
            [(index(offsets=(0, 0)), info(0, 1)), (index(offsets=(0, 1)), info(1, 1))],
        ),
        {FILE: TENSOR},
    ),
    "one chunk twice": (single(entry=listing(chunk(), chunk())), {FILE: TENSOR}),
    "sizes below 0": (single(entry=listing(chunk(sizes=(-2, -3)))), {FILE: TENSOR}),
    "sizes beyond 64 bits": (single(entry=listing(chunk(sizes=(2**70, 3)), size=size(2**70, 3))), {FILE: TENSOR}),
    "sizes whose product is beyond 64 bits": (single(entry=listing(chunk(sizes=(2**40, 2**40)), size=size(2**40, 2**40))), {FILE: TENSOR}),
    "65 dims": (single(entry=listing(size=size(*[1] * 65))), {FILE: TENSOR}),
    "a size which is a string": (single(entry=listing(size=text("2, 3"))), {FILE: TENSOR}),
    "no properties": (single(entry=listing(properties=None)), {FILE: TENSOR}),
    "properties of nothing": (single(entry=listing(properties=made(PACKAGE + "metadata.TensorProperties", b")"))), {FILE: TENSOR}),
    "an unknown dtype": (single(entry=listing(properties=properties(name("torch.float33")))), {FILE: TENSOR}),
    "a dtype which is a function": (single(entry=listing(properties=properties(name("os.system")))), {FILE: TENSOR}),
    "another dtype than the archive's": (single(entry=listing(properties=properties(name("torch.int32")))), {FILE: TENSOR}),
    "another shape than the archive's": (
        single(entry=listing(chunk((0, 0), (3, 2)), size=size(3, 2))),
        {FILE: TENSOR},
    ),
    "an archive of a number": (metadata({"a": listing()}, [(index(), info(nbytes=len(NUMBER)))]), {FILE: NUMBER}),
    "no archive": (single(), {FILE: b"\0" * len(TENSOR)}),
    "a value which is no archive": (metadata({"n": VALUE}, [(index("n", None), info(nbytes=5))]), {FILE: b"\x80\x02K\1."}),
    "another class for the metadata": (one_of_class("metadata.Metadata").replace(b"other", b"wrong"), {FILE: TENSOR}),
    "a list for an entry": (single(entry=b"]"), {FILE: TENSOR}),
    "two entries at one path": (pair(planned(a=sequence(text("x")), b=sequence(text("x")))), {FILE: TENSOR * 2}),
    "an entry within another": (pair(planned(a=sequence(text("x")), b=sequence(text("x"), text("y")))), {FILE: TENSOR * 2}),
    "an entry around another": (pair(planned(a=sequence(text("x"), text("y")), b=sequence(text("x")))), {FILE: TENSOR * 2}),
    "one container by key and by index": (
        pair(planned(a=sequence(text("x"), text("y")), b=sequence(text("x"), number(0)))),
        {FILE: TENSOR * 2},
    ),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_what_does_not_fit_together_is_corrupt(tmp_path: Path, case: str) -> None:
    assert_refused(folder(tmp_path / "in", *CORRUPT[case]), CorruptError)


LIMITS = {
    "a list of one entry at a wild index": single(planner_data=planned(a=sequence(text("x"), number(10**9)))),
    "an entry 65 levels deep": single(planner_data=planned(a=sequence(*[text("x")] * 65))),
}


@pytest.mark.parametrize("case", LIMITS)
def test_what_no_checkpoint_needs_is_over_a_limit(tmp_path: Path, case: str) -> None:
    assert_refused(folder(tmp_path / "in", LIMITS[case]), LimitError)


def test_the_chunks_of_one_tensor_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "in", single(entry=listing(chunk(), chunk((2, 0), (0, 3)))))
    assert_described(path)
    monkeypatch.setattr("ckpt_surgeon.formats.distributed_metadata._MAX_CHUNKS", 1)
    assert_refused(path, LimitError, "2 chunks: 1 are allowed")


UNSAFE = {
    "bytes under a transform": single(info=info(nbytes=len(TENSOR), transform_descriptors=listed(text("zstd")))),
    "bytes under what is no list": single(info=info(nbytes=len(TENSOR), transform_descriptors=called("some.where.Thing"))),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_bytes_which_only_their_writer_undoes_are_refused(tmp_path: Path, case: str) -> None:
    assert_refused(folder(tmp_path / "in", UNSAFE[case]), UnsafeError)


def touch(canary: Path) -> bytes:
    """A call which makes the canary."""
    return called("os.system", text(f"touch {canary}"))


def in_a_tensor(call: bytes) -> tuple[bytes, bytes]:
    data = zipped(call)
    return metadata({"a": listing()}, [(index(), info(nbytes=len(data)))]), data


def in_a_value(call: bytes) -> tuple[bytes, bytes]:
    data = zipped(call, {"none": b""})
    places = [(index(), WHERE), (index("n", None), info(len(TENSOR), len(data)))]
    return metadata({"a": listing(), "n": VALUE}, places), TENSOR + data


# Where in a checkpoint the call stands; an error where what it stands for is needed.
PLACES: dict[str, tuple[type[SurgeryError] | None, object]] = {
    "the metadata itself": (CorruptError, lambda call: (call, TENSOR)),
    "beside the fields": (None, lambda call: (single(storage_meta=call), TENSOR)),
    "the planner's data": (None, lambda call: (single(planner_data=call), TENSOR)),
    "a path": (None, lambda call: (single(planner_data=mapping((text("a"), call))), TENSOR)),
    "the places": (CorruptError, lambda call: (single(storage_data=call), TENSOR)),
    "the table": (CorruptError, lambda call: (single(state_dict_metadata=call), TENSOR)),
    "an entry": (CorruptError, lambda call: (single(entry=call), TENSOR)),
    "a size": (CorruptError, lambda call: (single(entry=listing(size=call)), TENSOR)),
    "a dtype": (CorruptError, lambda call: (single(entry=listing(properties=properties(call))), TENSOR)),
    "a length": (CorruptError, lambda call: (single(info=info(length=call)), TENSOR)),
    "a state": (None, lambda call: (single(storage_meta=made("some.where.Thing", call)), TENSOR)),
    "a tensor's archive": (CorruptError, in_a_tensor),
    "a value's archive": (None, in_a_value),
}


@pytest.mark.parametrize("case", PLACES)
def test_nothing_is_called_wherever_it_stands(tmp_path: Path, case: str) -> None:
    error, place = PLACES[case]
    canary = tmp_path / "canary"
    body, data = place(touch(canary))
    path = folder(tmp_path / "in", body, {FILE: data})
    if error is None:
        assert "a" in assert_described(path).entries
        surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    else:
        assert_refused(path, error)
    assert not canary.exists()


def test_torch_itself_would_have_called_it(tmp_path: Path) -> None:
    """So that the canaries above are alive."""
    from torch.distributed.checkpoint import FileSystemReader

    canary = tmp_path / "canary"
    folder(tmp_path / "in", single(planner_data=touch(canary)))
    FileSystemReader(tmp_path / "in").read_metadata()
    assert canary.exists()


BIG = zipped(tensor(), {"0": struct.pack(">6f", *range(1, 7))}, byteorder=b"big")


def test_tensors_of_a_machine_of_the_other_byte_order_are_put_in_order(tmp_path: Path) -> None:
    path = folder(tmp_path / "in", single(info=info(nbytes=len(BIG))), {FILE: BIG})
    assert torch.equal(surgeon.remap(path, None)["a"], torch.arange(1.0, 7).view(2, 3))


def test_its_other_values_are_refused_since_only_their_classes_could_do_that(tmp_path: Path) -> None:
    places = [(index(), WHERE), (index("n", None), info(len(TENSOR), len(BIG)))]
    path = folder(tmp_path / "in", metadata({"a": listing(), "n": VALUE}, places), {FILE: TENSOR + BIG})
    assert_refused(path, UnsafeError, "big-endian")


def test_a_compressed_storage_of_a_value_is_carried(tmp_path: Path) -> None:
    packed = archive(Entry("a/data.pkl", whole(listed(tensor()))), Entry("a/data/0", FLOATS, method=8))
    places = [(index(), WHERE), (index("n", None), info(len(TENSOR), len(packed)))]
    paths = planned(a=sequence(text("model"), text("a")), n=sequence(text("n")))
    path = folder(tmp_path / "in", metadata({"a": listing(), "n": VALUE}, places, planner_data=paths), {FILE: TENSOR + packed})
    surgeon.write(surgeon.plan(path), tmp_path / "out.pt")
    assert torch.equal(torch.load(tmp_path / "out.pt")["n"][0], torch.arange(1.0, 7).view(2, 3))


def test_a_damaged_chunk_is_noticed_before_its_bytes_are_handed_out(tmp_path: Path) -> None:
    at = TENSOR.index(b"\0\0\x80?")  # 1.0, the first element
    path = folder(tmp_path / "in", single(), {FILE: TENSOR[:at] + b"\1" + TENSOR[at + 1 :]})
    assert_described(path)
    for out in ("out.pt", "out.safetensors"):
        with pytest.raises(CorruptError, match="checksum"):
            surgeon.write(surgeon.plan(path), tmp_path / out, check=True)
        assert not (tmp_path / out).exists()
    with pytest.raises(CorruptError, match="checksum"):
        surgeon.remap(path, [])


def test_a_link_which_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(TENSOR)
    path = folder(tmp_path / "in", single(), {})
    os.symlink(tmp_path / "secret", path / FILE)
    assert_refused(path, CorruptError, "leads out")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_a_file_which_is_none_is_refused(tmp_path: Path, make) -> None:
    path = folder(tmp_path / "in", single(), {})
    make(path / FILE)
    assert_refused(path, CorruptError, "where a file should be")


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ({FILE: TENSOR}, "without its .metadata"),
        ({".metadata": b"", FILE: TENSOR}, "empty"),
        ({".metadata": b"junk which is no pickle", FILE: TENSOR}, "no known format"),
        ({".metadata": whole(b"N"), FILE: TENSOR}, "no checkpoint|bytes"),
        ({".metadata": whole(single())[:-10], FILE: TENSOR}, "cut"),
        ({".metadata": whole(single()) + b"more", FILE: TENSOR}, "after its end"),
    ],
)
def test_metadata_which_lacks_or_is_none_is_named(tmp_path: Path, contents: dict[str, bytes], says: str) -> None:
    (tmp_path / "in").mkdir()
    for file, data in contents.items():
        (tmp_path / "in" / file).write_bytes(data)
    assert_refused(tmp_path / "in", CorruptError, says)


def test_a_single_file_of_it_points_to_its_folder(tmp_path: Path) -> None:
    path = folder(tmp_path / "in", single())
    assert_refused(path / FILE, CorruptError, "give its folder")
