"""YAML as rules files are read: the core schema of YAML 1.2, and every trick refused at its place."""

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.rules.yaml_reader import MAX_BYTES, read_yaml

SCALARS = [
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("false", False),
    ("null", None),
    ("~", None),
    ("NULL", None),
    ("0", 0),
    ("-12", -12),
    ("+12", 12),
    ("007", 7),
    ("0o17", 15),
    ("0x1F", 31),
    ("9223372036854775807", 2**63 - 1),
    ("1.5", 1.5),
    ("1.", 1.0),
    (".5", 0.5),
    ("1e-4", 0.0001),
    ("1E3", 1000.0),
    ("-1.5e+2", -150.0),
    # what YAML 1.1 takes for something else
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("tRUE", "tRUE"),
    ("1_000", "1_000"),
    ("1:30", "1:30"),
    ("0b11", "0b11"),
    ("017_", "017_"),
    ("2024-01-01", "2024-01-01"),
    ("1.2.3", "1.2.3"),
    ("-", None),
    ("+", "+"),
    (".", "."),
    ("1e", "1e"),
    ("0o8", "0o8"),
    ("0xg", "0xg"),
    ("=", "="),
    # quoted, everything is text
    ("'true'", "true"),
    ('"1"', "1"),
    ("''", ""),
    ('"\\u00e9"', "é"),
]


@pytest.mark.parametrize(("text", "value"), [case for case in SCALARS if case[0] != "-"])
def test_scalars_are_read_by_the_core_schema(text, value):
    data = read_yaml(f"a: {text}", "r.yaml").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_keys_are_text_as_written():
    assert read_yaml("0: a\ntrue: b\n1.50: c\n~: d\n'x y': e\n'<<': f", "r.yaml").data == {
        "0": "a",
        "true": "b",
        "1.50": "c",
        "~": "d",
        "x y": "e",
        "<<": "f",
    }


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("---\na: 1\n...\n", {"a": 1}),
        ("%YAML 1.2\n---\na: 1", {"a": 1}),
        ("- a\n- [b, {c: d}]\n-\n  e: |\n    two\n    lines\n", ["a", ["b", {"c": "d"}], {"e": "two\nlines\n"}]),
        ("a:\n", {"a": None}),
        ("drop: layer{i:int}.x", {"drop": "layer{i:int}.x"}),
        ("drop: a.*.b", {"drop": "a.*.b"}),
        ("drop: a|b", {"drop": "a|b"}),
        ("drop: '*.weight'", {"drop": "*.weight"}),
        ("rename: {a.b: c.d, e: f}", {"rename": {"a.b": "c.d", "e": "f"}}),
        ('rename: {"a.{i}.b": "{i}"}', {"rename": {"a.{i}.b": "{i}"}}),
    ],
)
def test_documents_are_read(text, data):
    assert read_yaml(text, "r.yaml").data == data


QUOTING = [
    ("drop: *.weight", "1:7", "'*.weight'"),
    ("drop: **.fc.*", "1:7", "'**.fc.*'"),
    ("drop: *", "1:7", "'*'"),
    ("- **.fc", "1:3", "'**.fc'"),
    ("drop: [a, *.x]", "1:11", "'*.x'"),
    ("drop: *fc", "1:7", "'*fc'"),
    ("drop: {weight|bias}.x", "1:7", "'{weight|bias}.x'"),
    ("drop: {name}", "1:7", "'{name}...'"),
    ("drop: [qk].weight", "1:7", "'[qk].weight'"),
    ("drop: &a b", "1:7", "'&a'"),
    ("drop: !x y", "1:7", "quoted"),
    ("drop: !!str y", "1:7", "quoted"),
    ("drop: %a", "1:7", "'%a'"),
    ("drop: @a.b", "1:7", "'@a.b'"),
    ("drop: `a", "1:7", "'`a'"),
    ("a: b\nrename:\n  {i}.b: c", "3:3", "'{i}.b'"),
    ("rename: {a.{i}.b: c}", "1:10", "'a.{i}.b'"),
    ("rename: {a: {b}.c}", "1:13", "'{b}.c'"),
    ("rename: {a: {b}}", "1:13", "'{b}...'"),
    ("drop: a: b", "1:8", "quote a value which holds a colon"),
]


