"""What was written and what a verification came to."""

from dataclasses import replace

from report_samples import DIGESTS, PLAN

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.report.outcome import VerifiedReport, WrittenReport
from ckpt_surgeon.report.rendering import render

VERIFIED = Outcome(exact=("a", "b"), missing_keys=("fc.weight", "fc.bias"), coverage=1.0, notes=("loaded on cpu",))


def lines_of(report):
    return [" ".join(line.split()) for line in render(report).splitlines()]


def test_it_says_what_was_written_and_that_it_reads_back():
    line = lines_of(WrittenReport(PLAN, PLAN.outcome, "out/flow.pth"))[0]
    assert line.startswith("wrote out/flow.pth: 16 keys, ")
    assert line.endswith("read back as planned")


def test_what_is_new_is_told_apart():
    outcome = replace(PLAN.outcome, initialized=("head.0.w", "head.1.w"))
    lines = lines_of(WrittenReport(PLAN, outcome, "flow.pth"))
    assert "new: 3 keys" in lines
    assert "head.{0..1}.w x2 initialized" in lines
    assert "fc.weight missing, as allowed" in lines
    assert "filled by torch itself: bn.num_batches_tracked" in lines


def test_what_is_left_behind_is_told_with_the_optimizer_by_name():
    lines = lines_of(WrittenReport(PLAN, PLAN.outcome, "flow.pth"))
    assert "dropped: 2 keys" in lines
    assert "the optimizer state 'optimizer' is dropped: conv.weight is adapted or new" in lines


def test_a_conversion_speaks_of_no_coverage():
    report = WrittenReport(replace(PLAN, target=None), PLAN.outcome, "a.pt")
    assert not [line for line in lines_of(report) if line.startswith("coverage")]
    assert [line for line in lines_of(WrittenReport(PLAN, PLAN.outcome, "a.pt")) if line.startswith("coverage")]


def test_a_verification_is_part_of_the_report_only_where_it_was_asked_for():
    plain = WrittenReport(PLAN, PLAN.outcome, "flow.pth")
    verified = replace(plain, verified=VERIFIED)
    assert not [line for line in lines_of(plain) if line.startswith("verified")]
    assert [line for line in lines_of(verified) if line.startswith("verified flow.pth")]
    assert "loaded on cpu" in lines_of(verified)
    assert plain.document()["verified"] is None
    assert verified.document()["verified"]["action"] == "verified"


def test_notes_are_told_once():
    note = PLAN.notes[0]
    report = WrittenReport(PLAN, replace(PLAN.outcome, notes=(note, "another")), "flow.pth")
    assert lines_of(report).count(note) == 1
    assert report.document()["notes"] == [note, "another"]


def test_a_verification_says_what_was_read_and_where():
    lines = lines_of(VerifiedReport(VERIFIED, "flow.pth", "net:flow"))
    assert lines[0].startswith("verified flow.pth: 2 keys")
    assert "coverage: 100.0 % of the wanted elements, 100.0 % of the wanted keys" in lines
    assert "new: 2 keys" in lines
    assert "loaded on cpu" in lines


def test_details_unfold_each_key():
    outcome = replace(VERIFIED, missing_keys=("h.0.w", "h.1.w"))
    assert "h.{0..1}.w x2 missing, as allowed" in lines_of(VerifiedReport(outcome, "a", "b"))
    assert "h.0.w missing, as allowed" in lines_of(VerifiedReport(outcome, "a", "b", detailed=True))


def test_the_document_bears_torchs_names():
    document = VerifiedReport(VERIFIED, "flow.pth", "net:flow").document()
    assert (document["action"], document["path"], document["target"]) == ("verified", "flow.pth", "net:flow")
    assert document["missing_keys"] == ["fc.weight", "fc.bias"]
    assert document["unexpected_keys"] == []
    assert document["exact"] == ["a", "b"]


def test_digests_are_told_where_they_were_taken():
    outcome = replace(PLAN.outcome, digests=DIGESTS)
    assert f"digest: sha256:{DIGESTS.whole}" in lines_of(WrittenReport(PLAN, outcome, "flow.pth"))
    line = f"fc.bias {DIGESTS.tensors['fc.bias']}"
    assert line not in lines_of(WrittenReport(PLAN, outcome, "flow.pth"))
    assert line in lines_of(WrittenReport(PLAN, outcome, "flow.pth", detailed=True))
    assert not [line for line in lines_of(WrittenReport(PLAN, PLAN.outcome, "flow.pth", detailed=True)) if "digest" in line]
    assert WrittenReport(PLAN, outcome, "flow.pth").document()["digests"]["tensors"] == dict(DIGESTS.tensors)
