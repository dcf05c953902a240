"""Rules documents: what they become, and every problem told at its place, all at once."""

import pytest

from ckpt_surgeon.errors import DiskError, RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import Allow, Finetune, FreezeIndex, Head, Rule, Rules, as_rules, inline_rule, parse_rules, read_rules
from ckpt_surgeon.rules.condition import Equal, Not, Truthy

DESIGN = """version: 1
rules:
  - align_names: {prefixes: [module., base_model.], segments: [net]}   # the same name but for these parts: take the model's
  - drop: "new_fc.**"
    if: new_dataset                             # a variable: --set new_dataset=true
  - adapt_in_channels: {match: "base_model.conv1.weight", mode: mean, in_channels: target}
    if: {modality: Flow}
    expect: 1                                   # exactly one match, else an error which lists them
allow: {missing: ["new_fc.**"]}                 # what may stay unloaded; anything else is an error
"""


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(map(Pattern.parse, texts))


def templates(*texts: str) -> tuple[Template, ...]:
    return tuple(map(Template.parse, texts))


def test_the_rules_file_of_the_manual_is_read():
    rules = parse_rules(DESIGN, "rules.yaml")
    align, drop, adapt = rules.rules
    assert (align.op.prefixes, align.op.segments, align.where) == (("module.", "base_model."), ("net",), "rules.yaml:3:5")
    assert (drop.op.patterns, drop.condition, drop.where) == (("new_fc.**",), Truthy("new_dataset"), "rules.yaml:4:5")
    assert (adapt.op.mode, adapt.op.in_channels, adapt.where) == ("mean", "target", "rules.yaml:6:5")
    assert (adapt.sources, adapt.targets) == (patterns("base_model.conv1.weight"), ())
    assert (adapt.condition, adapt.expect, adapt.when) == (Equal((("modality", "Flow"),)), 1, None)
    assert rules.allow == Allow(missing=patterns("new_fc.**"))
    assert rules.finetune is None


ENTRIES = [
    ("strip_prefix: module.", "strip_prefix", {"prefixes": ["module."]}, (), ()),
    ("strip_prefix: [module., net]", "strip_prefix", {"prefixes": ["module.", "net"]}, (), ()),
    ("strip_prefix: {prefixes: [module.]}", "strip_prefix", {"prefixes": ["module."]}, (), ()),
    ("add_prefix: base_model.", "add_prefix", {"prefix": "base_model."}, (), ()),
    ("add_prefix: {prefix: m., match: a.*}", "add_prefix", {"prefix": "m.", "match": ["a.*"]}, (), ()),
    ("replace: {a.b: c, net: ''}", "replace", {"pairs": {"a.b": "c", "net": ""}}, (), ()),
    ("rename: {prefix: match, drop: keep}", "rename", {"pairs": {"prefix": "match", "drop": "keep"}}, (), ()),
    ("drop: [a, b.*]", "drop", {"patterns": ["a", "b.*"]}, (), ()),
    ("keep: a", "keep", {"patterns": ["a"]}, (), ()),
    ("copy: {a: b}", "copy", {"pairs": {"a": "b"}}, (), ()),
    ("tie: {a: b}", "tie", {"pairs": {"a": "b"}}, (), ()),
    ("sub: {'^a': b}", "sub", {"pairs": {"^a": "b"}}, (), ()),
    ("squeeze: {match: a.*, dims: [2, 3]}", "squeeze", {"dims": [2, 3]}, ("a.*",), ()),
    ("squeeze: {match: [a, b], dims: 2}", "squeeze", {"dims": [2]}, ("a", "b"), ()),
    ("squeeze: {source: 'a.{i}', target: 'b.{i}'}", "squeeze", {}, ("a.{i}",), ("b.{i}",)),
    ("reshape: {match: a, shape: target}", "reshape", {"shape": "target"}, ("a",), ()),
    ("reshape: {match: a, shape: [2, -1]}", "reshape", {"shape": [2, -1]}, ("a",), ()),
    ("split: {source: qkv, target: ['q', k, v], sizes: [1, 2, 3]}", "split", {"sizes": [1, 2, 3]}, ("qkv",), ("q", "k", "v")),
    ("split: {source: 'qkv.{l}', target: '{x:q|k}.{l}'}", "split", {}, ("qkv.{l}",), ("{x:q|k}.{l}",)),
    ("concat: {source: ['q', k], target: qk, dim: 1}", "concat", {"dim": 1}, ("q", "k"), ("qk",)),
    ("stack: {source: 'e.{e:int}.w', target: e.w}", "stack", {}, ("e.{e:int}.w",), ("e.w",)),
    ("unstack: {source: e.w, target: 'e.{e:int}.w'}", "unstack", {}, ("e.w",), ("e.{e:int}.w",)),
    ("cast: {match: '**', dtype: float32}", "cast", {"dtype": "float32"}, ("**",), ()),
    ("fit: '**'", "fit", {}, ("**",), ()),
    ("fit: [a, b]", "fit", {}, ("a", "b"), ()),
    ("fit: {match: a}", "fit", {}, ("a",), ()),
    ("fit: {source: a, target: b}", "fit", {}, ("a",), ("b",)),
    ("init: {match: fc.*, value: zeros}", "init", {"value": "zeros"}, ("fc.*",), ()),
]


