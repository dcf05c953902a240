"""Numbers in names, names side by side, runs on samples, patterns which cover: the small parts of which rules are found."""

import pytest
from mappings import NAMES, mapping_of, pair_of

from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.mapping.writing import written
from ckpt_surgeon.mapping.writing.alignment import Hunk, aligned
from ckpt_surgeon.mapping.writing.covering import covering
from ckpt_surgeon.mapping.writing.numbering import letters_of, numbered, numbers_of, rendered
from ckpt_surgeon.mapping.writing.reasons import confidence_text
from ckpt_surgeon.mapping.writing.runs import chosen_runs
from ckpt_surgeon.mapping.writing.samples import Sample, samples_of
from ckpt_surgeon.mapping.writing.wholes import plain_pairs, whole_renames
from ckpt_surgeon.ops.replacing import Replace, Replacer, Run


def _forms(moves: list[tuple[str, str]]) -> list[tuple[str, str]]:
    families = numbered(moves)
    return [
        (rendered(each.source, letters_of(each.source), typed=True), rendered(each.target, letters_of(each.source))) for each in families
    ]


@pytest.mark.parametrize(
    ("moves", "forms"),
    [
        ([("a.0", "b.0"), ("a.1", "b.1")], [("a.{i:int}", "b.{i}")]),
        ([("a.0", "b.1"), ("a.1", "b.2")], [("a.{i:int}", "b.{i+1}")]),
        ([("a.1", "b.0"), ("a.2", "b.1")], [("a.{i:int}", "b.{i-1}")]),
        ([("a.0", "b.2"), ("a.1", "b.1"), ("a.2", "b.0")], [("a.{i:int}", "b.{2-i}")]),
        ([("a.0", "b.0"), ("a.1", "b.3"), ("a.2", "b.6")], [("a.{i:int}", "b.{i*3}")]),
        ([("a.0", "b.1"), ("a.1", "b.3"), ("a.2", "b.5")], [("a.{i:int}", "b.{i*2+1}")]),
        ([(f"a.{i}", f"b.{i // 2}.{i % 2}") for i in range(6)], [("a.{i:int}", "b.{i//2}.{i%2}")]),
        ([(f"a.{i}.{j}", f"b.{i * 5 + j}") for i in range(3) for j in range(5)], [("a.{i:int}.{j:int}", "b.{i*5+j}")]),
        ([(f"a.{i}.{j}", f"b.{i * 5 + j + 2}") for i in range(3) for j in range(5)], [("a.{i:int}.{j:int}", "b.{i*5+j+2}")]),
        ([("a.4", "b.4")], [("a.4", "b.4")]),
        ([("a.0.w", "b.7.w"), ("a.1.w", "b.7.v")], [("a.0.w", "b.7.w"), ("a.1.w", "b.7.v")]),
        ([(f"l{i}.{j}", f"s{i - 1}.{j}") for i in (1, 2) for j in (0, 1)], [("l{i:int}.{j:int}", "s{i-1}.{j}")]),
        ([(f"l{i}.{j}", f"s.{j + 3 * i}") for i, n in ((0, 3), (1, 2)) for j in range(n)], [("l{i:int}.{j:int}", "s.{i*3+j}")]),
        ([("a.01", "b.1"), ("a.02", "b.2")], [("a.01", "b.1"), ("a.02", "b.2")]),
        ([("a1b2", "c2d1"), ("a3b4", "c4d3")], [("a{i:int}b{j:int}", "c{j}d{i}")]),
        ([("a.0", "b.5"), ("a.1", "b.3"), ("a.2", "b.9")], [("a.0", "b.5"), ("a.1", "b.3"), ("a.2", "b.9")]),
    ],
)
def test_moves_which_differ_in_numbers_are_one_form(moves: list[tuple[str, str]], forms: list[tuple[str, str]]) -> None:
    assert _forms(moves) == forms


def test_the_usual_form_stands_beside_its_exceptions() -> None:
    moves = [("down.0", "stem"), *((f"down.{i}", f"stages.{i}.down") for i in range(1, 5))]
    assert sorted(_forms(moves)) == [("down.0", "stem"), ("down.{i:int}", "stages.{i}.down")]


def test_a_name_with_too_many_numbers_is_taken_as_it_is() -> None:
    key = ".".join(map(str, range(20)))
    assert numbers_of(key) == ()
    assert _forms([(key, "a"), (f"1.{key}", "b")]) == [(key, "a"), (f"1.{key}", "b")]


