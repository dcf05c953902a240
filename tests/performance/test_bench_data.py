"""The data of the benchmarks: the shapes which they claim, the same bytes in each format, made once."""

import math
import os

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.checking import difference, table_of
from benchmarks.making import MAKERS
from benchmarks.shapes import FLOAT_BYTES, decoder_of, resnet_shapes, tiny_shapes

MB = 1000**2


@pytest.mark.parametrize("nbytes", [2 * MB, 5 * MB, 512 * MB, 1000 * MB, 4000 * MB])
def test_the_model_has_435_tensors_and_fills_its_size(nbytes):
    model = decoder_of(nbytes)
    found = sum(math.prod(shape) for shape in model.shapes.values()) * FLOAT_BYTES
    assert len(model.shapes) == 435
    assert nbytes - 2 * model.width * FLOAT_BYTES < found <= nbytes  # one word more would be too many


def test_the_resnet_is_the_one_which_torchvision_builds():
    shapes = resnet_shapes(64)
    learned = {key: math.prod(shape) for key, shape in shapes.items() if "running" not in key and "tracked" not in key}
    assert (len(shapes), len(learned), sum(learned.values())) == (320, 161, 25_557_032)


def test_tiny_keys_are_all_different():
    keys = [key for key, _ in tiny_shapes(9000)]
    assert len(set(keys)) == 9000
    assert keys[0] == "model.layers.0.mlp.experts.0.w0.weight"
    assert keys[-1] == "model.layers.2.mlp.experts.249.w3.weight"


def test_every_format_holds_the_same_tensors(tmp_path):
    single = tmp_path / "model.safetensors"
    MAKERS["model"](single, str(2 * MB))
    table = load_file(single)
    assert len(table) == 435
    assert table["model.layers.35.mlp.down_proj.weight"].std() > 0.9  # numbers, not zeros
    for kind, name in [("copy", "copy.safetensors"), ("link", "link.safetensors"), ("torch_file", "model.pt"), ("sharded", "sharded")]:
        MAKERS[kind](tmp_path / name, str(single))
        assert difference(table, table_of(str(tmp_path / name))) is None, kind
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) == 5
    assert (tmp_path / "copy.safetensors").stat().st_ino != single.stat().st_ino


@pytest.mark.parametrize(("kind", "name"), [("sparse", "model.safetensors"), ("sparse_torch", "model.pt")])
def test_a_sparse_model_takes_next_to_no_room(kind, name, tmp_path):
    MAKERS[kind](tmp_path / name, str(20 * MB))
    found = os.stat(tmp_path / name)
    assert found.st_size >= 19 * MB
    assert found.st_blocks * 512 < 2 * MB
    table = table_of(str(tmp_path / name))
    assert len(table) == 435
    assert not any(tensor.any() for tensor in table.values())


def test_the_training_checkpoint_holds_its_momenta(tmp_path):
    MAKERS["training"](tmp_path / "training.pth", "2")
    found = torch.load(tmp_path / "training.pth", weights_only=True)
    assert len(found["state_dict"]) == 320
    assert len(found["optimizer"]["state"]) == 161
    assert all(state["momentum_buffer"].any() for state in found["optimizer"]["state"].values())