@pytest.mark.parametrize(("text", "name", "parameters", "sources", "targets"), ENTRIES)
def test_an_entry_becomes_a_rule(text, name, parameters, sources, targets):
    (rule,) = inline_rule(text).rules
    assert type(rule.op) is OPS[name]
    found = {key: getattr(rule.op, key) for key in parameters}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    assert {
        key: [value] if isinstance(parameters[key], list) and not isinstance(value, list) else value for key, value in plain.items()
    } == parameters
    assert (rule.sources, rule.targets) == (patterns(*sources), templates(*targets))
    assert rule.where == "-e 1:1:1"


COMMON = [
    ("", {}),
    ("when: mismatched", {"when": "mismatched"}),
    ("expect: 3", {"expect": 3}),
    ("expect: 0", {"expect": 0}),
    ("expect: any", {"expect": "any"}),
    ("why: 'the old name'", {"why": "the old name"}),
    ("if: flag", {"condition": Truthy("flag")}),
    ("if: {a: 1, b: x, c: true}", {"condition": Equal((("a", 1), ("b", "x"), ("c", True)))}),
    ("if: {not: flag}", {"condition": Not(Truthy("flag"))}),
    ("if: {not: {a: 1, b: 2}}", {"condition": Not(Equal((("a", 1), ("b", 2))))}),
    ("if: {not: {not: flag}}", {"condition": Not(Not(Truthy("flag")))}),
]


@pytest.mark.parametrize(("text", "fields"), COMMON)
def test_every_rule_may_have_the_common_words(text, fields):
    (rule,) = inline_rule(f"drop: a\n{text}").rules
    expected = {"when": None, "expect": None, "why": "", "condition": None, **fields}
    assert {name: getattr(rule, name) for name in expected} == expected


