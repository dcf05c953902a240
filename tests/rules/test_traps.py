"""A rules file is data which means one thing: every trap of YAML is refused at its place; what the schema takes, the reader takes."""

import json
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Move
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import Rules, as_rules, inline_rule, parse_rules, rules_from_key_mapping, rules_from_revise_keys
from ckpt_surgeon.rules.json_schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
HEAD = "version: 1\nrules:\n"

# what stands under `rules:`, where the trap lies, words of the refusal
TRAPS = [
    ("  - drop: a\n    drop: b\n", "4:5", "the key 'drop' stands here a second time; first at 3:5"),
    ("  - rename: {a: b, a: c}\n", "3:20", "a second time; first at 3:14"),
    ("  - rename: {a: b, 'a': b}\n", "3:20", "a second time"),
    ("  - drop: !!str a\n", "3:11", "tags"),
    ("  - drop: !pattern a\n", "3:11", "tags"),
    ("  - !!map {drop: a}\n", "3:5", "tags"),
    ("  - drop: !!python/name:os.system ''\n", "3:11", "tags"),
    ("  - drop: &all a\n", "3:11", "anchors"),
    ("  - &rule {drop: a}\n", "3:5", "anchors"),
    ("  - drop: *all\n", "3:11", "aliases"),
    ("  - rename: {<<: {a: b}}\n", "3:14", "merge keys"),
    ("  - <<: {drop: a}\n", "3:5", "merge keys"),
    ("  - drop: a\n---\nversion: 1\n", "4:1", "a second document"),
    ("  - drop: a\n...\n---\nx: 1\n", "5:1", "a second document"),
    ("  - drop: " + "[" * 60 + "]" * 60 + "\n", "3:59", "nested more than 50 deep"),
    ("  - drop:\ta\n\tb\n", "3:10", "no YAML"),
    ("\t- drop: a\n", "3:1", "'\\t'"),
    ("  - drop: 'a\n", "4:1", "no YAML"),
    ("  - drop: **.weight\n", "3:11", "no YAML"),
    ("  - drop: {a|b}.c\n", "3:11", "no YAML"),
    ("  - drop: [a|b].c\n", "3:11", "no YAML"),
    ("  - drop: a: b\n", "3:12", "no YAML: mapping values"),
    ("  - drop: .inf\n", "3:11", "is no number"),
    ("  - drop: 12345678901234567890123\n", "3:11", "23 digits"),
    ("  - drop: true\n", "3:11", "patterns is true"),
    ("  - drop: ~\n", "3:11", "patterns is nothing"),
    ("  - drop: 1.0\n", "3:11", "patterns is 1.0"),
    ("  - drop: [a, ~]\n", "3:15", "found nothing in it"),
    ("  - replace: {net: ~}\n", "3:20", "found nothing in it"),
    ("  - rename: {a: 0x10}\n", "3:17", "found 16 in it"),
    ("  - ? [drop]\n    : a\n", "3:7", "a key has to be text"),
    ("  - {drop: a, keep}\n", "3:5", "a mapping without a value"),
    ("  - drop: a\x07\n", "3:12", "not allowed in YAML"),
    ("  drop: a\n", "3:3", "rules is a list"),
    ("  -\n", "3:4", "a rule is a mapping; found nothing"),
    ("  - drop\n", "3:5", "a rule is a mapping; found 'drop'"),
    ("  - 'drop: a'\n", "3:5", "a rule is a mapping"),
    ("  - - drop: a\n", "3:5", "a rule is a mapping"),
    ("  - Drop: a\n", "3:5", "unknown"),
    ("  - drop : a\n    'if ': b\n", "4:5", "unknown word 'if '"),
    ("  - drop: a\nrulez: []\n", "4:1", "unknown word 'rulez'"),
]


