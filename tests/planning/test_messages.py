"""Every refusal of a plan: its class, where it points, what it found, what it says to do."""

import pytest
from planned import header, planned

from ckpt_surgeon.errors import CoverageError, NothingLoadedError, RulesError, SurgeryError
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

AB = header(a__weight=(2, 3), b__weight=(2, 3))
WIDE = header(a__weight=(4, 3), b__weight=(2, 3))

# rules, target, where, what, hint; a rule stands somewhere, the end of a plan nowhere
CASES = {
    "nothing matches": ([{"drop": "*.bias"}], None, "rules[0].drop", "drop: nothing matches '*.bias'", "no key has a part 'bias'"),
    "nothing matches, near": ([{"drop": "*.wight"}], None, "rules[0].drop", "'*.wight'", "did you mean 'weight'?"),
    "nothing matches a wildcard": ([{"drop": "*"}], None, "rules[0].drop", "drop: nothing matches '*'", "`inspect`"),
    "nothing matches of another source": ([{"drop": "ema::a.*"}], None, "rules[0].drop",
                                        "drop: nothing matches 'ema::a.*'", "`copy`, `tie`"),
    "nothing matches a number": ([{"layers": {"match": "{i:int}", "pick": [0]}}], None, "rules[0].layers",
                                 "nothing matches '{i:int}'", "`inspect`"),
    "too many": ([{"drop": "**", "expect": 1}], None, "rules[0].drop", "expected 1 match of '**', found 2: a.weight, b.weight", ""),
    "two recipes": ([{"rename": {"a.weight": "b.weight"}}], None, "rules[0].rename",
                    "two recipes for b.weight: a.weight (rules[0].rename) and b.weight (as it stands in the source)", "drop or rename one"),
    "two recipes of two rules": ([{"rename": {"a.weight": "x"}}, {"copy": {"b.weight": "x"}}], None, "rules[1].copy",
                                 "two recipes for x: a.weight (rules[0].rename) and b.weight (rules[1].copy)", "drop or rename one"),
    "two recipes, one of them moved before": (
        [{"rename": {"a.weight": "x"}}, {"rename": {"b.weight": "x"}}], None, "rules[1].rename",
        "two recipes for x: a.weight (rules[0].rename) and b.weight (rules[1].rename)", "drop or rename"),
    "two recipes, one of them computed": ([{"cast": {"match": "a.weight", "dtype": "float64"}}, {"rename": {"b.weight": "a.weight"}}], None,
                                          "rules[1].rename", "a.weight (rules[0].cast) and b.weight (rules[1].rename)", "drop or rename"),
    "two recipes, one of them computed and moved": (
        [{"cast": {"match": "a.weight", "dtype": "float64"}}, {"rename": {"a.weight": "x"}}, {"copy": {"b.weight": "x"}}], None,
        "rules[2].copy", "two recipes for x: a.weight (rules[1].rename) and b.weight (rules[2].copy)", "drop or rename"),
    "two recipes, one of them moved and computed": (
        [{"rename": {"a.weight": "x"}}, {"cast": {"match": "x", "dtype": "float64"}}, {"tie": {"b.weight": "x"}}], None,
        "rules[2].tie", "two recipes for x: a.weight (rules[1].cast) and b.weight (rules[2].tie)", "drop or rename"),
    "two recipes, one of them there and back": (
        [{"rename": {"a.weight": "x"}}, {"rename": {"x": "a.weight"}}, {"rename": {"b.weight": "a.weight"}}], None, "rules[2].rename",
        "two recipes for a.weight: a.weight (rules[1].rename) and b.weight (rules[2].rename)", "drop or rename"),
    "no target": ([{"align_names": {"prefixes": ["m."]}}], None, "rules[0].align_names", "align_names needs a target", "--target"),
    "no target for when": ([{"drop": "**", "when": "mismatched"}], None, "rules[0].drop", "there is none", "--target"),
    "a key which the target lacks": ([{"rename": {"a.weight": "x"}}, {"reshape": {"match": "x", "shape": "target"}}], AB,
                                     "rules[1].reshape", "the target has no key x", "after the renames"),
    "an op which does not fit": ([{"transpose": {"match": "a.weight", "dims": [0, 2]}}], None, "rules[0].transpose",
                                 "a.weight: transpose: dim 2 of f32[2, 3] is out of range", "-2..1"),
    "a lossy cast": ([{"cast": {"match": "a.weight", "dtype": "bfloat16"}}], None, "rules[0].cast",
                     "a.weight: f32 -> bf16 would lose values", "allow: {casts: ['a.weight']}"),
    "another number of outputs": ([{"unstack": {"source": "a.weight", "target": ["x", "y", "z"]}}], None, "rules[0].unstack",
                                  "3 keys: x, y, z", ""),
    "missing": ([{"drop": "a.*"}], AB, "", "missing: 1 of the target's 2 keys are not in the source: a.weight", "--allow-missing"),
    "unexpected": ([{"copy": {"a.weight": "x"}}], AB, "", "unexpected: 1 key has no place in the target: x", "--allow-unexpected"),
    "mismatched": ([], WIDE, "", "mismatched: a.weight is f32[2, 3], the target wants f32[4, 3]", "`fit`, `reshape`"),
    "lossy for the target": ([], Header({**AB.entries, "a.weight": TensorSpec.of("int8", 2, 3)}), "",
                             "a.weight is f32, the target i8: loading it would lose values", "allow: {casts: ['a.weight']}"),
    "no tensor": ([], Header({**AB.entries, "a.weight": Opaque("dict")}), "", "a.weight is f32[2, 3], the target wants dict", "drop"),
    "nothing": ([{"add_prefix": "m."}], AB, "",
                "not one of the 2 keys (first: m.a.weight) is among the target's 2 (first: a.weight)", "`diff`"),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "target", "where", "what", "hint"), CASES.values(), ids=CASES)
