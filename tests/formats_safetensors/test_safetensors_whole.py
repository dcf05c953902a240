"""Whole checkpoints of real modules, there and back, and files in which single bytes have changed."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.formats.creating import create_writer
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.protocol import Keep
from ckpt_surgeon.formats.safetensors_reader import SafetensorsReader


class Net(torch.nn.Module):
    """Convolution, batch norm, an embedding whose weight is the head's too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.embedding = torch.nn.Embedding(5, 4)
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.half = torch.nn.Linear(3, 3).to(torch.bfloat16)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    net = Net()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    return net, str(tmp_path / "net.pt")


def convert(source, target, form, limit=None):
    """Copy a checkpoint into another format, byte ranges only."""
    with open_checkpoint(source) as reader:
        writer = create_writer(target, form, reader.header, Keep(), limit)
        for key in reader.header.tensors:
            if key not in reader.header.aliases:
                writer.write(key, [reader.span(key)])
        writer.close()
        return reader.header


@pytest.mark.parametrize(("form", "limit"), [("safetensors", None), ("sharded", 200), ("sharded", None)])
def test_a_state_dict_goes_there_and_back_with_ties_and_versions(saved, tmp_path, form, limit):
    net, source = saved
    out = str(tmp_path / "out")
    header = convert(source, out, form, limit)
    with open_checkpoint(out) as reader:
        found = {key: reader.read(key) for key in reader.header}
        assert list(found) == list(net.state_dict()) == list(header)
        assert reader.header.entries == header.entries
        assert reader.header.aliases == header.aliases == {"head.weight": "embedding.weight"}
        assert reader.header.torch_metadata == header.torch_metadata
    other = Net()
    other.load_state_dict(found, strict=True)
    for key, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_a_second_conversion_changes_no_byte(saved, tmp_path):
    _, source = saved
    for first, second in (("one", "two"), ("two", "three")):
        convert(source if first == "one" else str(tmp_path / first), str(tmp_path / second), "safetensors")
    assert (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


def test_the_reference_library_loads_what_a_module_needs_but_for_its_ties(saved, tmp_path):
    net, source = saved
    convert(source, str(tmp_path / "out"), "safetensors")
    missing, unexpected = Net().load_state_dict(load_file(tmp_path / "out"), strict=False)
    assert (missing, unexpected) == (["head.weight"], [])
    assert len(load_file(tmp_path / "out")) == len(net.state_dict()) - 1


def test_reading_takes_no_more_memory_than_the_tensor(tmp_path):
    import tracemalloc

    size = 8_000_000
    path = tmp_path / "big"
    path.write_bytes(save({"w": torch.zeros(size, dtype=torch.uint8), "v": torch.zeros(size, dtype=torch.uint8)}))
    with open_checkpoint(str(path)) as reader:
        reader.read("v")
        tracemalloc.start()
        reader.read("w")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert size <= peak < size + 2_000_000


def test_a_file_which_is_cut_after_it_was_opened_is_an_error_and_no_crash(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(save({"w": torch.zeros(100_000)}))
    with open_checkpoint(str(path)) as reader:
        os.truncate(path, 1000)
        with pytest.raises(SurgeryError, match="changed while it was read"):
            reader.read("w")


GOOD = save({"b": torch.arange(4, dtype=torch.float16), "a": torch.ones(2, 3), "e": torch.zeros(0, 2)}, metadata={"format": "pt"})


@settings(max_examples=400)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.sampled_from(list(b'{}[]":,0123456789-.eFUIB\\ \x00\xff'))), min_size=1, max_size=3
    ),
    size=st.sampled_from([len(GOOD), len(GOOD), len(GOOD), len(GOOD) - 1, len(GOOD) + 1, 60]),
)
def test_a_file_with_changed_bytes_is_read_as_the_reference_reads_it_or_refused(tmp_path_factory, changes, size):
    data = bytearray(GOOD)
    for position, byte in changes:
        data[position] = byte
    path = tmp_path_factory.mktemp("changed") / "x"
    path.write_bytes(bytes(data[:size]).ljust(size, b"\0"))
    with InputFile(str(path)) as file:
        try:
            reader = SafetensorsReader(file)
        except SurgeryError as error:
            assert error.exit_code == 3  # noqa: PT017
            return
        with safe_open(path, "pt") as reference:
            assert sorted(reference.keys()) == sorted(reader.header)
            assert {**reader.header.metadata} == (reference.metadata() or {})
            for key in reader.header:
                found, other = reader.read(key), reference.get_tensor(key)
                assert (found.shape, found.dtype) == (other.shape, other.dtype)
                assert torch.equal(found.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