@pytest.mark.parametrize(("text", "place", "hint"), QUOTING)
def test_a_pattern_which_yaml_reads_as_something_else_gets_the_hint_to_quote_it(text, place, hint):
    with pytest.raises(RulesError) as caught:
        read_yaml(text, "r.yaml")
    assert [problem.where for problem in caught.value.problems] == [f"r.yaml:{place}"]
    assert hint in caught.value.hint


REFUSED = [
    ("a: 1\nb: 2\na: 3", ["r.yaml:3:1"], "the key 'a' stands here a second time; first at 1:1"),
    ("x:\n  - {a: 1, 'a': 2}", ["r.yaml:2:12"], "a second time; first at 2:6"),
    ("a: &x 1\nb: *x", ["r.yaml:1:4", "r.yaml:2:4"], "aliases are not read"),
    ("a: &x [1]", ["r.yaml:1:4"], "anchors are not read"),
    ("<<: {a: 1}", ["r.yaml:1:1"], "merge keys"),
    ("a: !!python/object/apply:os.system [x]", ["r.yaml:1:4"], "tags such as tag:yaml.org,2002:python/object/apply:os.system"),
    ("!!map {a: b}", ["r.yaml:1:1"], "tags"),
    ("? [a]\n: b", ["r.yaml:1:3"], "a key has to be text"),
    ("? {a: b}\n: b", ["r.yaml:1:3"], "a key has to be text"),
    ("a: 1\n---\nb: 2", ["r.yaml:2:1"], "a second document"),
    ("a: 1\n---\n", ["r.yaml:2:1"], "a second document"),
    ("a: .inf", ["r.yaml:1:4"], ".inf is no number"),
    ("a: -.INF", ["r.yaml:1:4"], "is no number"),
    ("a: .nan", ["r.yaml:1:4"], ".nan is no number"),
    ("a: " + "9" * 22, ["r.yaml:1:4"], "a number of 22 digits"),
    ("a: 'b", ["r.yaml:1:6"], "no YAML"),
    ("\ta: b", ["r.yaml:1:1"], "no YAML"),
    ("a: b\n c: d", ["r.yaml:2:3"], "no YAML: mapping values"),
    ("a: [1, 2", ["r.yaml:1:9"], "no YAML"),
    ("%YAML 2.0\n---\na: b", ["r.yaml:1:1"], "no YAML"),
    ("a: b\x07", ["r.yaml:1:5"], r"the character \x07 is not allowed"),
    ("a: 1\nb: \ud800", ["r.yaml:2:4"], r"the character \ud800 is not allowed"),
    ("- " * 60 + "a", ["r.yaml:1:103"], "nested more than 50 deep"),
    ("[" * 5000, ["r.yaml:1:52"], "nested more than 50 deep"),
    ("{a: " * 5000, ["r.yaml:1:205"], "nested more than 50 deep"),
    ("[1,[" * 100_000, ["r.yaml:1:102"], "nested more than 50 deep"),
]


@pytest.mark.parametrize(("text", "places", "says"), REFUSED)
def test_what_could_mean_two_things_or_too_much_is_refused_at_its_place(text, places, says):
    with pytest.raises(RulesError) as caught:
        read_yaml(text, "r.yaml")
    assert [problem.where for problem in caught.value.problems] == places
    assert says in str(caught.value)
    assert "\n" not in caught.value.problems[0].what


def test_fifty_levels_are_read():
    assert read_yaml("[" * 50 + "]" * 50, "r.yaml").data


def test_all_that_is_wrong_is_told_at_once_and_what_follows_from_a_syntax_error_is_not():
    with pytest.raises(RulesError) as caught:
        read_yaml("a: 1\na: 2\nb: !x 3\nc: [*d]\ne: {f}.g\n", "r.yaml")
    assert [problem.where for problem in caught.value.problems] == ["r.yaml:2:1", "r.yaml:3:4", "r.yaml:4:5", "r.yaml:5:4"]