@pytest.mark.parametrize(("key", "numbers"), [("a.0.b12", (0, 12)), ("a.007", ()), ("w", ()), ("1234567890123.2", (2,)), ("x1y2", (1, 2))])
def test_numbers_are_those_which_arithmetic_gives_back(key: str, numbers: tuple[int, ...]) -> None:
    assert numbers_of(key) == numbers


@pytest.mark.parametrize(
    ("source", "target", "hunks"),
    [
        ("a.b.c", "a.b.c", []),
        ("m.a.b", "a.b", [(0, 1, 0, 0)]),
        ("a.b", "m.n.a.b", [(0, 0, 0, 2)]),
        ("a.x.b", "a.y.b", [(1, 2, 1, 2)]),
        ("a.x.b.c", "a.y.z.b.d", [(1, 2, 1, 3), (3, 4, 4, 5)]),
        ("a.b", "a.b.c", [(2, 2, 2, 3)]),
        ("w.w", "w", [(0, 1, 0, 0)]),
        ("a", "b", [(0, 1, 0, 1)]),
    ],
)
def test_names_are_laid_side_by_side(source: str, target: str, hunks: list[tuple[int, int, int, int]]) -> None:
    assert aligned(source.split("."), target.split(".")) == tuple(Hunk(*hunk) for hunk in hunks)


def _sample(source: str, target: str) -> Sample:
    sides = tuple(source.split(".")), tuple(target.split("."))
    return Sample(0, *sides, aligned(*sides))


@pytest.mark.parametrize(
    ("run", "image", "covered"),
    [
        (Run(0, 1, "layers"), (0, 1), [0]),
        (Run(0, 2, "layers.0"), (0, 2), [0]),
        (Run(2, 3, "norm1"), (2, 3), [1]),
        (Run(0, 3, "layers.0.norm1"), (0, 3), [0, 1]),
        (Run(0, 1, "blocks"), None, None),
        (Run(3, 4, "weight"), (3, 4), []),
        (Run(3, 4, "w"), None, None),
        (Run(1, 2, ""), None, None),
    ],
)
def test_a_run_is_right_where_it_puts_in_what_stands_there(run: Run, image: tuple[int, int] | None, covered: list[int] | None) -> None:
    sample = _sample("h.0.ln_1.weight", "layers.0.norm1.weight")
    assert sample.image(run) == image
    if image is not None:
        assert sample.covered(run, image) == covered


@pytest.mark.parametrize(
    ("run", "is_literal", "forgiven"),
    [
        (Run(1, 2, "x"), True, True),  # inside a longer hunk
        (Run(0, 1, "x"), True, True),  # at its start, but shorter
        (Run(0, 2, "x"), True, False),  # the hunk itself
        (Run(0, 2, "x"), False, True),  # where a run without wildcards goes first
        (Run(2, 3, "x"), True, False),  # in what stays
    ],
)
def test_a_wrong_run_is_forgiven_where_another_is_taken(run: Run, is_literal: bool, forgiven: bool) -> None:
    assert _sample("moe.gate.weight", "router.weight").is_forgiven(run, is_literal=is_literal) is forgiven


def test_what_runs_do_right_can_be_taken_back() -> None:
    sample = _sample("stages.0.norm.weight", "encoder.stages.0.layernorm.weight")
    runs = Replacer.of({"norm": "layernorm"}).runs("stages.0.norm.weight")
    assert sample.without(runs) == "encoder.stages.0.norm.weight"


def test_samples_hold_the_first_and_the_last_of_each_family() -> None:
    moves = [(f"h.{i}.w", f"layers.{i}.w") for i in range(100)]
    samples = samples_of(numbered(moves))
    assert 2 <= len(samples) <= 10
    assert (samples[0].key, samples[-1].key) == ("h.0.w", "h.99.w")


