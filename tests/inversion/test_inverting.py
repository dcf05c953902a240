"""There and back: the rules which `invert` finds bring back every key, bit and tie; what cannot be brought back is named."""

from typing import Any

import pytest
import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.comparison import compare
from ckpt_surgeon.rules import parse_rules
from ckpt_surgeon.rules.rendering import text_of
from ckpt_surgeon.spec import DTYPES, Header, TensorSpec

Table = dict[str, torch.Tensor]


def tensors(*keys: str, shape: tuple[int, ...] = (4, 6), dtype: torch.dtype = torch.float32) -> Table:
    """A different noise in each."""
    noise = torch.Generator().manual_seed(3)
    return {key: torch.randint(-99, 99, shape, generator=noise).to(dtype) for key in keys}


def there_and_back(source: Table, rules: list[dict[str, Any]], **given: Any) -> list[Any]:
    """Go there and back by the rules which were found, after YAML; the rules as a document has them."""
    inverse = surgeon.invert(source, rules, **given)
    assert parse_rules(text_of(inverse), "inverse.yaml") == inverse
    there = surgeon.remap(source, rules, given.get("target"), given.get("variables") or {})
    assert list(there) != list(source) or any(there[key] is not source[key] for key in there)
    back = surgeon.remap(there, inverse)
    assert set(back) == set(source)
    assert all(torch.equal(back[key], source[key]) and back[key].dtype == source[key].dtype for key in source)
    assert {frozenset(group) for group in ties(back)} == {frozenset(group) for group in ties(source)}
    return [
        (rule.op.name, rule.op.parameters(), *(([each.text for each in rule.sources],) if rule.sources else ())) for rule in inverse.rules
    ]


def ties(table: Table) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for key, tensor in table.items():
        groups.setdefault(tensor.data_ptr(), []).append(key)
    return [group for group in groups.values() if len(group) > 1]


def names(rules: list[Any]) -> list[str]:
    return [rule[0] for rule in rules]


WRAPPED = tensors("module.a.weight", "module.a.bias", "module.b.0.weight", "module.b.1.weight")
PLAIN = tensors("a.weight", "a.bias", "h.0.w", "h.1.w", "h.0.b", "h.1.b")


@pytest.mark.parametrize(
    ("source", "rule", "inverse"),
    [
        (WRAPPED, {"strip_prefix": "module."}, [("add_prefix", {"prefix": "module.", "match": ["**"]})]),
        (WRAPPED | tensors("c"), {"strip_prefix": "module."}, [("add_prefix", {"prefix": "module.", "match": ["a.**", "b.**"]})]),
        (PLAIN, {"add_prefix": "model"}, [("strip_prefix", {"prefixes": ["model."]})]),
        (PLAIN, {"add_prefix": {"prefix": "m.", "match": "h.**"}}, [("strip_prefix", {"prefixes": ["m."]})]),
        (PLAIN, {"rename": {"h.{i:int}.{p}": "blocks.{i+1}.{p}"}}, [("rename", {"pairs": {"blocks.{i:int}.{p}": "h.{i-1}.{p}"}})]),
        (PLAIN, {"rename": {"a.weight": "a.bias", "a.bias": "a.weight"}}, None),
        (PLAIN, {"rename": {"h.{i:int}.*": "g.{i}"}}, "refused"),
        (PLAIN, {"rename": {"*.weight": "x"}}, [("rename", {"pairs": {"x": "a.weight"}})]),
        (PLAIN, {"replace": {"h": "blocks", "a": "fc"}}, [("replace", {"pairs": {"blocks": "h", "fc": "a"}})]),
        (PLAIN, {"replace": {"h.{i:int}": "b{i}"}}, [("replace", {"pairs": {"b{i:int}": "h.{i}"}})]),
        (PLAIN, {"replace": {"h": ""}}, [("add_prefix", {"prefix": "h.", "match": ["0.**", "1.**"]})]),
        (PLAIN, {"sub": {"^h\\.(\\d)": "x\\1"}}, [("rename", {"pairs": {"x{i:int}.w": "h.{i}.w", "x{i:int}.b": "h.{i}.b"}})]),
        (PLAIN, {"copy": {"a.weight": "c"}}, [("drop", {"patterns": ["c"]})]),
        (PLAIN, {"tie": {"a.weight": "c"}}, [("drop", {"patterns": ["c"]})]),
        (PLAIN, {"layers": {"match": "h.{i:int}.{p}", "pick": [1, 0]}}, None),
        (PLAIN, {"layers": {"match": "h.{i:int}.{p}", "pick": [0, 1, 1]}}, None),
    ],
)
def test_names_are_taken_back(source, rule, inverse):
    if inverse == "refused":
        with pytest.raises(surgeon.RulesError, match="two recipes"):
            surgeon.invert(source, [rule])
        return
    found = there_and_back(source, [rule])
    assert inverse is None or found == inverse


