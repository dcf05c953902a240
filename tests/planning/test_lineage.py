"""Plan -> Lineage: sources, steps, classes, rules; and its digest."""

import json

import pytest
from planned import header, planned

from ckpt_surgeon.planning import lineage_document, lineage_of, parse_lineage
from ckpt_surgeon.planning.manifest import lineage_text
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

QKV = header(q__w=(2, 3), k__w=(2, 3), v__w=(2, 3), n__w=(4,))
PACK = {"concat": {"source": "{x:q|k|v}.w", "target": "qkv.w"}}


def told(plan, key):
    origin = lineage_of(plan).origin(key)
    return origin.sources, [(work.op, work.inputs) for work in origin.way.steps], origin.classification


def rules_of(plan, key):
    lineage = lineage_of(plan)
    return [(lineage.rules[i].number, lineage.rules[i].op) for i in lineage.origin(key).way.rules]


def test_one_key_of_many_and_keys_which_stay():
    plan = planned([PACK], QKV)
    assert told(plan, "qkv.w") == (("q.w", "k.w", "v.w"), [("concat", (0, 1, 2))], "adapted")
    assert told(plan, "n.w") == (("n.w",), [], "exact")
    assert rules_of(plan, "qkv.w") == [(1, "concat")]
    assert rules_of(plan, "n.w") == []


def test_many_keys_of_one():
    plan = planned([{"split": {"source": "n.w", "target": ["a", "b"]}}], QKV)
    lineage = lineage_of(plan)
    assert [lineage.origin(key).way.steps[0].output for key in ("a", "b")] == [0, 1]
    assert told(plan, "b") == (("n.w",), [("split", (0,))], "adapted")


def test_ops_on_ops_count_on_from_the_sources():
    plan = planned([PACK, {"transpose": {"match": "qkv.w"}}, {"rename": {"qkv.w": "p.w"}}], QKV)
    assert told(plan, "p.w") == (("q.w", "k.w", "v.w"), [("concat", (0, 1, 2)), ("transpose", (3,))], "adapted")
    assert rules_of(plan, "p.w") == [(1, "concat"), (2, "transpose"), (3, "rename")]


def test_a_tensor_which_is_read_twice_is_one_source():
    plan = planned([{"copy": {"n.w": "m.w"}}, {"concat": {"source": ["n.w", "m.w"], "target": "nm"}}], QKV)
    assert told(plan, "nm") == (("n.w",), [("concat", (0, 0))], "adapted")


def test_new_tensors_come_from_nothing():
    plan = planned([{"init": {"match": "new", "value": "zeros", "shape": [2]}}], QKV)
    assert told(plan, "new") == ((), [("init", ())], "initialized")


def test_a_swap_is_told_from_both_ends():
    plan = planned([{"rename": {"q.w": "k.w", "k.w": "q.w"}}], QKV)
    assert told(plan, "q.w") == (("k.w",), [], "renamed")
    assert told(plan, "k.w") == (("q.w",), [], "renamed")


def test_names_which_were_tied_come_from_themselves_and_new_ones_from_their_tensor():
    source = header({"b": "a"}, a=(2,), b=(2,))
    plan = planned([{"tie": {"a": "c"}}], source)
    assert [told(plan, key)[0] for key in ("a", "b", "c")] == [("a",), ("b",), ("a",)]
    assert [told(plan, key)[2] for key in ("a", "b", "c")] == ["exact", "exact", "renamed"]


def test_rules_are_numbered_among_all_which_were_given_though_some_did_not_run():
    plan = planned([{"drop": "q.w", "if": "no"}, {"add_prefix": "m."}], QKV, variables={"no": False})
    assert rules_of(plan, "m.q.w") == [(2, "add_prefix")]


def test_what_is_missing_is_told():
    plan = planned([], header(a=(2,)), header(a=(2,), b=(2,)), allow={"missing": ["b"]})
    assert lineage_of(plan).missing == ("b",)


def test_classes_are_those_of_the_outcome():
    plan = planned([PACK, {"init": {"match": "new", "value": "zeros", "shape": [2]}}, {"rename": {"n.w": "m.w"}}], QKV)
    assert {key: lineage_of(plan).origin(key).classification for key in plan.header.entries} == plan.outcome.classes


def test_forwards_a_source_leads_to_all_which_read_it():
    plan = planned([PACK, {"copy": {"n.w": "m.w"}}], QKV)
    lineage = lineage_of(plan)
    assert lineage.came_of("q.w", plan.header) == ["qkv.w"]
    assert lineage.came_of("n.w", plan.header) == ["n.w", "m.w"]
    assert lineage.came_of("qkv.w", plan.header) == []


def test_a_manifest_reads_back_as_it_was():
    plan = planned([PACK, {"add_prefix": "m."}, {"copy": {"m.n.w": "new"}}], QKV)
    lineage = lineage_of(plan)
    assert parse_lineage(lineage_text(lineage), "it") == lineage
    assert parse_lineage(json.dumps(lineage_document(lineage)).encode(), "it") == lineage


def test_whole_subtrees_take_few_words():
    source = Header({f"module.layer.{i}.{leaf}": TensorSpec.of("float32", 2) for i in range(500) for leaf in ("weight", "bias")})
    lineage = lineage_of(planned([{"strip_prefix": "module."}], source))
    assert lineage.prefixes == {"": (1, "module.")}
    assert lineage.keys == {}
    assert len(lineage_text(lineage)) < 600


DIGESTS = {
    "another name": ([{"add_prefix": "n."}], QKV),
    "another source": ([{"rename": {"q.w": "k.w", "k.w": "q.w"}}, {"add_prefix": "m."}], QKV),
    "another parameter": ([{"transpose": {"match": "q.w", "dims": [-2, -1]}}, {"add_prefix": "m."}], QKV),
    "another shape": ([{"add_prefix": "m."}], header(q__w=(3, 2), k__w=(2, 3), v__w=(2, 3), n__w=(4,))),
    "another dtype": ([{"add_prefix": "m."}], Header({**QKV.entries, "n.w": TensorSpec.of("int32", 4)})),
    "a key less": ([{"drop": "n.w"}, {"add_prefix": "m."}], QKV),
    "no plain tensor": ([{"add_prefix": "m."}], Header({**QKV.entries, "n.w": Opaque("sparse")})),
}


@pytest.mark.parametrize(("rules", "source"), DIGESTS.values(), ids=DIGESTS)
def test_the_plans_digest_tells(rules, source):
    assert lineage_of(planned(rules, source)).plan != lineage_of(planned([{"add_prefix": "m."}], QKV)).plan


def test_the_plans_digest_does_not_tell_the_order_or_which_rules_came_to_it():
    turned = Header(dict(reversed(QKV.entries.items())))
    ways = [([{"add_prefix": "m."}], QKV), ([{"add_prefix": "m."}], turned), ([{"rename": {"{p:path}": "m.{p}"}}], QKV)]
    assert len({lineage_of(planned(rules, source)).plan for rules, source in ways}) == 1
