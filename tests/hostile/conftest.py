"""Every test here starts with the reader and the command line imported, so that growth of sys.modules is the file's doing."""

import subprocess
import sys
from pathlib import Path

import pytest
from doors import invoke
from hostile_distributed import folder as folder_of
from hostile_distributed import single
from hostile_files import TABLE, older, safetensors, zipped


@pytest.fixture(scope="session", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    import torch  # noqa: F401

    folder = tmp_path_factory.mktemp("warm")
    (folder / "x.pt").write_bytes(zipped(TABLE))
    (folder / "bad.pt").write_bytes(zipped(b"N"))
    (folder / "x.index.json").write_text("{}")
    (folder / "x.safetensors").write_bytes(safetensors({}))
    (folder / "bad.safetensors").write_bytes(safetensors(b"{"))
    (folder / "old.pt").write_bytes(older())
    folder_of(folder / "distributed", single())
    for path in ("distributed", "x.pt", "bad.pt", "old.pt", "x.index.json", "x.safetensors", "bad.safetensors"):
        invoke("inspect", str(folder / path))
        invoke("inspect", str(folder / path), "--format", "json")
        invoke("remap", str(folder / path), "-o", str(folder / "out.pt"))
        invoke("remap", str(folder / path), "-o", str(folder / "out.safetensors"))


@pytest.fixture
def command(repository: Path):
    """Run `python -m ckpt_surgeon` in a process of its own."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "ckpt_surgeon", *words]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(repository), **variables}
        return subprocess.run(line, capture_output=True, check=False, timeout=60, env=environment, text=True, errors="replace")

    return run