def test_several_prefixes_are_put_on_again():
    source = tensors("a.x", "b.a.y", "b.z", "c")
    found = there_and_back(source, [{"strip_prefix": ["b.", "a."]}])
    assert names(found) == ["add_prefix"] * 3


def test_a_prefix_which_other_keys_bear_too_is_taken_off_key_by_key():
    source = tensors("x", "y", "m.z")
    found = there_and_back(source, [{"add_prefix": {"prefix": "m.", "match": ["x", "y"]}}])
    assert found == [("rename", {"pairs": {"m.x": "x", "m.y": "y"}})]


def test_what_is_folded_matches_no_other_key():
    source = tensors("h.0.w", "h.1.w", "g.2.w")
    found = there_and_back(source, [{"rename": {"h.0.w": "g.0.w", "h.1.w": "g.1.w"}}])
    assert found == [("rename", {"pairs": {"g.0.w": "h.0.w", "g.1.w": "h.1.w"}})]


QKV = tensors(*(f"h.{i}.attn.{x}.weight" for i in range(3) for x in "qkv"), "norm")
FUSED = tensors(*(f"h.{i}.qkv" for i in range(3)), shape=(12, 6))
EXPERTS = tensors(*(f"h.{i}.e.{e}.w" for i in range(2) for e in range(11)))
SQUARE = tensors("a.w", "b.w", "c", shape=(8, 8))


@pytest.mark.parametrize(
    ("source", "rule", "back"),
    [
        (QKV, {"concat": {"source": "h.{i:int}.attn.{x:q|k|v}.{l}", "target": "h.{i}.qkv.{l}"}}, ["split"]),
        (QKV, {"concat": {"source": [f"h.{{i:int}}.attn.{x}.*" for x in "qkv"], "target": "h.{i}.qkv", "dim": 1}}, ["split"]),
        (QKV, {"stack": {"source": "h.{i:int}.attn.{x:q|k|v}.{l}", "target": "h.{i}.qkv.{l}", "dim": -1}}, ["unstack"]),
        (QKV, {"interleave": {"source": "h.{i:int}.attn.{x:q|k|v}.{l}", "target": "h.{i}.qkv.{l}", "groups": 2}}, ["deinterleave"]),
        (FUSED, {"split": {"source": "h.{i:int}.qkv", "target": "h.{i}.{x:q|k|v}"}}, ["concat"]),
        (FUSED, {"split": {"source": "h.{i:int}.qkv", "target": ["q{i}", "kv{i}"], "sizes": [2, 10]}}, ["concat"]),
        (FUSED, {"deinterleave": {"source": "h.{i:int}.qkv", "target": "h.{i}.{x:q|k|v}", "groups": 2}}, ["interleave"]),
        (EXPERTS, {"stack": {"source": "h.{i:int}.e.{e:int}.w", "target": "h.{i}.experts"}}, ["unstack"]),
        (EXPERTS, {"stack": {"source": "*.0.e.{e:int}.w", "target": "experts"}}, ["unstack"]),
        (tensors("h.0.e", "h.1.e"), {"unstack": {"source": "h.{i:int}.e", "target": "h.{i}.{e:int}.w"}}, ["stack"]),
        (SQUARE, {"transpose": {"match": "*.w"}}, ["permute"]),
        (SQUARE, {"transpose": {"source": "{x}.w", "target": "{x}.kernel"}}, ["permute"]),
        (SQUARE, {"transpose": {"source": "{x:a|b}.w", "target": "w.{x}"}}, ["permute"]),
        (tensors("a", "b", shape=(2, 3, 4)), {"permute": {"match": "**", "dims": [2, 0, 1]}}, ["permute"]),
        (SQUARE, {"rope_permute": {"match": "**", "heads": 2, "source_layout": "interleaved", "target_layout": "half"}}, ["rope_permute"]),
        (SQUARE, {"rearrange": {"match": "**.w", "pattern": "(h d) i -> h d i", "axes": {"h": 4}}}, ["rearrange"]),
        (SQUARE | tensors("c"), {"reshape": {"match": "**", "shape": [-1]}}, ["reshape", "reshape"]),
        (SQUARE, {"unsqueeze": {"match": "{a|b}.**", "dims": [0, -1]}}, ["squeeze"]),
        (SQUARE, {"pad": {"match": "c", "after": 3}}, ["slice"]),
        (SQUARE, {"mha_to_gqa": {"match": "c", "heads": 4, "kv_heads": 4}}, None),
        (tensors("a", dtype=torch.int32), {"cast": {"match": "a", "dtype": "int64"}}, ["cast"]),
    ],
)
def test_values_are_taken_back(source, rule, back):
    if back is None:
        with pytest.raises(surgeon.InverseError):
            surgeon.invert(source, [rule])
        return
    assert names(there_and_back(source, [rule])) == back


