"""Whatever a mapping says, the rules which are written of it do just that: random names, random moves, random ops."""

from collections.abc import Sequence

from cases import alignments
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from mappings import headers, moves

from ckpt_surgeon.keys.matching import matching
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link, Mapping
from ckpt_surgeon.mapping.writing import Suggestion, written
from ckpt_surgeon.mapping.writing.covering import covering
from ckpt_surgeon.mapping.writing.naming import Naming, name_ops, named
from ckpt_surgeon.mapping.writing.numbering import letters_of, numbered, rendered
from ckpt_surgeon.planning import Derived, Recipe, Source, make_plan, sources_of
from ckpt_surgeon.rules.reader import parse_rules
from ckpt_surgeon.spec import Header, TensorSpec

_SEGMENTS = ("layer1", "layer2", "layers", "0", "1", "2", "10", "norm", "norm1", "conv1", "attn", "w", "weight", "bias", "net", "module")
_names = st.lists(st.sampled_from(_SEGMENTS), min_size=1, max_size=5).map(".".join)
_odd_names = st.text("ab.*{}:0 -", min_size=1, max_size=6).filter(lambda text: ".." not in text and text.strip(".") == text)


@st.composite
def _tables(draw: st.DrawFn, names: st.SearchStrategy[str] = _names) -> dict[str, str]:
    """Source key -> target key, each once."""
    keys = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    places = draw(st.lists(_names, min_size=len(keys), max_size=len(keys), unique=True))
    return dict(zip(keys, places, strict=True))


@st.composite
def _alike(draw: st.DrawFn) -> dict[str, str]:
    """Moves which have much in common: parts which are put together and renamed the same way everywhere, but for some keys."""
    blocks = draw(st.integers(1, 4))
    parts = draw(st.lists(st.sampled_from(_SEGMENTS), min_size=1, max_size=3, unique=True))
    words = draw(st.lists(st.sampled_from(_SEGMENTS), min_size=3, max_size=3))
    offset = draw(st.integers(0, 2))
    table = {f"{words[0]}.{i}.{part}.w": f"{words[1]}.{i + offset}.{part}{words[2]}.w" for i in range(blocks) for part in parts}
    return {**table, **{key: place for key, place in draw(_tables()).items() if key not in table and place not in table.values()}}


def _sources(suggestion: Suggestion, source: Header, target: Header) -> dict[str, list[str]]:
    plan = make_plan(parse_rules(suggestion.text, "rules.yaml"), source, target)
    recipes: dict[str, Recipe] = {key: plan.recipes[plan.ties.get(key, key)] for key in (*plan.recipes, *plan.ties)}
    return {key: [each.key for each in sources_of(recipe)] for key, recipe in recipes.items()}


@settings(max_examples=100, deadline=None)
@given(st.one_of(_tables(), _alike()))
def test_moves_come_out_as_they_were_told(table: dict[str, str]) -> None:
    source, target = headers(table)
    found = written(moves(table), source, target, 0.9)
    event(", ".join(sorted({rule.op.name for rule in found.rules.rules})))
    assert _sources(found, source, target) == {place: [key] for key, place in table.items()}


@settings(max_examples=60, deadline=None)
@given(_tables(_odd_names))
def test_names_which_look_like_patterns_are_taken_as_they_are(table: dict[str, str]) -> None:
    source, target = headers(table)
    found = written(moves(table), source, target, 0.9)
    assert _sources(found, source, target) == {place: [key] for key, place in table.items()}


@settings(max_examples=60, deadline=None)
@given(_tables(), st.data())
def test_what_is_not_sure_is_never_done(table: dict[str, str], data: st.DataObject) -> None:
    source, target = headers(table)
    sure = set(data.draw(st.lists(st.sampled_from(sorted(table)), unique=True)))
    families = [Family((Link((key,), (place,)),), 0.95 if key in sure else 0.5, "told") for key, place in table.items()]
    found = written(Mapping(tuple(families)), source, target, 0.9)
    assert set(found.open_targets) == {place for key, place in table.items() if key not in sure}
    made = {} if found.plan is None else found.plan.recipes
    assert {key: recipe.key for key, recipe in made.items() if isinstance(recipe, Source)} == {table[key]: key for key in sure}


