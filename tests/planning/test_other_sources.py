"""Rules which take keys of other sources: what they take, what stays apart, and what is refused."""

import pytest
from planned import header

from ckpt_surgeon.errors import CoverageError, RulesError
from ckpt_surgeon.planning import explain, make_plan, sources_of
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

MAIN = header(a=(2, 3), b=(4,))
EMA = header(a=(2, 3), b=(4,), c=(5,))


def planned(rules, main=MAIN, target=None, **others):
    return make_plan(as_rules({"version": 1, "rules": rules}), main, target, others=others)


def names(plan):
    return {key: [source.name for source in sources_of(recipe)] for key, recipe in plan.recipes.items()}


TAKES = {
    "copy": ([{"copy": {"ema::c": "c"}}], {"a": ["a"], "b": ["b"], "c": ["ema::c"]}),
    "rename": ([{"rename": {"ema::{k:path}": "ema.{k}"}}], {"a": ["a"], "b": ["b"], **{f"ema.{k}": [f"ema::{k}"] for k in "abc"}}),
    "the place of a key which leaves it in the same rule": (
        [{"rename": {"a": "old", "ema::a": "a"}}],
        {"old": ["a"], "b": ["b"], "a": ["ema::a"]},
    ),
    "twice": ([{"copy": {"ema::c": "c"}}, {"copy": {"ema::c": "d"}}], {"a": ["a"], "b": ["b"], "c": ["ema::c"], "d": ["ema::c"]}),
    "one tensor of both": (
        [{"stack": {"source": ["a", "ema::a"], "target": "s"}}],
        {"s": ["a", "ema::a"], "b": ["b"]},
    ),
    "keys of other sources alone": (
        [{"stack": {"source": "ema::{x:a|a2}", "target": "s"}}],
        {"a": ["a"], "b": ["b"], "s": ["ema::a", "ema::a2"]},
    ),
    "one for one": ([{"transpose": {"source": "ema::a", "target": "t"}}], {"a": ["a"], "b": ["b"], "t": ["ema::a"]}),
    "a pattern without an alias": ([{"drop": "**", "expect": 2}, {"copy": {"ema::a": "a"}}], {"a": ["ema::a"]}),
}


@pytest.mark.parametrize(("rules", "wanted"), TAKES.values(), ids=TAKES)
def test_rules_take_what_they_name(rules, wanted):
    assert names(planned(rules, ema=header(a=(2, 3), a2=(2, 3), b=(4,), c=(5,)) if "a2" in str(rules) else EMA)) == wanted


def test_the_class_follows_the_name_and_the_bytes():
    plan = planned([{"drop": "**"}, {"copy": {"ema::a": "a", "ema::c": "d"}}, {"rename": {"ema::b": "b"}}], ema=EMA)
    assert plan.outcome.classes == {"b": "exact", "a": "exact", "d": "renamed"}
    assert set(plan.dropped) == {"a", "b"}


def test_a_tensor_which_is_tied_in_another_source_may_be_tied_here_or_not():
    tied = header(_aliases={"b": "a"}, a=(2,), b=(2,))
    both = {"ema::a": "x", "ema::b": "y"}
    assert planned([{"rename": both}], ema=tied).ties == {"y": "x"}
    assert planned([{"copy": both}], ema=tied).ties == {}


def test_coverage_counts_what_comes_of_other_sources():
    plan = planned([{"copy": {"ema::c": "c"}}], target=header(a=(2, 3), b=(4,), c=(5,)), ema=EMA)
    assert plan.outcome.coverage == 1.0
    with pytest.raises(CoverageError, match="missing"):
        planned([], target=header(a=(2, 3), b=(4,), c=(5,)), ema=EMA)


def test_a_source_which_is_declared_and_not_used_is_a_note():
    assert planned([], ema=EMA).notes == ("the source 'ema' is declared, and nothing of it is used",)
    assert planned([{"copy": {"ema::c": "c"}}], ema=EMA).notes == ()


