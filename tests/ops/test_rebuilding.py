"""An op can be built again from its name and its parameters as JSON holds them: what a manifest says of it is enough."""

import json
from typing import Any

import pytest
from op_samples import specs_of
from test_cases import bound_of, cases

from ckpt_surgeon.planning.lineage import Origin, Way, Work
from ckpt_surgeon.planning.recipe import Derived
from ckpt_surgeon.planning.replaying import recipe_of
from ckpt_surgeon.spec import Header


@pytest.mark.parametrize(("name", "case"), cases("works", of="tensors", wants="inputs"))
def test_a_bound_op_is_what_its_parameters_make(name: str, case: dict[str, Any]) -> None:
    op, specs = bound_of(name, case), specs_of(case["inputs"])
    keys = [f"input.{i}" for i in range(len(specs))]
    work = Work(name, json.loads(json.dumps(op.parameters())), 0, tuple(range(len(specs))))
    made = recipe_of(Origin("out", tuple(keys), Way(len(specs), (work,))), {"": Header(dict(zip(keys, specs, strict=True)))}, 10**12)
    assert isinstance(made, Derived)
    assert made.op == op
    assert made.spec == op.infer(specs)[0]