@pytest.mark.parametrize(("text", "place", "says"), TRAPS)
def test_what_could_mean_two_things_is_refused_at_line_and_column(text: str, place: str, says: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules(HEAD + text, "rules.yaml")
    problem = caught.value.problems[0]
    assert problem.where == f"rules.yaml:{place}"
    assert says in problem.what
    assert "\\\\" not in problem.what


HINTS = [
    ("drop: ~", 'quote the name, "~"'),
    ("drop: null", 'quote the name, "~" or "null"'),
    ("keep: [a, ~]", 'quote the name, "~"'),
    ("fit: ~", 'quote the name, "~"'),
    ("squeeze: {match: ~, dims: 0}", 'quote the name, "~"'),
    ("replace: {net: ~}", 'Write "" to take it out.'),
    ("sub: {net: null}", 'Write "" to take it out.'),
    ("replace: {net: }", 'An empty text is written ""'),
    ("drop: 1", "Quote it"),
    ("drop:\ta\n\tb: c", "write blanks"),
]


@pytest.mark.parametrize(("text", "hint"), HINTS)
def test_a_trap_gets_the_hint_which_leads_out(text: str, hint: str) -> None:
    with pytest.raises(RulesError) as caught:
        inline_rule(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["rename: {a: ~}", "copy: {a: ~}", "drop: ~"])
def test_an_empty_text_is_only_offered_where_it_may_stand(text: str) -> None:
    with pytest.raises(RulesError) as caught:
        inline_rule(text)
    assert 'Write ""' not in caught.value.hint


def test_what_is_quoted_is_read_as_the_name_which_it_is() -> None:
    (rule,) = inline_rule('rename: {"~": "null", "true": "1", "1.0": "no"}').rules
    assert rule.op.parameters()["pairs"] == {"~": "null", "true": "1", "1.0": "no"}


PAIRS = [
    ("rename", ["fine: b", "'c.{x}': 'd.{y}'", "e: f", "g: 'h.*'"], [5, 7]),
    ("rename", ["'a{': b", "c: ''", "d: e"], [4, 5]),
    ("copy", ["a: b", "c: '{'"], [5]),
    ("tie", ["a: ''", "b: c"], [4]),
    ("replace", ["a: b", "'c.**': d", "'e..f': g", "h: i"], [5, 6]),
    ("sub", ["a: b", "'(': c", r"d: '\9'"], [5, 6]),
]


@pytest.mark.parametrize(("name", "pairs", "lines"), PAIRS)
def test_each_wrong_pair_is_told_at_its_own_line(name: str, pairs: list[str], lines: list[int]) -> None:
    text = f"{HEAD}  - {name}:\n" + "".join(f"      {pair}\n" for pair in pairs)
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "r")
    assert [problem.where for problem in caught.value.problems] == [f"r:{line}:7" for line in lines]
    assert all(problem.what for problem in caught.value.problems)


@pytest.mark.parametrize(("text", "place"), [("drop: [a, 'b{', 'c{']", "1:11 1:17"), ("strip_prefix: [a, 'b.*']", "1:19")])
def test_each_wrong_item_of_a_list_is_told_at_its_own_place(text: str, place: str) -> None:
    with pytest.raises(RulesError) as caught:
        inline_rule(text, "r")
    assert [problem.where for problem in caught.value.problems] == [f"r:{each}" for each in place.split()]


def test_what_is_wrong_with_all_pairs_together_is_told_at_the_rule() -> None:
    with pytest.raises(RulesError) as caught:
        inline_rule("split: {source: a, target: [b, c], sizes: [1, -1]}", "r")
    assert [problem.where for problem in caught.value.problems] == ["r:1:1"]


