"""Optimizer state stays only while the parameters are the same in order and shape."""

from dataclasses import replace

import pytest

from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Envelope, Header, TensorSpec

SOURCE = Header(
    {
        "a.weight": TensorSpec.of("float32", 2, 3),
        "bn.weight": TensorSpec.of("float32", 2),
        "bn.running_mean": TensorSpec.of("float32", 2),
        "b.weight": TensorSpec.of("float32", 2, 3),
    },
    envelope=Envelope("state_dict", optimizers=("optimizer",)),
)


def renamed_target(*keys: str) -> Header:
    return Header({key: SOURCE.tensors[key] for key in keys})


CASES = [
    ("nothing changes", [], None, True),
    ("a rename", [{"add_prefix": "net."}], None, True),
    ("a buffer is dropped", [{"drop": "**.running_mean"}], None, True),
    ("a parameter is dropped", [{"drop": "b.weight"}], None, False),
    ("a parameter is reshaped", [{"reshape": {"match": "a.weight", "shape": [3, 2]}}], None, False),
    ("two parameters swap their names", [{"rename": {"a.weight": "b.weight", "b.weight": "a.weight"}}], None, False),
    ("a parameter is copied", [{"copy": {"a.weight": "c.weight"}}], None, False),
    ("the target has the same order", [], renamed_target("a.weight", "bn.weight", "bn.running_mean", "b.weight"), True),
    ("the target moves a buffer", [], renamed_target("bn.running_mean", "a.weight", "bn.weight", "b.weight"), True),
    ("the target reorders parameters", [], renamed_target("b.weight", "bn.weight", "bn.running_mean", "a.weight"), False),
]


@pytest.mark.parametrize(("rules", "target", "kept"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_optimizer_state_is_kept_only_where_it_still_fits(rules, target, kept):
    plan = make_plan(as_rules({"version": 1, "rules": rules}), SOURCE, target)
    assert plan.keeps_optimizer is kept
    assert any("'optimizer' is dropped" in note for note in plan.notes) is not kept


def test_without_optimizer_state_nothing_is_said_of_it():
    bare = replace(SOURCE, envelope=Envelope())
    plan = make_plan(as_rules({"version": 1, "rules": [{"drop": "b.weight"}]}), bare, None)
    assert plan.notes == ()