def test_a_key_with_two_colons_is_a_key_like_any_other_unless_a_source_is_called_so():
    odd = Header({"ns::a": TensorSpec.of("float32", 2), "b": TensorSpec.of("float32", 2)})
    assert names(planned([{"rename": {"ns::a": "a"}}], odd)) == {"a": ["ns::a"], "b": ["b"]}
    assert names(planned([{"stack": {"source": ["ns::a", "b"], "target": "s"}}], odd, ema=EMA)) == {"s": ["ns::a", "b"]}
    with pytest.raises(RulesError, match="ns::a begins like a key of the source 'ns'"):
        planned([], odd, ns=EMA)


REFUSED = {
    "an alias which is not declared": ([{"copy": {"teacher::a": "c"}}], "no source is called 'teacher'.*\nhint: declared: ema"),
    "of a rule on tensors": ([{"stack": {"source": ["a", "teacher::a"], "target": "s"}}], "no source is called 'teacher'"),
    "even where nothing has to match": ([{"rename": {"teacher::a": "c"}, "expect": "any"}], "no source is called 'teacher'"),
    "match": ([{"transpose": {"match": "ema::a"}}], "`match` is for keys of the main source"),
    "a target": ([{"rename": {"a": "ema::a"}}], "ema::a begins like a key of the source 'ema'"),
    "nothing there": ([{"copy": {"ema::z": "z", "a": "y"}}], "copy: none of its patterns matches a key of the source 'ema'"),
    "two recipes": ([{"copy": {"ema::a": "a"}}], r"two recipes for a: a \(as it stands in the source\) and ema::a \(rules\[0\].copy\)"),
    "a group which lacks one": ([{"stack": {"source": ["{k}", "ema::{k}"], "target": "s.{k}"}}], "the group of ema::c lacks"),
}


@pytest.mark.parametrize(("rules", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused(rules, says):
    with pytest.raises(RulesError, match=f"(?s){says}") as caught:
        planned(rules, ema=EMA)
    assert caught.value.exit_code == 4


def test_without_any_source_the_hint_says_how_to_declare_one():
    with pytest.raises(RulesError, match=r"declare it: `sources: \{ema: PATH\}`, or --source ema=PATH"):
        planned([{"copy": {"ema::a": "c"}}])


def test_nothing_has_to_match_where_the_rule_says_so():
    assert names(planned([{"copy": {"ema::z": "z"}, "expect": "any"}], ema=EMA)) == {"a": ["a"], "b": ["b"]}


def test_only_tensors_are_taken():
    with pytest.raises(RulesError, match="ema::x is no plain tensor; of another source only tensors are taken"):
        planned([{"copy": {"ema::x": "x"}}], ema=header(x=Opaque("sparse")))


def test_metadata_comes_with_the_modules_of_the_source_which_they_come_of():
    main = header(_fields={"torch_metadata": {"": {"version": 1}, "old": {"version": 1}}}, old__w=(2,))
    metadata = {"": {"version": 9}, "bn": {"version": 2}, "left": {"version": 3}}
    ema = header(_fields={"torch_metadata": metadata}, bn__w=(2,), left__w=(2,))
    plan = planned([{"rename": {"ema::bn.w": "norm.w"}}], main, ema=ema)
    assert plan.header.torch_metadata == {"": {"version": 1}, "old": {"version": 1}, "norm": {"version": 2}}


def test_explain_follows_keys_of_other_sources_both_ways():
    plan = planned([{"rename": {"ema::c": "c"}}, {"stack": {"source": ["a", "ema::a"], "target": "s"}}], ema=EMA)
    assert explain(plan, "s").ends == ("a", "ema::a")
    assert explain(plan, "ema::c").ends == ("c",)
    assert explain(plan, "ema::b").ends == ()
    assert explain(plan, "ema::c").entry == EMA.entries["c"]


def test_the_digest_knows_aliases_and_no_paths():
    rules = [{"copy": {"ema::a": "c"}}]
    digests = {as_rules({"version": 1, "sources": {"ema": path}, "rules": rules}).digest for path in ("a.pt", "b.pt")}
    other = as_rules({"version": 1, "sources": {"x": "a.pt"}, "rules": [{"copy": {"x::a": "c"}}]}).digest
    assert len(digests) == 1
    assert other not in digests