BODIES: dict[str, Any] = {
    "strip_prefix": "a",
    "add_prefix": {"prefix": "a"},
    "replace": {"a": ""},
    "rename": {"a.{x}": "b.{x}"},
    "align_names": {"segments": "net"},
    "drop": ["a", "b"],
    "keep": "a.**",
    "copy": {"a": "b"},
    "tie": {"a": "b"},
    "sub": {"a": ""},
    "squeeze": {"match": "a", "dims": [0]},
    "unsqueeze": {"source": "a", "target": "b", "dims": 0},
    "reshape": {"match": "a", "shape": "target"},
    "transpose": {"match": ["a", "b"]},
    "permute": {"match": "a", "dims": [1, 0]},
    "cast": {"match": "a", "dtype": "f16"},
    "split": {"source": "a", "target": "{x:b|c}.w", "sizes": "target"},
    "scale": {"match": "a", "by": 0.5},
    "add": {"source": ["a", "b"], "target": "c"},
    "average": {"source": ["a", "b::a"], "target": "c", "weights": [1, 2.5]},
    "ema": {"source": ["a", "b"], "target": "c", "decay": 0.5},
    "task_vector": {"source": ["a", "b"], "target": "c", "scales": [1]},
    "slerp": {"source": ["a", "b"], "target": "c", "t": 0},
    "concat": {"source": ["a", "b"], "target": "c", "dim": -1},
    "stack": {"source": "a.{e:int}", "target": "a"},
    "unstack": {"source": "a", "target": "a.{e:int}"},
    "adapt_in_channels": {"match": "a", "mode": "select", "channels": [2, None, 0], "in_channels": "target"},
    "inflate": {"match": "a", "mode": "centre", "time": "target"},
    "collapse": {"match": ["a", "b"], "dim": -3},
    "linear_to_conv": {"match": "a", "order": "hwc", "kernel": "target"},
    "conv_to_linear": {"source": "a", "target": "b", "order": "chw"},
    "decimate": {"match": "a", "m": [4, None, 3, 3]},
    "resample_patch_embed": {"match": "a", "patch_size": [14, 14], "antialias": False},
    "resample_pos_embed": {"match": "a", "source_grid": "square", "target_grid": [7, 28], "prefix_tokens": 2, "target_prefix_tokens": 1},
    "resample_rel_pos_bias": {"match": "a", "mode": "geometric", "source_window": [7, 7], "target_window": "target", "extra_tokens": 3},
    "resample_positions": {"match": "a", "mode": "linear", "size": "target", "align_corners": True},
    "head": {"match": "a", "mode": "map", "source_labels": ["x", "y"], "target_labels": ["y"]},
    "resize_vocab": {"match": "a", "size": "target", "new": "normal"},
    "merge_lora": {"source": {"lora_b": "b", "weight": "w", "lora_a": "a"}, "target": "w", "alpha": 16},
    "fold_bn": {"source": ["a", "b", "c", "d", "e"], "target": {"weight": "a", "bias": "b"}, "eps": 0.001},
    "bake_weight_norm": {"source": {"g": "a", "v": "b"}, "target": "c", "dim": "all"},
    "bake_spectral_norm": {"source": "{x:a|b|c}", "target": "d"},
    "fit": "**",
    "init": {"match": "a", "value": "model", "seed": 7},
    "layers": {"match": "h.{i:int}.{rest:path}", "pick": ["0-3", 2]},
    "unwrap": {"segments": "_orig_mod"},
    "rearrange": {"match": "a", "pattern": "(h d) i -> h d i", "axes": {"h": 2}},
    "interleave": {"source": ["a", "b"], "target": "c", "groups": 2},
    "deinterleave": {"source": "a", "target": ["b", "c"], "groups": 2, "sizes": "target"},
    "slice": {"match": "a", "stop": "target"},
    "take": {"match": "a", "indices": [1, "3-5"]},
    "pad": {"match": "a", "after": "target", "value": 0.5},
    "region": {"source": ["a", "b"], "target": "a", "start": [0]},
    "rope_permute": {"match": "a", "heads": 2, "source_layout": "half", "target_layout": "interleaved", "rotary_dim": 4},
    "mha_to_gqa": {"match": "a", "heads": 4, "kv_heads": 2},
    "gqa_to_mha": {"source": "a", "target": "b", "heads": 4, "kv_heads": 2},
}
# An op which needs nothing special is shown by its case file.
CASES = Path(__file__).parents[1] / "cases"
for op in [op for op in OPS if op not in BODIES]:
    shown = yaml.safe_load((CASES / f"{op}.yaml").read_text(encoding="utf-8"))["works"][0]["body"]
    BODIES[op] = {"match": "a", **shown} if hasattr(OPS[op], "infer") else shown

COMMON: list[tuple[dict[str, Any], bool]] = [
    ({"when": "mismatched"}, True),
    ({"if": "flag", "expect": "any", "why": ""}, True),
    ({"if": {"a": 1, "b": "x", "c": False, "d": 0.5}}, True),
    ({"if": {"not": {"not": {"a": True}}}, "expect": 0}, True),
    ({"when": None}, False),
    ({"when": "missing"}, False),
    ({"if": True}, False),
    ({"if": {"a": None}}, False),
    ({"if": {"not": "a", "b": 1}}, False),
    ({"expect": 1.5}, False),
    ({"expect": None}, False),
    ({"expect": True}, False),
    ({"why": 3}, False),
    ({"match": "a"}, False),
    ({"note": "x"}, False),
]


