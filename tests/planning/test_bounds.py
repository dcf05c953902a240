"""A plan of hostile rules ends: slow expressions, thousands of wrong rules, groups and tables of any size."""

import pytest
from planned import planned

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.spec import Header, TensorSpec

SLOW = r"re:(?:\w|\w\w)+[cd]"  # some milliseconds for each key: many minutes for all
SLOW_KEYS = Header({f"{'a' * 20}_{i:06}": TensorSpec.of("float32", 1) for i in range(100_000)})

USES = {
    "drop": {"rules": [{"drop": SLOW}]},
    "rename": {"rules": [{"rename": {SLOW: "x"}}]},
    "match": {"rules": [{"cast": {"match": SLOW, "dtype": "float64"}}]},
    "source": {"rules": [{"cast": {"source": SLOW, "target": "x", "dtype": "float64"}}]},
    "allowed casts": {"rules": [{"cast": {"match": "**", "dtype": "float16"}}], "allow": {"casts": [SLOW]}},
    "sub": {"rules": [{"sub": {r"^(?:\w|\w\w)+[cd]$": "x"}}]},
    "expect any": {"rules": [{"drop": SLOW, "expect": "any"}]},
    "a thousand rules": {"rules": [{"drop": SLOW, "expect": "any"}] * 1000},
    "allowed to be left out": {
        "rules": [],
        "allow": {"unexpected": [SLOW]},
        "target": Header(dict([next(iter(SLOW_KEYS.entries.items()))])),
    },
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_slow_expression_ends_the_plan_wherever_it_stands(use):
    with pytest.raises(RulesError, match="took over") as caught:
        planned(source=SLOW_KEYS, **use)
    assert len(caught.value.problems) == 1
    assert caught.value.exit_code == 4
    assert caught.value.problems[0].what.count("a" * 20) == 1


def test_after_fifty_problems_no_further_rule_is_tried():
    with pytest.raises(RulesError) as caught:
        planned([{"drop": f"k{i}"} for i in range(60)], Header({"a": TensorSpec.of("float32", 1)}))
    assert [problem.where for problem in caught.value.problems] == [f"rules[{i}].drop" for i in range(50)]
