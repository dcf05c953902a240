"""`explain`: the key, the rules which touched it, the other end."""

from dataclasses import replace

from report_samples import PLAN, spec

from ckpt_surgeon.planning.explaining import Explanation, Passage
from ckpt_surgeon.report.explanation import ExplanationReport
from ckpt_surgeon.report.rendering import render

RENAMED = Passage("rules.yaml:3:5", "align_names", "DataParallel", ("module.conv.weight",), ("conv.weight",))
BACK = Explanation(
    "conv.weight",
    "target",
    spec(8, 10, 7, 7),
    (RENAMED, Passage("rules.yaml:6:5", "adapt_in_channels", "", ("conv.weight",), ("conv.weight",))),
    ("module.conv.weight",),
    "adapted",
    PLAN.recipes["conv.weight"],
)
FORTH = Explanation(
    "module.fc", "source", spec(4), (Passage("r.yaml:2:5", "drop", "", ("module.fc",), ()),), (), reason="dropped by r.yaml:2:5"
)


def lines_of(explanation):
    return [" ".join(line.split()) for line in render(ExplanationReport(explanation)).splitlines()]


def test_a_targets_key_is_followed_back():
    lines = lines_of(BACK)
    assert lines[0] == "target key conv.weight f32[8, 10, 7, 7]: adapted"
    assert lines[1].startswith("computed by adapt_in_channels(mode=mean")
    assert "rules.yaml:3:5 align_names module.conv.weight conv.weight DataParallel" in lines
    assert lines[lines.index("from") + 3] == "module.conv.weight"


def test_rules_stand_in_the_order_in_which_they_run():
    lines = lines_of(BACK)
    first, second = (next(i for i, line in enumerate(lines) if line.startswith(where)) for where in ("rules.yaml:3", "rules.yaml:6"))
    assert first < second


def test_a_dropped_key_says_why_it_leads_nowhere():
    lines = lines_of(FORTH)
    assert lines[0] == "source key module.fc f32[4]"
    assert "dropped by r.yaml:2:5" in lines
    assert "r.yaml:2:5 drop module.fc (nothing)" in lines
    assert "no target key" in lines


def test_a_key_which_no_rule_touches_says_so():
    lines = lines_of(Explanation("a", "source", spec(1), (), ("a",)))
    assert "no rule touches it" in lines
    assert lines[-1] == "a"


def test_long_groups_are_cut_short():
    many = replace(RENAMED, inputs=tuple(f"e.{i}" for i in range(20)))
    assert any("e.7 and 12 more" in line for line in lines_of(replace(BACK, passages=(many,))))


def test_the_document_holds_the_way_and_the_recipe():
    document = ExplanationReport(BACK).document()
    assert document["passages"][0] == {
        "where": "rules.yaml:3:5",
        "op": "align_names",
        "why": "DataParallel",
        "inputs": ["module.conv.weight"],
        "outputs": ["conv.weight"],
    }
    assert document["recipe"]["class"] == "adapted"
    assert document["recipe"]["sources"] == ["module.conv.weight"]
    assert document["ends"] == ["module.conv.weight"]


def test_a_sources_key_has_no_recipe_of_its_own():
    document = ExplanationReport(FORTH).document()
    assert document["recipe"] is None
    assert document["reason"] == "dropped by r.yaml:2:5"