def test_a_text_over_the_limit_is_refused_and_one_at_the_limit_is_read():
    line = "# " + "x" * 997 + "\n"
    text = line * (MAX_BYTES // len(line))
    assert len(text) == MAX_BYTES
    assert read_yaml(text, "r.yaml").data is None
    with pytest.raises(RulesError, match=f"r.yaml: {MAX_BYTES + 2} bytes"):
        read_yaml(text + "é", "r.yaml")


COSTLY = {
    "opened lists": ("[" * MAX_BYTES, "1:52", "nested more than 50 deep"),
    "opened mappings": ("{" * MAX_BYTES, "1:2", "a key has to be text"),
    "lists in mappings": ("[{" * (MAX_BYTES // 2), "1:52", "nested more than 50 deep"),
    "dashes": ("- " * (MAX_BYTES // 2), "1:103", "nested more than 50 deep"),
    "question marks": ("? " * (MAX_BYTES // 2), "1:3", "a key has to be text"),
    "closed lists": ("]" * MAX_BYTES, "1:1", "no YAML"),
    "braces in a word": ("a: b " + "}" * 900_000 + ": c", "1:900006", "no YAML: mapping values"),
    "anchors in a row": ("&a " * 300_000, "1:4", "no YAML"),
    "a list of anchors": ("[" + "&a x," * 20_000 + "]", "1:2", "anchors are not read"),
    "a list of aliases": ("[" + "*a," * 40_000 + "]", "1:2", "aliases are not read"),
    "a list of tags": ("[" + "!a x," * 20_000 + "]", "1:2", "tags such as !a are not read"),
    "one key, again and again": ("{" + "a: 1," * 20_000 + "}", "1:7", "the key 'a' stands here a second time"),
    "billion laughs": ("a: &a [x]\n" + "".join(f"b{i}: &b{i} [{'*a,' * 9}]\n" for i in range(9)), "1:4", "anchors are not read"),
    "keys and values": ("[" + "a," * 50_001 + "]", "1:100000", "more than 50000 keys and values"),
    "documents": ("--- a\n" * 40_000, "2:1", "a second document"),
    "directives": ("%a b\n" * 49_000, "49001:1", "no YAML"),
    "a long name of a tag": ("!" + "x" * 999_000 + " a", "1:1", "tags such as !xxx"),
    "a long anchor": ("&" + "x" * 999_000 + " a", "1:1", "anchors are not read"),
    "a long alias": ("*" + "x" * 999_000, "1:1", "aliases are not read"),
    "a long key": ("x" * 999_000 + ": 1", "1:999001", "no YAML: mapping values"),
    "a long quotation without an end": ("a: '" + "x" * 999_000, "1:999005", "no YAML"),
}


@pytest.mark.parametrize(("text", "place", "says"), COSTLY.values(), ids=COSTLY)
def test_a_large_text_made_to_take_time_is_refused_at_its_first_fault(text, place, says):
    with pytest.raises(RulesError) as caught:
        read_yaml(text, "r.yaml")
    first = caught.value.problems[0]
    assert (first.where, says in first.what) == (f"r.yaml:{place}", True)
    assert len(caught.value.problems) <= 51
    assert all(len(problem.what + problem.hint) < 500 for problem in caught.value.problems)


def test_ten_thousand_renames_are_read():
    table = {f"encoder.layers.{i}.attention.weight": f"blocks.{i}.attn.weight" for i in range(10_000)}
    text = "rename:\n" + "".join(f"  {key}: {value}\n" for key, value in table.items())
    assert read_yaml(text, "r.yaml").data == {"rename": table}


def test_a_text_of_too_many_lines_is_refused_and_one_at_the_limit_is_read():
    assert read_yaml("\n" * 49_998 + "a: 1\n", "r.yaml").data == {"a": 1}
    with pytest.raises(RulesError, match=r"r\.yaml: 50001 lines; a rules file has at most 50000"):
        read_yaml("\n" * 49_999 + "a: 1\n", "r.yaml")


def test_every_part_has_its_place():
    document = read_yaml("version: 1\nrules:\n  - split: {dim: 0,\n      sizes: [1, x]}\n", "r.yaml")
    assert document.where(("rules", 0, "split"), key=True) == "r.yaml:3:5"
    assert document.where(("rules", 0, "split")) == "r.yaml:3:12"
    assert document.where(("rules", 0, "split", "sizes", 1)) == "r.yaml:4:18"
    assert document.where(("rules", 0, "split", "sizes", 7, "x")) == "r.yaml:4:14"
    assert document.where(("rules", 0, "nothing"), key=True) == "r.yaml:3:5"
    assert document.where(()) == "r.yaml:1:1"
    assert read_yaml("", "r.yaml").where(("a",)) == "r.yaml"
