"""Ops which take or give several keys: which sources and targets say them, and that they say no more."""

import pytest
from mappings import headers

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link, Mapping
from ckpt_surgeon.mapping.writing import Suggestion, written
from ckpt_surgeon.mapping.writing.changing import change_entries, plainest
from ckpt_surgeon.mapping.writing.gathering import gathered
from ckpt_surgeon.mapping.writing.joining import Group, joined
from ckpt_surgeon.mapping.writing.pooling import pooled
from ckpt_surgeon.spec import Header, TensorSpec

QKV = [
    ((f"h.{i}.attn.q.{leaf}", f"h.{i}.attn.k.{leaf}", f"h.{i}.attn.v.{leaf}"), (f"h.{i}.attn.qkv.{leaf}",))
    for i in range(3)
    for leaf in ("weight", "bias")
]


def _keys(groups: list[Group]) -> list[str]:
    return [key for inputs, _ in groups for key in inputs]


def _turned(groups: list[Group]) -> list[Group]:
    return [(outputs, inputs) for inputs, outputs in groups]


CASES: dict[str, tuple[list[Group], list[tuple[object, object]]]] = {
    "parts_are_alternatives_in_their_order": (QKV, [("h.{i:int}.attn.{x:q|k|v}.{leaf:weight|bias}", "h.{i}.attn.qkv.{leaf}")]),
    "and_taken_apart_the_same_way": (_turned(QKV), [("h.{i:int}.attn.qkv.{leaf:weight|bias}", "h.{i}.attn.{x:q|k|v}.{leaf}")]),
    "another_order_is_another_list": (
        [((f"h.{i}.v", f"h.{i}.q"), (f"h.{i}.vq",)) for i in range(2)],
        [("h.{i:int}.{x:v|q}", "h.{i}.vq")],
    ),
    "words_keep_their_common_part": (
        [((f"h.{i}.q_proj", f"h.{i}.k_proj"), (f"h.{i}.qk",)) for i in range(2)],
        [("h.{i:int}.{x:q|k}_proj", "h.{i}.qk")],
    ),
    "numbers_which_are_no_count_keep_their_letters": (
        [((f"e.{i}.w1", f"e.{i}.w3"), (f"e.{i}.gate_up",)) for i in range(4)],
        [("e.{i:int}.{x:w1|w3}", "e.{i}.gate_up")],
    ),
    "a_count_is_a_number": (
        [(tuple(f"l.{i}.experts.{n}.w" for n in range(12)), (f"l.{i}.experts.w",)) for i in range(2)],
        [("l.{i:int}.experts.{n:int}.w", "l.{i}.experts.w")],
    ),
    "blocks_with_fewer_experts_are_counted_alike": (
        [(tuple(f"l.{i}.experts.{n}.w" for n in range(4 + i)), (f"l.{i}.experts.w",)) for i in range(2)],
        [("l.{i:int}.experts.{n:int}.w", "l.{i}.experts.w")],
    ),
    "one_tensor_is_counted_out": (
        [((f"l.{i}.w",), tuple(f"l.{i}.e.{n}.w" for n in range(3))) for i in range(2)],
        [("l.{i:int}.w", "l.{i}.e.{n:int}.w")],
    ),
    "parts_in_several_places_are_listed": (
        [((f"h.{i}.a.w", f"g.{i}.deep.b.w"), (f"h.{i}.ab",)) for i in range(3)],
        [(["h.{i:int}.a.w", "g.{i:int}.deep.b.w"], "h.{i}.ab")],
    ),
    "towers_share_a_path": (
        [((f"{head}{i}.attn.q", f"{head}{i}.attn.k"), (f"{head}{i}.attn.qk",)) for head in ("visual.blocks.", "blocks.") for i in range(2)],
        [("{block:path}.attn.{x:q|k}", "{block}.attn.qk")],
    ),
    "numbers_move_along": (
        [((f"layer{i}.q", f"layer{i}.k"), (f"stages.{i - 1}.qk",)) for i in range(1, 4)],
        [("layer{i:int}.{x:q|k}", "stages.{i-1}.qk")],
    ),
    "a_lone_group_is_written_out": ([(("a.q", "b.c.k"), ("qk",))], [(["a.q", "b.c.k"], "qk")]),
    "names_like_patterns_are_quoted": ([(("a*.q", "b.k"), ("qk",))], [(["re:a\\*\\.q", "b.k"], "qk")]),
    "words_which_differ_in_one_place_are_alternatives": (
        [((f"{side}.q", f"{side}.k"), (f"{side}.qk",)) for side in ("left", "right")],
        [("{leaf:left|right}.{x:q|k}", "{leaf}.qk")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_groups_are_said_with_few_patterns(case: str) -> None:
    groups, wanted = CASES[case]
    assert list(joined(groups, _keys(groups))) == wanted


def test_a_pattern_which_would_take_more_is_not_used() -> None:
    groups: list[Group] = [((f"h.{i}.q", f"h.{i}.k"), (f"h.{i}.qk",)) for i in range(2)]
    names = [*_keys(groups), "h.2.q", "h.2.k"]
    assert list(joined(groups, names)) == [(["h.0.q", "h.0.k"], "h.0.qk"), (["h.1.q", "h.1.k"], "h.1.qk")]


@pytest.mark.parametrize(
    ("keys", "text", "capture"),
    [
        (["a.q.w", "a.k.w"], "a.\x01.w", "{x:q|k}"),
        (["a.q_proj", "a.k_proj"], "a.\x01_proj", "{x:q|k}"),
        (["a.to_q", "a.to_k"], "a.to_\x01", "{x:q|k}"),
        (["e.0", "e.1", "e.2"], "e.\x01", "{n:int}"),
        (["e_0.w", "e_1.w"], "e_\x01.w", "{n:int}"),
        (["e.1", "e.2"], "e.\x01", "{x:1|2}"),
        (["w1", "w3"], "\x01", "{x:w1|w3}"),
        (["w10", "w11"], "\x01", "{x:w10|w11}"),
        (["a.b", "c.d"], "a.b.\n.c.d", ""),
        (["a.b", "a.b.c"], "a.b.\n.a.b.c", ""),
        (["proj_q", "proj"], "proj_q.\n.proj", ""),
        (["a.b"], "a.b", ""),
    ],
)
def test_keys_which_differ_in_one_place_are_one_text(keys: list[str], text: str, capture: str) -> None:
    found = gathered(keys)
    assert (found.text, found.capture) == (text, capture)


SPEC = TensorSpec.of("float32", 6, 4)
ROWS = [TensorSpec.of("float32", size, 4) for size in (3, 2, 1)]


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        (Change("split", (("dim", 0), ("sizes", (3, 2, 1)))), Change("split")),
        (Change("split", (("dim", 0),)), Change("split")),
        (Change("split", (("sizes", "target"),)), Change("split")),
    ],
)
def test_what_follows_from_the_target_is_not_said(change: Change, plain: Change) -> None:
    target = Header(dict(zip("abc", ROWS, strict=True)))
    assert plainest(Link(("w",), ("a", "b", "c"), change), target) == plain


def test_sizes_which_are_not_the_targets_are_said() -> None:
    change = Change("split", (("sizes", (2, 4)),))
    assert plainest(Link(("w",), ("part.a", "part.b"), change), Header({})) == change


def test_a_number_which_is_the_targets_is_said_so() -> None:
    link = Link(("w",), ("w",), Change("adapt_in_channels", (("mode", "mean"), ("in_channels", 10))))
    assert plainest(link, Header({"w": TensorSpec.of("float32", 8, 10, 3, 3)})).parameters == (("mode", "mean"), ("in_channels", "target"))
    assert plainest(link, Header({"w": TensorSpec.of("float32", 8, 9, 3, 3)})) == link.change


def test_links_run_when_their_sources_are_there() -> None:
    links = [Link(("mid",), ("out",), Change("transpose")), Link(("a", "b"), ("mid",), Change("concat"))]
    entries = list(change_entries(links, ["a", "b"], Header({"out": SPEC})))
    assert [next(iter(entry)) for entry in entries] == ["concat", "transpose"]


def test_a_link_without_a_source_is_an_error() -> None:
    with pytest.raises(RulesError, match="mid is neither in the table nor made"):
        list(change_entries([Link(("mid",), ("out",), Change("transpose"))], ["a"], Header({})))


def _family(key: str, place: str, *others: str, confidence: float = 0.5) -> Family:
    ways = tuple(Alternative((Link((other,), (place,)),), 0.4) for other in others)
    return Family((Link((key,), (place,)),), confidence, "told", alternatives=ways)


class TestDecisionsWhichOneAnswerSettles:
    def test_are_one(self) -> None:
        (found,) = pooled([_family(f"q.{i}", f"{i}", f"k.{i}") for i in range(3)])
        assert [link.sources for link in found.links] == [("q.0",), ("q.1",), ("q.2",)]
        assert [link.sources for link in found.alternatives[0].links] == [("k.0",), ("k.1",), ("k.2",)]
        assert found.doubt == "k or q: names and shapes fit alike"

    def test_have_the_confidence_of_the_least_sure(self) -> None:
        (found,) = pooled([_family(f"q.{i}", f"{i}", f"k.{i}", confidence=0.3 + i / 10) for i in range(3)])
        assert found.confidence == 0.3

    def test_are_one_where_two_change_places(self) -> None:
        (found,) = pooled([_family("a.w", "x.w", "b.w"), _family("b.w", "y.w", "a.w")])
        assert [link.sources for link in found.alternatives[0].links] == [("b.w",), ("a.w",)]

    def test_stay_apart_where_they_differ_in_other_parts(self) -> None:
        assert len(pooled([_family("q.0", "0", "k.0"), _family("a.w", "x.w", "b.w")])) == 2

    def test_stay_apart_where_a_way_would_take_a_key_twice(self) -> None:
        assert len(pooled([_family("q.0", "0", "k.0"), _family("k.0", "1", "q.0"), _family("q.0", "2", "k.0")])) == 3

    def test_stay_apart_where_there_are_no_alternatives(self) -> None:
        assert len(pooled([_family("q.0", "0"), _family("q.1", "1")])) == 2


def _rules(found: Suggestion) -> list[str]:
    return [rule.op.name for rule in found.rules.rules]


class TestEdges:
    def test_no_decision_at_all(self) -> None:
        source, target = headers({"a": "b"})
        found = written(Mapping(()), source, target, 0.9)
        assert (found.plan, found.open_targets, found.missing, found.unused) == (None, ("b",), (), ("a",))
        assert _rules(found) == ["drop"]

    def test_a_link_which_no_op_can_carry_out_is_a_question_which_says_why(self) -> None:
        source, target = headers({"a.w": "b.w"})
        found = written(
            Mapping((Family((Link(("a.w",), ("b.w",), Change("squeeze", (("dims", (0,)),))),), 0.99, "told"),)), source, target, 0.9
        )
        (question,) = found.questions
        assert "squeeze" in question.doubt
        assert found.plan is None

    def test_a_shape_which_would_not_fit_is_a_question(self) -> None:
        source = Header({"a.w": TensorSpec.of("float32", 2)})
        target = Header({"b.w": TensorSpec.of("float32", 3)})
        found = written(Mapping((Family((Link(("a.w",), ("b.w",)),), 0.99, "told"),)), source, target, 0.9)
        assert found.questions[0].doubt == "b.w would be f32[2], the target wants f32[3]"

    @pytest.mark.parametrize("change", [Change("nonsense"), Change("split", (("surprise", 1),)), Change("rename")])
    def test_a_change_which_is_no_op_is_a_question(self, change: Change) -> None:
        source, target = headers({"a.w": "b.w"})
        found = written(Mapping((Family((Link(("a.w",), ("b.w",), change),), 0.99, "told"),)), source, target, 0.9)
        assert len(found.questions) == 1

    def test_of_two_decisions_for_one_key_the_surer_counts(self) -> None:
        spec = TensorSpec.of("float32", 2)
        source, target = Header({"a": spec, "b": spec}), Header({"c": spec})
        families = (Family((Link(("a",), ("c",)),), 0.95, "told"), Family((Link(("b",), ("c",)),), 0.96, "told"))
        found = written(Mapping(families), source, target, 0.9)
        assert [family.links[0].sources for family in found.families] == [("b",)]
        assert len(found.questions) == 1

    def test_a_narrowing_cast_is_allowed_aloud(self) -> None:
        source = Header({"a.w": TensorSpec.of("float32", 2)})
        target = Header({"a.w": TensorSpec.of("bfloat16", 2)})
        found = written(Mapping((Family((Link(("a.w",), ("a.w",)),), 0.99, "told"),)), source, target, 0.9)
        assert [pattern.text for pattern in found.rules.allow.casts] == ["**"]

    def test_a_scalar_may_stand_for_a_tensor_of_one(self) -> None:
        source = Header({"a.scale": TensorSpec.of("float32")})
        target = Header({"b.scale": TensorSpec.of("float32", 1)})
        found = written(Mapping((Family((Link(("a.scale",), ("b.scale",)),), 0.99, "told"),)), source, target, 0.9)
        assert found.is_settled
        assert _rules(found) == ["rename"]

    def test_what_torch_fills_is_not_missing(self) -> None:
        spec = TensorSpec.of("float32", 2)
        table = {f"bn.{leaf}": spec for leaf in ("weight", "bias", "running_mean", "running_var")}
        target = Header({**table, "bn.num_batches_tracked": TensorSpec.of("int64")})
        families = tuple(Family((Link((key,), (key,)),), 0.99, "told") for key in table)
        found = written(Mapping(families, ("bn.num_batches_tracked",)), Header(table), target, 0.9)
        assert (found.missing, found.rules.rules) == ((), ())

    def test_what_the_target_ties_is_not_missing_nor_copied(self) -> None:
        spec = TensorSpec.of("float32", 4, 2)
        target = Header({"embed.w": spec, "head.w": spec}, aliases={"head.w": "embed.w"})
        one = Family((Link(("tok.w",), ("embed.w",)),), 0.99, "told")
        both = (one, Family((Link(("tok.w",), ("head.w",)),), 0.99, "told"))
        for families in ((one,), both):
            found = written(Mapping(families), Header({"tok.w": spec}), target, 0.9)
            assert (_rules(found), found.missing, found.is_settled) == (["rename"], (), True)

    def test_a_target_which_looks_like_a_pattern_cannot_be_written_and_is_asked(self) -> None:
        spec = TensorSpec.of("float32", 2)
        found = written(Mapping((Family((Link(("a",), ("b{c}",)),), 0.99, "told"),)), Header({"a": spec}), Header({"b{c}": spec}), 0.9)
        assert "which no rule can write" in found.questions[0].doubt

    def test_and_may_stay_as_it_is(self) -> None:
        spec = TensorSpec.of("float32", 2)
        found = written(
            Mapping((Family((Link(("b{c}",), ("b{c}",)),), 0.99, "told"),)), Header({"b{c}": spec}), Header({"b{c}": spec}), 0.9
        )
        assert (found.is_settled, found.size) == (True, 0)

    def test_keep_is_said_where_it_is_shorter_than_drop(self) -> None:
        source, target = headers({"visual.a": "visual.a", "visual.b": "visual.b"})
        spec = TensorSpec.of("float32", 9)
        more = Header({**source.entries, **dict.fromkeys(("text", "logit_scale", "token.weight"), spec)})
        families = tuple(Family((Link((key,), (key,)),), 0.99, "told") for key in target)
        assert _rules(written(Mapping(families), more, target, 0.9)) == ["keep"]

    def test_a_part_which_is_wanted_by_itself_too_is_copied(self) -> None:
        part, whole = TensorSpec.of("float32", 2, 3), TensorSpec.of("float32", 4, 3)
        source = Header({"a": part, "b": part})
        target = Header({"both": whole, "alone": part, "again": whole})
        families = (
            Family((Link(("a", "b"), ("both",), Change("concat")),), 0.99, "told"),
            Family((Link(("b", "a"), ("again",), Change("concat")),), 0.99, "told"),
            Family((Link(("a",), ("alone",)),), 0.99, "told"),
        )
        found = written(Mapping(families), source, target, 0.9)
        assert found.is_settled
        assert sorted(set(_rules(found))) == ["concat", "copy", "rename"]

    def test_an_open_key_under_a_targets_name_is_not_loaded_by_chance(self) -> None:
        source, target = headers({"fc.w": "fc.w", "a": "b"})
        families = (Family((Link(("fc.w",), ("fc.w",)),), 0.5, "told"), Family((Link(("a",), ("b",)),), 0.99, "told"))
        found = written(Mapping(families), source, target, 0.9)
        assert found.plan is not None
        assert set(found.plan.recipes) == {"b"}
        assert found.rules.rules[-1].why.startswith("open: left out")
