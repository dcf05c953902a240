"""`diff`: the verdict in numbers, each kind of difference folded, what may help."""

from report_samples import BLOCKS, MIXED, SAME, WRAPPED, named, spec

from ckpt_surgeon.comparison import compare
from ckpt_surgeon.report.diff import DiffReport
from ckpt_surgeon.report.rendering import render
from ckpt_surgeon.spec import Header


def lines_of(diff, **options):
    text = render(DiffReport(diff, "a.pth", "net:build", **options))
    return [" ".join(line.split()) for line in text.splitlines()]


def test_nothing_of_a_wrapped_checkpoint_matches_and_it_says_so_first():
    assert lines_of(WRAPPED)[0] == "0 of 12 keys match (0.0 % of elements)"


def test_repeated_blocks_are_one_row():
    lines = lines_of(WRAPPED)
    assert "layer{1..4}.{0..2}.conv1.weight x12" in lines
    assert "module.layer{1..4}.{0..2}.conv1.weight x12" in lines
    assert "missing (in the target only): 12 keys, 768 elements" in lines
    assert "unexpected (in the source only): 12 keys, 768 elements" in lines


def test_each_key_has_its_row_where_details_are_asked_for():
    lines = lines_of(WRAPPED, detailed=True)
    assert [line for line in lines if line.startswith("layer")] == [f"{key} f32[8, 8, 1, 1]" for key in BLOCKS]
    assert not [line for line in lines if "x12" in line]


def test_wrappers_come_with_the_rule_which_takes_them_away():
    lines = lines_of(WRAPPED)
    assert "wrappers: 12 more names would agree with this rule" in lines
    assert "align_names: {prefixes: [module.]}" in lines
    assert "did you mean" not in lines


def test_each_kind_of_difference_has_its_section():
    lines = lines_of(MIXED)
    assert lines[0].startswith("4 of 6 keys match")
    assert "gone.weight f32[6]" in lines
    assert "left.over f32[7]" in lines
    assert "mismatched: 1 key" in lines
    assert "a.weight f32[2, 3] f32[2, 4]" in lines
    assert "casts: 1 key" in lines
    assert "c.weight f16 f32" in lines
    assert "filled by torch itself: bn.num_batches_tracked" in lines


def test_the_same_headers_leave_nothing_to_say():
    lines = lines_of(SAME)
    assert lines == ["5 of 5 keys match (100.0 % of elements)"]


def test_stat_is_the_numbers_only():
    assert lines_of(MIXED, stat=True)[1:] == ["1 missing, 1 unexpected, 1 mismatched, 1 casts"]


def test_guesses_stand_where_no_wrapper_explains_the_names():
    diff = named(MIXED, nearest={"gone.weight": "left.over"}, wrappers=None)
    lines = lines_of(diff)
    assert "did you mean" in lines
    assert "gone.weight left.over" in lines


def test_few_guesses_unless_details_are_asked_for():
    diff = named(MIXED, nearest={f"gone{i}.w": f"left{i}.w" for i in "abcdefgh"}, wrappers=None)
    assert len([line for line in lines_of(diff) if line.startswith("gone") and "left" in line]) == 5
    assert len([line for line in lines_of(diff, detailed=True) if line.startswith("gone") and "left" in line]) == 8


def test_what_was_allowed_and_noted_is_told():
    lines = lines_of(named(MIXED, allowed=("x.weight",), notes=("y: f32[1] stands for f32[]",)))
    assert "allowed to be missing or unexpected: x.weight" in lines
    assert "y: f32[1] stands for f32[]" in lines


def test_many_allowed_keys_are_named_in_short():
    keys = tuple(f"{letter}.weight" for letter in "abcdefgh")
    line = next(line for line in lines_of(named(MIXED, allowed=keys)) if line.startswith("allowed"))
    assert line.endswith("a.weight, b.weight, c.weight, d.weight, e.weight and 3 more")


def test_equal_changes_of_repeated_blocks_are_one_row():
    diff = compare(Header(dict.fromkeys(BLOCKS, spec(8, 4))), Header(dict.fromkeys(BLOCKS, spec(8, 8))))
    assert "layer{1..4}.{0..2}.conv1.weight x12 f32[8, 4] f32[8, 8]" in lines_of(diff)


def test_the_verdict_is_green_or_red():
    good, bad = render(DiffReport(SAME, "a", "b"), color=True), render(DiffReport(MIXED, "a", "b"), color=True)
    assert good.startswith("\x1b[32m5 of 5")
    assert bad.startswith("\x1b[31m4 of 6")


def test_the_document_holds_the_whole_diff():
    document = DiffReport(MIXED, "a.pth", "net:build").document()
    assert (document["source"], document["target"], document["same"]) == ("a.pth", "net:build", False)
    assert document["missing"] == {"gone.weight": {"shape": [6], "dtype": "float32"}}
    assert document["unexpected"] == {"left.over": {"shape": [7], "dtype": "float32"}}
    assert document["mismatched"]["a.weight"]["source"] == {"shape": [2, 3], "dtype": "float32"}
    assert document["casts"] == {"c.weight": {"source": "float16", "target": "float32"}}
    assert document["matched"] == ["b.weight", "c.weight", "bn.running_mean"]
    assert document["filled"] == ["bn.num_batches_tracked"]
    assert document["coverage"] == MIXED.coverage


def test_wrappers_are_in_the_document_or_null():
    found = DiffReport(WRAPPED, "a", "b").document()["wrappers"]
    assert found == {"prefixes": ["module"], "segments": [], "matches": 12, "rule": "align_names: {prefixes: [module.]}"}
    assert DiffReport(SAME, "a", "b").document()["wrappers"] is None


def test_markdown_names_both_sides_in_the_title():
    title = render(DiffReport(SAME, "a.pth", "net:build"), "md").splitlines()[0]
    assert title == "# diff a.pth net:build"
