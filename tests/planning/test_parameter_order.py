"""Which state is whose: by names, else by the order of the table, where only one way fits."""

from typing import Any

import pytest

from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.planning.optimizer import Optimizers
from ckpt_surgeon.planning.parameter_order import UnknownOrderError, keys_of, optimized
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Envelope, Header, Kind, OptimizerState, TensorSpec

SHAPES = {"w": (3, 2), "b": (3,), "running_mean": (3,), "v": (2, 3), "c": (2,)}
TABLE = Header(
    {key: TensorSpec.of("float32", *shape) for key, shape in SHAPES.items()}, envelope=Envelope("model", optimizers=("optimizer",))
)


def state(*groups: str, names: bool = False, moments: str = "exp_avg", **shapes: tuple[int, ...]) -> OptimizerState:
    """A state whose ids are numbered through groups of keys (`"w b"`), with moments of the shapes of these keys."""
    keys = [group.split() for group in groups]
    flat = [key for group in keys for key in group]
    starts = [sum(map(len, keys[:i])) for i in range(len(keys))]
    return OptimizerState(
        tuple(tuple(range(start, start + len(group))) for start, group in zip(starts, keys, strict=True)),
        dict(enumerate(flat)) if names else {},
        {i: {moments: TensorSpec.of("float32", *{**SHAPES, **shapes}[key]), "step": "1"} for i, key in enumerate(flat)},
    )


FITTING = {
    "one group": state("w b v c"),
    "groups one after the other": state("w b", "v c"),
    "groups which take turns": state("w v", "b c"),
    "an empty group": state("w b v c", ""),
    "names in any order": state("c v", "b w", names=True),
    "names of some": state("v", names=True),
    "without moments": OptimizerState(((0, 1, 2, 3),), {}, {}),
}


@pytest.mark.parametrize("name", FITTING)
def test_each_state_finds_its_parameter(name):
    found = keys_of(FITTING[name], TABLE, optimized(TABLE, {}, None))
    expected = list(FITTING[name].names.values()) or {"groups which take turns": ["w", "v", "b", "c"]}.get(name, ["w", "b", "v", "c"])
    assert [found[i] for i in range(len(found))] == expected


UNKNOWN = {
    "one too few": (state("w b v"), "it has 3 parameters, the table 4"),
    "another shape": (state("w b v c", c=(5,)), "no group holds next a parameter which fits c"),
    "another order": (state("b w v c"), "no group holds next a parameter which fits w"),
    "two groups which fit": (state("w b", "v c", v=(3, 2)), "several groups hold a parameter which fits w"),
    "two groups without state": (OptimizerState(((0, 1), (2, 3)), {}, {}), "several groups hold a parameter which fits w"),
    "a name which is not there": (OptimizerState(((0,),), {0: "x"}, {}), "it names the parameter x, which is not in the table"),
    "a name twice": (OptimizerState(((0, 1),), {0: "w", 1: "w"}, {}), "it names a parameter twice"),
    "a name of another shape": (OptimizerState(((0,),), {0: "w"}, state("b").entries), "the state of parameter 0 has not the shape of w"),
    "one of several moments of another shape": (
        OptimizerState(((0, 1, 2, 3),), {}, {0: {"exp_avg": TABLE.tensors["w"], "exp_avg_sq": TABLE.tensors["b"]}}),
        "the state of parameter 0 has not the shape of w",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_does_not_fit_in_just_one_way_is_not_guessed(name):
    given, message = UNKNOWN[name]
    with pytest.raises(UnknownOrderError, match=message):
        keys_of(given, TABLE, optimized(TABLE, {}, None))


def kinds(**given: Kind) -> dict[str, Any]:
    return {"kinds": given}


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ({}, None, ["w", "b", "v", "c"]),
        (kinds(w="parameter", b="buffer", running_mean="buffer", v="parameter", c="parameter"), None, ["w", "v", "c"]),
        ({}, kinds(w="parameter", b="buffer", running_mean="buffer", v="parameter", c="parameter"), ["w", "v", "c"]),
        ({}, {}, ["w", "b", "v", "c"]),
    ],
    ids=["by name", "the source's kinds", "the target's kinds", "a target without kinds"],
)
def test_parameters_are_told_from_buffers(source, target, expected):
    header = Header(TABLE.entries, **source)
    wanted = None if target is None else Header({f"net.{key}": spec for key, spec in TABLE.entries.items()}, **_below(target))
    recipes = make_plan(as_rules([{"add_prefix": "net."}]), header, wanted).recipes
    assert list(optimized(header, recipes, wanted)) == expected


