"""Which tables a torch file holds, which one is taken, and what is said of the rest."""

from __future__ import annotations

import argparse
import collections
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_files import checkpoint, opened, saved, table_node, tensor_node

from ckpt_surgeon.errors import CorruptError, RulesError
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Letter
from ckpt_surgeon.spec import TableSummary


class Holder:
    """An object of the user's, with attributes."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Settings(dict):  # type: ignore[type-arg]
    """A dict of the user's."""


def table(count: int = 2) -> dict[str, torch.Tensor]:
    return {f"layer{index}.weight": torch.full((index + 1,), float(index)) for index in range(count)}


def optimizer_state() -> dict[str, Any]:
    return {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


ONE_TABLE: list[tuple[str, Any, str]] = [
    ("the root itself", table(), ""),
    ("an OrderedDict", collections.OrderedDict(table()), ""),
    ("state_dict beside an epoch", {"epoch": 1, "state_dict": table()}, "state_dict"),
    ("model", {"model": table()}, "model"),
    ("any name", {"backbone": table(), "epoch": 3}, "backbone"),
    ("two levels", {"checkpoint": {"model": table(), "step": 3}}, "checkpoint.model"),
    ("five levels", {"a": {"b": {"c": {"d": {"e": table()}}}}}, "a.b.c.d.e"),
    ("in a list", [1, {"x": 2}, table()], "2"),
    ("in a list of a dict", {"models": [table()]}, "models.0"),
    ("in an attribute", {"trainer": Holder(model=table(), step=2)}, "trainer.model"),
    ("in an object", Holder(weights=table()), "weights"),
    ("under an int", {0: table(), 1: "x"}, "0"),
    ("a name with dots", {"best.model": table()}, "best.model"),
    ("beside an optimizer", {"model": table(), "optimizer": optimizer_state()}, "model"),
    ("beside a list of optimizers", {"model": table(), "optimizer_states": [optimizer_state(), optimizer_state()]}, "model"),
    ("beside one tensor", {"net_g": table(), "loss": torch.tensor(0.1)}, "net_g"),
    ("a known name beside more tensors than it holds", {"state_dict": table(1), "mean": table()["layer0.weight"], **table()}, "state_dict"),
    ("an unknown name beside fewer tensors than it holds", {"net_g": table(5), **table(2)}, "net_g"),
    ("one table under two names", (lambda shared: {"model": shared, "best": shared})(table()), "model"),
    ("a table of the user's dict", {"model": Settings(table())}, "model"),
    ("a table with an extra state", {"a": torch.ones(1), "_extra_state": {"x": 1}}, ""),
    ("a table with more extra states than tensors", {"a": torch.ones(1), "m._extra_state": None, "n._extra_state": b"x"}, ""),
    ("a table with a few numbers", {"a": torch.ones(1), "b": torch.ones(1), "c": torch.ones(1), "steps": 3}, ""),
    ("a table with a small table inside", {**table(4), "extra": {"x": torch.ones(1)}}, ""),
    ("a whole module", {"model": torch.nn.Linear(2, 3), "epoch": 1}, "model"),
    ("a module at the root", torch.nn.Linear(2, 3), ""),
    ("a module inside an object", Holder(net=torch.nn.Linear(2, 3)), "net"),
    ("a mapping with 'state' and more", {"state": {"model": table()}, "param_groups": [], "x": 1}, "state.model"),
]


@pytest.mark.parametrize(("value", "path"), [case[1:] for case in ONE_TABLE], ids=[case[0] for case in ONE_TABLE])
def test_the_only_table_is_taken_and_named(tmp_path: Path, value: Any, path: str) -> None:
    file = saved(tmp_path, value)
    with opened(file) as reader:
        assert reader.header.envelope.path == path
        assert [summary.path for summary in reader.header.envelope.tables] == [path]
        assert len(reader.header.tensors) > 0
    with opened(file, path) as named:
        assert list(named.header) == list(reader.header)


SEVERAL: list[tuple[str, Any, list[str]]] = [
    ("a main one and its average", {"state_dict": table(), "state_dict_ema": table()}, ["state_dict", "state_dict_ema"]),
    ("two parts", {"encoder": table(), "decoder": table(3)}, ["encoder", "decoder"]),
    ("two parts inside", {"model": {"encoder": table(), "decoder": table(3)}}, ["model.encoder", "model.decoder"]),
    ("a list", [table(), table(3)], ["0", "1"]),
    ("a model and a criterion", {"model": table(), "loss": {"weight": torch.ones(3)}}, ["model", "loss"]),
    ("two modules", {"g": torch.nn.Linear(2, 2), "d": torch.nn.Linear(2, 2)}, ["g", "d"]),
]


@pytest.mark.parametrize(("value", "paths"), [case[1:] for case in SEVERAL], ids=[case[0] for case in SEVERAL])
def test_several_tables_are_listed_and_none_is_guessed(tmp_path: Path, value: Any, paths: list[str]) -> None:
    file = saved(tmp_path, value)
    with pytest.raises(RulesError, match=f"{len(paths)} tables of tensors") as caught:
        opened(file)
    for path in paths:
        assert f"{path} (" in str(caught.value)
        with opened(file, path) as reader:
            assert reader.header.envelope.path == path
            assert [summary.path for summary in reader.header.envelope.tables] == paths
    assert caught.value.hint == f"name the one which is meant: PATH#{paths[0]}"


def test_the_list_of_tables_says_tensors_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"a \(2 tensors, 12 bytes\), b \(3 tensors, 24 bytes\)"):
        opened(saved(tmp_path, {"a": table(2), "b": table(3)}))


