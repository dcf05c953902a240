"""Rules as YAML: what is written is read back to equal rules, and reads as a person would write it."""

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckpt_surgeon.rules import Rules, as_rules, parse_rules
from ckpt_surgeon.rules.rendering import document_of, text_of
from ckpt_surgeon.rules.yaml_reader import read_yaml
from ckpt_surgeon.rules.yaml_writer import write_yaml

ENTRIES = [
    ({"strip_prefix": "module."}, "strip_prefix: module."),
    ({"strip_prefix": ["a.", "b."]}, "strip_prefix: [a., b.]"),
    ({"add_prefix": {"prefix": "model."}}, "add_prefix: model."),
    ({"add_prefix": {"prefix": "model.", "match": "h.*"}}, 'add_prefix: {prefix: model., match: "h.*"}'),
    ({"rename": {"{p:path}.gamma": "{p}.weight"}}, 'rename: {"{p:path}.gamma": "{p}.weight"}'),
    ({"replace": {"net": ""}}, 'replace: {net: ""}'),
    ({"drop": ["re:a\\d", "x"]}, "drop: ['re:a\\d', x]"),
    ({"fit": "fc.weight"}, "fit: fc.weight"),
    ({"fit": {"match": ["fc.weight", "fc.bias"]}}, "fit: {match: [fc.weight, fc.bias]}"),
    ({"squeeze": {"match": "a", "dims": 1}}, "squeeze: {match: a, dims: [1]}"),
    ({"split": {"source": "a.{l}", "target": "b.{x:q|k}.{l}"}}, 'split: {source: "a.{l}", target: "b.{x:q|k}.{l}"}'),
    ({"concat": {"source": ["a", "b"], "target": "c", "dim": 0}}, "concat: {source: [a, b], target: c}"),
    ({"merge_lora": {"source": {"weight": "w", "lora_a": "a", "lora_b": "b"}, "target": "w", "alpha": 16}}, None),
    ({"fold_bn": {"source": ["w", "g", "b", "m", "v"], "target": ["w", "b"], "eps": 1e-05}}, None),
    ({"resize_vocab": {"match": "e", "size": "target", "new": "zero"}}, None),
    ({"head": {"match": "fc.*", "mode": "map", "rows": [None, 1]}}, None),
    ({"init": {"match": "a", "value": "zeros"}}, "init: {match: a, value: zeros}"),
    ({"adapt_in_channels": {"match": "c", "mode": "mean", "in_channels": "target", "rescale": "none"}}, None),
    ({"rearrange": {"match": "w", "pattern": "(h d) i -> h d i", "axes": {"h": 12}}}, None),
    ({"rename": {"no": "true", "1": "null", "~": "a: b", "#": "- x", "'q'": '"d"'}}, None),
    ({"drop": "a"}, "drop: a"),
]
BESIDE = [
    {},
    {"when": "mismatched"},
    {"if": "flag", "expect": 3},
    {"if": {"modality": "Flow", "n": 3, "x": True, "y": 0.5}, "expect": "any", "why": "since: it is so"},
    {"if": {"not": {"not": "flag"}}},
]


@pytest.mark.parametrize(("entry", "line"), ENTRIES)
@pytest.mark.parametrize("beside", BESIDE)
def test_a_rule_is_read_back(entry, line, beside):
    rules = as_rules([entry | beside])
    text = text_of(rules)
    again = parse_rules(text, "again.yaml")
    assert again == rules
    assert again.digest == rules.digest
    assert again.rules[0].why == rules.rules[0].why
    if line is not None:
        assert text.splitlines()[2] == f"  - {line}"


def test_a_whole_document_is_read_back():
    document = {
        "version": 1,
        "rules": [{"drop": "a"}, {"strip_prefix": "b."}],
        "allow": {"missing": "**", "casts": ["a.b", "{x}"]},
        "finetune": {
            "freeze": ["a.**"],
            "freeze_index": {"space": "parameters", "below": 3},
            "bn_eval": False,
            "lr": {"new": 0.1, "c.**": 1e-05},
            "head": {"module": "fc", "classes": 4},
        },
    }
    rules = as_rules(document)
    assert document_of(rules) == document | {"finetune": document["finetune"] | {"freeze": "a.**"}}
    assert parse_rules(text_of(rules), "r") == rules


def test_no_rules_are_a_document_too():
    assert text_of(Rules()) == "version: 1\nrules: []\n"
    assert parse_rules(text_of(Rules()), "r") == Rules()


def test_what_is_long_stands_in_a_block():
    pairs = {f"model.layers.{i}.self_attn.q_proj.weight": f"h.{i}.attn.q.weight" for i in range(20)}
    text = text_of(as_rules([{"rename": pairs, "why": "another library"}]))
    assert text.splitlines()[2:4] == ["  - rename:", "      model.layers.0.self_attn.q_proj.weight: h.0.attn.q.weight"]
    assert text.splitlines()[-1] == '    why: "another library"'
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("length", [900, 1000, 1023, 1024, 1025, 4000])
def test_a_key_which_is_too_long_for_a_simple_one_is_read_back(length):
    rules = as_rules([{"rename": {"a" * length: "b", "c": "d" * length}}])
    assert parse_rules(text_of(rules), "r") == rules


TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "~", "null", "Yes", "0x1F", "1e3", ".5", "- a", "a: b", "a #b", "[", "{", "'", '"', "\x85", "\ud800"]
)
SCALARS = st.one_of(TEXTS, st.integers(-(2**62), 2**62), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20)


@settings(max_examples=400)
@given(st.dictionaries(TEXTS, DATA, max_size=4))
@example({"a": [{"b": [{"c": {}}, [], [[]]]}]})
@example({"x" * 1100: {"y" * 1100: ["z" * 2000]}})
def test_any_data_is_read_back(data):
    text = write_yaml(data)
    assert read_yaml(text, "r").data == data
    assert text.endswith("\n")


@given(
    st.dictionaries(st.text(alphabet="ab.*{}'\"\\ :#", min_size=1, max_size=8), st.text(alphabet="ab.*{}'\"\\ :#", max_size=8), max_size=4)
)
def test_another_reader_of_yaml_agrees(data):
    assert yaml.safe_load(write_yaml(data)) == data