@settings(max_examples=60, deadline=None)
@given(_alike(), st.data())
def test_what_is_left_over_is_dropped_and_what_is_new_is_allowed(table: dict[str, str], data: st.DataObject) -> None:
    source, target = headers(table)
    known = data.draw(st.lists(st.sampled_from(sorted(table)), unique=True, min_size=1))
    found = written(moves({key: table[key] for key in known}), source, target, 0.9)
    made = {} if found.plan is None else found.plan.recipes
    assert {key: recipe.key for key, recipe in made.items() if isinstance(recipe, Source)} == {table[key]: key for key in known}
    assert set(found.unused) == set(table) - set(known)
    assert {*found.missing, *found.open_targets} == {place for key, place in table.items() if key not in known}


@settings(max_examples=80, deadline=None)
@given(_tables(), st.data())
def test_a_key_may_be_wanted_in_many_places(table: dict[str, str], data: st.DataObject) -> None:
    keys = sorted(table)
    taken = {place: data.draw(st.sampled_from(keys)) for place in table.values()}
    spec = TensorSpec.of("float32", 2, 3)
    source, target = Header(dict.fromkeys(table, spec)), Header(dict.fromkeys(table.values(), spec))
    families = tuple(Family((Link((key,), (place,)),), 0.95, "told") for place, key in taken.items())
    found = written(Mapping(families), source, target, 0.9)
    assert _sources(found, source, target) == {place: [key] for place, key in taken.items()}


_OPS = {"concat": ("concat", (6, 3)), "stack": ("stack", (2, 3, 3))}


@settings(max_examples=80, deadline=None)
@given(_tables(), st.data())
def test_several_keys_become_one_in_the_order_told(table: dict[str, str], data: st.DataObject) -> None:
    keys, places = data.draw(st.permutations(sorted(table))), list(table.values())
    groups = [tuple(keys[at : at + 2]) for at in range(0, len(keys) - 1, 2)]
    op, shape = _OPS[data.draw(st.sampled_from(sorted(_OPS)))]
    links = [Link(group, (place,), Change(op)) for group, place in zip(groups, places, strict=False)]
    single = [Link((key,), (place,)) for key, place in zip(keys[2 * len(groups) :], places[len(groups) :], strict=False)]
    source = Header(dict.fromkeys(table, TensorSpec.of("float32", 3, 3)))
    made = {link.targets[0]: TensorSpec.of("float32", *shape) for link in links}
    target = Header(made | {link.targets[0]: TensorSpec.of("float32", 3, 3) for link in single})
    found = written(Mapping(tuple(Family((link,), 0.95, "told") for link in (*links, *single))), source, target, 0.9)
    assert _sources(found, source, target) == {link.targets[0]: list(link.sources) for link in (*links, *single)}


@settings(max_examples=60, deadline=None)
@given(_tables(), st.data())
def test_one_key_becomes_several_in_the_order_told(table: dict[str, str], data: st.DataObject) -> None:
    keys, places = sorted(table), data.draw(st.permutations(list(table.values())))
    groups = [tuple(places[at : at + 2]) for at in range(0, len(places) - 1, 2)]
    links = [Link((key,), group, Change("split")) for key, group in zip(keys, groups, strict=False)]
    source = Header(dict.fromkeys(table, TensorSpec.of("float32", 6, 3)))
    target = Header({place: TensorSpec.of("float32", 2 if at else 4, 3) for link in links for at, place in enumerate(link.targets)})
    found = written(Mapping(tuple(Family((link,), 0.95, "told") for link in links)), source, target, 0.9)
    plan = found.plan
    assert (
        {key: _part(plan.recipes[key]) for key in plan.recipes}
        if plan
        else {place: (link.sources[0], at) for link in links for at, place in enumerate(link.targets)} == {}
    )


def _part(recipe: Recipe) -> tuple[str, int]:
    assert isinstance(recipe, Derived)
    (inner,) = recipe.inputs
    assert isinstance(inner, Source)
    return inner.key, recipe.output


