"""What is held in memory: a small bad file never takes much, and a tensor is held once while it is loaded, a strided one twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from torch_files import packed, pickle_in, raw_bytes, saved, saved_legacy

MB = 1024 * 1024
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read as Linux tells it")
# For each file, opened in turn, the peak of the process beyond what it held before, in bytes. What `getrusage` says of a child
# starts with what its parent held; the kernel's own mark (5 takes it back to the present) does not.
OPEN = """
import json, sys
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.formats.opening import open_checkpoint

def held(what):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(what))

def grown(path, keys):
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
    before = held("VmRSS")
    return read(path, keys), held("VmHWM") - before

def read(path, keys):
    try:
        with open_checkpoint(path) as reader:
            for key in keys:
                reader.read(key)
    except SurgeryError as error:
        return type(error).__name__

first, *paths, keys = sys.argv[1:]
read(first, keys.split())
print(json.dumps([grown(path, keys.split()) for path in paths]))
"""


def grown(first: Path, *paths: Path, keys: str = "") -> list[tuple[str | None, int]]:
    """For each path the class of its refusal, and by how much opening it (and reading `keys`) raised the peak, in bytes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN, str(first), *map(str, paths), keys], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(error, nbytes) for error, nbytes in json.loads(done.stdout)]


# Beyond the bytes of the file itself.
ALLOWED = 256 * MB
# Names, and a pickle which repeats something `count` times at least.
BOMBS: dict[str, Callable[[int], bytes]] = {
    "dicts": lambda count: b"}" * count,
    "lists": lambda count: b"]" * count,
    "sets": lambda count: b"\x8f" * count,
    "tuples": lambda count: b"N" + b"\x85" * count,
    "calls": lambda count: b"ca\nb\n)R" * count,
    "calls of one": lambda count: b"ca\nb\nq\0" + b"h\0)R" * count,
    "globals": lambda count: b"ca\nb\n" * count,
    "letters": lambda count: b"\x8c\1a" * count,
    "empty texts": lambda count: b"\x8c\0" * count,
    "texts of a wide letter": lambda count: b"\x8c\5a\xf0\x9f\x98\x80" * count,
    "empty bytearrays": lambda count: (b"\x96" + bytes(8)) * count,
    "empty bytes": lambda count: b"C\0" * count,
    "numbers": lambda count: b"M\xff\xff" * count,
    "floats": lambda count: (b"G" + bytes(8)) * count,
    "one value remembered often": lambda count: b"N" + b"\x94" * count,
    "two values remembered often": lambda count: b"N\x94K\1\x94" * count,
    "gaps in the memo": lambda count: b"N" + b"".join(b"r" + (65_000 * n).to_bytes(4, "little") for n in range(1, count // 20)),
    "copies of the top": lambda count: b"N" + b"2" * count,
    "values of the memo": lambda count: b"]q\0" + b"h\0" * count,
    "values thrown away": lambda count: b"N0" * count,
    "marks": lambda count: b"(" * count,
    "pairs of one dict": lambda count: b"}(" + b"NN" * count + b"u",
    "pairs one by one": lambda count: b"}" + b"NNs" * count,
    "items of one list": lambda count: b"](" + b"N" * count + b"e",
    "a tuple of all": lambda count: b"(" + b"N" * count + b"t",
}


@pytest.mark.parametrize("count", [700_000, pytest.param(9_000_000, marks=pytest.mark.slow)])
def test_no_pickle_asks_for_more_than_its_bytes_and_a_bound(tmp_path: Path, count: int) -> None:
    small = saved(tmp_path, {"a": torch.ones(1)})
    records = {name: {"a/data.pkl": b"\x80\x04" + make(count) + b"."} for name, make in BOMBS.items()}
    paths = [packed(tmp_path, record, name=f"{index}.pt") for index, record in enumerate(records.values())]
    taken = dict(zip(BOMBS, grown(small, *paths), strict=True))
    assert {name: error for name, (error, _) in taken.items() if error not in ("LimitError", "CorruptError")} == {}
    allowed = {name: path.stat().st_size + ALLOWED for name, path in zip(BOMBS, paths, strict=True)}
    assert {name: nbytes for name, (_, nbytes) in taken.items() if nbytes > allowed[name]} == {}


def test_a_packed_pickle_of_nothing_but_zeros_is_never_unpacked(tmp_path: Path) -> None:
    small = saved(tmp_path, {"a": torch.ones(1)})
    bomb = packed(tmp_path, {"a/data.pkl": b"N0" * (200 * MB) + b"N."}, method=8)
    assert bomb.stat().st_size < MB
    ((error, nbytes),) = grown(small, bomb)
    assert error == "LimitError"
    assert nbytes < 32 * MB


def test_a_packed_file_of_many_tensors_is_read(tmp_path: Path) -> None:
    from ckpt_surgeon.formats.opening import open_checkpoint

    table = {f"layers.{index}.weight": torch.full((1,), float(index)) for index in range(300)}
    plain = saved(tmp_path, table)
    records = {"a/data.pkl": pickle_in(plain), **{f"a/data/{index}": raw_bytes(tensor) for index, tensor in enumerate(table.values())}}
    with open_checkpoint(str(packed(tmp_path, records, method=8))) as reader:
        assert reader.read("layers.299.weight").item() == 299


LARGE = torch.zeros(4096, 4096)  # 64 MB
# How often a tensor may be held at one time, and the tensors.
LOADED: dict[int, list[torch.Tensor]] = {
    1: [LARGE, LARGE[1024:]],
    2: [LARGE.t(), torch._neg_view(LARGE), LARGE.view(torch.complex64).t().conj()],
}


@pytest.mark.parametrize("times", LOADED)
def test_a_tensor_is_held_once_while_it_is_loaded_and_one_which_is_not_its_bytes_twice(tmp_path: Path, times: int) -> None:
    # Small ones first, so that whatever reading them imports is there.
    small = saved(tmp_path, {"a": torch.eye(64).t()})
    paths = [
        save(tmp_path, {"a": tensor}, name=f"{name}.pt")
        for name, (save, tensor) in enumerate(product((saved, saved_legacy), LOADED[times]))
    ]
    taken = grown(small, *paths, keys="a")
    assert [error for error, _ in taken] == [None] * len(paths)
    assert max(nbytes for _, nbytes in taken) < (times + 0.3) * LARGE.nbytes
