"""What the runs of a probe come to, where they don't simply agree."""

from collections.abc import Sequence

import pytest

from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.probing.bench import Result
from ckpt_surgeon.probing.concluding import LACKING, Search, astray, concluded, is_confirmed, reason, told
from ckpt_surgeon.probing.deciding import Trial, Verdict
from ckpt_surgeon.probing.groups import Group, Links
from ckpt_surgeon.probing.running import Call

NAMES = ("", "stem", "q", "k", "o", "head")


def links(target: str, source: str) -> Links:
    return (Link((f"{source}.weight",), (f"{target}.weight",)),)


def family(target: str, source: str, confidence: float = 0.95) -> Family:
    return Family(links(target, source), confidence, "names")


def result(distance: float | None, known: Sequence[int]) -> Result:
    """A run of six parts, of which q and k are given the same. known: which were given what the source's are."""
    given = {name: ((place if name != "k" else 2, ()),) for place, name in enumerate(NAMES)}
    return Result(distance, tuple(Call(name, given[name]) for name in NAMES), tuple(bool(each) for each in known))


ALL = (1, 1, 1, 1, 1, 1)
LOST = (1, 1, 1, 1, 0, 0)
UNSURE = "the probe does not confirm these rules: "
DIFFER = "both models' outputs differ by 0.31 on a random input"
APART = "the outputs of both models cannot be compared"
GROUP = Group((0,), ((links("q", "a"), links("q", "b")),), ())
FIRST, SECOND = ((links("q", "a"),), (links("q", "b"),))


def verdict(best: Result, *others: Result) -> Verdict:
    return Verdict(GROUP, Trial(FIRST, best), tuple(Trial(SECOND, other) for other in others), 2, 3)


class TestAVerdict:
    @pytest.mark.parametrize(
        ("best", "other", "is_clear"),
        [
            (result(0.0, ALL), result(0.3, LOST), True),
            (result(None, ALL), result(None, LOST), True),
            (result(0.0, LOST), result(0.3, LOST), True),  # parts say nothing, outputs do
            (result(0.0, ALL), result(5e-4, ALL), False),  # neither equal nor another
            (result(0.0, ALL), result(0.0, ALL), False),
            (result(0.3, LOST), result(0.2, LOST), False),
            (result(None, LOST), result(None, LOST), False),
        ],
    )
    def test_is_clear_where_the_other_leads_less_far(self, best: Result, other: Result, is_clear: bool) -> None:
        assert verdict(best, other).is_clear == is_clear

    def test_without_another_is_never_clear(self) -> None:
        assert not verdict(result(0.0, ALL)).is_clear

    def test_has_a_reason_why_it_is_open(self) -> None:
        assert reason(None) == "there were not runs enough to try it"
        assert "gives the same outputs" in reason(verdict(result(0.0, ALL), result(0.0, ALL)))
        assert "leads on to what the source computes" in reason(verdict(result(0.3, LOST), result(0.2, LOST)))


class TestAConclusion:
    def settled(self, final: Result, *others: Result) -> Family:
        search = Search((verdict(final, *others),), {})
        return concluded([family("q", "c")], search, final)[0]

    def test_equal_outputs_settle_with_the_distance_of_the_other_way(self) -> None:
        found = self.settled(result(2e-7, ALL), result(0.3, LOST))
        assert (found.links, found.confidence, found.doubt) == (FIRST[0], 1.0, "")
        assert found.why == "outputs equal to 2e-07 on a random input; the alternative differs by 0.3"

    def test_of_several_others_the_nearest_is_told(self) -> None:
        assert self.settled(result(0.0, ALL), result(0.5, LOST), result(0.2, LOST)).why.endswith(
            "the nearest of 2 alternatives differs by 0.2"
        )

    def test_parts_settle_where_outputs_cannot_be_compared(self) -> None:
        found = self.settled(result(None, ALL), result(None, LOST))
        assert found.why == "6 of 6 parts are given what the source's are on a random input; with the alternative 4"

    def test_nothing_is_settled_which_leads_nowhere_after_the_last_of_its_parts(self) -> None:
        found = self.settled(result(None, LOST), result(None, (1, 1, 1, 0, 0, 0)))
        assert (found.links, found.confidence) == (links("q", "c"), 0.95)
        assert "no way which was tried leads on" in found.doubt

    @pytest.mark.parametrize(("distance", "confidence"), [(0.3, 0.5), (None, 0.95), (0.0, 0.95)])
    def test_what_is_open_is_no_rule_while_outputs_differ(self, distance: float | None, confidence: float) -> None:
        found = concluded([family("q", "a")], Search((), {GROUP: LACKING}), result(distance, ALL))
        assert (found[0].confidence, found[0].doubt) == (confidence, LACKING)