@pytest.mark.parametrize(
    ("moves", "pairs"),
    [
        ([(f"h.{i}.{part}.w", f"layers.{i}.{part}.w") for i in range(3) for part in ("a", "b")], {"h": "layers"}),
        (
            [("h.0.moe.gate.w", "h.0.mlp.router.w"), ("h.0.moe.up.w", "h.0.mlp.up.w"), ("h.0.moe.down.w", "h.0.mlp.down.w")],
            {"moe.gate": "mlp.router", "moe": "mlp"},
        ),
        ([("a.norm.w", "a.ln.w"), ("b.norm.w", "b.ln.w"), ("c.norm.w", "c.norm.w")], {"a.norm": "a.ln", "b.norm": "b.ln"}),
        ([("a.net.w", "a.w"), ("b.net.w", "b.w")], {"net": ""}),
        ([("a.w", "a.w")], {}),
    ],
)
def test_runs_are_chosen_which_do_no_harm(moves: list[tuple[str, str]], pairs: dict[str, str]) -> None:
    chosen = chosen_runs(numbered(moves), 0.01)
    assert chosen == pairs
    keys = [key for key, _ in moves]
    places = {edit.source: edit.target for edit in (Replace(pairs).edits(keys, None) if pairs else [])}  # type: ignore[union-attr]
    assert [places.get(key, key) for key in keys] == [place for _, place in moves]


@pytest.mark.parametrize(
    ("key", "runs"),
    [
        ("a.net.b.net", [Run(1, 2, ""), Run(3, 4, "")]),
        ("h.0.w", [Run(0, 2, "layers.0")]),
        ("x", []),
    ],
)
def test_a_replacer_tells_which_runs_it_replaces(key: str, runs: list[Run]) -> None:
    assert Replacer.of({"net": "", "h.{i:int}": "layers.{i}"}).runs(key) == runs


def test_whole_names_are_renamed_in_layers_the_special_ones_first() -> None:
    moves = {"down.0.w": "stem.w", "down.0.b": "stem.b"}
    moves |= {f"down.{i}.{leaf}": f"stages.{i}.{leaf}" for i in (1, 2, 3) for leaf in "wb"}
    assert whole_renames(moves) == [{"down.0.{leaf}": "stem.{leaf}"}, {"down.{rest:path}": "stages.{rest}"}]


def test_a_pattern_never_takes_along_what_stays() -> None:
    moves = {"a.w": "b.w", "a.b": "b.b", "a.c": "a.c"}
    assert whole_renames(moves) == [{"a.{leaf:w|b}": "b.{leaf}"}]


def test_pairs_by_numbers_alone_say_no_more_than_numbers() -> None:
    moves = {f"a.{i}.{leaf}": f"b.{i}.{leaf}" for i in range(3) for leaf in "wb"} | {"c": "c"}
    assert plain_pairs(moves) == {"a.{i:int}.w": "b.{i}.w", "a.{i:int}.b": "b.{i}.b"}


BLOCKS = [f"h.{i}.{part}.{leaf}" for i in range(3) for part in ("attn", "mlp") for leaf in ("weight", "bias")]


@pytest.mark.parametrize(
    ("wanted", "others", "patterns"),
    [
        (["fc.weight", "fc.bias"], BLOCKS, ("fc.*",)),
        (["fc.weight"], BLOCKS, ("fc.weight",)),
        (BLOCKS, [], ("**",)),
        (BLOCKS, ["fc.weight"], ("h.**",)),
        ([key for key in BLOCKS if key.endswith("bias")], [key for key in BLOCKS if key.endswith("weight")], ("**.bias",)),
        (["h.1.attn.weight", "h.1.attn.bias", "h.1.mlp.weight", "h.1.mlp.bias"], [key for key in BLOCKS if ".1." not in key], ("h.1.**",)),
        ([key for key in BLOCKS if "attn" in key], [key for key in BLOCKS if "mlp" in key], ("h.*.attn.*",)),
        ([], BLOCKS, ()),
        (["a*b"], ["ab"], ("re:a\\*b",)),
        (["layer1", "layer2"], ["layers"], ("layer1", "layer2")),
        (["queue", "queue_ptr"], BLOCKS, ("queue", "queue_ptr")),
    ],
)
def test_few_patterns_cover_what_is_wanted(wanted: list[str], others: list[str], patterns: tuple[str, ...]) -> None:
    names = [*wanted, *others]
    found = covering(wanted, names)
    assert found == patterns
    assert [name for name in names if any(Pattern.parse(text).match(name) is not None for text in found)] == wanted


@pytest.mark.parametrize(("confidence", "text"), [(1.0, "1.000"), (0.9999, "0.999"), (0.5, "0.500"), (0.0, "0.000"), (0.12345, "0.123")])
def test_a_confidence_is_rounded_down(confidence: float, text: str) -> None:
    assert confidence_text(confidence) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_suggestion_is_the_same_twice(name: str) -> None:
    pair = pair_of(name)
    texts = {written(mapping_of(pair), pair.source, pair.target, 0.9).text for _ in range(2)}
    assert len(texts) == 1
