"""The assignment against trying all of them, and the margins against what a swap would cost."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.mapping.assigning import assign

_SCORES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.2, 0.5, 1.0]), min_size=width, max_size=width), min_size=1, max_size=4)
)


def _total(scores: list[list[float]], columns: dict[int, int], nothing: float) -> float:
    return sum(scores[row][columns[row]] if row in columns else nothing for row in range(len(scores)))


def _best(scores: list[list[float]], nothing: float) -> float:
    """The best of all assignments, by trying them."""
    totals = []
    for tried in product([None, *range(len(scores[0]))], repeat=len(scores)):
        taken = {row: column for row, column in enumerate(tried) if column is not None}
        if len(set(taken.values())) == len(taken):
            totals.append(_total(scores, taken, nothing))
    return max(totals)


@given(_SCORES, st.sampled_from([-0.5, 0.0, 0.3]))
def test_no_assignment_scores_more(scores: list[list[float]], nothing: float) -> None:
    columns = {choice.row: choice.column for choice in assign(scores, nothing)}
    assert len(set(columns.values())) == len(columns)
    assert _total(scores, columns, nothing) == pytest.approx(_best(scores, nothing))


@given(_SCORES)
def test_no_margin_of_a_best_assignment_is_negative(scores: list[list[float]]) -> None:
    assert all(choice.margin >= -1e-9 for choice in assign(scores))


def test_nothing_to_choose_from_is_no_choice() -> None:
    assert assign([]) == ()
    assert assign([[]]) == ()


MARGINS = {
    "a lone pair against none": ([[0.8]], 0.2, [(0, 0, 0.6, None, False)]),
    "a free column": ([[1.0, 0.7]], 0.0, [(0, 0, 0.3, 1, True)]),
    "a row which goes without": ([[1.0], [0.9]], 0.0, [(0, 0, 0.1, None, True)]),
    "a swap, per pair": ([[1.0, 0.6], [0.5, 1.0]], 0.0, [(0, 0, 0.45, 1, True), (1, 1, 0.45, 0, True)]),
    "a tie": ([[1.0, 1.0]], 0.0, [(0, 0, 0.0, 1, True)]),
}


@pytest.mark.parametrize("name", MARGINS)
def test_a_margin_is_what_the_runner_up_lacks(name: str) -> None:
    scores, nothing, wanted = MARGINS[name]
    found = [(c.row, c.column, pytest.approx(c.margin), c.rival, c.contested) for c in assign(scores, nothing)]
    assert found == wanted
