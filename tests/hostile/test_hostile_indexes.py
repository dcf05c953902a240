"""Index files which lie, shards which are none, and things which are no files at all, through the public door; beside them honest ones."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import assert_described, assert_refused, invoke
from hostile_files import TABLE, entry, mapping, older, safetensors, tensor, text, whole, zipped

from ckpt_surgeon.errors import CorruptError, DiskError, LimitError, SurgeryError

ONE, TWO, INDEX = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"
HONEST = {"a": ONE, "b": TWO}

Make = Callable[[Path], None]


def indexed(folder: Path, weight_map: Any = HONEST, index: bytes | None = None, **shards: bytes) -> None:
    """Two shards with `a` and `b`, and an index which may say something else."""
    (folder / ONE).write_bytes(shards.get("one", safetensors({"a": entry()}, bytes(4))))
    (folder / TWO).write_bytes(shards.get("two", safetensors({"b": entry()}, bytes(4))))
    (folder / INDEX).write_bytes(json.dumps({"weight_map": weight_map}).encode() if index is None else index)


def saying(weight_map: Any) -> Make:
    return lambda folder: indexed(folder, weight_map)


def named(name: Any) -> Make:
    return saying({"a": ONE, "b": name})


def written(index: bytes | str) -> Make:
    return lambda folder: indexed(folder, index=index if isinstance(index, bytes) else index.encode())


def holding(**shards: bytes) -> Make:
    return lambda folder: indexed(folder, **shards)


def with_metadata(value: Any) -> bytes:
    return json.dumps({"metadata": value, "weight_map": HONEST}).encode()


def replaced(make: Callable[[Path], Any]) -> Make:
    """The second shard is something else."""

    def change(folder: Path) -> None:
        indexed(folder)
        (folder / TWO).rename(folder.parent / "outside")
        make(folder / TWO)

    return change


def linked(target: str) -> Make:
    return replaced(lambda path: path.symlink_to(target))


def _linked_through_a_folder(folder: Path) -> None:
    """The link leads to a link within the folder, and that one out."""
    linked("within")(folder)
    (folder / "within").symlink_to("../outside")


def _plugged(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as plug:
        os.chdir(path.parent)  # a socket's path has no more than 107 bytes
        plug.bind(path.name)


def _more(folder: Path) -> None:
    indexed(folder)
    (folder / "model-00003-of-00002.safetensors").write_bytes(safetensors({"c": entry()}, bytes(4)))


WHOLE = json.dumps({"weight_map": HONEST}).encode()

BAD: dict[str, tuple[Make, type[SurgeryError]]] = {
    "a name which leads up": (named(f"../model/{TWO}"), CorruptError),
    "a name which is two dots": (named(".."), CorruptError),
    "an absolute name": (named("/etc/passwd"), CorruptError),
    "a name in a folder below": (named(f"./{TWO}"), CorruptError),
    "a name of the folder itself": (named("."), CorruptError),
    "an empty name": (named(""), CorruptError),
    "a name with a NUL": (named(f"{TWO}\0"), CorruptError),
    "a name of a drive": (named(f"c:\\{TWO}"), CorruptError),
    "a name which is a list": (named([TWO]), CorruptError),
    "a name which is null": (named(None), CorruptError),
    "a name which is a number": (named(2), CorruptError),
    "a name which is a table": (named({"file": TWO}), CorruptError),
    "the index as its own shard": (named(INDEX), CorruptError),
    "the index as its only shard": (saying({"a": INDEX}), CorruptError),
    "an index of indexes": (holding(two=WHOLE), CorruptError),
    "a name of 5,000 characters": (named("x" * 5000), CorruptError),
    "a name of control characters": (named("\x1b[31mred\n"), CorruptError),
    "a name of half a surrogate pair": (named("\ud800"), CorruptError),
    "a name in other letters": (named(TWO.upper()), CorruptError),
    "a shard which is not there": (named("other.safetensors"), CorruptError),
    "a shard of the same cut which is not named": (_more, CorruptError),
    "a shard which is not named at all": (saying({"a": ONE}), CorruptError),
    "a key in the wrong shard": (saying({"a": ONE, "b": ONE}), CorruptError),
    "a key which is missing in the index": (holding(one=safetensors({"a": entry(), "c": entry(begin=4)}, bytes(8))), CorruptError),
    "a key which is missing in the shards": (saying({**HONEST, "c": TWO}), CorruptError),
    "a key in two shards": (holding(two=safetensors({"a": entry(), "b": entry(begin=4)}, bytes(8))), CorruptError),
    "a shard without tensors": (holding(two=safetensors({})), CorruptError),
    "a shard which lies": (holding(two=safetensors({"b": entry(begin=1)}, bytes(5))), CorruptError),
    "a shard of a header without end": (holding(two=safetensors(b'{"', length=2**63)), LimitError),
    "a shard which is empty": (holding(two=b""), CorruptError),
    "a shard which is cut": (holding(two=safetensors({"b": entry()}, bytes(3))), CorruptError),
    "a shard which is a pickle": (holding(two=whole(TABLE)), CorruptError),
    "a shard which is text": (holding(two=b"no checkpoint at all"), CorruptError),
    "a shard of another format": (holding(two=zipped(mapping((text("b"), tensor())))), CorruptError),
    "a shard with an envelope": (
        holding(one=zipped(mapping((text("a"), tensor()))), two=zipped(mapping((text("state_dict"), mapping((text("b"), tensor())))))),
        CorruptError,
    ),
    "a shard with a bad pickle": (holding(one=zipped(mapping((text("a"), tensor()))), two=zipped(b"cos\nsystem\n)R")), CorruptError),
    "shards of two layouts of torch": (
        holding(one=zipped(mapping((text("a"), tensor()))), two=older(mapping((text("b"), tensor())))),
        CorruptError,
    ),
    "a link which leads out": (linked("../outside"), CorruptError),
    "an absolute link": (linked("/etc/passwd"), CorruptError),
    "a link to a link which leads out": (_linked_through_a_folder, CorruptError),
    "a link to a device": (linked("/dev/zero"), CorruptError),
    "a link to nothing": (linked("nothing"), CorruptError),
    "a link to itself": (linked(TWO), CorruptError),
    "a link to the folder": (linked("."), CorruptError),
    "a FIFO": (replaced(os.mkfifo), CorruptError),
    "a folder": (replaced(Path.mkdir), CorruptError),
    "a socket": (replaced(_plugged), CorruptError),
    "no weight_map": (written("{}"), CorruptError),
    "a weight_map of another name": (written('{"weightmap": {}}'), CorruptError),
    "a weight_map which is a list": (saying([ONE, TWO]), CorruptError),
    "a weight_map which is null": (saying(None), CorruptError),
    "a weight_map which is text": (saying(ONE), CorruptError),
    "a key twice": (written(f'{{"weight_map": {{"a": "{ONE}", "b": "{TWO}", "a": "{ONE}"}}}}'), CorruptError),
    "two weight_maps": (written(WHOLE[:-1] + b"," + WHOLE[1:]), CorruptError),
    "a key twice in the metadata": (written(b'{"metadata": {"x": 1, "x": 1},' + WHOLE[1:]), CorruptError),
    "metadata which is a list": (written(with_metadata([])), CorruptError),
    "metadata which is text": (written(with_metadata("")), CorruptError),
    "metadata which is a number": (written(with_metadata(0)), CorruptError),
    "metadata which is not a number": (written(b'{"metadata": {"total_size": NaN},' + WHOLE[1:]), CorruptError),
    "metadata which is out of range": (written(b'{"metadata": {"total_size": 1e999},' + WHOLE[1:]), CorruptError),
    "metadata which nests": (written(b'{"metadata": {"x": %s},' % (b"[" * 50 + b"]" * 50) + WHOLE[1:]), CorruptError),
    "an index which is cut": (written(WHOLE[:-5]), CorruptError),
    "an index which goes on": (written(WHOLE + b"{}"), CorruptError),
    "an index which is no UTF-8": (written(WHOLE.replace(b'"a"', b'"\xff"')), CorruptError),
    "an index after a byte order mark": (written(b"\xef\xbb\xbf" + WHOLE), CorruptError),
    "an index in UTF-16": (written(WHOLE.decode().encode("utf-16")), CorruptError),
    "an index of values without end": (written(b'{"x": [' + b"0," * 3_000_000 + b"0]," + WHOLE[1:]), LimitError),
    "ties of the index which lead nowhere": (written(with_metadata({"ckpt_surgeon.ties": '{"c": "d"}'})), CorruptError),
    "ties of the index without end": (written(with_metadata({"ckpt_surgeon.ties": "[" + "0," * 3_000_000 + "0]"})), LimitError),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # and back again
    home = tmp_path / "model"
    home.mkdir()
    return home


@pytest.mark.parametrize("is_folder", [False, True], ids=["the index", "the folder"])
@pytest.mark.parametrize("case", BAD)
def test_a_lying_index_is_refused(folder: Path, case: str, is_folder: bool) -> None:
    make, error = BAD[case]
    make(folder)
    assert_refused(folder if is_folder else folder / INDEX, error)


@pytest.mark.parametrize(
    "weight_map",
    [{"a": TWO, "b": ONE}, {"A": ONE, "b": TWO}, {"a": ONE, "b": ONE, "c": TWO}, {**HONEST, **{f"k{i}": ONE for i in range(99)}}],
    ids=["keys which are exchanged", "a key in other letters", "a key too many", "very many keys"],
)
def test_all_which_is_wrong_with_an_index_is_told_in_one_line_each(folder: Path, weight_map: Any) -> None:
    indexed(folder, weight_map)
    result = invoke("inspect", str(folder))
    lines = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (3, "")
    assert {line.partition(": ")[0] for line in lines} <= {"error", "hint"}
    assert 2 <= len(lines) <= 21


def test_an_index_of_a_million_keys_which_are_nowhere_is_refused(folder: Path) -> None:
    indexed(folder, {**HONEST, **{f"k{i}": TWO for i in range(1_000_000)}})
    result = invoke("inspect", str(folder))
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) < 30


def test_an_index_of_100_mb_and_a_byte_is_refused(folder: Path) -> None:
    indexed(folder)
    os.truncate(folder / INDEX, 100_000_001)
    assert_refused(folder / INDEX, LimitError)


def _in_other_order(folder: Path) -> None:
    indexed(folder, dict(reversed(HONEST.items())))


def _beside_others(folder: Path) -> None:
    indexed(folder)
    for name, data in (
        ("consolidated.safetensors", safetensors({"x": entry()}, bytes(4))),
        ("model-00001-of-00009.safetensors", b"an older cut"),
        ("config.json", b"{}"),
        ("tokenizer.model", b"\x0a\x0b"),
    ):
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe")


def _of_other_names(folder: Path) -> None:
    indexed(folder)
    for name in ("\u65e5\u672c", " .x y", "c:d"):
        (folder / name).write_bytes(safetensors({name: entry()}, bytes(4)))
    (folder / INDEX).write_text(json.dumps({"weight_map": {**HONEST, **{name: name for name in ("\u65e5\u672c", " .x y", "c:d")}}}))


def _in_the_hub(folder: Path) -> None:
    indexed(folder)
    blobs = folder.parent / "blobs"
    folder.rename(blobs)
    snapshot = folder.parent / "snapshots" / "revision" / "text_encoder"
    snapshot.mkdir(parents=True)
    for name in os.listdir(blobs):
        (snapshot / name).symlink_to(f"../../../blobs/{name}")
    folder.symlink_to(snapshot)


SOUND: dict[str, Make] = {
    "as it is": indexed,
    "in another order": _in_other_order,
    "with sizes": written(with_metadata({"total_size": 8, "total_parameters": 8})),
    "with a fraction for a size": written(with_metadata({"total_size": 8.0})),
    "with a wrong size": written(with_metadata({"total_size": 10**30})),
    "with metadata of all kinds": written(with_metadata({"mergekit": {"a": [1, None, True, 1.5]}, "note": "x", "": ""})),
    "with no metadata": written(with_metadata(None)),
    "with more at the top": written(b'{"format": "pt", "version": [1, 2],' + WHOLE[1:]),
    "on many lines": written(json.dumps(json.loads(WHOLE), indent=2) + "\n"),
    "after white space": written(b"\r\n\t " + WHOLE),
    "with a link to its neighbor": lambda folder: (
        replaced(lambda path: path.symlink_to("other"))(folder),
        os.rename("outside", folder / "other"),
    ),
    "beside other files": _beside_others,
    "of other names": _of_other_names,
    "in the cache of the hub": _in_the_hub,
}


@pytest.mark.parametrize("case", SOUND)
def test_an_odd_index_is_read(folder: Path, case: str) -> None:
    SOUND[case](folder)
    assert {"a", "b"} <= set(assert_described(folder).tensors)
    assert {"a", "b"} <= set(assert_described(folder / INDEX).tensors)


def test_an_index_of_no_keys_is_a_checkpoint_of_none(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": {}}')
    assert not assert_described(folder).entries


KINDS: dict[str, tuple[Callable[[Path], Any], type[SurgeryError]]] = {
    "a FIFO": (os.mkfifo, CorruptError),
    "an empty folder": (Path.mkdir, CorruptError),
    "a socket": (_plugged, CorruptError),
    "a device": (lambda path: path.symlink_to("/dev/zero"), CorruptError),
    "a device of no bytes": (lambda path: path.symlink_to("/dev/null"), CorruptError),
    "a link to a folder of no checkpoint": (lambda path: path.symlink_to("/dev"), CorruptError),
    "a file of the system without a size": (lambda path: path.symlink_to("/proc/self/status"), CorruptError),
    "an empty file": (Path.touch, CorruptError),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), DiskError),
    "a link to itself": (lambda path: path.symlink_to(path), DiskError),
    "nothing": (lambda path: None, DiskError),
    "a file below a file": (lambda path: None, DiskError),
}


@pytest.mark.parametrize("suffix", ["", ".pt", ".safetensors", ".index.json"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_checkpoint_file_is_refused_and_never_blocks(folder: Path, kind: str, suffix: str) -> None:
    make, error = KINDS[kind]
    path = folder / f"x{suffix}"
    make(path)
    assert_refused(path, error)


INSIDE: dict[str, Callable[[Path], Any]] = {
    "a FIFO": os.mkfifo,
    "a socket": _plugged,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "an empty file": Path.touch,
}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", INDEX, "x"])
@pytest.mark.parametrize("kind", INSIDE)
def test_a_folder_of_nothing_else_is_refused(folder: Path, kind: str, name: str) -> None:
    INSIDE[kind](folder / name)
    assert_refused(folder, CorruptError)


@pytest.mark.parametrize("kind", INSIDE)
def test_a_folder_with_a_checkpoint_beside_it_is_read(folder: Path, kind: str) -> None:
    INSIDE[kind](folder / "x")
    (folder / "weights.pt").write_bytes(zipped(TABLE))
    assert list(assert_described(folder).tensors) == ["a", "b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["", INDEX, TWO])
def test_what_may_not_be_read_is_a_fault_and_no_lie(folder: Path, name: str) -> None:
    indexed(folder)
    (folder / name).chmod(0)
    try:
        assert invoke("inspect", str(folder)).exit_code == DiskError.exit_code
    finally:
        (folder / name).chmod(0o700)


def test_an_older_stream_and_an_archive_may_be_shards(folder: Path) -> None:
    for make in (zipped, older):
        shards = {word: make(mapping((text(key), tensor()))) for word, key in (("one", "a"), ("two", "b"))}
        indexed(folder, **shards)
        assert list(assert_described(folder).tensors) == ["a", "b"]


def test_what_a_shard_names_is_never_called(folder: Path) -> None:
    payload = b"cos\nsystem\n(" + text(f"touch {folder / 'canary'}") + b"tR"
    indexed(folder, one=zipped(mapping((text("a"), tensor()))), two=zipped(mapping((text("b"), tensor()), (text("c"), payload))))
    assert_refused(folder, CorruptError)