def test_a_rule_which_fits_many_layers_is_taken_back_by_one():
    (found,) = there_and_back(QKV, [{"concat": {"source": "h.{i:int}.attn.{x:q|k|v}.{l}", "target": "h.{i}.qkv.{l}"}}])
    assert found == ("split", {"dim": 0, "sizes": [4, 4, 4]}, ["h.{i:int}.qkv.{l}"])


def test_groups_of_other_sizes_are_taken_back_by_rules_of_their_own():
    source = tensors("h.0.q", "h.0.k", "h.1.q", "h.1.k") | tensors("h.2.q", shape=(8, 6)) | tensors("h.2.k", shape=(2, 6))
    found = there_and_back(source, [{"concat": {"source": "h.{i:int}.{x:q|k}", "target": "h.{i}.qk"}}])
    assert [(each[1]["sizes"], each[2]) for each in found] == [
        (
            [4, 4],
            [
                "h.0.qk",
            ],
        ),
        ([4, 4], ["h.1.qk"]),
        ([8, 2], ["h.{i:int}.qk"]),
    ]


def test_rules_are_taken_back_from_the_last_to_the_first():
    rules = [
        {"strip_prefix": "module."},
        {"rename": {"b.{i:int}.weight": "blocks.{i}.w"}},
        {"stack": {"source": "blocks.{i:int}.w", "target": "blocks.w"}},
        {"transpose": {"match": "a.weight"}},
        {"cast": {"match": "a.bias", "dtype": "int64"}},
    ]
    source = WRAPPED | {"module.a.bias": torch.tensor([3, 4, 5], dtype=torch.uint8)}
    assert names(there_and_back(source, rules)) == ["cast", "permute", "unstack", "rename", "add_prefix"]


def test_each_rule_says_what_it_undoes():
    inverse = surgeon.invert(WRAPPED, [{"strip_prefix": "module."}, {"transpose": {"match": "a.weight"}}])
    assert [rule.why for rule in inverse.rules] == ["undoes rules[1].transpose (transpose)", "undoes rules[0].strip_prefix (strip_prefix)"]


@pytest.mark.parametrize("set_it", [True, False])
def test_conditions_are_decided(set_it):
    rules = [{"strip_prefix": "module.", "if": "wrapped"}, {"rename": {"{p:path}.bias": "{p}.b"}}]
    found = there_and_back(WRAPPED, rules, variables={"wrapped": set_it})
    assert names(found) == ["rename", "add_prefix"][: 1 + set_it]


def tied(first: str, *others: str, **more: Any) -> Table:
    made = tensors(first, *more)
    return dict.fromkeys((first, *others), made[first]) | {key: made[key] for key in more}


