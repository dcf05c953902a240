"""What a plan says of each source key and each target key: nothing twice, nothing forgotten, nothing wrong."""

from dataclasses import replace

import pytest
from planned import header, names, planned

from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Envelope, Opaque, TensorSpec

ABC = header(a=(2,), b=(2,), c=(1,))
QKV = header(qkv=(6, 3), c=(1,))
CONCAT = {"concat": {"source": ["a", "b"], "target": "ab"}}
SPLIT = {"split": {"source": "qkv", "target": ["q", "k", "v"]}}

DROPPED = [
    ("nothing", [], ABC, None, {}),
    ("a key by a rule", [{"drop": "a"}], ABC, None, {"a": "dropped by rules[0].drop (drop)"}),
    ("what keep leaves", [{"keep": "c"}], ABC, None, dict.fromkeys("ab", "dropped by rules[0].keep (keep)")),
    ("under its later name", [{"rename": {"a": "x"}}, {"drop": "x"}], ABC, None, {"a": "dropped by rules[1].drop (drop)"}),
    ("all which a computed one was made of", [CONCAT, {"drop": "ab"}], ABC, None, dict.fromkeys("ab", "dropped by rules[1].drop (drop)")),
    ("all parts of a tensor", [SPLIT, {"drop": ["q", "k"]}, {"drop": "v"}], QKV, None, {"qkv": "dropped by rules[2].drop (drop)"}),
    ("not a tensor of which a part stays", [SPLIT, {"drop": ["q", "k"]}], QKV, None, {}),
    ("not a key whose copy stays", [{"copy": {"a": "x"}}, {"drop": "a"}], ABC, None, {}),
    ("a copied key with its copies", [{"copy": {"a": "x"}}, {"drop": ["a", "x"]}], ABC, None, {"a": "dropped by rules[1].drop (drop)"}),
    ("what the target has no place for", [], ABC, header(a=(2,), b=(2,)), {"c": "the target has no such key"}),
    ("a renamed one", [{"rename": {"c": "x"}}], ABC, header(a=(2,), b=(2,)), {"c": "the target has no key x, which it became"}),
    ("a computed one", [CONCAT], ABC, header(c=(1,)), dict.fromkeys("ab", "the target has no key ab, which it became")),
    ("not a key whose copy is left over", [{"copy": {"a": "x"}}], ABC, ABC, {}),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "source", "target", "wanted"), [case[1:] for case in DROPPED], ids=[case[0] for case in DROPPED])
def test_a_source_key_is_dropped_when_nothing_of_it_is_left_and_the_reason_is_told(rules, source, target, wanted):
    plan = planned(rules, source, target, allow={"unexpected": ["**"]})
    assert dict(plan.dropped) == wanted
    assert plan.outcome.dropped == plan.dropped


UNEXPECTED = [
    ("as it stands", [], header(a=(2,), b=(2,)), ("c",)),
    ("by the name which a load would see", [{"rename": {"c": "x"}}], header(a=(2,), b=(2,)), ("x",)),
    ("computed", [CONCAT], header(c=(1,)), ("ab",)),
    ("a copy, not its source", [{"copy": {"a": "x"}}], ABC, ("x",)),
    ("none", [], ABC, ()),
]


@pytest.mark.parametrize(("rules", "target", "wanted"), [case[1:] for case in UNEXPECTED], ids=[case[0] for case in UNEXPECTED])
def test_unexpected_keys_are_those_which_the_target_lacks_after_the_rules(rules, target, wanted):
    outcome = planned(rules, ABC, target, allow={"unexpected": ["**"]}).outcome
    assert outcome.unexpected_keys == wanted
    assert not set(outcome.unexpected_keys) & set(outcome.classes)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([{"copy": {"a": "x"}}, {"rename": {"x": "y"}}], [{"copy": {"b": "x"}}]),
        ([{"copy": {"a": "x"}}, {"rename": {"x": "y"}}], [{"copy": {"a": "x"}}]),
    ],
    ids=["of two tensors", "of one tensor"],
)
def test_copies_are_independent_though_rules_of_two_documents_stand_at_one_place(first, second):
    plan = make_plan(as_rules(first).joined(as_rules(second)), ABC, None)
    assert plan.ties == {}
    assert set(plan.recipes) == {"a", "b", "c", "x", "y"}


CLASSES = [
    ("exact", [], ABC, {"a": "exact", "b": "exact", "c": "exact"}),
    ("a swap", [{"rename": {"a": "b", "b": "a"}}], ABC, {"a": "renamed", "b": "renamed", "c": "exact"}),
    ("there and back", [{"rename": {"a": "x"}}, {"rename": {"x": "a"}}], ABC, {"a": "exact", "b": "exact", "c": "exact"}),
    ("a copy", [{"copy": {"a": "x"}}, {"drop": ["b", "c"]}], header(a=(2,), x=(2,)), {"a": "exact", "x": "renamed"}),
    ("a reshape which changes nothing", [{"reshape": {"match": "a", "shape": [2]}}], ABC, {"a": "exact", "b": "exact", "c": "exact"}),
    ("a reshape", [{"reshape": {"match": "c", "shape": [1, 1]}}], header(a=(2,), b=(2,), c=(1, 1)),
     {"a": "exact", "b": "exact", "c": "adapted"}),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "target", "wanted"), [case[1:] for case in CLASSES], ids=[case[0] for case in CLASSES])
def test_each_target_key_is_of_one_class(rules, target, wanted):
    assert planned(rules, ABC, target).outcome.classes == wanted