@settings(max_examples=80, deadline=None)
@given(_alike(), st.data())
def test_an_answer_does_what_it_says_when_it_is_uncommented(table: dict[str, str], data: st.DataObject) -> None:
    """The rules, then the answer's, instead of what leaves the open keys out."""
    source, target = headers(table)
    candidates = sorted(key for key, place in table.items() if key == place or place not in table)
    assume(candidates)  # who stands in another's place is in its way until both are answered
    open_keys = set(data.draw(st.lists(st.sampled_from(candidates), unique=True, min_size=1, max_size=3)))
    families = [Family((Link((key,), (place,)),), 0.5 if key in open_keys else 0.95, "told") for key, place in table.items()]
    found = written(Mapping(tuple(families)), source, target, 0.9)
    text = _answered(found.text)
    plan = make_plan(parse_rules(text, "rules.yaml"), source, target)
    assert {key: recipe.key for key, recipe in plan.recipes.items() if isinstance(recipe, Source)} == {b: a for a, b in table.items()}


def _answered(text: str) -> str:
    """Every comment which holds a rule without its sign, and the rule gone which leaves out what is open."""
    lines = [line.replace("  # ", "  ", 1) if line.startswith("  # ") else line for line in text.splitlines()]
    kept: list[str] = []
    for line in lines:
        kept.append(line)
        if "then delete this rule" in line:
            while not kept[-1].startswith("  - drop"):
                kept.pop()
            kept.pop()
    rules = [line for line in kept if not line.startswith("rules: []")]
    return "\n".join(rules if len(rules) == len(kept) else [rules[0], "rules:", *rules[1:]]) + "\n"


@settings(max_examples=100, deadline=None)
@given(st.one_of(_tables(), _alike()))
def test_name_ops_lead_where_they_shall_and_free_names_meet_nobody(table: dict[str, str]) -> None:
    keys = list(table)
    goals = {key: table[key] for key in keys[::2]}
    naming = Naming(goals, [key for key in keys[1::2] if key not in goals.values()], frozenset(table.values()))
    found = named(name_ops(naming), naming)
    assert {key: found[key] for key in naming.moves} == naming.moves
    assert len(set(found.values())) == len(found)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(_names, _odd_names), min_size=1, max_size=20, unique=True), st.data())
def test_patterns_cover_what_is_wanted_and_nothing_else(names: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(names), unique=True))
    patterns = covering(wanted, names)
    assert matching([Pattern.parse(text) for text in patterns], names) == [name for name in names if name in set(wanted)]
    assert len(patterns) <= len(wanted)


@settings(max_examples=100, deadline=None)
@given(_alike())
def test_a_family_says_all_its_moves(table: dict[str, str]) -> None:
    families = numbered(table.items())
    assert sorted(move for family in families for move in family.moves) == sorted(table.items())
    for family in families:
        names = letters_of(family.source)
        pattern, template = Pattern.parse(rendered(family.source, names, typed=True)), Template.parse(rendered(family.target, names))
        for key, place in family.moves:
            captures = pattern.match(key)
            assert captures is not None
            assert template.expand(captures) == place


@settings(max_examples=100, deadline=None)
@given(alignments())
def test_names_in_other_wrappings_come_out_too(case: tuple[dict[str, Sequence[str]], list[str], list[str]]) -> None:
    _, keys, places = case
    table = dict(zip(keys, places, strict=False))
    source, target = headers(table)
    found = written(moves(table), source, target, 0.9)
    assert _sources(found, source, target) == {place: [key] for key, place in table.items()}


def test_twin_parts_are_one_question() -> None:
    keys = [f"{part}.{i}.{leaf}" for part in ("query", "key") for i in range(3) for leaf in ("weight", "bias")]
    spec = TensorSpec.of("float32", 2)
    source, target = (
        Header(dict.fromkeys(keys, spec)),
        Header(dict.fromkeys([f"{i}.{leaf}" for i in range(3) for leaf in ("weight", "bias")], spec)),
    )
    families = tuple(
        Family((Link((f"query.{key}",), (key,)),), 0.5, "told", alternatives=(Alternative((Link((f"key.{key}",), (key,)),), 0.5),))
        for key in target
    )
    found = written(Mapping(families), source, target, 0.9)
    (question,) = found.questions
    assert question.targets == tuple(target)
    assert [list(answer.entries) for answer in question.answers] == [
        [{"drop": "key.**"}, {"strip_prefix": "query."}],
        [{"drop": "query.**"}, {"strip_prefix": "key."}],
    ]
