"""Rules files: documents of every op in the forms which it takes, with parts exchanged, and their text with YAML's own traps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chance import Chance
from json_texts import changed

__all__ = ["rules_file"]

_PATTERNS = (
    "a",
    "layer.0.weight",
    "layer.{i:int}.weight",
    "**.{leaf:weight|bias}",
    "{p:path}.bias",
    "*.*",
    "layer*.{x}",
    "re:(?P<a>.*)\\.weight",
    "re:(a+)+$",
    "re:(a|aa)*b",
    "{i:int}{j:int}",
    "**.**.x",
    "re:(?:(?:x{200}){200}){200}",
    "re:[",
    "{",
    "*",
    "",
    "a..b",
    "{i:float}",
    "{x:a|b|}",
    "re:\\p{L}+(?&x)",
)
_TEMPLATES = (
    "b",
    "x.{i}.w",
    "x.{i+1}.w",
    "{p}.b",
    "{leaf}.x",
    "x.{i//0}",
    "x.{i%2}{i}",
    "{i-9}",
    "{e:int}.w",
    "x.{i**9}",
    "{a.b}",
    "layer.0.bias",
    "{i*99999999999}",
)
_BODIES: tuple[dict[str, Any], ...] = (
    {"strip_prefix": "module."},
    {"strip_prefix": ["module.", "layer"]},
    {"add_prefix": {"prefix": "base.", "match": "a"}},
    {"replace": {"layer.0": "l0", "weight": ""}},
    {"replace": {"layer.{i:int}": "l{i}"}},
    {"rename": {"a": "b", "layer.0.weight": "w"}},
    {"rename": {"layer.{i:int}.{x}": "l.{i+1}.{x}"}},
    {"align_names": {"prefixes": ["module."], "segments": ["net"]}},
    {"drop": "a"},
    {"keep": ["a", "layer.**"]},
    {"copy": {"a": "c"}},
    {"tie": {"a": "c"}},
    {"sub": {"^layer": "l"}},
    {"sub": {"(a*)*$": "\\1"}},
    {"cast": {"match": "a", "dtype": "float16"}},
    {"split": {"source": "a", "target": ["x", "y"], "sizes": [1, 1]}},
    {"concat": {"source": ["a", "b"], "target": "c", "dim": 0}},
    {"stack": {"source": "layer.{i:int}.weight", "target": "w"}},
    {"reshape": {"match": "a", "shape": [-1]}},
    {"transpose": {"match": "a"}},
    {"permute": {"match": "a", "dims": [1, 0]}},
    {"unsqueeze": {"match": "a", "dims": [0]}},
    {"adapt_in_channels": {"match": "a", "mode": "mean", "in_channels": 10}},
    {"inflate": {"match": "a", "mode": "mean", "time": 3}},
    {"collapse": {"match": "a"}},
    {"linear_to_conv": {"match": "a", "order": "chw", "kernel": [1, 2]}},
    {"decimate": {"match": "a", "m": [2, None]}},
    {"resample_pos_embed": {"match": "a", "source_grid": "square", "target_grid": [2, 3]}},
    {"resample_positions": {"match": "a", "mode": "repeat", "size": 9, "keep": 1}},
    {"head": {"match": "a", "mode": "map", "rows": [1, None]}},
    {"resize_vocab": {"match": "a", "size": 12, "new": "mean"}},
    {"merge_lora": {"source": {"weight": "a", "lora_a": "b", "lora_b": "c"}, "target": "a", "alpha": 16}},
    {"init": {"match": "new", "value": "zeros"}},
    {"scale": {"match": "a", "by": 0.5}},
    {"average": {"source": ["{k}", "ema::{k}"], "target": "{k}"}},
    {"task_vector": {"source": ["a", "ema::a", "b"], "target": "a", "scales": [0.5, -1]}},
    {"copy": {"ema::{k:path}": "ema.{k}"}},
    {"fit": {"match": "a"}},
)
_COMMON: tuple[dict[str, Any], ...] = (
    {"if": "flag"},
    {"if": {"not": {"mode": "x"}}},
    {"expect": 1},
    {"expect": "any"},
    {"when": "mismatched"},
    {"why": "because"},
)
_SECTIONS: tuple[dict[str, Any], ...] = (
    {"allow": {"missing": ["**"], "unexpected": "**"}},
    {"allow": {"casts": ["a"]}},
    {"finetune": {"freeze": ["a.**"], "lr": {"new": 1e-3, "exact": 1e-4}, "bn_eval": True}},
    {"sources": {"ema": "ema.pt"}},
    {"assert": [{"count": {"match": "a.**", "at_least": 1}}, {"shape": {"match": "a", "is": [2, None]}}, {"finite": {"match": "**"}}]},
)
_TRAPS = (
    "*a",
    "&a b",
    "!!python/object:os.system x",
    "<<: {a: 1}",
    "---",
    "...",
    "\t",
    "? a",
    "- - -",
    "{{",
    "[[" * 60,
    "'",
    '"',
    "|",
    ">",
    "%YAML 9.9",
    "#",
    "1e999",
    "0x" + "f" * 40,
    "~",
    "yes",
    "\u0085",
    "\x07",
    "\ufeff",
    ":",
    "a: b: c",
)


def _document(chance: Chance) -> dict[str, Any]:
    rules = []
    for _ in range(1 + chance.below(4)):
        body = dict(chance.choice(_BODIES))
        if chance.one_in(4):
            body |= chance.choice(_COMMON)
        rules.append(_with_patterns(chance, body) if chance.one_in(2) else body)
    sections = chance.choice(_SECTIONS) if chance.one_in(4) else {}
    return {"version": 1, "rules": rules, **sections}


def _with_patterns(chance: Chance, value: Any) -> Any:
    """The value with some of its texts made patterns or templates."""
    if isinstance(value, dict):
        return {_pattern(chance, key) if "." in key else key: _with_patterns(chance, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_patterns(chance, item) for item in value]
    return _pattern(chance, value) if isinstance(value, str) and chance.one_in(3) else value


def _pattern(chance: Chance, value: str) -> str:
    found = chance.choice((*_PATTERNS, *_TEMPLATES, value))
    if chance.one_in(4):
        at = chance.below(len(found) + 1)
        found = found[:at] + chance.choice(("*", "**", ".", "{", "}", "{y}", "|", ":", "(", ")+", "{2,9}", "\\", "é", "\x00")) + found[at:]
    return found


def _block(value: Any, indent: str = "") -> str:
    """The value in YAML's block style, its scalars as JSON says them or bare."""
    if isinstance(value, dict) and value:
        return "".join(f"\n{indent}{_scalar(key)}: {_block(item, indent + '  ')}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"\n{indent}- {_block(item, indent + '  ').lstrip()}" for item in value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) and value.replace("_", "").isalpha() else json.dumps(value, ensure_ascii=False)


def rules_file(chance: Chance) -> Mapping[str, bytes]:
    """A rules file in block or in flow style; in most a part is exchanged, or the text itself is changed."""
    document: Any = _document(chance)
    for _ in range(chance.few() if chance.one_in(2) else 0):
        document = changed(chance, document)
    text = _block(document).lstrip("\n") if chance.one_in(2) else json.dumps(document, ensure_ascii=False)
    if chance.one_in(4):
        text = "\n".join(chance.rearranged(text.split("\n"), chance.choice(_TRAPS).split("\n")))
    if chance.one_in(5):
        at = chance.below(len(text) + 1)
        text = text[:at] + chance.choice(_TRAPS) + text[at:]
    data = text.encode("utf-8", "surrogatepass")
    return {"rules.yaml": chance.edited(data) if chance.one_in(12) else data}