def test_a_refusal_says_where_what_and_what_to_do(rules, target, where, what, hint):
    with pytest.raises(SurgeryError) as caught:
        planned(rules, AB, target)
    error = caught.value
    assert type(error) is (RulesError if where else NothingLoadedError if what.startswith("not one") else CoverageError)
    assert [problem.where for problem in error.problems] == [where]
    assert what in error.problems[0].what
    assert hint in error.hint
    assert bool(hint) is bool(error.hint)


def test_long_lists_are_cut_and_counted():
    many = Header({f"k{i}.{'x' * i}": TensorSpec.of("float32", 1) for i in range(40)} | AB.entries)
    with pytest.raises(RulesError, match=r"found 42: .* and 37 more"):
        planned([{"drop": "**", "expect": 1}], many)
    wrong = Header({key: TensorSpec.of("float32", 7) for key in many})
    with pytest.raises(CoverageError) as caught:
        planned([], many, wrong)
    assert str(caught.value).count("mismatched") == 13
    assert "mismatched: and 30 more keys" in str(caught.value)


def test_many_collisions_are_cut_and_counted():
    source = header(**{f"{side}__{i}": (1,) for side in "ab" for i in range(9)})
    with pytest.raises(RulesError) as caught:
        planned([{"rename": {"a.{i}": "b.{i}"}}], source)
    assert len(caught.value.problems) == 6
    assert caught.value.problems[-1].what == "... and 4 more keys with two recipes"


ODD = ["a\nb", "\x1b[2J", "x" * 5000, "\u202e", "a'b"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("build", [
    lambda name: ([{"drop": "**", "expect": 9}], None),
    lambda name: ([], AB),
    lambda name: ([{"reshape": {"match": "**", "shape": [5]}}], None),
    lambda name: ([{"cast": {"match": "**", "dtype": "float16"}}], None),
], ids=["expect", "unexpected", "an op", "a cast"])  # fmt: skip
def test_a_name_of_a_file_cannot_write_to_the_terminal(name, build):
    rules, target = build(name)
    with pytest.raises(SurgeryError) as caught:
        planned(rules, Header({**AB.entries, name: TensorSpec.of("float32", 2, 3)}), target)
    for problem in caught.value.problems:
        text = f"{problem.where}{problem.what}{problem.hint}"
        assert not any(mark in text for mark in "\n\x1b\u202e")
        assert len(text) < 1000


NOTES = [
    ("nothing to say", [], AB, AB, []),
    ("an idle pattern", [{"drop": ["a.weight", "zz"]}], AB, header(b__weight=(2, 3)),
     ["rules[0].drop: drop: nothing matches 'zz', one of 2 patterns"]),
    ("one for none", [], header(n=(1,)), header(n=()), ["n: f32[1] stands for f32[]"]),
    ("a wider target", [], Header(dict.fromkeys("xy", TensorSpec.of("float16", 2))), header(x=(2,), y=(2,)),
     ["f16, which loading casts to the target's f32: 2 (first: x)"]),
    ("a counter", [], header(bn__running_mean=(2,)), header(bn__running_mean=(2,), bn__num_batches_tracked=TensorSpec.of("int64")),
     ["absent from the source, and filled by torch itself: 1 (first: bn.num_batches_tracked)"]),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "source", "target", "wanted"), [case[1:] for case in NOTES], ids=[case[0] for case in NOTES])
def test_notes_say_what_nobody_needs_to_mend(rules, source, target, wanted):
    plan = planned(rules, source, target)
    assert list(plan.notes) == list(plan.outcome.notes) == wanted


def test_a_missed_coverage_says_both_shares():
    with pytest.raises(CoverageError, match=r"coverage is 0\.5000 of the target's elements, required is 0\.9"):
        planned([{"drop": "a.*"}, {"init": {"match": "a.weight", "value": "zeros"}}], AB, AB, require_coverage=0.9)
