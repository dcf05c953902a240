"""Each JSON document keeps to its schema under docs/schemas."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from report_samples import DIGESTS, HEADER, LINEAGE, MIXED, PLAN, PROOF, SAME, WRAPPED, named
from test_explanation_report import BACK, FORTH
from test_outcome_report import VERIFIED
from test_suggestion_report import OPEN, SETTLED, UNKNOWN
from test_values_report import EQUAL, VALUES

from ckpt_surgeon.errors import Problem
from ckpt_surgeon.report.diff import DiffReport
from ckpt_surgeon.report.explanation import ExplanationReport
from ckpt_surgeon.report.header import HeaderReport
from ckpt_surgeon.report.outcome import VerifiedReport, WrittenReport
from ckpt_surgeon.report.plan import PlanReport
from ckpt_surgeon.report.provenance import OriginReport, ProofReport
from ckpt_surgeon.report.recovery import RecoveryReport
from ckpt_surgeon.report.rendering import render
from ckpt_surgeon.report.suggestion import SuggestionReport
from ckpt_surgeon.spec import Header

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
NAMES = ("header", "diff", "plan", "outcome", "explanation", "recovery", "proof", "suggestion")

REPORTS = {
    "header": [
        HeaderReport(HEADER, "a.pth"),
        HeaderReport(HEADER, "a.pth", {"fc.bias"}),
        HeaderReport(Header({}), "empty"),
        HeaderReport(HEADER, "a.pth", digests=DIGESTS),
    ],
    "diff": [
        DiffReport(diff, "a", "b")
        for diff in (MIXED, SAME, WRAPPED, named(MIXED, nearest={"a": "b"}), named(SAME, values=EQUAL), named(MIXED, values=VALUES))
    ],
    "plan": [
        PlanReport(PLAN),
        PlanReport(replace(PLAN, target=None)),
        PlanReport(PLAN, obstacles=()),
        PlanReport(PLAN, obstacles=(Problem("no", "fc"),)),
    ],
    "outcome": [
        WrittenReport(PLAN, PLAN.outcome, "a.pth"),
        WrittenReport(PLAN, PLAN.outcome, "a.pth", VERIFIED),
        WrittenReport(PLAN, replace(PLAN.outcome, digests=DIGESTS), "a.pth"),
        VerifiedReport(VERIFIED, "a.pth", "net:flow"),
    ],
    "explanation": [
        ExplanationReport(BACK),
        ExplanationReport(FORTH),
        ExplanationReport(replace(BACK, entry=None, recipe=None)),
        *(OriginReport(key, HEADER, LINEAGE) for key in ("fc.weight", "conv.weight", "extra", "old.conv.weight", "gone")),
    ],
    "suggestion": [SuggestionReport(found, "a.pth", "net:flow") for found in (SETTLED, OPEN, UNKNOWN)],
    "recovery": [RecoveryReport("a.pth", done) for done in ("nothing", "finished", "undone")],
    "proof": [ProofReport(PROOF, "a.safetensors"), ProofReport(replace(PROOF, digested=6, made_anew=5, left_out=("fc.bias",)), "a.pth")],
}
CASES = [pytest.param(name, report, id=f"{name}-{i}") for name, reports in REPORTS.items() for i, report in enumerate(reports)]


def schema(name):
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_itself_and_says_what_it_is_for(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert schema(name)["description"]


@pytest.mark.parametrize(("name", "report"), CASES)
def test_a_document_keeps_to_its_schema(name, report):
    document = json.loads(render(report, "json"))
    jsonschema.validate(document, schema(name))
    assert (document["schema_version"], document["document"]) == (1, name)


@pytest.mark.parametrize(("name", "report"), CASES)
def test_a_schema_refuses_what_it_does_not_know(name, report):
    document = json.loads(render(report, "json"))
    for wrong in ({**document, "surprise": 1}, {**document, "schema_version": 2}, {key: document[key] for key in list(document)[:-3]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema(name))


def test_every_document_has_a_schema_and_every_schema_a_document():
    assert set(NAMES) == set(REPORTS) == {path.stem for path in SCHEMAS.glob("*.json")} - {"rules", "lineage"}
