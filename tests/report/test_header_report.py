"""`inspect`: positions, shapes, sizes, ties, what stands around the weights."""

import pytest
from report_samples import DIGESTS, ENVELOPE, HEADER, spec

from ckpt_surgeon.report.header import HeaderReport, parameter_positions
from ckpt_surgeon.report.rendering import render
from ckpt_surgeon.spec import Envelope, Header, Opaque


def rows(header, shown=None):
    text = render(HeaderReport(header, "a.pth", shown))
    return [" ".join(line.split()) for line in text.splitlines()]


def test_every_column_of_an_entry():
    lines = rows(HEADER)
    assert "# param key shape dtype size tied with" in lines
    assert "0 0 conv.weight [8, 3, 7, 7] f32 4.7 kB" in lines
    assert "1 - bn.running_mean [8] f32 32 B" in lines
    assert "3 1 head.weight [4, 8] f32 128 B fc.weight" in lines
    assert "4 - extra a sparse tensor opaque" in lines
    assert "5 2 fc.bias [4] bf16 8 B" in lines


def test_the_total_counts_tied_tensors_once():
    assert rows(HEADER)[-1] == "total: 5 tensors, 1.2 k elements, 4.8 kB, 1 tied, 1 opaque"


def test_columns_which_nobody_knows_are_left_out():
    lines = rows(Header({"a": spec(2)}))
    assert "# key shape dtype size" in lines
    assert not [line for line in lines if "param" in line or "tied" in line]


def test_positions_are_those_in_the_whole_when_a_part_is_shown():
    lines = rows(HEADER, {"fc.bias"})
    assert "5 2 fc.bias [4] bf16 8 B" in lines
    assert not [line for line in lines if "conv.weight" in line]
    assert lines[-1].endswith("(1 shown)")


def test_a_pattern_without_a_match_says_so():
    assert "no such key" in rows(HEADER, set())


def test_what_stands_around_the_weights_is_told():
    lines = rows(HEADER)
    assert "format: torch" in lines
    assert "table: state_dict" in lines
    assert "optimizer state: optimizer" in lines
    assert "ema 1 4.7 kB" in lines
    assert "epoch 45" in lines
    assert "format pt" in lines


def test_nothing_is_told_where_nothing_stands_around():
    lines = rows(Header({"a": spec(2)}, format="safetensors"))
    assert lines[0] == "format: safetensors"
    assert not [line for line in lines if "table" in line or "optimizer" in line or "around" in line]


def test_the_root_of_several_tables_has_a_name():
    tables = (*ENVELOPE.tables, *ENVELOPE.tables)[:2]
    assert "table: (the root)" in rows(Header({"a": spec(2)}, envelope=Envelope("", tables)))


@pytest.mark.parametrize(
    ("kinds", "aliases", "positions"),
    [
        ({}, {}, {}),
        ({"a": "parameter", "b": "buffer", "c": "parameter"}, {}, {"a": 0, "c": 1}),
        ({"a": "parameter", "b": "parameter", "c": "parameter"}, {"b": "a"}, {"a": 0, "b": 0, "c": 1}),
        ({"a": "buffer", "b": "parameter", "c": "parameter"}, {"c": "b"}, {"b": 0, "c": 0}),
        ({"a": "parameter", "b": "parameter", "c": "parameter"}, {"c": "a"}, {"a": 0, "b": 1, "c": 0}),
    ],
)
def test_parameters_are_counted_as_model_parameters_does(kinds, aliases, positions):
    entries = dict.fromkeys("abc", spec(1))
    assert parameter_positions(Header(entries, kinds=kinds, aliases=aliases)) == positions


def test_parameter_positions_are_those_of_a_real_model():
    import torch

    from ckpt_surgeon.surgery import inspect

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[3].weight = model[2].weight
    order = {id(parameter): i for i, parameter in enumerate(model.parameters())}
    expected = {name: order[id(parameter)] for name, parameter in model.named_parameters(remove_duplicate=False)}
    assert parameter_positions(inspect(model)) == expected


def test_the_document_holds_each_entry_as_it_is():
    document = HeaderReport(HEADER, "a.pth").document()
    by_key = {entry["key"]: entry for entry in document["entries"]}
    assert by_key["conv.weight"] == {
        "position": 0,
        "key": "conv.weight",
        "shape": [8, 3, 7, 7],
        "dtype": "float32",
        "nbytes": 4704,
        "kind": "parameter",
        "parameter": 0,
    }
    assert by_key["head.weight"]["tied_with"] == "fc.weight"
    assert by_key["extra"] == {"position": 4, "key": "extra", "opaque": "a sparse tensor"}
    assert document["nbytes"] == 4704 + 32 + 128 + 8
    assert document["envelope"]["optimizers"] == ["optimizer"]
    assert document["metadata"] == {"format": "pt"}


def test_an_opaque_name_is_shown_in_one_line():
    lines = rows(Header({"a\nb": Opaque("x\ny")}))
    assert "0 a\\nb x\\ny opaque" in lines


def test_digests_are_told_where_they_were_taken():
    short = render(HeaderReport(HEADER, "a.pth", digests=DIGESTS))
    assert f"digest: sha256:{DIGESTS.whole} (without 1 opaque)" in short.splitlines()
    assert DIGESTS.tensors["fc.bias"] not in short
    lines = [line.split() for line in render(HeaderReport(HEADER, "a.pth", digests=DIGESTS, detailed=True)).splitlines()]
    assert [line[-1] for line in lines if "fc.bias" in line] == [DIGESTS.tensors["fc.bias"]]
    assert not [line for line in rows(HEADER) if "digest" in line or "sha256" in line]
    assert HeaderReport(HEADER, "a.pth").document()["digests"] is None
    document = HeaderReport(HEADER, "a.pth", {"extra", "fc.bias"}, DIGESTS).document()
    assert document["digests"] == {"algorithm": "sha256", "whole": DIGESTS.whole, "tensors": {"fc.bias": DIGESTS.tensors["fc.bias"]}}