@pytest.mark.parametrize(
    ("source", "rules", "back"),
    [
        (tied("a", "b", c=1), [{"drop": "b"}], ["tie"]),
        (tied("a", "b", c=1), [{"drop": "a"}], ["tie"]),
        (tied("a", "b", "c", "d", e=1), [{"drop": ["a", "c"]}], ["tie", "tie"]),
        (tied("a", c=1), [{"copy": {"a": "b"}}, {"drop": "a"}], ["copy", "drop"]),
        (tied("a", "b"), [{"rename": {"a": "x"}}], ["rename"]),
        (tied("q", "k"), [{"concat": {"source": ["q", "k"], "target": "qk"}}], ["split", "drop", "tie"]),
        (tied("q", "k", "v"), [{"concat": {"source": ["q", "k", "v"], "target": "qkv"}}], ["split", "drop", "tie", "tie"]),
        (tied("a", "b"), [{"transpose": {"match": "a"}}], ["permute", "drop", "tie"]),
        (tied("a", "b"), [{"transpose": {"match": "**"}}], ["permute"]),
    ],
)
def test_ties_come_back(source, rules, back):
    assert names(there_and_back(source, rules)) == back


LOST = [
    ({"drop": "a.**"}, "drop: left out, and nowhere else: a.weight, a.bias"),
    ({"keep": "h.**"}, "keep: left out, and nowhere else: a.weight, a.bias"),
    ({"cast": {"match": "a.*", "dtype": "bfloat16"}}, "cast: f32[4, 6] -> bf16[4, 6] cannot be undone bit for bit: a.weight, a.bias"),
    ({"slice": {"match": "a.weight", "stop": 2}}, "slice: f32[4, 6] -> f32[2, 6] cannot be undone bit for bit: a.weight"),
    ({"layers": {"match": "h.{i:int}.{p}", "pick": [1]}}, "layers: left out, and nowhere else: h.0.w, h.0.b"),
]


@pytest.mark.parametrize(("rule", "what"), LOST)
def test_what_is_lost_is_named(rule, what):
    with pytest.raises(surgeon.InverseError) as caught:
        surgeon.invert(PLAIN, {"version": 1, "rules": [rule], "allow": {"casts": "**"}})
    (problem,) = caught.value.problems
    assert problem.what == what
    assert problem.where.startswith("rules[0]")
    assert problem.hint
    assert caught.value.exit_code == 1


def test_all_which_is_lost_is_named_at_once():
    rules = parse_rules(
        "version: 1\nrules:\n  - drop: a.bias\n  - cast: {match: 'h.{i:int}.w', dtype: float16}\n  - rename: {a.weight: x}\n"
        "allow: {casts: '**'}",
        "r.yaml",
    )
    with pytest.raises(surgeon.InverseError) as caught:
        surgeon.invert(PLAIN, rules)
    assert [problem.where for problem in caught.value.problems] == ["r.yaml:3:5", "r.yaml:4:5"]


def test_a_name_which_no_template_can_write_is_told():
    source = tensors("a{0}", "b")
    with pytest.raises(surgeon.InverseError, match=r"a\{0\} cannot be written as a target"):
        surgeon.invert(source, [{"rename": {"re:a.*": "x"}}])


def test_what_the_target_adds_is_left_out_again():
    bare = torch.nn.BatchNorm2d(3).state_dict()
    counter = bare.pop("num_batches_tracked")
    assert counter.shape == ()
    source = {f"module.{key}": tensor for key, tensor in bare.items()}
    found = there_and_back(source, [{"strip_prefix": "module."}], target=torch.nn.BatchNorm2d(3))
    assert names(found)[-1] == "add_prefix"


def test_a_lone_number_comes_back_in_its_shape():
    target = {"x": torch.zeros(()), "y": torch.zeros(1)}
    there_and_back({"a.x": torch.ones(1), "a.y": torch.ones(())}, [{"strip_prefix": "a."}], target=target)


def test_what_the_target_ties_is_left_out_again():
    shared = torch.zeros(4, 6)
    found = there_and_back(tensors("m.a", "m.c"), [{"strip_prefix": "m."}], target={"a": shared, "b": shared, "c": torch.zeros(4, 6)})
    assert names(found) == ["drop", "add_prefix"]