def test_new_values_stay_new_when_an_op_changes_their_shape():
    rules = [{"init": {"match": "b", "value": "zeros", "shape": [2], "dtype": "float32"}}, {"unsqueeze": {"match": "b", "dims": [0]}}]
    outcome = planned(rules, header(a=(2,)), header(a=(2,), b=(1, 2))).outcome
    assert (outcome.exact, outcome.initialized) == (("a",), ("b",))
    assert outcome.coverage == 0.5


def test_new_values_joined_with_old_ones_are_adapted():
    rules = [
        {"init": {"match": "more", "value": "zeros", "shape": [1, 3], "dtype": "float32"}},
        {"concat": {"source": ["w", "more"], "target": "w"}},
    ]
    outcome = planned(rules, header(w=(2, 3))).outcome
    assert (outcome.adapted, outcome.initialized) == (("w",), ())


def test_tied_target_keys_have_their_kinds_though_the_source_has_one_of_them():
    kinds = {"embed": "parameter", "head": "parameter", "steps": "buffer"}
    target = header({"head": "embed"}, {"kinds": kinds}, embed=(4, 2), head=(4, 2), steps=())
    assert planned([], header(embed=(4, 2), steps=()), target).header.kinds == kinds


def test_the_sources_kinds_follow_their_keys_and_a_computed_key_has_none():
    source = replace(ABC, kinds={"a": "parameter", "b": "buffer", "c": "parameter"})
    plan = planned([{"rename": {"a": "x"}}, {"reshape": {"match": "c", "shape": [1, 1]}}], source)
    assert plan.header.kinds == {"x": "parameter", "b": "buffer"}


METADATA = {path: {"version": i} for i, path in enumerate(["", "aux", "net", "net.bn"])}
MODULES = header(None, {"torch_metadata": METADATA}, aux__w=(1,), net__bn__w=(2,))


def test_the_metadata_of_what_the_target_has_no_place_for_stays_behind():
    plan = planned([], MODULES, header(net__bn__w=(2,)), allow={"unexpected": ["aux.**"]})
    assert plan.header.torch_metadata == {path: METADATA[path] for path in ("", "net", "net.bn")}


MOVES = [
    ("strip_prefix", {"strip_prefix": "net"}, {"": "", "aux": "aux", "bn": "net.bn"}),
    ("add_prefix", {"add_prefix": "m."}, {"": "", "m": "", "m.aux": "aux", "m.net": "net", "m.net.bn": "net.bn"}),
    (
        "add_prefix to some",
        {"add_prefix": {"prefix": "m.", "match": "aux.*"}},
        {"": "", "m": "", "m.aux": "aux", "net": "net", "net.bn": "net.bn"},
    ),
    ("replace", {"replace": {"net.bn": "norm"}}, {"": "", "aux": "aux", "norm": "net.bn"}),
    ("rename", {"rename": {"net.bn.w": "head.w"}}, {"": "", "aux": "aux", "head": "net.bn"}),
    ("drop", {"drop": "aux.**"}, {"": "", "net": "net", "net.bn": "net.bn"}),
    ("keep", {"keep": "aux.**"}, {"": "", "aux": "aux"}),
    ("copy", {"copy": {"aux.w": "twin.w"}}, {"": "", "aux": "aux", "twin": "aux", "net": "net", "net.bn": "net.bn"}),
    ("sub", {"sub": {r"\.bn\.": "."}}, {"": "", "aux": "aux", "net": "net.bn"}),
]


@pytest.mark.parametrize(("rule", "wanted"), [case[1:] for case in MOVES], ids=[case[0] for case in MOVES])
def test_metadata_goes_where_each_name_op_takes_its_modules(rule, wanted):
    found = planned([rule], MODULES).header.torch_metadata
    assert {path: entry["version"] for path, entry in found.items()} == {
        path: METADATA[before]["version"] for path, before in wanted.items()
    }


def test_metadata_of_tied_names_stays_with_each_module():
    metadata = {path: {"version": i} for i, path in enumerate(["", "a", "b", "c"])}
    source = header({"b.w": "a.w"}, {"torch_metadata": metadata}, a__w=(1,), b__w=(1,), c__w=(2,))
    assert planned([], source).header.torch_metadata == metadata
    assert planned([{"drop": "a.w"}], source).header.torch_metadata == {path: metadata[path] for path in ("", "b", "c")}


def test_metadata_takes_the_targets_names_with_align_names():
    target = header(aux__w=(1,), bn__w=(2,))
    found = planned([{"align_names": {"prefixes": ["net."]}}], MODULES, target).header.torch_metadata
    assert found["bn"] == METADATA["net.bn"]
    assert "net.bn" not in found


OPTIMIZED = header(None, {"envelope": Envelope("state_dict", optimizers=("optimizer",))}, w=(2,), _extra_state=Opaque("dict"), b=(2,))


@pytest.mark.parametrize("rules", [[], [{"drop": "_extra_state"}], [{"rename": {"_extra_state": "x"}}]], ids=["kept", "dropped", "renamed"])
def test_an_entry_which_is_no_tensor_is_no_parameter_to_an_optimizer(rules):
    plan = planned(rules, OPTIMIZED)
    assert plan.keeps_optimizer
    assert plan.notes == ()


def test_require_coverage_only_adds_to_the_rules():
    rules = [{"init": {"match": "c", "value": "ones"}}]
    source = header(a=(2,), b=(2,))
    assert planned(rules, source, ABC, require_coverage=0.8).outcome.coverage == 0.8
    assert names(planned(rules, source, ABC))["c"] == []
    assert planned(rules, source, ABC, allow={"missing": ["c"]}, require_coverage=1.0).outcome.coverage == 1.0
    assert TensorSpec.of("float32", 1) == planned(rules, source, ABC).header.entries["c"]
