"""Safetensors files which lie, through the public door, beside odd ones which are sound; names shown to people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import assert_described, assert_refused, invoke
from hostile_files import TABLE, beside, entry, mapping, safetensors, tensor, text, whole, zipped
from safetensors import safe_open

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError

FIRST, SECOND = (json.dumps(entry(begin=begin)).encode() for begin in (0, 4))


def text_of(key: str, **fields: str) -> bytes:
    """A file of one entry of 4 bytes, some of whose fields are written as given."""
    written = {"dtype": '"U8"', "shape": "[4]", "data_offsets": "[0,4]", **fields}
    body = ",".join(f'"{field}":{value}' for field, value in written.items())
    return safetensors(f'{{"{key}":{{{body}}}}}'.encode(), bytes(4))


def odd(data: bytes = bytes(4), **changes: Any) -> bytes:
    """A file of one entry which is changed."""
    return safetensors({"w": entry(**changes)}, data)


def without(field: str) -> bytes:
    return safetensors({"w": {key: value for key, value in entry().items() if key != field}}, bytes(4))


def carrying(**texts: Any) -> dict[str, Any]:
    return {"__metadata__": {f"ckpt_surgeon.{key}": value for key, value in texts.items()}, "w": entry()}


LONG = b"x" * 10_000_000

SOUND: dict[str, tuple[bytes, list[str]]] = {
    "no tensors": (safetensors({}), []),
    "metadata alone": (safetensors({"__metadata__": {"format": "pt", "": ""}}), []),
    "a header padded with spaces": (safetensors(json.dumps({"w": entry()}).encode() + b" " * 100, bytes(4)), ["w"]),
    "a header padded with other white space": (safetensors(b"{}\n\t\r "), []),
    "a header on many lines": (safetensors(json.dumps({"w": entry()}, indent=2).encode(), bytes(4)), ["w"]),
    "a header in another order than the data": (safetensors({"b": entry(begin=4), "a": entry()}, bytes(8)), ["a", "b"]),
    "metadata after the tensors": (safetensors({"w": entry(), "__metadata__": {"a": "b"}}, bytes(4)), ["w"]),
    "fields in another order": (safetensors({"w": dict(reversed(entry().items()))}, bytes(4)), ["w"]),
    "empty tensors": (safetensors({"a": entry(0), "b": entry(), "c": entry(0, begin=4), "d": entry(0, begin=4)}, bytes(4)), list("abcd")),
    "an empty tensor of large sizes": (odd(b"", shape=[0, 2**20, 2**20], data_offsets=[0, 0]), ["w"]),
    "a tensor of no dims": (odd(b"\1", shape=[], data_offsets=[0, 1]), ["w"]),
    "a tensor of 64 dims": (odd(shape=[1] * 63 + [4]), ["w"]),
    "a key of no characters": (safetensors({"": entry()}, bytes(4)), [""]),
    "a key in Unicode, escaped and not": (safetensors(b'{"\\u00e9":%s,"\xc3\xaa":%s}' % (FIRST, SECOND), bytes(8)), ["\xe9", "\xea"]),
    "a key outside of the plane, escaped": (safetensors(b'{"\\ud83d\\ude00":%s}' % FIRST, bytes(4)), ["\U0001f600"]),
    "a key with a NUL": (safetensors({"a\0b": entry()}, bytes(4)), ["a\0b"]),
    "keys which differ in case, and in Unicode's forms": (
        safetensors({"a": entry(), "A": entry(begin=4), "\xe9": entry(begin=8), "e\u0301": entry(begin=12)}, bytes(16)),
        ["a", "A", "\xe9", "e\u0301"],
    ),
    "a key like a path": (safetensors({"../../etc/passwd": entry()}, bytes(4)), ["../../etc/passwd"]),
    "a key like a field": (safetensors({"data_offsets": entry()}, bytes(4)), ["data_offsets"]),
    "a key of 10 MB": (safetensors({LONG.decode(): entry()}, bytes(4)), [LONG.decode()]),
    "truth values which are neither 0 nor 1": (odd(b"\0\1\2\xff", dtype="BOOL"), ["w"]),
    "four-bit values": (odd(dtype="F4", shape=[2, 4]), ["w"]),
    "six-bit values": (odd(bytes(3), dtype="F6_E2M3", shape=[4], data_offsets=[0, 3]), ["w"]),
    "metadata of a million commas": (safetensors({"__metadata__": {"tags": "a," * 1_000_000}}), []),
}


@pytest.mark.parametrize("case", SOUND)
def test_an_odd_safetensors_file_is_read(tmp_path: Path, case: str) -> None:
    data, keys = SOUND[case]
    (tmp_path / "x.safetensors").write_bytes(data)
    assert list(assert_described(tmp_path / "x.safetensors")) == keys
    with safe_open(tmp_path / "x.safetensors", "pt") as reference:
        assert sorted(reference.keys()) == sorted(keys)


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
    "no header": (bytes(8), CorruptError),
    "no header before data": (safetensors(b"", bytes(100)), CorruptError),
    "no whole length": (b"\2\0\0{", CorruptError),
    "a length and no more": (safetensors(b"", length=2), CorruptError),
    "a length which ends within the header": (safetensors({"w": entry()}, bytes(4), length=20), CorruptError),
    "a length which ends within the data": (safetensors({"w": entry()}, bytes(4), length=62), CorruptError),
    "a header which is a list": (safetensors(b"[]"), CorruptError),
    "a header after a space": (safetensors(b" {}"), CorruptError),
    "a header after a byte order mark": (safetensors(b"\xef\xbb\xbf{}"), CorruptError),
    "a header followed by zeros": (safetensors(b"{}\0\0"), CorruptError),
    "two headers": (safetensors(b"{}{}"), CorruptError),
    "a header which is no UTF-8": (safetensors(b'{"\xff":1}'), CorruptError),
    "half a surrogate pair": (safetensors(b'{"__metadata__":{"a":"\\ud800"}}'), CorruptError),
    "a control character": (safetensors(b'{"__metadata__":{"a":"\n"}}'), CorruptError),
    "a key of 10 MB twice": (safetensors(b'{"%s":1,"%s":1}' % (LONG, LONG)), CorruptError),
    "a key of 10 MB without fields": (safetensors(b'{"%s":{}}' % LONG), CorruptError),
    "values without end": (safetensors(b'{"w":[' + b"0," * 3_000_000 + b"0]}"), LimitError),
    "lists without end": (safetensors(b'{"w":[' + b"[]," * 2_000_000 + b"0]}"), LimitError),
    "a nested value in a field": (text_of("w", shape="[[4]]"), CorruptError),
    "a key twice in metadata": (safetensors(b'{"__metadata__":{"a":"b","a":"c"}}'), CorruptError),
    "metadata twice": (safetensors(b'{"__metadata__":{},"__metadata__":{}}'), CorruptError),
    "a key twice, once escaped": (safetensors(b'{"w":{},"\\u0077":{}}'), CorruptError),
    "metadata which is null": (safetensors({"__metadata__": None}), CorruptError),
    "metadata which is a list": (safetensors({"__metadata__": []}), CorruptError),
    "metadata which is text": (safetensors({"__metadata__": "pt"}), CorruptError),
    "metadata of null": (safetensors({"__metadata__": {"format": None}}), CorruptError),
    "metadata of truth values": (safetensors({"__metadata__": {"a": True}}), CorruptError),
    "metadata like a tensor": (safetensors({"__metadata__": entry()}, bytes(4)), CorruptError),
    "a field twice": (safetensors(b'{"w":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}', bytes(4)), CorruptError),
    "a field too many": (odd(strides=[1]), CorruptError),
    **{f"no {field}": (without(field), CorruptError) for field in ("dtype", "shape", "data_offsets")},
    "an entry which is null": (safetensors({"w": None}), CorruptError),
    "an entry which is a list": (safetensors({"w": ["U8", [4], [0, 4]]}, bytes(4)), CorruptError),
    "an entry which is text": (safetensors({"w": "U8"}), CorruptError),
    "infinity for a size": (text_of("w", shape="[Infinity]"), CorruptError),
    "a number out of range": (text_of("w", shape="[1e999]"), CorruptError),
    "a number of 5,000 digits": (text_of("w", shape=f"[{'9' * 5000}]"), CorruptError),
    "a size of minus zero": (text_of("w", shape="[4,-0]"), CorruptError),
    **{
        f"{word} for a {field}": (odd(**{field: value}), CorruptError)
        for field, right in (("shape", [4]), ("data_offsets", [0, 4]))
        for word, value in {
            "a fraction": [*right[:-1], 4.0],
            "a truth value": [True, *right[1:]],
            "text": [*right[:-1], "4"],
            "null": None,
            "a number": 4,
            "a table": {"0": 4},
            "a huge number": [*right[:-1], 2**64 + 4],
            "a number below zero": [-4, *right],
            "a list in a list": [right],
        }.items()
    },
    "offsets of one": (odd(data_offsets=[4]), CorruptError),
    "offsets of three": (odd(data_offsets=[0, 4, 4]), CorruptError),
    "offsets which run backwards": (odd(data_offsets=[4, 0]), CorruptError),
    "offsets which do not start at 0": (odd(bytes(5), data_offsets=[1, 5]), CorruptError),
    "offsets past the end": (odd(data_offsets=[0, 5], shape=[5]), CorruptError),
    "offsets within the header": (odd(bytes(4), data_offsets=[-8, -4]), CorruptError),
    "an empty tensor in a hole": (
        safetensors({"a": entry(), "b": entry(nbytes=0, begin=5), "c": entry(begin=6)}, bytes(10)),
        CorruptError,
    ),
    "an empty tensor within another": (safetensors({"a": entry(), "b": entry(nbytes=0, begin=2)}, bytes(4)), CorruptError),
    "an empty tensor past the end": (safetensors({"a": entry(), "b": entry(nbytes=0, begin=9)}, bytes(4)), CorruptError),
    "two tensors on the same bytes": (safetensors({"a": entry(), "b": entry()}, bytes(4)), CorruptError),
    "one tensor within another": (safetensors({"a": entry(8), "b": entry(4, begin=2)}, bytes(8)), CorruptError),
    "a shape too small": (odd(shape=[3]), CorruptError),
    "a shape too large": (odd(shape=[5]), CorruptError),
    "a shape of no dims for four bytes": (odd(shape=[]), CorruptError),
    "a shape whose bytes are too many": (odd(dtype="F32"), CorruptError),
    "a shape of 100 dims": (odd(shape=[1] * 99 + [4]), CorruptError),
    "a product which wraps around to the right number": (odd(shape=[2**32 + 1, 2**32 - 1, 4]), CorruptError),
    "a product which overflows before a zero": (odd(b"", shape=[2**40, 2**40, 0], data_offsets=[0, 0]), CorruptError),
    "a product which overflows after a zero": (odd(b"", shape=[0, 2**40, 2**40], data_offsets=[0, 0]), CorruptError),
    **{
        f"the dtype {dtype!r}": (odd(dtype=dtype), CorruptError)
        for dtype in ("u8", "U8 ", "uint8", "", "F8", "F128", "torch.uint8", 8, None, ["U8"], {"U8": 1})
    },
    "four-bit values which end within a byte": (odd(bytes(2), dtype="F4", shape=[3], data_offsets=[0, 2]), CorruptError),
    "four-bit values of no dims": (odd(bytes(1), dtype="F4", shape=[], data_offsets=[0, 1]), CorruptError),
    "six-bit values which end within a byte": (odd(bytes(3), dtype="F6_E2M3", shape=[3], data_offsets=[0, 3]), CorruptError),
    "six-bit values of too many bytes": (odd(bytes(4), dtype="F6_E3M2", shape=[4], data_offsets=[0, 4]), CorruptError),
    "a comment": (safetensors(b'{/*"w":1*/}'), CorruptError),
    "a comma at the end": (safetensors(b'{"__metadata__":{},}'), CorruptError),
    "single quotes": (safetensors(b"{'w':1}"), CorruptError),
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
