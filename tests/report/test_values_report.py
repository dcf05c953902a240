"""The values of a diff: how many are equal, the furthest apart first, what was not compared."""

from math import inf

import pytest
from report_samples import MIXED, SAME, named

from ckpt_surgeon.comparison import Distance, Values
from ckpt_surgeon.report.diff import DiffReport
from ckpt_surgeon.report.rendering import render

EQUAL = Values(("conv.weight", "fc.weight"), nbytes=4704)
FAR = Distance(1000, 1000, (2, 0), 1.25, 0.0123456, 0.9999999)
VALUES = Values(
    equal=("conv.weight",),
    different={"fc.weight": FAR, "fc.bias": Distance(12, 1, (0, 0), inf, inf, None), "packed": Distance(4, 2)},
    skipped={"extra": "it is no plain tensor"},
    nbytes=5_000_000,
)


def lines_of(values, form="table", **options):
    text = render(DiffReport(named(SAME, values=values), "a.pth", "b.pth", **options), form)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_without_values_nothing_is_said_of_them():
    assert not [line for line in lines_of(None) if "values" in line]
    assert DiffReport(SAME, "a", "b").document()["values"] is None


def test_equal_values_are_one_line():
    assert lines_of(EQUAL)[1:] == ["values: 2 of 2 tensors are equal; 4.7 kB were compared"]


def test_different_values_have_a_row_each_and_what_is_not_defined_is_empty():
    lines = lines_of(VALUES)
    assert "values: 1 of 4 tensors are equal; 5.0 MB were compared" in lines
    assert "values differ: 3 keys, the furthest apart first" in lines
    assert "fc.weight 0.0123 1.25 0.999999 1.0 k of 1.0 k 2, 0" in lines
    assert "fc.bias inf inf 1 of 12" in lines
    assert "packed 2 of 4" in lines


def test_what_was_not_compared_is_told_with_its_reason():
    lines = lines_of(VALUES)
    assert "not compared: 1 key" in lines
    assert "extra it is no plain tensor" in lines


@pytest.mark.parametrize(
    ("cosine", "text"), [(1.0, "1.000000"), (1 - 1e-12, "0.999999"), (-1 + 1e-12, "-0.999999"), (-1.0, "-1.000000"), (0.0, "0.000000")]
)
def test_only_a_cosine_of_1_reads_1(cosine, text):
    assert f"w 0.1 0.1 {text} 1 of 2" in lines_of(Values((), {"w": Distance(2, 1, (0, 0), 0.1, 0.1, cosine)}))


def test_a_column_in_which_nothing_stands_is_left_out():
    assert not [line for line in lines_of(Values((), {"w": Distance(2, 1, (0, 0), 0.1, 0.1, 1.0)})) if "NaN" in line]


MANY = Values((), {f"w{i}": Distance(2, 1, (0, 0), 0.1, 0.1, 1.0) for i in range(23)})


def test_few_rows_unless_details_are_asked_for():
    assert [line for line in lines_of(MANY) if "more" in line] == ["and 3 keys more (-v shows them)"]
    assert len([line for line in lines_of(MANY) if line.startswith("w")]) == 20
    assert len([line for line in lines_of(MANY, detailed=True) if line.startswith("w")]) == 23
    assert not [line for line in lines_of(MANY, detailed=True) if "more" in line]


def test_stat_is_the_numbers_only():
    assert lines_of(VALUES, stat=True)[1:] == [
        "0 missing, 0 unexpected, 0 mismatched, 0 casts",
        "values: 1 equal, 3 different, 1 not compared",
    ]


def test_names_from_files_are_escaped():
    lines = lines_of(Values((), {"w\x1b[31m": Distance(2, 1, (0, 0), 0.1, 0.1, 1.0)}))
    assert not [line for line in lines if "\x1b" in line]


@pytest.mark.parametrize("form", ["md", "html"])
def test_pages_have_the_same_table(form):
    text = render(DiffReport(named(MIXED, values=VALUES), "a", "b"), form)
    for part in ("fc.weight", "0.0123", "1.25", "0.999999", "1.0 k of 1.0 k", "no plain tensor"):
        assert part in text


def test_the_verdict_is_green_or_red():
    assert "\x1b[32mvalues: 2 of 2" in render(DiffReport(named(SAME, values=EQUAL), "a", "b"), color=True)
    assert "\x1b[31mvalues: 1 of 4" in render(DiffReport(named(SAME, values=VALUES), "a", "b"), color=True)


def test_the_document_holds_all_figures_and_infinity_as_a_word():
    document = DiffReport(named(SAME, values=VALUES), "a", "b").document()["values"]
    assert document["equal"] == ["conv.weight"]
    assert list(document["different"]) == ["fc.weight", "fc.bias", "packed"]
    assert document["different"]["fc.weight"] == {
        "elements": 1000,
        "differing": 1000,
        "nan": {"source": 2, "target": 0},
        "max_abs": 1.25,
        "relative_l2": 0.0123456,
        "cosine": 0.9999999,
    }
    assert document["different"]["fc.bias"]["max_abs"] == document["different"]["fc.bias"]["relative_l2"] == "infinity"
    assert document["different"]["packed"]["max_abs"] is None
    assert document["skipped"] == {"extra": "it is no plain tensor"}
    assert document["nbytes"] == 5_000_000
