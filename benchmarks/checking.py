"""Is an output right? In a process of its own, by the field's own readers: `python -m benchmarks.checking EXPECTATION SOURCE OUTPUT`.

Every tensor is compared, whole, with the one which it has to come from; `--sampled`: their first and last numbers. Ends with 1 and
one line of what is wrong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import safe_open

__all__ = ["EXPECTATIONS", "difference"]

Table: TypeAlias = dict[str, torch.Tensor]

_SAMPLED_NUMBERS = 4096
_LAYER = re.compile(r"layers\.(\d+)\.")


def renamed(table: Table) -> Table:
    return {key.replace("layers", "blocks"): tensor for key, tensor in table.items()}


def stripped(table: Table) -> Table:
    return {key.removeprefix("model."): tensor for key, tensor in table.items()}


def dropped(table: Table) -> Table:
    return {key: tensor for key, tensor in table.items() if key != "lm_head.weight"}


def split(table: Table) -> Table:
    """The two halves of each gate."""
    found: Table = {}
    for key, tensor in table.items():
        if not key.endswith("gate_proj.weight"):
            found[key] = tensor
            continue
        stem = key.removesuffix("weight")
        found |= {f"{stem}{half}.weight": part for half, part in zip(("first", "second"), tensor.chunk(2), strict=True)}
    return found


def concatenated(table: Table) -> Table:
    """Query, key and value as one, weights and biases."""
    found = {key: tensor for key, tensor in table.items() if not re.search(r"\.[qkv]_proj\.", key)}
    for key in table:
        if ".q_proj." in key:
            parts = [table[key.replace(".q_proj.", f".{x}_proj.")] for x in "qkv"]
            found[key.replace(".q_proj.", ".qkv_proj.")] = torch.cat(parts)
    return found


def narrowed(table: Table) -> Table:
    return {key: tensor.to(torch.bfloat16) for key, tensor in table.items()}


def same(table: Table) -> Table:
    return table


def ruled(count: int, table: Table) -> Table:
    """What `count` rules of `benchmarks.making` make of the tiny tensors."""

    def name(key: str) -> str:
        short = key.removeprefix("model.").replace("mlp.experts", "moe")
        layer = _LAYER.match(short)
        return short.replace("layers", "blocks", 1) if layer and int(layer[1]) < count - 2 else short

    return {name(key): tensor for key, tensor in table.items()}


EXPECTATIONS: dict[str, Callable[[Table], Table]] = {
    expectation.__name__: expectation for expectation in (renamed, stripped, dropped, split, concatenated, narrowed, same)
}


def table_of(path: str) -> Table:
    """The tensors of a safetensors file, a folder of them, or a `.pt`; read where they are asked for."""
    if Path(path).is_dir():
        return {key: tensor for shard in sorted(Path(path).glob("*.safetensors")) for key, tensor in table_of(str(shard)).items()}
    if path.endswith(".safetensors"):
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    return dict(torch.load(path, mmap=True, weights_only=True))


def difference(expected: Table, found: Table, sampled: bool = False) -> str | None:
    """The first thing in which two tables differ, or None."""
    if expected.keys() != found.keys():
        lacks, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        return f"keys which lack: {lacks[:3]}, of {len(lacks)}; which are too many: {more[:3]}, of {len(more)}"
    for key, tensor in expected.items():
        other = found[key]
        if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
            return f"{key}: {other.dtype}{list(other.shape)} instead of {tensor.dtype}{list(tensor.shape)}"
        if not _same_bytes(tensor, other, sampled):
            return f"{key}: other bytes"
    return None


def trained(source: str, output: str) -> str | None:
    """What is wrong with a training checkpoint whose weights lost `module.`: all around them has to be as it was."""
    before, after = (torch.load(path, mmap=True, weights_only=True) for path in (source, output))
    expected = {key.removeprefix("module."): tensor for key, tensor in before.pop("state_dict").items()}
    wrong = difference(expected, after.pop("state_dict"))
    if wrong:
        return wrong
    momenta, others = (_flat(each) for each in (before, after))
    if momenta.keys() != others.keys():
        return f"around the weights: {sorted(momenta.keys() ^ others.keys())[:3]}"
    tensors = {path: value for path, value in momenta.items() if isinstance(value, torch.Tensor)}
    rest = [path for path, value in momenta.items() if path not in tensors and value != others[path]]
    return f"around the weights: {rest[:3]}" if rest else difference(tensors, {path: others[path] for path in tensors})


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {inner: leaf for name, each in pairs for inner, leaf in _flat(each, f"{path}/{name}").items()}
    return {path: value}


def _same_bytes(tensor: torch.Tensor, other: torch.Tensor, sampled: bool) -> bool:
    flat = [each.contiguous().flatten() for each in (tensor, other)]
    if sampled:
        flat = [torch.cat([each[:_SAMPLED_NUMBERS], each[-_SAMPLED_NUMBERS:]]) for each in flat]
    return torch.equal(*(each.view(torch.uint8) for each in flat))


def _wrong(expectation: str, source: str, output: str, sampled: bool) -> str | None:
    if expectation == "trained":
        return trained(source, output)
    name, _, count = expectation.partition("=")
    table = table_of(source)
    expected = ruled(int(count), table) if name == "ruled" else EXPECTATIONS[name](table)
    return difference(expected, table_of(output), sampled)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--sampled"]
    expectation, source, output = words
    wrong = _wrong(expectation, source, output, "--sampled" in sys.argv)
    if wrong:
        print(wrong)
        sys.exit(1)


if __name__ == "__main__":
    main()
