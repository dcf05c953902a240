"""Keys which nobody would choose: empty segments, no name at all, hundreds of segments, characters of rules."""

import pytest
from headers import answers, header

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.mapping.writing.proving import refused
from ckpt_surgeon.planning import Source

Shapes = dict[str, tuple[int, ...]]

ODD: dict[str, tuple[str, str]] = {
    "an empty segment which stays": ("a..b.weight", "a..b.weight"),
    "an empty segment which goes": ("a..b.weight", "a.b.weight"),
    "an empty segment which comes": ("a.b.weight", "a..b.weight"),
    "a dot in front": (".b.weight", "b.weight"),
    "a dot behind": ("b.weight.", "b.weight"),
    "nothing but dots": ("..", "m..."),
    "no name": ("", "b"),
    "no name, which stays": ("", ""),
    "a new line": ("a\nhint: x", "b"),
    "braces which go": ("a{0}.weight", "b.weight"),
    "300 segments": ("n." * 300 + "weight", "m." + "n." * 300 + "weight"),
    "300 segments, others": ("n." * 300 + "weight", "m." * 300 + "weight"),
}


def _suggested(source: Shapes, target: Shapes) -> surgeon.Suggestion:
    return surgeon.suggestion(header(source), header(target))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_key_is_mapped_as_any_other(name: str) -> None:
    old, new = ODD[name]
    body: Shapes = {"c.weight": (5, 6)}
    source = header({old: (3, 4), **body})
    found = surgeon.suggestion(source, header({new: (3, 4), **body}))
    assert found.is_settled
    assert found.plan is not None
    assert found.plan.recipes == {new: Source(old, source.entries[old]), "c.weight": Source("c.weight", source.entries["c.weight"])}


@pytest.mark.parametrize("key", ["", ".", "a..b", "n." * 300 + "x", "a{0}", "a*"])
def test_an_odd_key_which_nothing_takes_is_dropped(key: str) -> None:
    found = _suggested({key: (3, 4), "c.weight": (5, 6)}, {"c.weight": (5, 6)})
    assert found.unused == (key,)
    assert surgeon.diff(header({key: (3, 4), "c.weight": (5, 6)}), header({"c.weight": (5, 6)}), found.rules).same


@pytest.mark.parametrize("key", ["", "b{0}", "b*"])
def test_a_name_which_no_rule_can_write_is_asked_and_the_rest_is_settled(key: str) -> None:
    found = _suggested({"a": (3, 4), "c.weight": (5, 6)}, {key: (3, 4), "m.weight": (5, 6)})
    assert found.open_targets == (key,)
    assert "no rule can write" in found.questions[0].doubt
    assert found.plan is not None
    assert list(found.plan.recipes) == ["m.weight"]


def test_a_path_of_many_segments_is_told_by_its_end() -> None:
    path = ".".join(f"wrap{i}" for i in range(200))
    source = {f"{path}.{name}.weight": (8, 8) for name in ("query", "key", "value")}
    target = {f"{name}_proj.weight": (8, 8) for name in ("k", "v", "q")}
    found = answers(match(header(source), header(target)))
    assert {key: sources[0].split(".")[-2] for key, sources in found.items()} == {
        "k_proj.weight": "key",
        "v_proj.weight": "value",
        "q_proj.weight": "query",
    }


def test_a_key_longer_than_any_pattern_is_refused_by_its_length() -> None:
    with pytest.raises(surgeon.RulesError, match="has 5000 characters"):
        _suggested({"x" * 5000: (3, 4)}, {"y": (3, 4)})


def test_a_doubt_is_one_line_without_a_hint() -> None:
    """The error of an op speaks of what to do in a hint, which is none in a question."""
    source, target = {"a.weight": (6, 4)}, {f"{name}.weight": (5, 4) for name in ("q", "k")}
    split = Link(("a.weight",), tuple(target), Change("split", (("dim", 0), ("sizes", (5, 5)))))
    why = refused((split,), header(source), header(target))
    assert why
    assert "\n" not in why
    assert "hint:" not in why