class TestAstray:
    families = (family("stem", "stem"), family("q", "a"), family("k", "b"), family("o", "o"), family("head", "head"))

    def doubted(self, known: Sequence[int], idle: Sequence[str] = ()) -> list[str]:
        found = astray(self.families, result(0.3, known), idle)
        assert {each.confidence for each in found if each.doubt} == {0.5}
        assert {each.confidence for each in found if not each.doubt} <= {0.95}
        return [each.links[0].targets[0].split(".")[0] for each in found if each.doubt]

    def test_what_ran_right_before_is_doubted_and_what_was_given_the_same(self) -> None:
        assert self.doubted(LOST) == ["q", "k"]
        assert self.doubted((1, 1, 1, 1, 1, 0)) == ["o"]

    def test_the_last_part_is_doubted_where_all_were_given_the_right_things(self) -> None:
        assert self.doubted(ALL) == ["head"]

    def test_a_part_which_only_runs_here_is_doubted_first(self) -> None:
        assert self.doubted(LOST, ["stem.weight"]) == ["stem"]

    def test_all_are_doubted_where_nothing_is_known(self) -> None:
        assert self.doubted((0, 0, 0, 0, 0, 0)) == ["stem", "q", "k", "o", "head"]


@pytest.mark.parametrize(
    ("final", "text"),
    [
        (result(2e-7, ALL), "both models' outputs are equal to 2e-07 on a random input"),
        (result(0.0, ALL), "both models' outputs are equal on a random input"),
        (result(0.31, LOST), f"{UNSURE}{DIFFER}; o is the first part which is given something else; tried: the rules as they are"),
        (result(0.31, ALL), f"{UNSURE}{DIFFER}; tried: the rules as they are"),
        (result(5e-4, ALL), f"{UNSURE}both models' outputs differ by 0.0005 on a random input; tried: the rules as they are"),
        (result(None, ALL), f"{UNSURE}{APART}; tried: the rules as they are"),
        (result(None, LOST), f"{UNSURE}{APART}; o is the first part which is given something else; tried: the rules as they are"),
    ],
)
def test_the_whole_is_told_in_a_sentence(final: Result, text: str) -> None:
    assert told(final) == text
    assert is_confirmed(final, ()) == (not text.startswith(UNSURE))


def test_what_is_new_and_what_was_tried_is_told() -> None:
    text = told(result(0.31, ALL), ["head.weight"], ["2 open decisions"])
    assert text == f"{UNSURE}{DIFFER}; new there, and as it was built: head; tried: the rules as they are, 2 open decisions"


@pytest.mark.parametrize(
    ("final", "missing", "confirmed"),
    [
        (result(0.0, ALL), (), True),
        (result(0.0, ALL), ("head.weight",), True),
        (result(0.31, ALL), ("head.weight",), False),
        (result(None, ALL), (), False),  # nothing is new, and yet nothing can be compared
        (result(None, ALL), ("head.weight",), None),
        (result(None, LOST), ("head.weight",), False),  # it went astray before the head
        (result(None, LOST), ("k.weight",), None),
    ],
)
def test_outputs_which_cannot_be_compared_for_what_is_new_are_neither(
    final: Result, missing: Sequence[str], confirmed: bool | None
) -> None:
    assert is_confirmed(final, missing) is confirmed
    assert told(final, missing).startswith(UNSURE) == (confirmed is False)


@pytest.mark.parametrize(
    ("known", "missing", "text"),
    [
        (ALL, ("head.weight",), "every part is given what the source's are; new there, and as it was built: head"),
        (LOST, ("k.weight", "k.bias"), "o is the first part which is given something else; new there, and as it was built: k"),
    ],
)
def test_how_far_both_agree_is_told_where_new_parts_hide_the_rest(known: Sequence[int], missing: Sequence[str], text: str) -> None:
    assert told(result(None, known), missing) == f"{APART}; {text}"