def test_what_the_target_has_no_place_for_is_named():
    with pytest.raises(surgeon.InverseError, match=r"left out, since the target has no such keys: h\.0\.w, h\.1\.w, h\.0\.b, h\.1\.b"):
        surgeon.invert(PLAIN, [], {"a.weight": PLAIN["a.weight"], "a.bias": PLAIN["a.bias"]}, allow_unexpected=["h.**"])


def test_a_tied_name_for_which_the_target_has_no_place_comes_back():
    source = tied("a", "b", c=1)
    rules = {"version": 1, "rules": [{"rename": {"a": "x"}}], "allow": {"unexpected": "b"}}
    target = {"x": source["a"].clone(), "c": source["c"].clone()}
    inverse = surgeon.invert(source, rules, target)
    back = surgeon.remap(surgeon.remap(source, rules, target), inverse)
    assert back["b"].data_ptr() == back["a"].data_ptr()
    assert set(back) == set(source)


def test_new_values_are_left_out_again():
    assert names(there_and_back(PLAIN, [{"init": {"match": "new", "value": "zeros"}}], target=PLAIN | tensors("new"))) == ["drop"]


def test_no_rules_have_no_inverse_rules():
    assert surgeon.invert(PLAIN, None).rules == ()


def test_headers_alone_are_enough():
    header = Header({f"module.h.{i}.w": TensorSpec.of("float32", 1000, 1000) for i in range(40)})
    rules = [{"strip_prefix": "module."}, {"stack": {"source": "h.{i:int}.w", "target": "h.w"}}]
    inverse = surgeon.invert(header, rules)
    there = surgeon.plan(header, rules).header
    assert compare(surgeon.plan(there, inverse).header, header).is_equal


def test_whole_numbers_are_cast_back_only_where_they_were_cast():
    inverse = surgeon.invert(tensors("a", "b", dtype=torch.int32), [{"cast": {"match": "a", "dtype": "int64"}}])
    assert [pattern.text for pattern in inverse.allow.casts] == ["a"]
    assert DTYPES["int64"].holds(DTYPES["int32"])


EMA = tensors("a.weight", "c")


@pytest.mark.parametrize(
    "rule",
    [
        {"rename": {"ema::c": "c"}},
        {"copy": {"ema::{k:path}": "ema.{k}"}},
        {"average": {"source": ["ema::a.weight", "ema::c"], "target": "d"}},
    ],
)
def test_what_other_sources_gave_is_left_out_again(rule):
    plan = surgeon.plan(PLAIN, [rule], sources={"ema": EMA})
    inverse = surgeon.invert(PLAIN, [rule], sources={"ema": EMA})
    assert names([(each.op.name,) for each in inverse.rules]) == ["drop"]
    assert plan.header.entries != plan.source.entries
    assert compare(surgeon.plan(plan.header, inverse).header, plan.source).same


def test_values_which_are_mixed_with_those_of_other_sources_are_named():
    rule = {"ema": {"source": ["a.weight", "ema::a.weight"], "target": "a.weight", "decay": 0.9}}
    with pytest.raises(surgeon.InverseError, match=r"ema: it mixes these with tensors of other sources.*a\.weight, ema::a\.weight"):
        surgeon.invert(PLAIN, [rule], sources={"ema": EMA})


def test_the_way_back_is_refused_where_sources_mix(tmp_path):
    surgeon.write(surgeon.plan(PLAIN, [], None), tmp_path / "plain.pt")
    rule = {"average": {"source": ["a.weight", "ema::a.weight"], "target": "a.weight"}}
    plan = surgeon.plan(tmp_path / "plain.pt", [rule], sources={"ema": EMA})
    with pytest.raises(surgeon.InverseError, match="average: it mixes these with tensors of other sources"):
        surgeon.write(plan, tmp_path / "out.pt", check_roundtrip=True)
    assert not (tmp_path / "out.pt").exists()
    added = surgeon.plan(tmp_path / "plain.pt", [{"copy": {"ema::c": "c"}}], sources={"ema": EMA})
    assert "there and back" in " ".join(surgeon.write(added, tmp_path / "out.pt", check_roundtrip=True).notes)
