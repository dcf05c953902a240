"""The files beside an index: any number of them, few open at once, none outside of the folder, none which is another than it was."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt_surgeon import disk
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.shard_files import ShardFiles, is_plain_name
from ckpt_surgeon.formats.sharded_writer import ShardedWriter
from ckpt_surgeon.spec import Header, TensorSpec

COUNT = 400


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """No more than some 100 files may be open beside those which are."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of one byte each, their number, and what names them."""
    for i, name in enumerate("abc"):
        (tmp_path / name).write_bytes(bytes([i]))
    return tmp_path


@pytest.mark.usefixtures("few_descriptors")
def test_a_checkpoint_of_more_shards_than_files_may_be_open_is_read_in_any_order(tmp_path: Path) -> None:
    writer = ShardedWriter(str(tmp_path / "out"), Header({f"w{i}": TensorSpec.of("int16", 1) for i in range(COUNT)}), 1)
    for i in range(COUNT):
        writer.write(f"w{i}", [i.to_bytes(2, "little")])
    writer.close()
    before = open_descriptors()
    with open_checkpoint(str(tmp_path / "out")) as reader:
        spans = {i: reader.span(f"w{i}") for i in range(COUNT)}
        for i in (*range(0, COUNT, 7), *reversed(range(COUNT))):
            assert reader.read(f"w{i}").item() == i
            assert spans[i].read(0, 2) == i.to_bytes(2, "little")
    assert open_descriptors() == before


def test_the_longest_unused_file_makes_room(folder: Path) -> None:
    files, before = ShardFiles(str(folder / "index"), max_open=2), open_descriptors()
    a, b, c = (files.open(name) for name in "abc")
    for each in (a, c, b, a, a, b, c):
        assert each.read(0, 1) == (folder / Path(each.path).name).read_bytes()
        assert each.is_in_place()
        assert each.is_unchanged()
        assert open_descriptors() == before + 2
    for each in (a, b, c, a):
        each.close()
    assert open_descriptors() == before


def test_a_closed_file_is_not_opened_again(folder: Path) -> None:
    file = ShardFiles(str(folder / "index")).open("a")
    file.close()
    before = open_descriptors()
    with pytest.raises(DiskError):
        file.read(0, 1)
    assert open_descriptors() == before


def test_a_file_of_which_nothing_can_be_told_is_a_fault_of_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_descriptor: int) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    files, before = ShardFiles(str(folder / "index")), open_descriptors()
    monkeypatch.setattr(disk.system, "fstat", failing)
    with pytest.raises(DiskError):
        files.open("a")
    assert open_descriptors() == before


def _rewritten(path: Path) -> None:
    path.write_bytes(b"longer")


def _replaced(path: Path) -> None:
    (path.parent / "new").write_bytes(path.read_bytes())
    os.replace(path.parent / "new", path)


@pytest.mark.parametrize("change", [_rewritten, _replaced, os.unlink])
def test_a_file_which_is_another_when_it_is_opened_again_is_never_read(folder: Path, change) -> None:
    files, before = ShardFiles(str(folder / "index"), max_open=1), open_descriptors()
    a, b = files.open("a"), files.open("b")
    change(folder / "a")
    for _ in range(2):
        with pytest.raises(DiskError, match=r"replaced|No such file"):
            a.read(0, 1)
    assert b.read(0, 1) == b"\1"
    b.close()
    assert open_descriptors() == before


PLAIN = ["a", "model-00001-of-00002.safetensors", "a b", "...", "été", "c:x", "-"]
NOT_PLAIN = ["", ".", "..", "a/b", "/a", "../a", "a\\b", "a\0", None, 1, ["a"]]


@pytest.mark.parametrize("name", [*PLAIN, *NOT_PLAIN], ids=repr)
def test_a_plain_name_is_that_of_a_file_in_the_folder(name: object) -> None:
    assert is_plain_name(name) is (name in PLAIN)


def linked_repository(home: Path, *below: str) -> Path:
    """A snapshot of the hub's cache, of which every file is a link to a blob: an index of `a`, and `a`."""
    blobs, snapshot = home / "models--x" / "blobs", home / "models--x" / "snapshots" / "abc"
    folder = snapshot.joinpath(*below)
    folder.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text('{"weight_map": {"a": "a.safetensors"}}')
    save_file({"a": torch.ones(2)}, blobs / "2")
    for name, blob in (("model.safetensors.index.json", "1"), ("a.safetensors", "2")):
        (folder / name).symlink_to(os.path.relpath(blobs / blob, folder))
    return folder


@pytest.mark.parametrize("below", [(), ("unet",), ("a", "b")], ids=str)
@pytest.mark.parametrize("is_index_copied", [False, True])
def test_a_snapshot_of_the_hub_is_read_at_any_depth(tmp_path: Path, below: tuple[str, ...], is_index_copied: bool) -> None:
    folder = linked_repository(tmp_path, *below)
    if is_index_copied:
        index = folder / "model.safetensors.index.json"
        text = index.read_text()
        index.unlink()
        index.write_text(text)
    with open_checkpoint(str(folder)) as reader:
        assert reader.read("a").tolist() == [1, 1]


def test_a_cache_whose_blobs_lie_on_another_disk_is_read(tmp_path: Path) -> None:
    folder = linked_repository(tmp_path)
    (tmp_path / "models--x" / "blobs").rename(tmp_path / "elsewhere")
    (tmp_path / "models--x" / "blobs").symlink_to(tmp_path / "elsewhere")
    with open_checkpoint(str(folder)) as reader:
        assert list(reader.header) == ["a"]


def test_a_folder_of_links_to_one_other_folder_is_read(tmp_path: Path) -> None:
    folder, links = linked_repository(tmp_path / "hub"), tmp_path / "links"
    links.mkdir()
    for name in os.listdir(folder):
        (links / name).symlink_to(folder / name)
    with open_checkpoint(str(links)) as reader:
        assert list(reader.header) == ["a"]


def test_a_link_from_a_snapshot_to_any_other_folder_is_refused(tmp_path: Path) -> None:
    folder = linked_repository(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "secret")
    (folder / "a.safetensors").unlink()
    (folder / "a.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptError, match="leads out of its folder"):
        open_checkpoint(str(folder))
