"""Bad safetensors files, index files, and things which are no files at all, through the public door; names shown to people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import assert_described, assert_refused, invoke
from hostile_files import TABLE, beside, entry, mapping, safetensors, tensor, text, whole, zipped

from ckpt_surgeon.errors import CorruptError, DiskError, LimitError, SurgeryError

TIES, ORDER, VERSIONS = "ckpt_surgeon.ties", "ckpt_surgeon.order", "ckpt_surgeon.torch_metadata"


def carrying(**texts: Any) -> dict[str, Any]:
    return {"__metadata__": {f"ckpt_surgeon.{key}": value for key, value in texts.items()}, "w": entry()}


SAFETENSORS: dict[str, tuple[bytes, type[SurgeryError]]] = {
    "a key twice": (
        safetensors(b'{"w":' + json.dumps(entry()).encode() + b',"w":' + json.dumps(entry()).encode() + b"}", bytes(4)),
        CorruptError,
    ),
    "NaN for an offset": (safetensors(b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,NaN]}}', bytes(4)), CorruptError),
    "nested metadata": (safetensors({"__metadata__": {"a": {"b": "c"}}}), CorruptError),
    "metadata of numbers": (safetensors({"__metadata__": {"a": 1}}), CorruptError),
    "a header of 100 MB and a byte": (safetensors(b'{"', length=100_000_001), LimitError),
    "a header of 2**64 - 1 bytes": (safetensors(b'{"', length=2**64 - 1), LimitError),
    "a header longer than the file": (safetensors(b"{}", length=1000), CorruptError),
    "a hole": (safetensors({"a": entry(), "b": entry(begin=5)}, bytes(9)), CorruptError),
    "an overlap": (safetensors({"a": entry(), "b": entry(begin=2)}, bytes(6)), CorruptError),
    "bytes after the last tensor": (safetensors({"a": entry()}, bytes(5)), CorruptError),
    "a pickle after the last tensor": (safetensors({"a": entry()}, bytes(4) + whole(TABLE)), CorruptError),
    "a tensor of 2**63 bytes": (safetensors({"a": entry(data_offsets=[0, 2**63])}, bytes(4)), CorruptError),
    "a shape whose product wraps around": (safetensors({"a": entry(shape=[2**32, 2**32, 4])}, bytes(4)), CorruptError),
    "a negative size": (safetensors({"a": entry(shape=[-4])}, bytes(4)), CorruptError),
    "a dtype of no name": (safetensors({"a": entry(dtype="__reduce__")}, bytes(4)), CorruptError),
    "ties which are no table": (safetensors(carrying(ties="[]"), bytes(4)), CorruptError),
    "ties which are no JSON": (safetensors(carrying(ties="{"), bytes(4)), CorruptError),
    "a tie to nowhere": (safetensors(carrying(ties='{"x": "nowhere"}'), bytes(4)), CorruptError),
    "a tie of what is there": (safetensors(carrying(ties='{"w": "w"}'), bytes(4)), CorruptError),
    "a chain of ties": (safetensors(carrying(ties='{"x": "y", "y": "w"}'), bytes(4)), CorruptError),
    "an order which lacks a key": (safetensors(carrying(order='["x"]'), bytes(4)), CorruptError),
    "an order which says a key twice": (safetensors(carrying(order='["w", "w"]'), bytes(4)), CorruptError),
    "versions which are no table": (safetensors(carrying(torch_metadata='{"m": 1}'), bytes(4)), CorruptError),
    "versions which nest": (safetensors(carrying(torch_metadata='{"m": ' + '{"a":' * 60 + "1" + "}" * 61), bytes(4)), CorruptError),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_a_lying_safetensors_file_is_refused(tmp_path: Path, case: str) -> None:
    data, error = SAFETENSORS[case]
    (tmp_path / "x.safetensors").write_bytes(data)
    assert_refused(tmp_path / "x.safetensors", error)


ONE, TWO, INDEX = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"


def indexed(folder: Path, weight_map: Any, **shards: bytes) -> None:
    """Two shards with `a` and `b`, and an index which says something else."""
    (folder / ONE).write_bytes(shards.get("one", safetensors({"a": entry()}, bytes(4))))
    (folder / TWO).write_bytes(shards.get("two", safetensors({"b": entry()}, bytes(4))))
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def _linked_out(folder: Path) -> None:
    indexed(folder, {"a": ONE, "b": TWO})
    (folder / TWO).rename(folder.parent / "outside")
    (folder / TWO).symlink_to(folder.parent / "outside")


def _device(folder: Path) -> None:
    indexed(folder, {"a": ONE, "b": "zero"})
    (folder / TWO).unlink()
    (folder / "zero").symlink_to("/dev/zero")


def _fifo(folder: Path) -> None:
    indexed(folder, {"a": ONE, "b": TWO})
    (folder / TWO).unlink()
    os.mkfifo(folder / TWO)


def _loop(folder: Path) -> None:
    indexed(folder, {"a": ONE, "b": TWO})
    (folder / TWO).unlink()
    (folder / TWO).symlink_to(TWO)


def _named(name: Any) -> Callable[[Path], None]:
    return lambda folder: indexed(folder, {"a": ONE, "b": name})


INDEXES: dict[str, tuple[Callable[[Path], None], type[SurgeryError]]] = {
    "a name which leads up": (_named(f"../model/{TWO}"), CorruptError),
    "an absolute name": (_named("/etc/passwd"), CorruptError),
    "a name in a folder below": (_named(f"./{TWO}"), CorruptError),
    "the folder itself": (_named("."), CorruptError),
    "a name with a NUL": (_named(f"{TWO}\0"), CorruptError),
    "a name of a drive": (_named(f"c:\\{TWO}"), CorruptError),
    "a name which is a list": (_named([TWO]), CorruptError),
    "the index as its own shard": (_named(INDEX), CorruptError),
    "a name of 5,000 characters": (_named("x" * 5000), DiskError),
    "a name of control characters": (_named("\x1b[31mred\n"), CorruptError),
    "a shard which is not there": (_named("other.safetensors"), CorruptError),
    "a key in the wrong shard": (lambda folder: indexed(folder, {"a": ONE, "b": ONE}), CorruptError),
    "a key which is missing in the index": (
        lambda folder: indexed(folder, {"a": ONE}, one=safetensors({"a": entry(), "c": entry(begin=4)}, bytes(8))),
        CorruptError,
    ),
    "a key which is missing in the shards": (lambda folder: indexed(folder, {"a": ONE, "b": TWO, "c": TWO}), CorruptError),
    "a key in two shards": (
        lambda folder: indexed(folder, {"a": ONE, "b": TWO}, two=safetensors({"a": entry(), "b": entry(begin=4)}, bytes(8))),
        CorruptError,
    ),
    "a shard which is a pickle": (lambda folder: indexed(folder, {"a": ONE, "b": TWO}, two=whole(TABLE)), CorruptError),
    "a shard of another format": (
        lambda folder: indexed(folder, {"a": ONE, "b": TWO}, two=zipped(mapping((text("b"), tensor())))),
        CorruptError,
    ),
    "a table which is a list": (lambda folder: indexed(folder, [ONE, TWO]), CorruptError),
    "a link which leads out": (_linked_out, CorruptError),
    "a device": (_device, CorruptError),
    "a FIFO": (_fifo, DiskError),
    "a link to itself": (_loop, DiskError),
}


@pytest.mark.parametrize("case", INDEXES)
def test_a_lying_index_is_refused(tmp_path: Path, case: str) -> None:
    make, error = INDEXES[case]
    folder = tmp_path / "model"
    folder.mkdir()
    make(folder)
    assert_refused(folder / INDEX, error)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to nothing", "socket"])
def test_what_is_no_file_never_blocks(tmp_path: Path, kind: str) -> None:
    import socket

    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as plug:
            plug.bind(str(path))
    else:
        path.symlink_to("/dev/zero" if kind == "device" else tmp_path / "nothing")
    assert_refused(path, CorruptError if kind == "folder" else DiskError)


NAMES = {
    "a color": "\x1b[31mred\x1b[0m",
    "two lines": "a\nerror: b",
    "a carriage return": "good\rbad!",
    "text turned around": "a\u202egnp.exe",
    "nothing to see": "a\u200b\u3164b",
    "half a pair": "a\ud800b",
    "a NUL": "a\0b",
    "an emoji": "a\U0001f600b",
    "a million characters": "x" * 1_000_000,
    "markup": "<script>alert(1)</script>|`x`",
}


@pytest.mark.parametrize("form", ["table", "json", "md", "html"])
@pytest.mark.parametrize("case", NAMES)
def test_a_name_is_shown_on_one_line_and_draws_nothing(tmp_path: Path, case: str, form: str) -> None:
    name = NAMES[case]
    (tmp_path / "x.pt").write_bytes(zipped(mapping((text("a"), tensor()), (text(name), tensor()))))
    result = invoke("inspect", str(tmp_path / "x.pt"), "--format", form)
    assert (result.exit_code, result.stderr) == (0, "")
    assert not set(result.stdout) & {"\x1b", "\r", "\0", "\u202e", "\u200b", "\u3164", "\ud800"}
    assert all(len(line) < 1100 for line in result.stdout.splitlines()) or form == "json"
    assert "<script>" not in result.stdout or form in ("table", "json", "md")
    if form == "json":
        assert [item["key"] for item in json.loads(result.stdout)["entries"]] == ["a", name]


PLACES: dict[str, Callable[[str], bytes]] = {
    "a key": lambda name: zipped(mapping((text("a"), tensor()), (text(name), tensor()))),
    "what stands beside": lambda name: zipped(beside(text(name), name)),
    "a class": lambda name: zipped(beside(text("m") + text(name.replace("\n", "")) + b"\x93)R")),
    "an opaque entry": lambda name: zipped(mapping((text("a"), tensor()), (text("b"), tensor()), (text("c"), text(name)))),
    "a key which is refused": lambda name: zipped(mapping((text(name), tensor()), (text(name), tensor()))),
    "a storage which lacks": lambda name: zipped(
        mapping((text("a"), tensor(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(name) + text("cpu") + b"K\x06tQ")))
    ),
    "metadata": lambda name: safetensors({"__metadata__": {"note": name.replace("\ud800", "")}, "w": entry()}, bytes(4)),
    "a dtype": lambda name: safetensors({"w": entry(dtype=name)}, bytes(4)),
    "a bad entry": lambda name: safetensors({name: {}}, b""),
}


@pytest.mark.parametrize("place", PLACES)
def test_names_from_any_place_are_shown_in_the_plainest_locale(tmp_path: Path, command: Any, place: str) -> None:
    (tmp_path / "x").write_bytes(PLACES[place]("\x1b[31m\ud800\U0001f600\u202e\n"))
    for words in (("inspect", str(tmp_path / "x")), ("remap", str(tmp_path / "x"), "-o", str(tmp_path / "out.pt"))):
        done = command(*words, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
        assert done.returncode in (0, 3), done.stderr
        assert not set(done.stdout + done.stderr) & {"\x1b", "\u202e", "\ufffd"}
        assert "Traceback" not in done.stderr
        assert "bug" not in done.stderr


SAMPLES: dict[str, tuple[bytes, int]] = {
    "zip": (zipped(b"N"), 3),
    "pickle": (zipped(beside(b"\x82\x01")), 3),
    "safetensors": (SAFETENSORS["a hole"][0], 3),
    "a bare pickle": (whole(TABLE), 3),
    "limit": (safetensors(b'{"', length=2**64 - 1), 3),
    "json": (b'{"weight_map": {"a": ".."}}', 3),
    "sound": (zipped(TABLE), 0),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_a_process_answers_with_its_code_and_one_line(tmp_path: Path, command: Any, case: str) -> None:
    data, code = SAMPLES[case]
    (tmp_path / "x").write_bytes(data)
    for words in (("inspect", str(tmp_path / "x")), ("remap", str(tmp_path / "x"), "-o", str(tmp_path / "out.safetensors"))):
        done = command(*words)
        assert done.returncode == code, done.stderr
        told = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
        assert [line.startswith("error: ") for line in told] == [True] * (code != 0)
    assert (tmp_path / "out.safetensors").exists() == (code == 0)


def test_a_file_under_any_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    for name, data in (("a.safetensors", zipped(TABLE)), ("b.pt", safetensors({"w": entry()}, bytes(4)))):
        (tmp_path / name).write_bytes(data)
        assert assert_described(tmp_path / name).tensors
