"""The JSON Schema for editors: it takes what the reader takes and refuses what a schema can refuse."""

import json

import jsonschema
import pytest
import yaml

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import as_rules
from ckpt_surgeon.rules.json_schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

MANUAL = """version: 1
rules:
  - align_names: {prefixes: [module., base_model.], segments: [net]}
  - drop: "new_fc.**"
    if: new_dataset
  - adapt_in_channels: {match: "base_model.conv1.weight", mode: mean, in_channels: target}
    if: {modality: Flow}
    expect: 1
allow: {missing: ["new_fc.**"]}
"""

GOOD = [
    {"version": 1},
    {"version": 1, "rules": []},
    {"version": 1, "presets": []},
    {"version": 1, "presets": ["wrappers", "densenet", "lora_peft", "lora_diffusers"], "rules": [{"drop": "a"}]},
    {"version": 1, "rules": [{"strip_prefix": "module."}, {"strip_prefix": ["a", "b"]}, {"strip_prefix": {"prefixes": "a"}}]},
    {"version": 1, "rules": [{"add_prefix": "m."}, {"add_prefix": {"prefix": "m.", "match": ["a"]}}]},
    {"version": 1, "rules": [{"rename": {"a": "b"}, "why": "x", "expect": "any"}]},
    {"version": 1, "rules": [{"fit": "**", "when": "mismatched"}, {"fit": ["a", "b"]}, {"fit": {"match": "a"}}]},
    {"version": 1, "rules": [{"squeeze": {"source": "a", "target": "b", "dims": 1}}]},
    {"version": 1, "rules": [{"split": {"source": "a", "target": ["b", "c"], "sizes": [1, 2]}}]},
    {"version": 1, "rules": [{"init": {"match": "a", "value": "zeros"}, "if": {"not": {"a": 1}}}]},
    {"version": 1, "rules": [{"drop": "a", "if": {"not": "b"}}]},
    {"version": 1, "allow": {"missing": "**", "unexpected": ["a"], "casts": "b"}},
    {"version": 1, "sources": {"ema": "ema.pt", "two_2": "sub/two.safetensors"}, "rules": [{"copy": {"ema::a": "a"}}]},
    {
        "version": 1,
        "assert": [{"count": {"match": "a", "equals": 1}}, {"count": {"match": ["a"], "at_least": 1, "at_most": 2}, "why": "x"}],
    },
    {"version": 1, "assert": [{"shape": {"match": "a", "is": [1, None]}}, {"dtype": {"match": "a", "is": "float32"}}]},
    {"version": 1, "assert": [{"dtype": {"match": "a", "is": ["int8", "bool"]}}, {"coverage": {"match": "a", "at_least": 0.5}}]},
    {"version": 1, "assert": [{"equal": {"source": ["a", "b"]}}, {"finite": {"match": "**"}}]},
    {
        "version": 1,
        "finetune": {
            "freeze": "a.**",
            "freeze_index": {"space": "parameters", "below": 3},
            "bn_eval": False,
            "lr": {"exact": 0.1, "a.**": 1},
            "head": {"module": "fc", "classes": 10},
        },
    },
]

