"""Whatever a user may hand in becomes a header."""

import os
import subprocess
import sys

import pytest
import torch

from ckpt_surgeon.errors import DiskError, ModelError, SurgeryError
from ckpt_surgeon.sources import header_of, is_factory, open_source, split_table
from ckpt_surgeon.spec import Header, TensorSpec

WANTED = ["weight", "bias"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear_for_sources.py").write_text("import torch\ndef build(n=2):\n    return torch.nn.Linear(3, n)\n")


def saved(path: str, content: object = None) -> str:
    torch.save(torch.nn.Linear(3, 2).state_dict() if content is None else content, path)
    return path


GIVEN = {
    "a path": lambda: saved("a.pt"),
    "a path object": lambda: os.path.join(os.curdir, saved("a.pt")),
    "a table in an envelope": lambda: saved("b.pt", {"one": torch.nn.Linear(3, 2).state_dict(), "two": {"x": torch.ones(1)}}) + "#one",
    "a factory": lambda: "linear_for_sources:build",
    "a state_dict": lambda: torch.nn.Linear(3, 2).state_dict(),
    "a module": lambda: torch.nn.Linear(3, 2),
    "a header": lambda: Header({"weight": TensorSpec.of("float32", 2, 3), "bias": TensorSpec.of("float32", 2)}),
    "a path with a colon": lambda: saved("linear_for_sources:build"),
    "a path with a number sign": lambda: saved("a#b.pt"),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_a_header_comes_of_everything(given):
    header = header_of(given())
    assert list(header.tensors) == WANTED
    assert header.tensors["weight"] == TensorSpec.of("float32", 2, 3)


def test_arguments_reach_the_factory():
    assert header_of("linear_for_sources:build", arguments={"n": 7}).tensors["weight"].shape == (7, 3)


BAD = [
    ("missing.pt", DiskError),
    ("missing.pt#table", DiskError),
    ("no_such_module:build", ModelError),
    ("linear_for_sources:nothing", ModelError),
    ("", DiskError),
]


@pytest.mark.parametrize(("given", "error"), BAD)
def test_what_cannot_be_opened_is_named(given, error):
    with pytest.raises(error) as caught:
        header_of(given)
    assert isinstance(caught.value, SurgeryError)
    assert given.partition("#")[0] in str(caught.value)


def test_a_model_to_be_has_no_weights():
    with open_source("linear_for_sources:build") as reader:
        assert reader.span("weight") is None
        with pytest.raises(ModelError, match="no weights"):
            reader.read("weight")


def test_an_existing_path_wins():
    saved("x#y")
    assert split_table("x#y") == ("x#y", None)
    assert split_table("z#y") == ("z", "y")
    assert split_table("z") == ("z", None)
    assert is_factory("pkg.module:factory")
    assert not is_factory("C:\\file.pt")
    saved("pkg.module:factory")
    assert not is_factory("pkg.module:factory")


def test_a_file_is_opened_without_torch():
    saved("a.pt")
    code = "import sys; from ckpt_surgeon.sources import header_of; header_of('a.pt');print({'torch', 'numpy', 'yaml'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