# (an entry, where in it, what is said, part of the hint)
WRONG = [
    ("strip_prefx: a", "1:1", "unknown word 'strip_prefx'", "'strip_prefix'"),
    ("frobnicate: a", "1:1", "unknown op 'frobnicate'", "Known: strip_prefix"),
    ("drop: a\nkeep: b", "1:1", "two ops in one rule: drop and keep", "an entry of its own"),
    ("drop: a\nexpct: 1", "2:1", "unknown word 'expct'", "'expect'"),
    ("drop: a\nmatch: b", "2:1", "unknown word 'match'", "Known: when, if, expect, why"),
    ("squeeze: {match: a}\ndims: 1", "2:1", "'dims' stands beside the op", "a parameter of squeeze"),
    ("fit: {match: a}\nsource: b", "2:1", "'source' stands beside the op", "a parameter of fit"),
    ("if: x", "1:1", "a rule without an op", "op: parameters"),
    ("{}", "1:1", "a rule without an op", "op: parameters"),
    ("drop", "1:1", "a rule is a mapping; found 'drop'", "op: parameters"),
    ("[drop, a]", "1:1", "a rule is a mapping", "op: parameters"),
    ("", "", "no rule: the text is empty", "strip_prefix: module."),
    ("# only a comment", "", "no rule: the text is empty", "strip_prefix: module."),
    # bodies
    ("drop: 3", "1:7", "drop: patterns is 3; allowed: text or a list of texts", "Quote it"),
    ("strip_prefix: 3", "1:15", "strip_prefix: prefixes is 3; allowed: text or a list of texts", "Quote it"),
    ("add_prefix: [a]", "1:13", "add_prefix: prefix is ['a']; allowed: text", ""),
    ("drop: {a: b}", "1:7", "drop: patterns is a mapping", "Quote it"),
    ("drop:", "1:6", "drop: patterns is nothing", ""),
    ("drop: [a, 1]", "1:11", "found 1 in it", "Quote it"),
    ("drop: 'a{'", "1:1", "unbalanced", "Braces"),
    ("rename: [a]", "1:9", "rename: pairs is ['a']; allowed: a mapping to texts", ""),
    ("rename: {a: 1}", "1:13", "found 1 in it", ""),
    ("rename: {'a.{x}': 'b.{y}'}", "1:10", "'y' is not captured", "Captured: x"),
    ("align_names: module.", "1:14", "align_names takes a mapping", "{prefixes: ..., segments: ...}"),
    ("align_names: {prefix: [a]}", "1:15", "unknown word 'prefix'", "'prefixes'"),
    ("squeeze: a", "1:10", "squeeze takes a mapping", "match: ..., dims"),
    ("concat: a", "1:9", "concat takes a mapping", "source: ..., target: ..., dim"),
    ("fit:", "1:5", "fit is a pattern or a list of them; found nothing", ""),
    ("fit: []", "1:6", "fit is an empty list", ""),
    # parameters
    ("split: {source: a, target: [b, c], dimm: 0}", "1:36", "unknown word 'dimm'", "'dim'"),
    (
        "split: {source: a, target: [b, c], sizes: [1, '2']}",
        "1:47",
        "sizes is [1, '2'], found '2' in it; allowed: a list of whole numbers or target",
        "",
    ),
    ("split: {source: a, target: [b, c], sizes: all}", "1:43", "sizes is 'all'; allowed: a list of whole numbers or target", ""),
    ("split: {source: a, target: [b, c], dim: 1.0}", "1:41", "dim is 1.0; allowed: a whole number", ""),
    ("split: {source: a, target: [b, c], dim: '1'}", "1:41", "dim is '1'; allowed: a whole number", ""),
    ("split: {source: a, target: [b, c], dim: true}", "1:41", "dim is true; allowed: a whole number", ""),
    ("transpose: {match: a, dims: [0, 1, 2]}", "1:29", "allowed: a list of 2 whole numbers", ""),
    ("reshape: {match: a}", "1:1", "reshape needs shape: a list of whole numbers or target", ""),
    ("cast: {match: a, dtype: 32}", "1:25", "dtype is 32; allowed: text", "Quote it"),
    ("cast: {match: a, dtype: float31}", "1:1", "'float31', which is no dtype", "float32"),
    ("init: {match: a, value: zero}", "1:25", "value is 'zero'; allowed: zeros, ones, normal, model", ""),
    ("adapt_in_channels: {match: a, mode: meen}", "1:37", "mode is 'meen'; allowed: mean, repeat, sum, zero, select", ""),
    # places
    ("squeeze: {dims: 1}", "1:1", "squeeze needs match (the key stays), or source and target", "match: ..."),
    ("squeeze: {match: a, source: b, target: c}", "1:1", "found match and source and target", ""),
    ("squeeze: {source: b}", "1:1", "found source", ""),
    ("concat: {match: a}", "1:1", "concat needs source and target; found match", ""),
    ("init: {source: a, target: b, value: zeros}", "1:1", "init needs match", ""),
    ("squeeze: {match: {x: q|k}}", "1:18", "match is a pattern or a list of them; found a mapping", "Quote it"),
    ("squeeze: {match: 'a{'}", "1:18", "unbalanced", "Braces"),
    ("squeeze: {match: [a, '***']}", "1:22", "is no wildcard", "any number of segments"),
    ("squeeze: {source: a, target: 'b.*'}", "1:30", "no wildcards", "put it back"),
    ("squeeze: {source: a, target: '{i+}'}", "1:30", "neither a name nor arithmetic", "Allowed"),
    ("squeeze: {source: a, target: 'b.{x}'}", "1:10", "'x' is not captured", ""),
    ("squeeze: {source: 'a.{i:int}', target: b}", "1:19", "its source is one tensor, and several are given", "both sides"),
    ("squeeze: {source: [a, b], target: c}", "1:19", "its source is one tensor", ""),
    ("squeeze: {source: a, target: 'b.{i:int}'}", "1:30", "its target is one tensor", ""),
    ("concat: {source: a, target: b}", "1:18", "its source is several tensors, and one is given", "List several"),
    ("concat: {source: [a, b], target: [c, d]}", "1:34", "its target is one tensor, and several are given", ""),
    ("split: {source: a, target: b}", "1:28", "its target is several tensors, and one is given", "List several"),
    ("stack: {source: 'a.{x}', target: b}", "1:8", "a text capture cannot be folded", "{x:int}"),
    # common words
    ("drop: a\nwhen: never", "2:7", "when is 'never'; allowed: mismatched", ""),
    ("drop: a\nexpect: -1", "2:9", "whole number of at least 0; found -1", ""),
    ("drop: a\nexpect: all", "2:9", "found 'all'", ""),
    ("drop: a\nexpect: true", "2:9", "found true", ""),
    ("drop: a\nexpect: '1'", "2:9", "found '1'", ""),
    ("drop: a\nwhy: 3", "2:6", "why is text; found 3", "Quote it"),
    ("drop: a\nif: [a]", "2:5", "if is NAME", "--set"),
    ("drop: a\nif: true", "2:5", "if is NAME", "--set"),
    ("drop: a\nif: {}", "2:5", "if is NAME", "--set"),
    ("drop: a\nif: ''", "2:5", "if is NAME", "--set"),
    ("drop: a\nif: {not: a, b: 1}", "2:5", "`not` stands alone", "{not: {"),
    ("drop: a\nif: {not: [a]}", "2:11", "if is NAME", "--set"),
    ("drop: a\nif: {a: [1]}", "2:9", "a is compared with [1]", "Compare with"),
    ("drop: a\nif:\n  a:", "3:5", "a is compared with nothing", "Compare with"),
]