BAD = [
    [],
    "version: 1",
    {},
    {"version": 2},
    {"version": "1"},
    {"version": 1, "rulez": []},
    {"version": 1, "presets": "wrappers"},
    {"version": 1, "presets": ["wrapers"]},
    {"version": 1, "presets": ["wrappers", "wrappers"]},
    {"version": 1, "rules": {"drop": "a"}},
    {"version": 1, "rules": ["drop"]},
    {"version": 1, "rules": [{}]},
    {"version": 1, "rules": [{"if": "a"}]},
    {"version": 1, "rules": [{"drap": "a"}]},
    {"version": 1, "rules": [{"drop": "a", "keep": "b"}]},
    {"version": 1, "rules": [{"drop": "a", "dims": 1}]},
    {"version": 1, "rules": [{"drop": 1}]},
    {"version": 1, "rules": [{"drop": ["a", 1]}]},
    {"version": 1, "rules": [{"drop": {"match": "a"}}]},
    {"version": 1, "rules": [{"rename": "a"}]},
    {"version": 1, "rules": [{"rename": {"a": 1}}]},
    {"version": 1, "rules": [{"align_names": "module."}]},
    {"version": 1, "rules": [{"squeeze": "a"}]},
    {"version": 1, "rules": [{"squeeze": {"dims": 1}}]},
    {"version": 1, "rules": [{"squeeze": {"match": "a", "dim": 1}}]},
    {"version": 1, "rules": [{"squeeze": {"match": "a", "source": "b", "target": "c"}}]},
    {"version": 1, "rules": [{"squeeze": {"source": "a"}}]},
    {"version": 1, "rules": [{"squeeze": {"match": []}}]},
    {"version": 1, "rules": [{"concat": {"match": "a"}}]},
    {"version": 1, "rules": [{"init": {"source": "a", "target": "b", "value": "zeros"}}]},
    {"version": 1, "rules": [{"init": {"match": "a"}}]},
    {"version": 1, "rules": [{"init": {"match": "a", "value": "zero"}}]},
    {"version": 1, "rules": [{"split": {"source": "a", "target": ["b", "c"], "sizes": "all"}}]},
    {"version": 1, "rules": [{"split": {"source": "a", "target": ["b", "c"], "dim": "1"}}]},
    {"version": 1, "rules": [{"drop": "a", "expect": -1}]},
    {"version": 1, "rules": [{"drop": "a", "expect": "some"}]},
    {"version": 1, "rules": [{"drop": "a", "when": "always"}]},
    {"version": 1, "rules": [{"drop": "a", "if": ["b"]}]},
    {"version": 1, "rules": [{"drop": "a", "if": {"not": "b", "c": 1}}]},
    {"version": 1, "rules": [{"drop": "a", "if": {}}]},
    {"version": 1, "allow": ["a"]},
    {"version": 1, "allow": {"mising": "a"}},
    {"version": 1, "sources": ["ema.pt"]},
    {"version": 1, "sources": {"re": "ema.pt"}},
    {"version": 1, "sources": {"my-ema": "ema.pt"}},
    {"version": 1, "sources": {"ema": ""}},
    {"version": 1, "sources": {"ema": 1}},
    {"version": 1, "assert": {"finite": {"match": "**"}}},
    {"version": 1, "assert": ["finite"]},
    {"version": 1, "assert": [{"finite": "**"}]},
    {"version": 1, "assert": [{"why": "x"}]},
    {"version": 1, "assert": [{"finite": {"match": "a"}, "count": {"match": "a", "equals": 1}}]},
    {"version": 1, "assert": [{"count": {"match": "a"}}]},
    {"version": 1, "assert": [{"shape": {"match": "a", "is": [-1]}}]},
    {"version": 1, "assert": [{"dtype": {"match": "a", "is": "flaot"}}]},
    {"version": 1, "assert": [{"coverage": {"match": "a", "at_least": 2}}]},
    {"version": 1, "assert": [{"equal": {"source": ["a"]}}]},
    {"version": 1, "finetune": {"freeze_index": 165}},
    {"version": 1, "finetune": {"lr": {"new": "fast"}}},
    {"version": 1, "finetune": {"head": {"module": "fc"}}},
]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert json_schema() == SCHEMA


@pytest.mark.parametrize("document", [yaml.safe_load(MANUAL), *GOOD])
def test_what_the_reader_takes_is_valid(document):
    VALIDATOR.validate(document)
    as_rules(document)


@pytest.mark.parametrize("document", BAD, ids=json.dumps)
def test_what_is_invalid_is_refused_by_the_reader_too(document):
    assert not VALIDATOR.is_valid(document)
    if isinstance(document, dict | list) and document:
        with pytest.raises(RulesError):
            as_rules(document)


@pytest.mark.parametrize("name", OPS)
def test_every_op_is_described(name):
    assert name in SCHEMA["properties"]["rules"]["items"]["properties"]
    assert SCHEMA["$defs"][f"op_{name}"]["description"]
