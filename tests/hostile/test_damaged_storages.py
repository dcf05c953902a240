"""A damaged record is found before its bytes become part of an output, whichever way they would get there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from doors import contents, invoke

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError

BASE = torch.arange(12.0) + 0.123


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """One bit of the storage `base` differs; `sound` and the rest do not."""
    table = {"whole": BASE, "part": BASE[2:4], "turned": BASE.reshape(3, 4).t(), "sound": torch.ones(6, 2)}
    path = tmp_path / "source.pt"
    torch.save({"state_dict": table, "beside": BASE[:5]}, path)
    data = bytearray(path.read_bytes())
    data[data.index(BASE[9:].numpy().tobytes())] ^= 1
    path.write_bytes(data)
    return path


KEPT = {
    "a whole storage": "keep: whole",
    "a part of a storage which is sound itself": "keep: part",
    "a view": "keep: turned",
    "all": "rename: {sound: other}",
    "a new name": "rename: {whole: other}",
    "a split": "split: {source: whole, target: '{x:u|v}', sizes: [6, 6]}",
}


def checking(case: str, out: str) -> list[str]:
    """What a run has to be told to compare the checksum of a record which keeps it."""
    return ["--check"] if out == "out.pt" and case == "a whole storage" else []


@pytest.mark.parametrize("out", ["out.pt", "out.safetensors", "out"])
@pytest.mark.parametrize("case", KEPT)
def test_a_damaged_storage_is_never_copied(damaged: Path, case: str, out: str) -> None:
    result = invoke("remap", str(damaged), "-o", str(damaged.parent / out), "--bare", "-e", KEPT[case], *checking(case, out))
    assert result.exit_code == 3, result.output
    assert "source.pt: " in result.stderr
    assert "damaged" in result.stderr
    assert contents(damaged.parent) == ["source.pt"]


def test_a_damaged_storage_around_the_weights_is_never_copied(damaged: Path) -> None:
    result = invoke("remap", str(damaged), "-o", str(damaged.parent / "out.pt"), "-e", "keep: sound", "--check")
    assert (result.exit_code, contents(damaged.parent)) == (3, ["source.pt"])
    assert "damaged" in result.stderr


def test_a_damaged_record_which_moves_unread_keeps_the_checksum_which_tells_it(damaged: Path) -> None:
    out = damaged.parent / "out.pt"
    assert invoke("remap", str(damaged), "-o", str(out), "--bare", "-e", KEPT["a whole storage"]).exit_code == 0
    with surgeon_reader(out) as reader, pytest.raises(CorruptError, match="damaged"):
        reader.read("whole")


@pytest.mark.parametrize("out", ["out.pt", "out.safetensors", "out"])
def test_what_is_sound_of_a_damaged_file_is_copied(damaged: Path, out: str) -> None:
    assert invoke("remap", str(damaged), "-o", str(damaged.parent / out), "--bare", "-e", "keep: sound").exit_code == 0
    assert list(surgeon.inspect(damaged.parent / out)) == ["sound"]
    with surgeon_reader(damaged.parent / out) as reader:
        assert torch.equal(reader.read("sound"), torch.ones(6, 2))


def surgeon_reader(path: Path):
    from ckpt_surgeon.formats.opening import open_checkpoint

    return open_checkpoint(str(path))


def test_the_header_of_a_damaged_file_is_still_shown(damaged: Path) -> None:
    assert list(surgeon.inspect(damaged)) == ["whole", "part", "turned", "sound"]


def test_a_live_model_is_left_alone_by_a_damaged_file(damaged: Path) -> None:
    module = torch.nn.ParameterDict({"whole": torch.zeros(12)})
    with pytest.raises(CorruptError, match="damaged"):
        surgeon.load(module, damaged, allow_unexpected=["**"])
    assert not module["whole"].any()