@pytest.mark.parametrize(("text", "place", "says", "hint"), WRONG)
def test_a_wrong_entry_is_refused_at_its_place(text, place, says, hint):
    with pytest.raises(RulesError) as caught:
        inline_rule(text, "-e 2")
    (problem,) = caught.value.problems
    assert problem.where == (f"-e 2:{place}" if place else "-e 2")
    assert says in problem.what
    assert hint in problem.hint


DOCUMENTS = [
    ("", "r", "no rules: the document is empty", "version: 1"),
    ("# only a comment", "r", "no rules: the document is empty", "version: 1"),
    ("---", "r:1:4", "no rules: the document is empty", "version: 1"),
    ("{}", "r:1:1", "`version` is missing", "version: 1"),
    ("drop", "r:1:1", "no rules; found 'drop'", "version: 1"),
    ("- drop: a", "r:1:1", "no rules", "version: 1"),
    ("rules: []", "r:1:1", "`version` is missing", "version: 1"),
    ("version: 2", "r:1:10", "version is 2; this program reads version 1", ""),
    ("version: '1'", "r:1:10", "version is '1'", ""),
    ("version: true", "r:1:10", "version is true", ""),
    ("version:", "r:1:9", "version is nothing", ""),
    ("version: 1\nrulez: []", "r:2:1", "unknown word 'rulez'", "'rules'"),
    ("version: 1\nsources: []", "r:2:10", "sources is a mapping; found []", ""),
    ("version: 1\npresets: wrappers", "r:2:10", "presets is a list; found 'wrappers'", "[wrappers]"),
    ("version: 1\npresets: [wrapers]", "r:2:11", "presets: an item is 'wrapers'; allowed: wrappers, densenet", ""),
    ("version: 1\npresets: [densenet, densenet]", "r:2:21", "presets: 'densenet' is listed twice", ""),
    ("version: 1\npresets: [[]]", "r:2:11", "presets: an item is []", ""),
    ("version: 1\nassert: {}", "r:2:9", "assert is a list; found a mapping", "shape"),
    ("version: 1\ndrop: a", "r:2:1", "'drop' stands outside `rules`", "rules: [{drop: ...}]"),
    ("version: 1\nrules:", "r:2:7", "rules is a list; found nothing", "- "),
    ("version: 1\nrules: {drop: a}", "r:2:8", "rules is a list; found a mapping", "- "),
    ("version: 1\nrules: drop", "r:2:8", "rules is a list", ""),
    ("version: 1\nallow: [a]", "r:2:8", "allow is a mapping", ""),
    ("version: 1\nallow: {mising: a}", "r:2:9", "allow: unknown word 'mising'", "'missing'"),
    ("version: 1\nallow: {missing: 3}", "r:2:18", "allow: missing is a pattern or a list of them; found 3", "Quote it"),
    ("version: 1\nallow: {missing: []}", "r:2:18", "allow: missing is an empty list", "leave"),
    ("version: 1\nallow: {casts: ['a{']}", "r:2:17", "unbalanced", ""),
    ("version: 1\nfinetune: 1", "r:2:11", "finetune is a mapping", ""),
    ("version: 1\nfinetune: {freze: a}", "r:2:12", "finetune: unknown word 'freze'", "'freeze'"),
    ("version: 1\nfinetune: {bn_eval: 1}", "r:2:21", "bn_eval is true or false; found 1", ""),
    ("version: 1\nfinetune: {freeze_index: 165}", "r:2:26", "freeze_index is a mapping", ""),
    ("version: 1\nfinetune: {freeze_index: {below: 165}}", "r:2:26", "freeze_index needs space", ""),
    ("version: 1\nfinetune: {freeze_index: {space: buffers, below: 1}}", "r:2:34", "allowed: parameters, state_dict", ""),
    ("version: 1\nfinetune: {freeze_index: {space: parameters, below: -1}}", "r:2:53", "found -1", ""),
    ("version: 1\nfinetune: {lr: 0.1}", "r:2:16", "lr is a mapping", ""),
    ("version: 1\nfinetune: {lr: {new: fast}}", "r:2:22", "lr: new is a number of at least 0; found 'fast'", ""),
    ("version: 1\nfinetune: {lr: {new: -0.1}}", "r:2:22", "found -0.1", ""),
    ("version: 1\nfinetune: {lr: {new: true}}", "r:2:22", "found true", ""),
    ("version: 1\nfinetune: {lr: {'{a': 1}}", "r:2:23", "unbalanced", ""),
    ("version: 1\nfinetune: {head: fc}", "r:2:18", "head is a mapping", ""),
    ("version: 1\nfinetune: {head: {module: fc}}", "r:2:18", "head needs classes", ""),
    ("version: 1\nfinetune: {head: {module: 1, classes: 2}}", "r:2:27", "head: module is text; found 1", ""),
]