def test_a_summary_counts_ties_once(tmp_path: Path) -> None:
    tensor = torch.ones(10)
    with opened(saved(tmp_path, {"a": tensor, "b": tensor, "c": torch.ones(2)})) as reader:
        assert reader.header.envelope.tables == (TableSummary("", 3, 48),)


@pytest.mark.parametrize("name", ["model.nothing", "x", "epoch", "model.layer0.weight", "optimizer", "model."])
def test_a_wrong_name_lists_the_right_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(RulesError, match=rf"no table of tensors at #{name}: the file holds model \(2 tensors") as caught:
        opened(saved(tmp_path, {"model": table(), "epoch": 1, "optimizer": {"x": 1}}), name)
    assert caught.value.exit_code == 4


def test_a_path_picks_a_mapping_inside_a_table(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {**table(4), "extra": {"x": torch.ones(1)}}), "extra") as reader:
        assert list(reader.header) == ["x"]


def test_a_table_under_an_empty_key_is_not_taken_for_the_root(tmp_path: Path) -> None:
    path = saved(tmp_path, {"": table(), "epoch": 3, "other": {"deep": table()}})
    with opened(path, "''") as reader:
        assert (reader.header.envelope.path, list(reader.header.entries)) == ("''", list(table()))
    with pytest.raises(RulesError, match=r"'' \("):
        opened(path)


def test_a_path_picks_the_root_by_an_empty_name(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"state_dict": table(1), "mean": torch.ones(3), "std": torch.ones(3)}), "") as reader:
        assert {key: str(entry) for key, entry in reader.header.entries.items()} == {
            "state_dict": "dict of 1",
            "mean": "f32[3]",
            "std": "f32[3]",
        }


def test_nested_containers_of_a_table_are_opaque(tmp_path: Path) -> None:
    value = {**table(4), "extra": {"x": torch.ones(1)}, "names": ["a", "b"], "version": 3}
    with opened(saved(tmp_path, value)) as reader:
        assert {key: str(entry) for key, entry in reader.header.opaque.items()} == {
            "extra": "dict of 1",
            "names": "list of 2",
            "version": "3",
        }


NO_TABLE: list[tuple[str, Any, str]] = [
    ("a tensor", torch.ones(3), "a single tensor"),
    ("a number", 3, "it holds 3"),
    ("an optimizer", optimizer_state(), "it holds dict of 2"),
    ("a list of numbers", [1, 2], "it holds list of 2"),
    ("an object", argparse.Namespace(a=1), "it holds argparse.Namespace"),
    ("a mapping of numbers", {"a": 1}, "it holds dict of 1"),
    ("tensors under numbers", {0: torch.ones(1), 1: torch.ones(1)}, "it holds dict of 2"),
]


@pytest.mark.parametrize(("value", "text"), [case[1:] for case in NO_TABLE], ids=[case[0] for case in NO_TABLE])
def test_a_file_without_a_table_says_what_it_holds(tmp_path: Path, value: Any, text: str) -> None:
    with pytest.raises(CorruptError, match=text) as caught:
        opened(saved(tmp_path, value))
    assert "state_dict" in caught.value.hint


@pytest.mark.parametrize("value", [{}, collections.OrderedDict()])
def test_an_empty_state_dict_is_an_empty_table(tmp_path: Path, value: Any) -> None:
    with opened(saved(tmp_path, value)) as reader:
        assert len(reader.header) == 0


def test_contents_are_told_in_short_words_and_scalars_as_json(tmp_path: Path) -> None:
    value = {
        "state_dict": table(),
        "epoch": 3,
        "lr": 0.5,
        "bad": float("nan"),
        "name": "resnet\n50",
        "text": "x" * 1000,
        "none": None,
        "amp": True,
        "args": argparse.Namespace(a=1),
        "history": [1, 2, 3],
        "optimizer": optimizer_state(),
        "loss": torch.tensor(0.5),
        "sparse": torch.eye(2).to_sparse(),
        "config": {"a": 1, "b": 2},
        "bytes": b"abc",
        "class": argparse.Namespace,
        "big": 10**100,
        7: "seven",
    }
    with opened(saved(tmp_path, value)) as reader:
        envelope = reader.header.envelope
    assert envelope.contents == {
        "epoch": "3",
        "lr": "0.5",
        "bad": "nan",
        "name": "'resnet\\n50'",
        "text": f"'{'x' * 36}...",
        "none": "None",
        "amp": "True",
        "args": "argparse.Namespace",
        "history": "list of 3",
        "optimizer": "optimizer state",
        "loss": "tensor f32[]",
        "sparse": "sparse_coo tensor f32[2, 2]",
        "config": "dict of 2",
        "bytes": "3 bytes",
        "class": "argparse.Namespace",
        "big": "int of 333 bits",
        "7": "'seven'",
    }
    assert envelope.scalars == {
        "epoch": "3",
        "lr": "0.5",
        "name": '"resnet\\n50"',
        "text": f'"{"x" * 1000}"',
        "none": "null",
        "amp": "true",
        "big": str(10**100),
        "7": '"seven"',
    }
    assert envelope.optimizers == ("optimizer",)


