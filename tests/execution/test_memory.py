"""A remap moves ranges of bytes: its memory does not grow with the tensors. Measured on sparse files, as whole processes."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

MB, GB = 1000**2, 1000**3
MIB = 1024**2
# Far below a tensor of the smallest case, and below the 256 MiB above the interpreter which are promised.
MAX_PEAK = 100 * MIB


def sparse(path: Path, *nbytes: int) -> Path:
    """A safetensors file of tensors of zeros which take no room on the disk."""
    header, start = {}, 0
    for i, size in enumerate(nbytes):
        header[f"layers.{i}.weight"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + start)
    return path


def peak_of(*words: str | Path) -> int:
    """The highest resident memory of `ckpt-surgeon WORDS` in bytes, the interpreter and its imports included."""
    # A child's peak starts at its parent's, which here has torch: a small process stands between.
    between = "import os, sys\npid = os.posix_spawn(sys.executable, [sys.executable, '-m', 'ckpt_surgeon', *sys.argv[1:]], os.environ)\n"
    between += "_, status, usage = os.wait4(pid, 0)\nprint(os.waitstatus_to_exitcode(status), usage.ru_maxrss)"
    found = subprocess.run([sys.executable, "-c", between, *map(str, words)], stdout=subprocess.PIPE, check=True, text=True)
    status, kib = map(int, found.stdout.split()[-2:])
    assert status == 0
    return kib * 1024


def moves_in_little_memory(folder: Path, *nbytes: int) -> None:
    """From safetensors to safetensors and `.pt`, from `.pt` to both."""
    source, total = sparse(folder / "source.safetensors", *nbytes), sum(nbytes)
    rule = ("-e", "replace: {layers: blocks}")
    for words in ((), ("--digest",)):
        assert peak_of("remap", source, *rule, "-o", folder / "first.safetensors", "--force", *words) < MAX_PEAK
    assert peak_of("inspect", folder / "first.safetensors", "--digest") < MAX_PEAK
    (folder / "first.safetensors").unlink()
    assert peak_of("remap", source, *rule, "-o", folder / "first.pt") < MAX_PEAK
    for name in ("second.pt", "second.safetensors"):
        assert peak_of("remap", folder / "first.pt", "-e", "replace: {blocks: stages}", "-o", folder / name) < MAX_PEAK
        assert (folder / name).stat().st_size > total
        (folder / name).unlink()


def test_tensors_of_hundreds_of_megabytes_move_in_little_memory(tmp_path):
    moves_in_little_memory(tmp_path, 200 * MB, 200 * MB)


@pytest.mark.slow  # some 40 GB are read and written, and 20 GB of disk are taken
def test_tensors_of_four_gigabytes_move_in_little_memory(tmp_path):
    moves_in_little_memory(tmp_path, 4 * GB, 4 * GB)