def _below(given: dict[str, Any]) -> dict[str, Any]:
    return {name: {f"net.{key}": kind for key, kind in kinds.items()} for name, kinds in given.items()}


def planned(rules: list[Any], held: OptimizerState | None, target: Header | None = None, **options: Any) -> Any:
    return make_plan(as_rules(rules), TABLE, target, optimizers=Optimizers(states=lambda: {"optimizer": held}, **options)).optimizer


def test_what_is_not_certain_is_kept_while_nothing_moves_and_dropped_else():
    held = state("w b v")
    assert planned([{"add_prefix": "net."}], held).fate == "kept"
    assert planned([{"drop": "c"}], held).why.startswith("c is gone, and it cannot follow: it has 3 parameters")


def test_the_order_is_the_targets_and_without_one_that_of_the_ids():
    target = Header({key: TABLE.entries[key] for key in ("c", "v", "b", "running_mean", "w")})
    groups = planned([], state("w v", "b c"), target).groups["optimizer"]
    assert [[each.source for each in group] for group in groups] == [[1, 0], [3, 2]]
    (group,) = planned([{"drop": "b"}, {"rename": {"w": "z"}}], state("w b v c")).groups["optimizer"]
    assert [(each.name, each.source) for each in group] == [("z", 0), ("v", 2), ("c", 3)]


def test_an_optimizer_which_was_not_in_the_tables_order_keeps_its_own():
    target = Header({key: TABLE.entries[key] for key in ("c", "v", "b", "running_mean", "w")})
    assert planned([], state("v w b c", names=True), target).fate == "kept"
    less = Header({key: spec for key, spec in target.entries.items() if key != "b"})
    (group,) = planned([{"drop": "b"}], state("v w b c", names=True), less).groups["optimizer"]
    assert [each.name for each in group] == ["v", "w", "c"]


def test_a_state_which_has_another_shape_than_its_parameter_only_moves_whole():
    held = state("w b v c", moments="exp_avg_sq_row", w=(3,))
    assert planned([{"transpose": {"match": "w"}}], held).reset == {"w": "exp_avg_sq_row has not the parameter's shape"}
    assert planned([{"drop": "c"}], held).followed == ("w", "b", "v")


def test_parts_in_several_groups_begin_anew():
    rules = [{"concat": {"source": ["b", "c"], "target": "bc"}}]
    assert planned(rules, state("w b", "v c", names=True)).reset == {"bc": "its parts stood in several groups"}
    assert planned(rules, state("w b v c", names=True)).followed == ("w", "bc", "v")


def test_numbers_which_are_no_tensors_have_to_agree():
    held = state("w b v c")
    other = OptimizerState(held.groups, {}, {**held.entries, 3: {**held.entries[3], "step": "2"}})
    rules = [{"concat": {"source": ["b", "c"], "target": "bc"}}]
    assert planned(rules, other).reset == {"bc": "step of b and c differs, or is no plain tensor"}


def test_a_parameter_which_becomes_a_buffer_has_no_state():
    told: dict[str, Kind] = {"w": "parameter", "b": "buffer", "running_mean": "buffer", "v": "parameter", "c": "parameter"}
    plan = planned([], state("w b v c", names=True), Header(TABLE.entries, kinds=told))
    assert plan.dropped == {"b": "no parameter reads it any more"}
