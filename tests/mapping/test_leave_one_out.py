"""Calibration fitted without an architecture: what is counted, and which setting is taken."""

import pytest

from benchmarks.leave_one_out import Count, counted, fitted
from ckpt_surgeon.mapping.links import Change, Family, Link


def test_a_key_is_right_where_its_sources_are_in_the_truths_order() -> None:
    pair = {"source": {"a": {}, "b": {}, "c": {}}, "target": {"x": {}, "y": {}, "z": {}, "new": {}, "left": {}}}
    pair["truth"] = {"x": {"from": ["a", "b"]}, "y": {"from": ["b", "a"]}, "z": {"from": ["c"]}, "left": {"from": ["c"]}}
    links = (
        Link(("a", "b"), ("x.step",), Change("concat")),
        Link(("x.step",), ("x",), Change("transpose")),
        Link(("a", "b"), ("y",), Change("concat")),
        Link(("c",), ("z", "new")),
    )
    assert counted(pair, [Family(links, 1.0, "")]) == Count(right=2, wrong=2, mapped=4)


def test_what_the_truth_ignores_is_neither_right_nor_wrong() -> None:
    pair = {"source": {"a": {}}, "target": {"x": {}}, "truth": {"x": {"from": ["a"]}}, "ignore_target": ["x"]}
    assert counted(pair, [Family((Link(("a",), ("x",)),), 1.0, "")]) == Count()


@pytest.mark.parametrize(
    ("loose", "expected"),
    [(Count(1000, 4, 1000), (12.0, 0.5)), (Count(1000, 10, 1000), (12.0, 0.9)), (Count(900, 0, 1000), (12.0, 0.9))],
)
def test_the_most_right_of_what_is_precise_is_taken_and_the_more_careful_of_equals(loose: Count, expected: tuple[float, float]) -> None:
    hidden = Count(0, 1000, 1000)
    table = {(12.0, 0.5): {"other": loose, "own": hidden}, (12.0, 0.9): {"other": Count(900, 0, 1000), "own": Count()}}
    assert fitted(table, "own") == expected


def test_where_nothing_is_precise_the_most_precise_is_taken() -> None:
    table = {(12.0, 0.5): {"other": Count(50, 50, 100)}, (12.0, 0.9): {"other": Count(9, 1, 100)}}
    assert fitted(table, "own") == (12.0, 0.9)
