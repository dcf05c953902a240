"""Small files which ask for much time or memory: answered at once, whichever way."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from doors import assert_described, assert_refused, invoke
from hostile_files import (
    EMPTY_ORDERED,
    MAGIC,
    TABLE,
    beside,
    called,
    listed,
    mapping,
    name,
    number,
    safetensors,
    storage,
    tensor,
    text,
    whole,
    zipped,
)

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError

MANY = 20_000
# The limits leave room for 200,000 tensors; until they are reached takes some seconds, which tests can spare.
LIMITS = {"torch_table._MAX_STEPS": 100_000, "torch_table._MAX_ENTRIES": 50_000}
LONG = "x" * 1_000_000


def memoized(body: bytes, index: int = 77) -> bytes:
    return body + b"q%c" % index


def again(index: int = 77) -> bytes:
    return b"h%c" % index


def laughs(levels: int, width: int = 10) -> bytes:
    """A list of lists of lists ..., of which each names the next `width` times."""
    body = listed(text("ha"))
    for level in range(levels):
        body = memoized(body, level) + b"0" + listed(*[again(level)] * width)
    return body


def _named(payload: bytes) -> bytes:
    state = mapping((text("_metadata"), mapping((text("m"), mapping((text("x"), payload))))))
    return EMPTY_ORDERED + b"(" + text("a") + tensor() + b"u" + state + b"b"


def _module(parameters: bytes, modules: bytes = b"}") -> bytes:
    state = mapping((text("_parameters"), parameters), (text("_buffers"), b"}"), (text("_modules"), modules))
    return name("gone.Net") + b")\x81" + state + b"b"


def _nones(count: int) -> bytes:
    return mapping(*((text(f"n{i}"), b"N") for i in range(count)))


def _doubled(leaf: bytes, levels: int) -> bytes:
    """A module which names the next one twice, that one the next one twice ..."""
    body = leaf
    for level in range(levels):
        body = memoized(body, level) + b"0" + _module(b"}", mapping((text("l"), again(level)), (text("r"), again(level))))
    return body


PAIRS = b"(" + (text("p") + b"N") * MANY + b"u"
SHARED_STATE = memoized(called("gone.Object") + b"}" + PAIRS + b"b")
SHARED_METADATA = memoized(b"}" + b"(" + (text("conj") + b"\x89") * MANY + b"u")

READ: dict[str, bytes] = {
    "a list which laughs": beside(laughs(12)),
    "an object named very often": beside(listed(SHARED_STATE, *[again()] * MANY)),
    "a list of optimizers": beside(listed(memoized(called("gone.O") + b"}" + PAIRS + b"b"), *[listed(again())] * MANY)),
    "a name of a million characters, often": beside(listed(memoized(name(f"m.{'x' * 900}")), *[again() + b")R"] * MANY)),
    "a long text named very often": mapping(
        (text("state_dict"), TABLE), (text("t"), memoized(text(LONG))), *((text(f"k{i}"), again()) for i in range(20_000))
    ),
    "tables under a long name": mapping((text("state_dict"), TABLE), (text(LONG), listed(*[mapping((text("a"), tensor()))] * 500))),
    "a tower of lists": beside(b"]" * 5000 + b"a" * 4999),
    "a tower of tuples": beside(b")" + b"\x85" * 200_000),
    "a list which holds itself": beside(memoized(b"]") + again() + b"a"),
    "a dict which holds itself": beside(memoized(b"}") + text("x") + again() + b"s"),
    "a call of itself": beside(memoized(called("gone.Object")) + again() + b"b"),
    "flags named very often": mapping(
        (text("a"), tensor()), (text("b"), tensor(more=SHARED_METADATA)), *((text(f"k{i}"), tensor(more=again())) for i in range(2000))
    ),
    "an int of 19,000 digits": beside(number(1 << 63_000)),
    "a text of lone surrogates": beside(text("\ud800" * 10)),
}

REFUSED: dict[str, tuple[bytes, type[SurgeryError]]] = {
    "_metadata which laughs": (_named(laughs(6)), LimitError),
    "a name of a million characters": (beside(name(f"m.{LONG[:-8]}")), LimitError),
    "a stacked name of a million characters": (beside(text("m") + text(LONG) + b"\x93"), LimitError),
    "a module named very often": (_doubled(_module(TABLE), 30), LimitError),
    "a module of many nothings named often": (_doubled(_module(_nones(50_000)), 16), LimitError),
    "a file of dicts": (listed(*[b"}"] * 600_000), LimitError),
    "a file of marks": (b"(" * 1_000_000, LimitError),
    "a storage of 2**62 elements": (mapping((text("a"), tensor(storage(numel=number(2**62))))), CorruptError),
    "a tensor of 2**80 elements": (mapping((text("a"), tensor(size=b"(" + number(2**40) + number(2**40) + b"t"))), CorruptError),
}


@pytest.mark.parametrize("case", READ)
def test_a_graph_which_is_larger_when_unfolded_is_walked_once(tmp_path: Path, case: str) -> None:
    (tmp_path / "x.pt").write_bytes(zipped(READ[case]))
    assert assert_described(tmp_path / "x.pt").tensors


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_without_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    for limit, value in LIMITS.items():
        monkeypatch.setattr(f"ckpt_surgeon.formats.{limit}", value)
    data, error = REFUSED[case]
    (tmp_path / "x.pt").write_bytes(zipped(data))
    assert_refused(tmp_path / "x.pt", error)


def test_a_shared_value_is_read_once(tmp_path: Path) -> None:
    import ckpt_surgeon as surgeon

    (tmp_path / "x.pt").write_bytes(zipped(mapping((text("a"), tensor()), (text("b"), tensor()), (text("_extra_state"), laughs(12)))))
    found = surgeon.remap(tmp_path / "x.pt", [])["_extra_state"]
    assert found[0] is found[9]


@pytest.mark.parametrize("damage", [b"\xff", b"\x8d" + struct.pack("<Q", 2**40)], ids=["a bad opcode", "a text beyond the file"])
def test_a_damaged_stream_before_gigabytes_is_answered_at_once(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(whole(number(MAGIC)) + whole(number(1001)) + b"\x80\x02" + damage)
    with path.open("r+b") as file:
        file.truncate(5 * 1024**3)
    assert_refused(path, CorruptError)


def test_a_sparse_gigabyte_of_safetensors_is_listed_at_once(tmp_path: Path) -> None:
    nbytes = 4 * 1024**3
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors({"w": {"dtype": "U8", "shape": [nbytes], "data_offsets": [0, nbytes]}}))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + nbytes)
    assert assert_described(path).nbytes == nbytes


def test_an_expansion_without_end_is_described_and_never_made(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(
        zipped(mapping((text("a"), tensor()), (text("b"), tensor(size=b"(" + number(2**40) + b"t", stride=b"(K\0t"))))
    )
    assert assert_described(tmp_path / "x.pt").tensors["b"].shape == (2**40,)
    for out in ("out.safetensors", "out.pt"):
        result = invoke("remap", str(tmp_path / "x.pt"), "-o", str(tmp_path / out))
        assert result.exit_code in (3, 5), result.output
        assert not (tmp_path / out).exists()


HEADERS: dict[str, bytes] = {
    "deep lists": b'{"a":' + b"[" * 1_000_000,
    "deep objects": b'{"a":' * 200_000,
    "a long number": b'{"a":' + b"9" * 1_000_000 + b"}",
    "many keys, the last one twice": json.dumps({f"k{i}": 1 for i in range(20_000)})[:-1].encode() + b',"k19999":1}',
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_of_json_without_bounds_is_refused(tmp_path: Path, case: str) -> None:
    for file, data in (("x.safetensors", safetensors(HEADERS[case])), ("x.index.json", HEADERS[case])):
        (tmp_path / file).write_bytes(data)
        assert_refused(tmp_path / file, CorruptError)
        (tmp_path / file).unlink()
