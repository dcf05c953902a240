"""The case from which all this comes: a video ResNet-50 with shifted layers, in its wrappers, for other classes and other inputs."""

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import yaml
from headers import batch_norm, header, layers

import ckpt_surgeon as surgeon

Shapes = dict[str, tuple[int, ...]]
SHIFT = "the one module of these shapes here; confidence 0.999"
LEFT = "no part of the model takes it"


def _unit(place: str, shape: tuple[int, ...], norm: str, inner: str = "") -> Shapes:
    return {f"{place}{inner}.weight": shape, **batch_norm(norm, shape[0])}


def _model(
    prefix: str = "module.base_model.", *, shift: bool = False, channels: int = 3, head: tuple[str, int] = ("new_fc", 174)
) -> Shapes:
    """TSM's ResNet-50. shift: `.net` inside the first convolution of some blocks."""
    made = _unit(f"{prefix}conv1", (64, channels, 7, 7), f"{prefix}bn1")
    width = 64
    for stage, (depth, size) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(depth):
            place = f"{prefix}layer{stage}.{block}"
            inner = ".net" if shift and (stage != 3 or block % 2 == 0) else ""
            made |= _unit(f"{place}.conv1", (size, width, 1, 1), f"{place}.bn1", inner)
            made |= _unit(f"{place}.conv2", (size, size, 3, 3), f"{place}.bn2")
            made |= _unit(f"{place}.conv3", (4 * size, size, 1, 1), f"{place}.bn3")
            if not block:
                made |= _unit(f"{place}.downsample.0", (4 * size, width, 1, 1), f"{place}.downsample.1")
            width = 4 * size
    name, classes = head
    return made | layers(prefix.removesuffix("base_model."), {name: (classes, 2048)})


PLAIN = _model("", head=("fc", 1000))
ADAPTED = {"adapt_in_channels": {"match": "module.base_model.conv1.weight", "mode": "mean", "in_channels": "target"}}

# From, to, the rules which a person would write, and what those allow to be missing.
CASES: dict[str, tuple[Shapes, Shapes, list[dict[str, Any]], list[str]]] = {
    "shifted to not": (_model(shift=True), _model(), [{"align_names": {"segments": "net"}}], []),
    "not to shifted": (_model(), _model(shift=True), [{"align_names": {"segments": "net"}}], []),
    "out of a wrapper, other classes": (
        _model(shift=True, head=("new_fc", 400)),
        _model("base_model."),
        [{"drop": "module.new_fc.*"}, {"align_names": {"prefixes": "module.", "segments": "net"}}],
        ["new_fc.*"],
    ),
    "into a wrapper, other classes": (
        _model("base_model."),
        _model(shift=True, head=("new_fc", 400)),
        [{"drop": "new_fc.*"}, {"align_names": {"prefixes": "module.", "segments": "net"}}],
        ["module.new_fc.*"],
    ),
    "to a plain model": (
        _model(shift=True),
        _model("", head=("fc", 27)),
        [{"drop": "module.new_fc.*"}, {"align_names": {"prefixes": "module.base_model.", "segments": "net"}}],
        ["fc.*"],
    ),
    "from a plain model": (
        PLAIN,
        _model(shift=True),
        [{"drop": "fc.*"}, {"align_names": {"prefixes": "module.base_model.", "segments": "net"}}],
        ["module.new_fc.*"],
    ),
    "from colors to flow, other classes": (
        _model(shift=True),
        _model(channels=10, head=("new_fc", 27)),
        [{"drop": "module.new_fc.*"}, {"align_names": {"segments": "net"}}, ADAPTED],
        ["module.new_fc.*"],
    ),
    "from flow to colors": (_model(channels=10), _model(shift=True), [{"align_names": {"segments": "net"}}, ADAPTED], []),
    "a wrapper alone": (_model(), _model("base_model."), [{"strip_prefix": "module."}], []),
    "and back into it": (_model("base_model."), _model(), [{"add_prefix": "module."}], []),
    "nothing at all": (_model(shift=True), _model(shift=True), [], []),
}


@cache
def _suggested(name: str, order: str = "natural") -> surgeon.Suggestion:
    source, target, _, _ = CASES[name]
    given = dict(sorted(source.items())) if order == "sorted" else source
    return surgeon.suggestion(header(given), header(target))


def _said(found: surgeon.Suggestion) -> list[dict[str, Any]]:
    return [{op: body for op, body in entry.items() if op != "why"} for entry in _parsed(found.text).get("rules") or []]


def _parsed(text: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(text)
    return document


@pytest.mark.parametrize("order", ["natural", "sorted"])
@pytest.mark.parametrize("name", CASES)
class TestTheRules:
    def test_are_those_which_a_person_would_write(self, name: str, order: str) -> None:
        _, _, rules, missing = CASES[name]
        found = _suggested(name, order)
        assert _said(found) == rules
        assert _parsed(found.text).get("allow", {}).get("missing", []) == missing

    def test_make_a_plan_which_is_complete(self, name: str, order: str) -> None:
        source, target, _, missing = CASES[name]
        found = _suggested(name, order)
        assert found.is_settled
        plan = surgeon.plan(header(source), found.rules, header(target))
        heads = 2 * len(missing)
        assert len(plan.recipes) == len(target) - heads
        assert len(plan.dropped) == heads


@pytest.mark.parametrize("name", CASES)
def test_each_rule_tells_why(name: str) -> None:
    for rule in _suggested(name).rules.rules:
        assert rule.why
        assert rule.why == LEFT or "confidence 0." in rule.why


def test_the_text_is_this_to_the_letter() -> None:
    assert _suggested("from colors to flow, other classes").text == (
        "version: 1\n"
        "rules:\n"
        '  - drop: "module.new_fc.*"\n'
        f'    why: "{LEFT}"\n'
        "  - align_names: {segments: net}\n"
        f'    why: "{SHIFT}"\n'
        "  - adapt_in_channels: {match: module.base_model.conv1.weight, mode: mean, in_channels: target}\n"
        '    why: "names are alike, shapes differ as an op mends; confidence 0.999"\n'
        'allow: {missing: ["module.new_fc.*"]}\n'
    )


def test_what_is_suggested_for_one_pair_serves_its_like() -> None:
    """Rules from ten channels to three and other classes hold for any number of classes, too."""
    rules = _suggested("shifted to not").rules
    for classes in (174, 400):
        sides = [header(_model(shift=shift, head=("new_fc", classes))) for shift in (True, False)]
        assert surgeon.diff(sides[0], sides[1], rules).same


@pytest.mark.parametrize(
    ("one", "other"), list(pairwise(("shifted to not", "to a plain model", "from flow to colors", "from a plain model")))
)
def test_the_same_rules_are_not_suggested_for_everything(one: str, other: str) -> None:
    assert _suggested(one).text != _suggested(other).text