@pytest.mark.parametrize(("text", "place", "says", "hint"), DOCUMENTS)
def test_a_wrong_document_is_refused_at_its_place(text, place, says, hint):
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "r")
    (problem,) = caught.value.problems
    assert problem.where == place
    assert says in problem.what
    assert hint in problem.hint


def test_a_document_of_a_version_only_is_a_conversion():
    assert parse_rules("version: 1", "r") == Rules()
    assert parse_rules("version: 1\nrules: []\nallow: {}", "r") == Rules()


def test_what_may_be_allowed_is_one_pattern_or_several():
    rules = parse_rules("version: 1\nallow: {missing: '**', unexpected: [a, b.*], casts: c}", "r")
    assert rules.allow == Allow(patterns("**"), patterns("a", "b.*"), patterns("c"))


def test_the_finetune_section_is_read():
    text = """version: 1
finetune:
  freeze: ["base.**", stem]
  freeze_index: {space: state_dict, below: 165}
  bn_eval: false
  lr: {exact: 1e-4, new: 1, "head.**": 0.5}
  head: {module: new_fc, classes: 101}
"""
    assert parse_rules(text, "r").finetune == Finetune(
        patterns("base.**", "stem"),
        FreezeIndex("state_dict", 165),
        False,
        {"exact": 0.0001, "new": 1.0, "head.**": 0.5},
        Head("new_fc", 101),
    )
    assert parse_rules("version: 1\nfinetune: {}", "r").finetune == Finetune()


