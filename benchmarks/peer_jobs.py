"""What others do for a rename, a conversion or a cast, each as its documents advise: `python peer_jobs.py JOB SOURCE OUTPUT`.

Run as a file of its own, by whatever interpreter has the peer; imports nothing but the peer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["JOBS"]


def renamed(table: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("layers", "blocks"): tensor for key, tensor in table.items()}


def torch_rename(source: str, output: str) -> None:
    import torch

    torch.save(renamed(torch.load(source, weights_only=True)), output)


def torch_mmap_rename(source: str, output: str) -> None:
    import torch

    torch.save(renamed(torch.load(source, weights_only=True, mmap=True)), output)


def torch_load_both(source: str, other: str) -> None:
    """The keys and shapes of two files, compared."""
    import torch

    tables = [torch.load(path, weights_only=True, mmap=True) for path in (source, other)]
    first, second = ({key: tensor.shape for key, tensor in table.items()} for table in tables)
    sys.exit(0 if first == second else 1)


def safetensors_rename(source: str, output: str) -> None:
    from safetensors.torch import load_file, save_file

    save_file(renamed(load_file(source)), output, metadata={"format": "pt"})


def safetensors_numpy_rename(source: str, output: str) -> None:
    from safetensors.numpy import load_file, save_file

    save_file(renamed(load_file(source)), output, metadata={"format": "pt"})


def safetensors_convert(source: str, output: str) -> None:
    import torch
    from safetensors.torch import save_file

    save_file(torch.load(source, weights_only=True, mmap=True), output, metadata={"format": "pt"})


def safetensors_cast(source: str, output: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    save_file({key: tensor.to(torch.bfloat16) for key, tensor in load_file(source).items()}, output, metadata={"format": "pt"})


def transformers_resave(source: str, output: str) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(source, dtype="auto").save_pretrained(output)


JOBS: dict[str, Callable[[str, str], None]] = {
    job.__name__: job
    for job in (
        torch_rename,
        torch_mmap_rename,
        torch_load_both,
        safetensors_rename,
        safetensors_numpy_rename,
        safetensors_convert,
        safetensors_cast,
        transformers_resave,
    )
}


if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
