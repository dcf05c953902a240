"""How the tests run the command line: in this process, or in one of its own; and the small files they run it on."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from ckpt_surgeon.cli import main

MODEL_FILE = """
import torch
from torch import nn


def net(classes=3, channels=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes))


def broken():
    raise ValueError("the factory is broken")


def slow():
    import time
    print("building", flush=True)
    time.sleep(60)


def chatty():
    print("hello from the model")
    return net()
"""


def weights(prefix: str = "", classes: int = 3) -> dict[str, torch.Tensor]:
    """The state_dict of `net`, seeded."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, classes))
    return {prefix + key: tensor for key, tensor in model.state_dict().items()}


def make_files(folder: Path) -> None:
    """plain.safetensors, wrapped.pth (a prefix, an envelope), other.safetensors (other classes), nets.py, rules.yaml, bad files."""
    save_file(weights(), folder / "plain.safetensors")
    save_file(weights(classes=5), folder / "other.safetensors")
    torch.save({"state_dict": weights("module."), "epoch": 3}, folder / "wrapped.pth")
    (folder / "nets.py").write_text(MODEL_FILE)
    (folder / "rules.yaml").write_text("version: 1\nrules:\n  - strip_prefix: module.\n    why: DataParallel\n")
    (folder / "typo.yaml").write_text("version: 1\nrules:\n  - strip_prefx: module.\n")
    (folder / "cut.safetensors").write_bytes((folder / "plain.safetensors").read_bytes()[:100])
    (folder / "page.pth").write_text("<!DOCTYPE html><html><body>404</body></html>")


def invoke(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(words))


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    given = {"capture_output": True, "text": True, "timeout": 120, "env": environment(), **options}
    return subprocess.run([sys.executable, "-m", "ckpt_surgeon", *words], check=False, **given)


def environment(**variables: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, **variables}
