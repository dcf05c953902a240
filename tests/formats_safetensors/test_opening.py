"""open_checkpoint finds the one checkpoint which a path means, and says so when there is none or several."""

import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from ckpt_surgeon import disk
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.formats.opening import open_checkpoint


def put(folder, *names):
    for name in names:
        save_file({name: torch.ones(2)}, folder / name)


def opened(path, **options):
    with open_checkpoint(str(path), **options) as reader:
        return list(reader.header)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors"], "model.safetensors"),
        (["weights.ckpt"], "weights.ckpt"),
        (["model.safetensors", "adapter.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
        (["model.safetensors", "pytorch_model.bin"], "model.safetensors"),
    ],
)
def test_a_folder_means_its_well_known_or_only_checkpoint(tmp_path, names, expected):
    put(tmp_path, *names)
    (tmp_path / "config.json").write_text('{"hidden_size": 1}')
    (tmp_path / "README.md").write_text("# A model")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert opened(tmp_path) == [expected]


def test_an_index_of_any_name_is_the_folders_checkpoint(tmp_path):
    put(tmp_path, "a", "b")
    (tmp_path / "vae.index.json").write_text('{"weight_map": {"a": "a", "b": "b"}}')
    assert opened(tmp_path) == ["a", "b"]


def test_an_index_may_have_any_name_when_it_is_given_itself(tmp_path):
    put(tmp_path, "a")
    (tmp_path / "listing").write_text('{"weight_map": {"a": "a"}}')
    assert opened(tmp_path / "listing") == ["a"]


def test_the_standard_index_goes_before_another(tmp_path):
    put(tmp_path, "a", "b")
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "a"}}')
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"b": "b"}}')
    assert opened(tmp_path) == ["b"]


@pytest.mark.parametrize("names", [["a.pt", "b.pt"], ["x.index.json", "y.index.json"]])
def test_several_checkpoints_without_a_well_known_one_are_listed(tmp_path, names):
    put(tmp_path, *names)
    with pytest.raises(CorruptError, match=f"2 checkpoints and no index: {', '.join(names)}") as caught:
        open_checkpoint(str(tmp_path))
    assert "one of them" in caught.value.hint


def test_a_long_list_is_shortened(tmp_path):
    put(tmp_path, *(f"{i:02}.pt" for i in range(20)))
    with pytest.raises(CorruptError, match=r"20 checkpoints .*: 00\.pt, .*07\.pt \.\.\."):
        open_checkpoint(str(tmp_path))


def test_a_folder_without_a_checkpoint_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CorruptError, match="no file in this folder"):
        open_checkpoint(str(tmp_path))


def test_the_well_known_file_is_named_when_it_is_a_pointer(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CorruptError, match=r"model\.safetensors: this is a git-lfs pointer"):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize("other", ["common.pt", "config.json", "__1_0.distcp"])
def test_a_folder_with_files_of_a_distributed_checkpoint_is_one(tmp_path, other):
    (tmp_path / "__0_0.distcp").write_bytes(b"x")
    put(tmp_path, other)
    with pytest.raises(CorruptError, match=r"distributed checkpoint without its \.metadata"):
        open_checkpoint(str(tmp_path))
    (tmp_path / ".metadata").write_bytes(b"\x80\x02.")
    with pytest.raises(CorruptError, match=r"\.metadata: this is a bare pickle"):
        open_checkpoint(str(tmp_path))


def test_a_missing_file_hints_at_the_nearest_name(tmp_path):
    put(tmp_path, "resnet50.pth")
    with pytest.raises(DiskError, match="no such file") as caught:
        open_checkpoint(str(tmp_path / "resnet5.pth"))
    assert str(tmp_path / "resnet50.pth") in caught.value.hint


@pytest.mark.parametrize(("path", "hint"), [("no/such/x.pt", "no folder"), ("zzz", "")])
def test_a_missing_file_with_no_like_says_what_is_known(tmp_path, path, hint):
    with pytest.raises(DiskError, match="no such file") as caught:
        open_checkpoint(str(tmp_path / path))
    assert hint in caught.value.hint


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "file/below"])
def test_a_path_which_cannot_be_is_a_disk_error(tmp_path, path):
    put(tmp_path, "file")
    with pytest.raises(DiskError):
        open_checkpoint(str(tmp_path / path))


@pytest.mark.parametrize("target", ["nowhere", "x"], ids=["a broken link", "a link to itself"])
def test_a_link_which_leads_nowhere_is_a_disk_error(tmp_path, target):
    os.symlink(target, tmp_path / "x")
    with pytest.raises(DiskError):
        open_checkpoint(str(tmp_path / "x"))


def test_what_is_no_file_is_never_opened(tmp_path, monkeypatch):
    class Watched(type(disk.system)):
        def open(self, path, flags, mode=0o666):
            raise AssertionError(path)

    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "device")
    monkeypatch.setattr(disk, "system", Watched())
    for path, what in ((tmp_path / "pipe", "a FIFO"), (tmp_path / "device", "a device"), ("/dev/null", "a device")):
        with pytest.raises(CorruptError, match=f"this is {what}, where a file should be"):
            open_checkpoint(str(path))
    with pytest.raises(CorruptError, match="no file in this folder is a checkpoint"):
        open_checkpoint(str(tmp_path))


def test_an_unfinished_output_is_no_checkpoint_unless_its_writer_asks(tmp_path):
    unfinished = tmp_path / ".out.pt.ckpt-surgeon-tmp"
    unfinished.mkdir()
    put(unfinished, "out.pt")
    for path in (unfinished, unfinished / "out.pt"):
        with pytest.raises(CorruptError, match="unfinished"):
            open_checkpoint(str(path))
        assert opened(path, unfinished=True) == ["out.pt"]
    shutil.copy(unfinished / "out.pt", tmp_path / "about.ckpt-surgeon-tmp-files.pt")
    assert opened(tmp_path / "about.ckpt-surgeon-tmp-files.pt") == ["out.pt"]
    assert opened(tmp_path) == ["out.pt"]


def test_a_refused_file_is_closed(tmp_path):
    (tmp_path / "x").write_bytes(b"hello, no checkpoint at all")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CorruptError):
        open_checkpoint(str(tmp_path / "x"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_does_nothing(tmp_path):
    put(tmp_path, "a")
    reader = open_checkpoint(str(tmp_path / "a"))
    reader.close()
    reader.close()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older stream"])
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "x.json", "x"])
def test_a_file_of_torch_is_opened_whatever_it_is_called(tmp_path, name, is_zip):
    torch.save({"w": torch.arange(3)}, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    with open_checkpoint(str(tmp_path / name)) as reader:
        assert reader.read("w").tolist() == [0, 1, 2]


def test_a_table_of_the_envelope_is_picked(tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "ema": {"b": torch.ones(2)}}, tmp_path / "x.pt")
    assert opened(tmp_path / "x.pt", table="ema") == ["b"]
    assert opened(tmp_path / "x.pt", table="model") == ["a"]


def test_a_folder_with_too_many_files_asks_for_the_file(tmp_path, monkeypatch):
    class Crowded(type(disk.system)):
        def listdir(self, path):
            return [f"{i}.txt" for i in range(10_001)]

    monkeypatch.setattr(disk, "system", Crowded())
    with pytest.raises(CorruptError, match="10001 files") as caught:
        open_checkpoint(str(tmp_path))
    assert "file itself" in caught.value.hint
