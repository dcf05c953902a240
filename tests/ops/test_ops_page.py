"""docs/ops.md: every op stands there with a before and an after, and these are true."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from op_samples import specs_of

from ckpt_surgeon.ops.protocol import Copy, Drop, Tie
from ckpt_surgeon.ops.registry import OPS

PAGE = (Path(__file__).parents[2] / "docs" / "ops.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| `(\1: .*?)` \|(.*?)\|(.*?)\|$", PAGE, re.MULTILINE)
ENGINE_WORDS = ("match", "source", "target")


def quoted(cell: str) -> list[str]:
    return re.findall(r"`(.*?)`", cell)


def fields_of(rule: str) -> tuple[str, Any]:
    ((name, body),) = yaml.safe_load(rule.replace(r"\|", "|")).items()
    return name, body


def rows(*, of_tensors: bool) -> list[Any]:
    return [pytest.param(*row[1:], id=row[0]) for row in ROWS if hasattr(OPS[row[0]], "infer") == of_tensors]


def test_every_op_of_the_registry_has_its_row() -> None:
    assert sorted(row[0] for row in ROWS) == sorted(OPS)


@pytest.mark.parametrize(("rule", "before", "after"), rows(of_tensors=False))
def test_names_before_and_after_are_true(rule: str, before: str, after: str) -> None:
    name, body = fields_of(rule)
    op: Any = OPS[name](**(body if isinstance(body, dict) and not OPS[name].body.only else {OPS[name].body.whole: body}))
    keys = quoted(before)
    extra = ["fc.bias"] if name == "keep" else []
    edits = [edit for edit in op.edits([*keys, *extra], quoted(after)) if edit.source not in extra]
    gone = {edit.source for edit in edits if not isinstance(edit, Copy | Tie)}
    assert [*(key for key in keys if key not in gone), *(edit.target for edit in edits if not isinstance(edit, Drop))] == quoted(after)


@pytest.mark.parametrize(("rule", "before", "after"), rows(of_tensors=True))
def test_specs_before_and_after_are_true(rule: str, before: str, after: str) -> None:
    name, body = fields_of(rule)
    parameters = {key: value for key, value in body.items() if key not in ENGINE_WORDS} if isinstance(body, dict) else {}
    outputs = specs_of(quoted(after))
    op: Any = OPS[name](**parameters)
    bound = op.bind(len(outputs), outputs if op.needs_target else None)
    assert bound.infer(specs_of(quoted(before))) == outputs


@pytest.mark.parametrize("name", OPS)
def test_every_parameter_is_on_the_page(name: str) -> None:
    names = {field.name for field in dataclasses.fields(OPS[name])} - {OPS[name].body.whole, *OPS[name].body.filled}
    assert [word for word in sorted(names) if not re.search(rf"`{word}\b|\b{word}:", PAGE)] == []
