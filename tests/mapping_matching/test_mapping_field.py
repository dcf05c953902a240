"""The families of the field from one library to another and back, whatever the order of their keys: right, or asked; never wrong."""

import re

import pytest
from field import FIELD, Case
from headers import answers, header, questions, scrambled
from side_by_side import ORDERS, Pair

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.calibration import MIN_CONFIDENCE
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.planning import sources_of

CASES = pytest.mark.parametrize("name", FIELD)
MOST = 25  # pairs of names and ops in a rules file
WAYS = pytest.mark.parametrize(("is_back", "order"), [(False, "natural"), (False, "shuffled"), (True, "sorted")])


def _pair(case: Case, is_back: bool, order: str) -> Pair:
    return (case.pair.reversed() if is_back else case.pair).ordered(order)


def _open_keys(case: Case, pair: Pair, order: str) -> set[str]:
    """The target keys which may be asked."""
    asked = case.asked if order == "natural" else f"{case.asked}|{case.asked_without_order}"
    return {key for key in pair.truth if re.search(asked, key)}


def _kept(found: surgeon.Suggestion) -> dict[str, tuple[str, ...]]:
    """Each target key which the plan fills, with the source keys which it comes from."""
    recipes = found.plan.recipes if found.plan else {}
    return {key: tuple(source.key for source in sources_of(recipe)) for key, recipe in recipes.items()}


@CASES
@WAYS
def test_what_the_rules_make_is_the_truth_and_the_rest_is_asked(name: str, is_back: bool, order: str) -> None:
    pair = _pair(FIELD[name], is_back, order)
    may_be_asked = _open_keys(FIELD[name], pair, order)
    found = surgeon.suggestion(header(pair.source), header(pair.target))
    kept = _kept(found)
    assert {key: sources for key, sources in kept.items() if sources != pair.truth.get(key)} == {}
    assert set(found.open_targets) == pair.truth.keys() - kept.keys() <= may_be_asked
    assert set(found.missing) == pair.target.keys() - pair.truth.keys()


@CASES
def test_the_truth_is_among_the_answers_and_the_rules_are_few(name: str) -> None:
    pair = FIELD[name].pair
    found = surgeon.suggestion(header(pair.source), header(pair.target))
    assert found.size <= MOST
    for question in found.questions:
        ways = [{key: link.sources for link in answer.links for key in link.targets} for answer in question.answers]
        wanted = {key: pair.truth[key] for key in question.targets}
        assert wanted in [{key: way.get(key) for key in wanted} for way in ways]
        assert question.doubt
        assert all(answer.entries and 0 <= answer.confidence < MIN_CONFIDENCE for answer in question.answers)


@CASES
def test_a_header_is_itself_whatever_its_order(name: str) -> None:
    pair = FIELD[name].pair
    for order in ORDERS:
        found = surgeon.suggestion(header(pair.ordered(order).source), header(pair.source))
        assert found.rules.rules == ()
        assert found.is_settled
        assert found.missing == found.unused == ()


@CASES
@pytest.mark.parametrize("order", ["natural", "sorted"])
def test_names_without_meaning_are_never_wrong(name: str, order: str) -> None:
    target = FIELD[name].pair.target
    made, names = scrambled(target, len(name), numbers=False)
    source = dict(sorted(made.items())) if order == "sorted" else made
    mapping = match(header(source), header(target))
    found = {key: sources for key, sources in answers(mapping).items() if key in target}
    assert {key: sources for key, sources in found.items() if sources != (names[key],)} == {}
    assert found.keys() | questions(mapping).keys() | set(mapping.missing) == target.keys()


PAIRS_APART = [
    ("bert, other words", "efficientnet"),
    ("swin, tables of positions", "densenet, old numbers"),
    ("weight norm", "gpt-2, matrices turned"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS_APART)
def test_models_of_other_families_have_little_to_say_to_each_other(one: str, other: str) -> None:
    source, target = FIELD[one].pair.source, FIELD[other].pair.target
    found = answers(match(header(source), header(target)))
    assert all(source[sources[0]] == target[key] for key, sources in found.items())
    assert len(found) <= len(target) // 20