def test_all_problems_of_a_file_are_told_at_once_from_top_to_bottom():
    text = """version: 3
rules:
  - strip_prefx: module.
  - drop: 3
  - squeeze: {match: "a.{b", dims: one}
    expect: -1
  - keep: a
allow: {mising: x}
"""
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "r")
    places = [problem.where for problem in caught.value.problems]
    assert places == ["r:1:10", "r:3:5", "r:4:11", "r:5:22", "r:5:36", "r:6:13", "r:8:9"]


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted():
    text = "version: 1\nrules:\n" + "  - drop: 3\n" * 200
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "r")
    assert len(caught.value.problems) == 51
    assert str(caught.value.problems[-1]) == "and 150 more problems"


def test_names_in_messages_are_escaped_and_shortened():
    with pytest.raises(RulesError) as caught:
        parse_rules('version: 1\n"a\\u202e\\n": 1\n' + "x" * 900 + ": 1", "r\x1b.yaml")
    first, second = caught.value.problems
    assert "\\u202e\\n" in first.what
    assert len(second.what) < 300
    assert first.where == "r\\x1b.yaml:2:1"


def test_a_file_is_read(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DESIGN.encode())
    for given in (path, str(path)):
        rules = read_rules(given)
        assert rules == parse_rules(DESIGN, "other.yaml")
        assert rules.rules[0].where == f"{path}:3:5"


def test_a_file_which_is_none_is_an_input_fault(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(DiskError):
            read_rules(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"version: 1\n# \xff", "byte 13 is no UTF-8"),
        ("version: 1".encode("utf-16"), "no UTF-8"),
        (b"#" * 1_000_001, "1000001 bytes"),
        (b"PK\x03\x04", "not allowed in YAML"),
    ],
)
def test_a_file_which_is_no_text_of_a_fair_size_is_refused(tmp_path, data, says):
    path = tmp_path / "rules.yaml"
    path.write_bytes(data)
    with pytest.raises(RulesError, match=says) as caught:
        read_rules(path)
    assert caught.value.problems[0].where.startswith(str(path))


