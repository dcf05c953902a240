"""How long expressions may search: on one key, on many, and what the next search may take after a refusal."""

from collections.abc import Iterable

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.patience import Patience, TooSlowError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.ops.protocol import Move
from ckpt_surgeon.ops.substituting import Sub

SLOW = r"(?:\w|\w\w)+[cd]"  # doubles its time with every third of a key's characters
KEYS = [f"{'a' * 20}_{i:06}" for i in range(200_000)]  # some milliseconds each: for all of them, many minutes


def works(_: float) -> int:
    return sum(range(50_000))


def rests(_: float) -> str:
    return "found"


def consumed(searches: Iterable[object]) -> None:
    for _ in searches:
        pass


def exhausted(patience: Patience) -> TooSlowError:
    """The refusal which ends hard work; the first search is not refused."""
    assert patience.search("re:x", "a.b", works)
    with pytest.raises(TooSlowError) as caught:
        consumed(patience.search("re:x", "a.b", works) for _ in range(100_000))
    return caught.value


def test_searches_which_take_long_use_up_what_all_keys_have_together():
    error = exhausted(Patience())
    assert "re:x: took over 0.75 s on several keys, the last is a.b" in str(error)
    assert "(a+)+" in error.hint


def test_searches_which_take_next_to_nothing_are_free():
    patience = Patience()
    assert {patience.search("re:x", "a", rests) for _ in range(100_000)} == {"found"}
    assert patience.debt < 0.5


def test_after_a_refusal_the_next_search_has_all_the_time_again():
    patience = Patience()
    exhausted(patience)
    assert patience.search("re:x", "a", rests) == "found"
    exhausted(patience)


@pytest.mark.parametrize("match", [Pattern.parse(f"re:{SLOW}").match, lambda key: Sub({SLOW: "x"}).edits([key], None)])
def test_a_slow_expression_on_many_keys_is_stopped_and_named(match):
    with pytest.raises(TooSlowError, match=r"\(\?:\\\\w\|\\\\w\\\\w\)\+\[cd\]: took over .* on"):
        consumed(map(match, KEYS))


@pytest.mark.parametrize("match", [Pattern.parse("re:a.*").match, lambda key: Sub({"a.*": "x"}).edits([key], None)])
def test_an_overlong_key_is_refused_by_its_length(match):
    with pytest.raises(RulesError, match="4097 characters"):
        match("a" * 4097)
    assert match("a" * 4096) is not None


@pytest.mark.parametrize("text", ["(?V1)a", "(?V1)[a--b]"])
def test_an_expression_which_asks_for_another_dialect_is_refused(text):
    for make in (lambda: Pattern.parse(f"re:{text}"), lambda: Sub({text: "b"})):
        with pytest.raises(RulesError, match="no regular expression: VERSION0 and VERSION1"):
            make()


def test_a_replacement_which_multiplies_a_key_is_refused():
    with pytest.raises(RulesError, match="makes more than 65536 characters of aaaa"):
        Sub({"(?=(.*))": r"\1" * 500}).edits(["a" * 4000], None)
    assert Sub({"a": r"\g<0>b"}).edits(["a" * 4000], None) == [Move("a" * 4000, "ab" * 4000)]


def test_a_table_of_expressions_is_bounded():
    with pytest.raises(RulesError, match="sub: 1001 pairs; at most 1000 are allowed"):
        Sub({f"a{i}": "b" for i in range(1001)})
    assert Sub({f"^a{i}$": "b" for i in range(1000)}).edits(["a999"], None) == [Move("a999", "b")]