def is_read(document: Any) -> bool:
    try:
        as_rules(document)
    except RulesError:
        return False
    return True


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize(("common", "is_good"), COMMON, ids=[json.dumps(common) for common, _ in COMMON])
def test_the_common_words_mean_the_same_beside_each_op_for_reader_and_schema(name: str, common: dict[str, Any], is_good: bool) -> None:
    document = {"version": 1, "rules": [{name: BODIES[name], **common}]}
    assert is_read(document) is is_good
    assert VALIDATOR.is_valid(document) is is_good


WRONG_WORDS = ["axis", "dim_", "shape", "parts", "hidden", "where"]


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if not op.body.only])
def test_reader_and_schema_know_the_same_words_of_each_op(name: str) -> None:
    body = BODIES[name] if isinstance(BODIES[name], dict) else {"match": "a"} if name == "fit" else {"prefixes": "a"}
    words = sorted({*OPS[name].__dataclass_fields__, "match", "source", "target", *WRONG_WORDS})
    for word in words:
        for value in ("a", 1, [0, 1], ["a", "b"], "target", True, None, {"a": 1}):
            document = {"version": 1, "rules": [{name: {**body, word: value}}]}
            if is_read(document):
                assert VALIDATOR.is_valid(document), (word, value)
            elif word not in OPS[name].__dataclass_fields__ or word in OPS[name].body.filled:
                is_place = word in ("match", "source", "target")
                assert is_place or not VALIDATOR.is_valid(document), (word, value)


@pytest.mark.parametrize(
    ("name", "filled"),
    [("split", "parts"), ("deinterleave", "parts"), ("squeeze", "shape"), ("fit", "shape"), ("pad", "size"), ("merge_lora", "inputs")],
)
def test_what_a_target_fills_in_is_no_word_of_a_rule(name: str, filled: str) -> None:
    assert filled in OPS[name].__dataclass_fields__
    assert f'"{filled}"' not in json.dumps(SCHEMA["$defs"][f"op_{name}"])
    body = BODIES[name] if isinstance(BODIES[name], dict) else {"match": "a"}
    with pytest.raises(RulesError, match=f"unknown word '{filled}'") as caught:
        as_rules([{name: {**body, filled: 1}}])
    assert filled not in caught.value.hint
    with pytest.raises(RulesError) as caught:
        as_rules([{name: 3}])
    assert filled not in str(caught.value)


KNOWN = [
    ("concat: {source: [a, b], target: c, xyz: 0}", "Known: source, target, dim."),
    ("stack: {source: [a, b], target: c, xyz: 0}", "Known: source, target, dim."),
    ("unstack: {source: a, target: [b, c], xyz: 0}", "Known: source, target, dim."),
    ("split: {source: a, target: [b, c], xyz: 0}", "Known: source, target, dim, sizes, heads."),
    ("init: {match: a, value: zeros, xyz: 0}", "Known: match, value, seed, shape, dtype, std."),
    ("fit: {match: a, xyz: 0}", "Known: match, source, target."),
    ("squeeze: {match: a, xyz: 0}", "Known: match, source, target, dims."),
]


@pytest.mark.parametrize(("text", "hint"), KNOWN)
def test_only_words_which_the_op_takes_are_listed(text: str, hint: str) -> None:
    with pytest.raises(RulesError) as caught:
        inline_rule(text)
    (problem,) = caught.value.problems
    assert problem.hint == hint


# the digest: what a file does, not how it is written


def shuffled(value: Any, rng: random.Random, *, keep: bool = False) -> Any:
    """Mappings in another order; those of pairs, whose order counts, as they are."""
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    if not isinstance(value, dict) or keep:
        return value
    names = rng.sample(list(value), len(value))
    return {name: shuffled(value[name], rng, keep=name in ("rename", "replace", "copy", "tie", "sub", "if", "lr")) for name in names}


