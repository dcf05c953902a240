"""The list of globals which mean something: short, whole, and the only one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from torch_files import opened, packed, table_node, tensor_node

from ckpt_surgeon.formats.pickle_names import KNOWN, called_by, meant_by
from ckpt_surgeon.formats.pickle_nodes import Call, Global, Node
from ckpt_surgeon.formats.pickle_writer import write_pickle

MOST = 60
# What writes names into files, and so has to say them.
WRITING = {"pickle_names.py", "pickle_writer.py", "torch_nodes.py", "torch_output.py"}
GLOBAL = re.compile(r"(torch|collections|builtins|__builtin__|copy_?reg|_codecs|numpy|argparse|pathlib|os)(\.\w+)+")


def test_the_list_is_short() -> None:
    assert 0 < len(KNOWN) <= MOST


def _dotted_texts(path: Path) -> set[str]:
    """All texts of a module which look like a global, less those which are only shown or imported."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str) and GLOBAL.fullmatch(node.value)}


def test_no_reader_knows_a_global_which_is_not_on_the_list(repository: Path) -> None:
    folder = repository / "ckpt_surgeon" / "formats"
    readers = [path for pattern in ("pickle_*.py", "torch_*.py") for path in folder.glob(pattern) if path.name not in WRITING]
    assert len(readers) > 10
    assert {path.name: found for path in readers if (found := _dotted_texts(path))} == {}
    assert _dotted_texts(folder / "pickle_names.py") >= KNOWN


MEANT = [
    (Global("collections", "OrderedDict"), "collections.OrderedDict"),
    (Global("torch", "FloatStorage"), "torch.FloatStorage"),
    (Global("torch.cuda", "FloatStorage"), "torch.FloatStorage"),
    (Global("__builtin__", "set"), "builtins.set"),
    (Global("copy_reg", "_reconstructor"), "copyreg._reconstructor"),
    (Global("torch", "cuda.FloatStorage"), ""),
    (Global("torch._utils", "_rebuild_tensor_v4"), ""),
    (Global("builtins", "eval"), ""),
    (Global("__builtin__", "eval"), ""),
    (Global("os", "system"), ""),
    (Global("", "collections.OrderedDict"), ""),
    (Call(Global("collections", "OrderedDict"), ()), ""),
    ("collections.OrderedDict", ""),
    (None, ""),
]


@pytest.mark.parametrize(("node", "name"), MEANT)
def test_only_a_global_of_the_list_means_something(node: Node, name: str) -> None:
    assert meant_by(node) == name


ORDERED = Global("collections", "OrderedDict")
CALLED = [
    (Call(ORDERED, ()), "collections.OrderedDict"),
    (Call(Global("copy_reg", "_reconstructor"), (ORDERED, Global("__builtin__", "dict"), None)), "collections.OrderedDict"),
    (Call(Global("copy_reg", "_reconstructor"), ()), "copyreg._reconstructor"),
    (Call(Global("copy_reg", "_reconstructor"), (Global("os", "system"),)), ""),
    (Call(Call(ORDERED, ()), ()), ""),
    (ORDERED, ""),
    ([ORDERED], ""),
]


@pytest.mark.parametrize(("node", "name"), CALLED)
def test_a_call_is_of_what_it_would_call(node: Node, name: str) -> None:
    assert called_by(node) == name


@pytest.mark.parametrize("path", sorted(KNOWN))
def test_a_listed_name_of_the_wrong_kind_is_only_described(tmp_path: Path, path: str) -> None:
    """Where an honest file would never have it: as a value, called with nonsense, in a chain of calls."""
    module, _, name = path.rpartition(".")
    odd = Call(Call(Global(module, name), (), "newobj"), (1, "x"), pairs=[("a", 1)], items=[2])
    root = table_node(a=tensor_node(), b=tensor_node(), odd=odd, name=Global(module, name))
    with opened(packed(tmp_path, {"a/data.pkl": write_pickle(root), "a/data/0": bytes(24)})) as reader:
        assert list(reader.header.tensors) == ["a", "b"]
        assert str(reader.header.opaque["name"]) == path
