"""The small language in which a truth says how its sources become the target, on torch tensors."""

from collections.abc import Callable, Iterator

import torch

__all__ = ["evaluate"]

Tensors = list[torch.Tensor]


def evaluate(text: str, inputs: Tensors) -> torch.Tensor:
    """The tensor which an op such as `group(2;concat(0))|stack(0)` makes of its inputs."""
    for step in _split(text, "|"):
        name, _, rest = step.partition("(")
        inputs = _STEPS[name](inputs, rest.removesuffix(")"))
    (output,) = inputs
    return output


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators which stand in no parenthesis."""
    part, depth = "", 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == separator and depth == 0:
            yield part
            part = ""
        else:
            part += character
    yield part


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _group(inputs: Tensors, text: str) -> Tensors:
    size, _, inner = text.partition(";")
    n = int(size)
    return [evaluate(inner, inputs[i : i + n]) for i in range(0, len(inputs), n)]


def _slice(inputs: Tensors, text: str) -> Tensors:
    dim, start, stop = _numbers(text)
    return [inputs[0].narrow(dim, start, stop - start)]


def _rows(inputs: Tensors, text: str) -> Tensors:
    dim, sizes, order = text.split(";")
    assert int(dim) == 0
    (tensor,) = inputs
    return [tensor.reshape(*_numbers(sizes), *tensor.shape[1:]).permute(*_numbers(order), 3).reshape(tensor.shape)]


def _take(inputs: Tensors, text: str) -> Tensors:
    dim, _, rows = text.partition(";")
    return [inputs[0].index_select(int(dim), torch.tensor(_numbers(rows)))]


def _repeat(inputs: Tensors, text: str) -> Tensors:
    dim, times = _numbers(text)
    return [torch.cat(inputs * times, dim)]


_STEPS: dict[str, Callable[[Tensors, str], Tensors]] = {
    "concat": lambda inputs, text: [torch.cat(inputs, int(text))],
    "stack": lambda inputs, text: [torch.stack(inputs, int(text))],
    "group": _group,
    "slice": _slice,
    "rows": _rows,
    "repeat": _repeat,
    "take": _take,
    "reshape": lambda inputs, text: [inputs[0].reshape(_numbers(text))],
    "transpose": lambda inputs, text: [inputs[0].permute(_numbers(text))],
    "mean": lambda inputs, text: [inputs[0].mean(int(text), keepdim=True)],
    "sum": lambda inputs, text: [inputs[0].sum(int(text), keepdim=True)],
}