def test_a_table_at_the_root_has_nothing_beside_it(tmp_path: Path) -> None:
    with opened(saved(tmp_path, table())) as reader:
        assert (reader.header.envelope.contents, reader.header.envelope.optimizers) == ({}, ())


@pytest.mark.parametrize(
    ("value", "optimizers"),
    [
        ({"model": table(), "a": optimizer_state(), "b": {"inner": optimizer_state()}}, ("a", "b.inner")),
        ({"model": table(), "states": [optimizer_state()] * 2}, ("states",)),
        ({"model": table(), "optimizer": torch.optim.Adam([torch.ones(1)])}, ("optimizer",)),
        ({"model": table(), "x": {"state": {}, "param_groups": [], "more": 1}}, ()),
        ({"model": table(), "x": {"state": {}}}, ()),
        ({"model": table(), "x": []}, ()),
    ],
    ids=["dicts", "a list", "pickled", "with more", "with less", "an empty list"],
)
def test_optimizers_are_found_and_are_no_tables(tmp_path: Path, value: Any, optimizers: tuple[str, ...]) -> None:
    with opened(saved(tmp_path, value)) as reader:
        assert reader.header.envelope.optimizers == optimizers
        assert reader.header.envelope.path == "model"


def test_metadata_is_read_as_plain_values(tmp_path: Path) -> None:
    state = collections.OrderedDict(a=torch.ones(1))
    state._metadata = collections.OrderedDict({"": {"version": 1}, "bn": {"version": 2, "x": [1, {"y": None}]}, "odd": 3})
    with opened(saved(tmp_path, {"state_dict": state})) as reader:
        assert dict(reader.header.torch_metadata) == {"": {"version": 1}, "bn": {"version": 2, "x": [1, {"y": None}]}}


def test_metadata_which_nests_deep_is_cut_and_what_no_json_holds_is_left_out(tmp_path: Path) -> None:
    state, deep = collections.OrderedDict(a=torch.ones(1)), {"x": 1}
    for _ in range(20):
        deep = {"in": deep}
    state._metadata = {"": {"deep": deep, "odd": {1}, "list": [argparse.Namespace]}}
    with opened(saved(tmp_path, state)) as reader:
        found = reader.header.torch_metadata[""]
    assert (found["odd"], found["list"]) == (None, [None])
    assert str(found["deep"]).count("in") < 10


def test_a_table_which_is_named_and_has_a_number_for_a_key_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="a table of tensors with the key 7, which is no string"):
        opened(saved(tmp_path, {"state_dict": table(), "odd": {"x": torch.ones(1), 7: torch.ones(1)}}), "odd")


def test_an_ordered_dict_of_python_2_is_a_table(tmp_path: Path) -> None:
    pairs = [["a.weight", tensor_node()], ["b.weight", tensor_node()]]
    root = Call(Global("collections", "OrderedDict"), (pairs,))
    with opened(checkpoint(tmp_path, root, {"0": bytes(24)})) as reader:
        assert list(reader.header) == ["a.weight", "b.weight"]


def test_keys_which_are_bytes_are_read_as_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "bytes.pt"
    torch.save({b"caf\xe9": torch.ones(2)}, path, pickle_protocol=4)
    with opened(path) as reader:
        assert list(reader.header) == ["caf\xe9"]


def test_a_table_which_names_a_key_twice_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="'a' twice"):
        opened(checkpoint(tmp_path, Dict([("a", tensor_node()), (Letter("a"), tensor_node())]), {"0": bytes(24)}))


def test_an_envelope_which_holds_itself_is_walked_once(tmp_path: Path) -> None:
    root = Dict([("model", table_node(a=tensor_node()))])
    root.pairs.append(("me", root))
    with opened(checkpoint(tmp_path, root, {"0": bytes(24)})) as reader:
        assert reader.header.envelope.path == "model"


def test_a_table_which_is_shared_very_often_is_found_at_once(tmp_path: Path) -> None:
    inner: Any = table_node(a=tensor_node())
    for _ in range(40):
        inner = Dict([("left", inner), ("right", inner)])
    with opened(checkpoint(tmp_path, inner, {"0": bytes(24)})) as reader:
        assert reader.header.envelope.path == ".".join(["left"] * 40)


def test_what_nests_too_deep_is_no_table(tmp_path: Path) -> None:
    inner: Any = table_node(a=tensor_node())
    for _ in range(500):
        inner = Dict([("x", inner)])
    with pytest.raises(CorruptError, match="no table"):
        opened(checkpoint(tmp_path, inner, {"0": bytes(24)}))