RULE = inline_rule("drop: a").rules[0]
GIVEN = [
    ("nothing", None, []),
    ("rules", Rules((RULE,)), ["drop"]),
    ("a rule", RULE, ["drop"]),
    ("a document", {"version": 1, "rules": [{"keep": "a"}, {"drop": ("a", "b")}]}, ["keep", "drop"]),
    ("a list", [{"keep": "a"}, {"drop": "b"}], ["keep", "drop"]),
    ("a tuple with rules among mappings", ({"keep": "a"}, RULE, {"fit": "b"}), ["keep", "drop", "fit"]),
    ("an empty list", [], []),
]


@pytest.mark.parametrize(("given", "names"), [case[1:] for case in GIVEN], ids=[case[0] for case in GIVEN])
def test_whatever_python_hands_in_becomes_rules(given, names):
    rules = as_rules(given)
    assert [rule.op.name for rule in rules.rules] == names
    assert all(isinstance(rule, Rule) for rule in rules.rules)


def test_a_path_is_read(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(DESIGN)
    assert as_rules(str(path)) == as_rules(path) == parse_rules(DESIGN, "r")


def test_a_document_from_python_and_the_same_from_a_file_are_equal():
    document = {
        "version": 1,
        "rules": [
            {"align_names": {"prefixes": ("module.", "base_model."), "segments": ["net"]}},
            {"drop": "new_fc.**", "if": "new_dataset"},
            {
                "adapt_in_channels": {"match": "base_model.conv1.weight", "mode": "mean", "in_channels": "target"},
                "if": {"modality": "Flow"},
                "expect": 1,
            },
        ],
        "allow": {"missing": ["new_fc.**"]},
    }
    assert as_rules(document) == parse_rules(DESIGN, "r")
    assert as_rules(document).digest == parse_rules(DESIGN, "r").digest
    assert [rule.where for rule in as_rules(document).rules] == ["rules[0].align_names", "rules[1].drop", "rules[2].adapt_in_channels"]


NESTED: list = []
NESTED.append(NESTED)
WRONG_VALUES = [
    (3, "", "no rules: int"),
    (b"drop: a", "", "no rules: bytes"),
    ({"drop": "a"}, "drop", "'drop' stands outside `rules`"),
    ({"version": 1, "rules": [{"drop": "a"}, {"drap": "b"}]}, "rules[1].drap", "unknown word 'drap'"),
    ([{"drop": "a"}, {"split": {"source": "a", "target": ["b", "c"], "sizes": [1, "x"]}}], "rules[1].split.sizes[1]", "found 'x'"),
    ([{"drop": object()}], "rules[0].drop", "no plain value"),
    ([{"split": {"source": "a", "target": ["b", "c"], "dim": float("nan")}}], "rules[0].split", "no plain value"),
    ([{1: "a"}], "rules[0]", "has the key 1, which is no text"),
    ([{"rename": {1: "a"}}], "rules[0].rename", "has the key 1, which is no text"),
    (["drop: a"], "rules[0]", "a rule is a mapping; found 'drop: a'"),
    ([None], "rules[0]", "a rule is a mapping; found nothing"),
    (NESTED, "", "nested more than 50 deep"),
    ({1: "a"}, "rules", "has the key 1, which is no text"),
    ([{"fit": {1: "a"}}], "rules[0].fit", "has the key 1, which is no text"),
    ([{"drop": "a", "if": {1: "a"}}], "rules[0].if", "has the key 1, which is no text"),
    ([{"drop": "a{"}, {"keep": "b{"}], "rules[0].drop", "unbalanced"),
]


@pytest.mark.parametrize(("given", "place", "says"), WRONG_VALUES)
def test_a_wrong_value_from_python_is_refused_at_its_place(given, place, says):
    with pytest.raises(RulesError) as caught:
        as_rules(given)
    assert caught.value.problems[0].where == place
    assert says in str(caught.value)
