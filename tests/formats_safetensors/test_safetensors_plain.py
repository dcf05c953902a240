"""The quick reader of headers says what the strict one says, or nothing."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats import safetensors_table
from ckpt_surgeon.formats.safetensors_plain import plain_header
from ckpt_surgeon.formats.safetensors_table import header_bytes, parse_table
from ckpt_surgeon.spec import TensorSpec

ENTRY = '"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}'
KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
SPECS = st.builds(TensorSpec.of, st.sampled_from(["float32", "bfloat16", "int8"]), st.integers(0, 3), st.integers(0, 3))


def compact(items):
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def plain(text):
    return plain_header(text, lambda key, tag, shape: (tag, tuple(shape)))


def table_of(data, nbytes):
    """What the whole reader makes of a text: its table, or the class of its error."""
    try:
        return parse_table(data, nbytes)
    except (CorruptError, LimitError) as error:
        return type(error)


def strict_table_of(data, nbytes):
    """The same, where the quick reader knows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safetensors_table, "plain_header", lambda text, kind: None)
        return table_of(data, nbytes)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"a": 'quotes " and \\ and\nlines', "": "{}},"}])
def test_what_the_reference_library_writes_is_plain(tmp_path, metadata):
    save_file({"b.weight": torch.zeros(2, 3), "a": torch.zeros((), dtype=torch.int64)}, tmp_path / "x", metadata)
    data = (tmp_path / "x").read_bytes()
    found = plain(data[8 : 8 + int.from_bytes(data[:8], "little")].decode())
    assert sorted(found.entries) == [(0, 8, ("I64", ()), "a"), (8, 32, ("F32", (2, 3)), "b.weight")]
    assert json.loads(found.metadata or "null") == metadata


def test_what_we_write_is_plain():
    specs = {"a.b": TensorSpec.of("float32", 2), "ü": TensorSpec.of("bool")}
    found = plain(header_bytes(specs, {"k": "v"})[8:].decode())
    assert found.entries == [(0, 8, ("F32", (2,)), "a.b"), (8, 9, ("BOOL", ()), "ü")]
    assert found.metadata == '{"k":"v"}'


@pytest.mark.parametrize(("text", "entries"), [("{}", []), ("{}   ", []), (f"{{{ENTRY}}}", [(0, 4, ("F16", (2,)), "w")])])
def test_the_least_headers_are_plain(text, entries):
    found = plain(text)
    assert (found.metadata, found.entries) == ("", entries)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        f"{{{ENTRY}",
        f"{{{ENTRY},}}",
        f"{{{ENTRY}}}}}",
        f"{{{ENTRY}}}x",
        f"{{ {ENTRY}}}",
        f"{{{ENTRY} }}",
        f"{{{ENTRY},{ENTRY[:-1]},}}",
        f"{{{ENTRY}{ENTRY}}}",
        f'{{{ENTRY},"__metadata__":{{}}}}',
        '{"__metadata__":{},}',
        f'{{"__metadata__":{{}}{ENTRY}}}',
        '{"__metadata__":{"a":"b"},}  ',
        '{"__metadata__":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}',
        f'{{"__metadata__":{{"a":1}},{ENTRY}}}',
        "{" + ENTRY.replace('"w"', '"w\\n"') + "}",
        "{" + ENTRY.replace("[2]", "[02]") + "}",
        "{" + ENTRY.replace("[2]", "[2,]") + "}",
        "{" + ENTRY.replace("[2]", "[-2]") + "}",
        "{" + ENTRY.replace("[2]", "[2.0]") + "}",
        "{" + ENTRY.replace("[0,4]", "[0,4,8]") + "}",
        "{" + ENTRY.replace("[0,4]", f"[0,{10**18}]") + "}",
        "{" + ENTRY.replace('"F16"', '"f16"') + "}",
        '{"w":{"shape":[2],"dtype":"F16","data_offsets":[0,4]}}',
        '{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4],"more":1}}',
    ],
)
def test_all_else_is_left_to_the_strict_reader(text):
    assert plain(text) is None


def test_a_text_which_looks_like_an_entry_is_none_within_metadata():
    text = compact({"__metadata__": {"a": f"{{{ENTRY}}},{ENTRY}"}, "w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}})
    assert [entry[3] for entry in plain(text).entries] == ["w"]


def test_a_long_text_is_read_without_remembering_each_sign():
    text = '{"__metadata__":{"a":"' + '\\"' * 1_000_000 + '"},' + ENTRY + "}"
    assert len(plain(text).metadata) > 2_000_000


@given(st.dictionaries(KEYS.filter(lambda key: key != "__metadata__"), SPECS, max_size=5), st.dictionaries(KEYS, KEYS, max_size=3))
def test_both_readers_read_the_same(specs, metadata):
    nbytes = sum(spec.nbytes for spec in specs.values())
    text = header_bytes(specs, metadata)[8:]
    spaced = json.dumps(json.loads(text), indent=1).encode()
    assert parse_table(text, nbytes) == strict_table_of(text, nbytes) == parse_table(spaced, nbytes)
    assert list(parse_table(text, nbytes).entries) == list(specs)


@settings(max_examples=300)
@given(
    st.integers(0, 200),
    st.integers(0, 3),
    st.sampled_from(['"', "\\", ",", "{", "}", "[", "]", "0", "9", "-", ".", " ", "\n", "\0", "w", "ü"]),
)
@example(0, 1, " ")
def test_whatever_is_spoiled_both_readers_say_the_same(place, taken, put):
    text = compact(
        {
            "__metadata__": {"a": "b\\"},
            "w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
            "v": {"dtype": "F32", "shape": [], "data_offsets": [4, 8]},
        }
    )
    place %= len(text)
    data = (text[:place] + put + text[place + taken :]).encode()
    assert table_of(data, 8) == strict_table_of(data, 8)


def test_more_values_than_any_checkpoint_needs_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr("ckpt_surgeon.formats.strict_json.MAX_VALUES", 5)
    with pytest.raises(LimitError, match="values"):
        parse_table(f"{{{ENTRY}}}".encode(), 4)


def test_a_key_which_stands_twice_is_refused_by_its_name():
    twice = compact({"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}})[1:-1]
    text = "{" + twice + "," + twice.replace("[0,4]", "[4,8]") + "}"
    with pytest.raises(CorruptError, match="the key 'w' stands twice"):
        parse_table(text.encode(), 8)


def test_a_kind_is_made_once_for_all_which_are_alike():
    asked = []
    text = compact({f"w{i}": {"dtype": "F16", "shape": [2], "data_offsets": [4 * i, 4 * i + 4]} for i in range(5)})
    found = plain_header(text, lambda key, tag, shape: asked.append(key) or (tag, *shape))
    assert asked == ["w0"]
    assert found == replace(found, metadata="")