ENTRIES = st.sampled_from(sorted(BODIES)).map(lambda name: {name: BODIES[name]})
WORDS = st.sampled_from([{}, {"if": "x"}, {"expect": 3}, {"when": "mismatched"}, {"if": {"not": "y"}, "expect": "any"}])
DOCUMENTS = st.builds(
    lambda rules, allow: {"version": 1, "rules": [{**entry, **words} for entry, words in rules], "allow": allow},
    st.lists(st.tuples(ENTRIES, WORDS), max_size=4),
    st.sampled_from([{}, {"missing": ["a", "b"]}, {"missing": ["a"], "unexpected": ["**"], "casts": ["c"]}]),
)


@settings(max_examples=150)
@given(DOCUMENTS, st.randoms(use_true_random=False), st.booleans())
def test_the_digest_knows_no_layout_comments_reasons_or_names(document: Any, rng: random.Random, is_flow: bool) -> None:
    plain = as_rules(document)
    other = shuffled(document, rng)
    for entry in other["rules"]:
        entry["why"] = f"because of {rng.random()}"
    text = yaml.safe_dump(json.loads(json.dumps(other)), sort_keys=False, default_flow_style=is_flow)
    read = parse_rules("# a comment\n" + text.replace("\n", "   # and another\n") if not is_flow else text, "elsewhere.yaml")
    assert read.digest == plain.digest


@settings(max_examples=150)
@given(DOCUMENTS, DOCUMENTS)
def test_the_digest_tells_two_contents_apart(one: Any, other: Any) -> None:
    assert (as_rules(one).digest == as_rules(other).digest) == (one == other)


# other tools' tables

FOUND = st.sampled_from(
    ["a", "^a", "b$", r"a\.", r"(a|b)c", "[ab]+", r"\.(\d)\.", "^(?!b)", "c*", "(?P<n>c)", "x|", r"\Aab", r"c\Z", r"(a)(b)?"]
)
PUT = st.sampled_from(["", "z", ".", "aa", r"\g<0>-", "b.c", r"\\"])
TABLES = st.lists(st.tuples(FOUND, PUT), max_size=4)
NAMES = st.lists(st.text(alphabet="abc.1", min_size=1, max_size=7), max_size=6, unique=True)


def moved(rules: Rules, names: list[str]) -> list[str] | None:
    """The names after all rules; None where nothing is left of one."""
    try:
        for rule in rules.rules:
            places = {edit.source: edit.target for edit in rule.op.edits(names, None) if isinstance(edit, Move)}
            names = [places.get(name, name) for name in names]
    except RulesError:
        return None
    return names


@settings(max_examples=400)
@given(TABLES, NAMES)
def test_revised_keys_are_re_sub_pair_by_pair(pairs: list[tuple[str, str]], names: list[str]) -> None:
    expected: list[str] | None = names
    for found, put in pairs:
        expected = expected and [re.sub(found, put, name) for name in expected]
        expected = None if expected and "" in expected else expected
    assert moved(rules_from_revise_keys(pairs), names) == expected


@settings(max_examples=400)
@given(TABLES.map(dict), NAMES)
def test_a_key_mapping_is_the_first_re_subn_which_finds_something(pairs: dict[str, str], names: list[str]) -> None:
    def renamed(name: str) -> str:
        tried = (re.subn(found, put, name) for found, put in pairs.items())
        return next((new for new, count in tried if count), name)

    expected = [renamed(name) for name in names]
    assert moved(rules_from_key_mapping(pairs), names) == (None if "" in expected else expected)


def test_a_character_which_json_writes_as_two_escapes_is_one():
    (rule,) = parse_rules('version: 1\nrules:\n  - rename: {"w\\ud83d\\ude42": "\\ud83d\\ude42.w"}\n', "r").rules
    assert rule.op.pairs == {"w\N{SLIGHTLY SMILING FACE}": "\N{SLIGHTLY SMILING FACE}.w"}


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_file_of_labels_with_a_name_which_no_file_can_have_is_told(name):
    with pytest.raises(RulesError, match=r"source_labels: .*: no file can have this name"):
        as_rules([{"head": {"match": "w", "mode": "map", "source_labels": name, "target_labels": ["q"]}}])
