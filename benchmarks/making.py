"""Make one data set, in a process of its own: `python -m benchmarks.making KIND PATH ARGUMENT ...`.

The process which measures has to stay small: a child's peak of memory starts at its parent's.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.shapes import FLOAT_BYTES, Decoder, decoder_of, resnet_shapes, tiny_shapes

__all__ = ["MAKERS"]

_SEED = 2019
_SHARDS = 5
_START_WIDTH, _START_VOCABULARY = 8, 32  # the model of which only the start-up is measured
# A call, a zip without its end, a header which goes on past the file.
_BAD_FILES = {
    "call.pt": b"\x80\x02cos\nsystem\nX\4\0\0\0true\x85R.",
    "cut.pt": b"PK\3\4" + bytes(5000),
    "cut.safetensors": (5000).to_bytes(8, "little") + b'{"w":',
}


def model(path: Path, nbytes: str) -> None:
    """The 435 tensors, of random numbers."""
    _write_random(path, decoder_of(int(nbytes)).shapes.items())


def start(path: Path) -> None:
    """One layer of the same names and next to no bytes."""
    _write_random(path, Decoder(_START_WIDTH, _START_VOCABULARY, layers=1).shapes.items())


def keys(path: Path, count: str) -> None:
    """Tiny tensors, many of them."""
    _write_random(path, tiny_shapes(int(count)))


def tensors(path: Path, count: str, nbytes: str) -> None:
    """`count` tensors of `nbytes` together, named as the tiny ones."""
    size = max(int(nbytes) // FLOAT_BYTES // int(count), 1)
    _write_random(path, ((key, (size,)) for key, _ in tiny_shapes(int(count))))


def sparse(path: Path, nbytes: str) -> None:
    """The 435 tensors, all zeros, taking no room on the disk."""
    with path.open("wb") as file:
        end = _write_header(file, decoder_of(int(nbytes)).shapes.items())
    os.truncate(path, end)


def copy(path: Path, source: str) -> None:
    """The same bytes in a file of its own."""
    shutil.copyfile(source, path)


def link(path: Path, source: str) -> None:
    """A second name for a file of which only the header is read."""
    os.link(source, path)


def torch_file(path: Path, source: str) -> None:
    """A safetensors file as `torch.save` writes it."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(source), path)


def sparse_torch(path: Path, nbytes: str) -> None:
    """As `sparse`, for `.pt`; the zeros which torch wrote become holes."""
    import torch

    full = path.with_name(f"{path.name}.full")
    torch.save({key: torch.zeros(shape) for key, shape in decoder_of(int(nbytes)).shapes.items()}, full)
    subprocess.run(["cp", "--sparse=always", str(full), str(path)], check=True)
    full.unlink()


def sharded(path: Path, source: str) -> None:
    """A folder of five shards and their index."""
    from safetensors.numpy import load_file, save_file

    table: dict[str, Any] = load_file(source)
    placed: dict[str, str] = {}
    total = sum(array.nbytes for array in table.values())
    shards: list[dict[str, Any]] = [{} for _ in range(_SHARDS)]
    done = 0
    for key, array in table.items():
        shards[min(done * _SHARDS // total, _SHARDS - 1)][key] = array
        done += array.nbytes
    path.mkdir()
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05}-of-{_SHARDS:05}.safetensors"
        save_file(shard, path / name, metadata={"format": "pt"})
        placed |= dict.fromkeys(shard, name)
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def hub(path: Path, nbytes: str, source: str) -> None:
    """A folder as the hub holds it: the one file (the same inode) and `config.json`."""
    path.mkdir()
    os.link(source, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(decoder_of(int(nbytes)).configuration), encoding="utf-8")


def passthrough(path: Path, source: str) -> None:
    """What mergekit is asked for: the model as it is."""
    merge = {"merge_method": "passthrough", "dtype": "float32", "models": [{"model": source}]}
    path.write_text(json.dumps(merge), encoding="utf-8")


def surgery(path: Path, source: str) -> None:
    """What BrainSurgery is asked for: its layers under another name."""
    move = {"from": r"model\.layers\.(.+)", "to": r"model.blocks.\1"}
    path.write_text(json.dumps({"inputs": [source], "transforms": [{"move": move}]}), encoding="utf-8")


def training(path: Path, width: str) -> None:
    """A ResNet-50 in the middle of its training, as DataParallel and SGD leave it: weights, momenta, epoch, arguments."""
    import torch

    torch.manual_seed(_SEED)
    state = {key: torch.randn(shape) if shape else torch.tensor(7) for key, shape in resnet_shapes(int(width)).items()}
    learned = [torch.nn.Parameter(tensor) for key, tensor in state.items() if "running" not in key and "tracked" not in key]
    optimizer = torch.optim.SGD(learned, lr=0.1, momentum=0.9)
    for parameter in learned:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    weights = {f"module.{key}": tensor for key, tensor in state.items()}
    torch.save({"epoch": 30, "arch": "resnet50", "state_dict": weights, "optimizer": optimizer.state_dict(), "best": 0.5}, path)


def rules(path: Path, count: str) -> None:
    """`count` rules for the tiny tensors: a prefix, a run of segments, and then one rule a layer; `checking` knows what comes of them."""
    lines = ["version: 1", "rules:", "  - strip_prefix: model.", "  - replace: {mlp.experts: moe}"]
    for i in range(int(count) - 2):
        lines += [f'  - rename: {{"layers.{i}.{{rest:path}}": "blocks.{i}.{{rest}}"}}', "    expect: any"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def narrowing(path: Path) -> None:
    """All to bf16, and the leave to lose bits."""
    path.write_text('version: 1\nrules:\n  - cast: {match: "**", dtype: bfloat16}\nallow: {casts: ["**"]}\n', encoding="utf-8")


def bad(path: Path) -> None:
    """A folder of files which have to be refused."""
    path.mkdir()
    for name, data in _BAD_FILES.items():
        (path / name).write_bytes(data)


def _write_random(path: Path, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
    import numpy as np

    listed = list(shapes)
    random = np.random.default_rng(_SEED)
    with path.open("wb") as file:
        _write_header(file, listed)
        for _, shape in listed:
            file.write(random.standard_normal(math.prod(shape), dtype=np.float32).tobytes())


def _write_header(file: BinaryIO, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> int:
    """The header of a float32 safetensors file; gives the offset of the end of the file in bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, shape in shapes:
        end = offset + math.prod(shape) * FLOAT_BYTES
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return 8 + len(text) + offset


MAKERS: dict[str, Callable[..., None]] = {
    maker.__name__: maker
    for maker in (
        model,
        start,
        keys,
        tensors,
        sparse,
        copy,
        link,
        torch_file,
        sparse_torch,
        sharded,
        hub,
        passthrough,
        surgery,
        training,
        rules,
        narrowing,
        bad,
    )
}


def main() -> None:
    """Make it beside its place, so that what stands there is complete."""
    kind, path, *arguments = sys.argv[1:]
    unfinished = Path(f"{path}.part")
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    MAKERS[kind](unfinished, *arguments)
    unfinished.rename(path)


if __name__ == "__main__":
    main()
