"""What holds for ops on names over arbitrary keys; and that many keys and pairs take seconds, not minutes."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Drop, Edit, Move
from ckpt_surgeon.ops.registry import OPS

segments = st.sampled_from(["a", "b", "net", "network", "module", "layer1", "0", "1", "weight"])
keys = st.lists(segments, min_size=1, max_size=5).map(".".join)
tables = st.lists(keys, unique=True, max_size=12)


def renamed(edits: list[Edit], table: list[str]) -> list[str]:
    moved = {edit.source: edit.target for edit in edits if isinstance(edit, Move)}
    dropped = {edit.source for edit in edits if isinstance(edit, Drop)}
    return [moved.get(key, key) for key in table if key not in dropped]


def op(name: str, **parameters: Any) -> Any:
    return OPS[name](**parameters)


@given(tables, keys)
def test_a_prefix_which_was_added_can_be_stripped(table: list[str], prefix: str) -> None:
    there = renamed(op("add_prefix", prefix=prefix).edits(table, None), table)
    assert renamed(op("strip_prefix", prefixes=prefix + ".").edits(there, None), there) == table


@given(tables)
def test_unwrapped_names_are_unwrapped(table: list[str]) -> None:
    unwrap = op("unwrap", segments=["net", "network"])
    once = renamed(unwrap.edits(table, None), table)
    assert renamed(unwrap.edits(once, None), once) == once


@given(st.permutations(range(5)))
def test_layers_put_in_another_order_and_back_are_the_layers(order: list[int]) -> None:
    table = [f"h.{i}.{leaf}" for i in range(5) for leaf in ("w", "b")]
    back = [order.index(i) for i in range(5)]
    there = renamed(op("layers", match="h.{i:int}.{leaf}", pick=order).edits(table, None), table)
    assert renamed(op("layers", match="h.{i:int}.{leaf}", pick=back).edits(there, None), there) == table


@given(tables)
def test_what_drop_takes_keep_leaves(table: list[str]) -> None:
    patterns = ["**.weight", "a.**", "{x}"]
    dropped = renamed(op("drop", patterns=patterns).edits(table, None), table)
    kept = renamed(op("keep", patterns=patterns).edits(table, None), table)
    assert kept == [key for key in table if key not in dropped] or kept == table == dropped


@given(tables)
def test_replace_agrees_with_a_plain_walk(table: list[str]) -> None:
    pairs = {"a.b": "x", "a": "y", "net": "", "layer1.0": "z.z"}

    def plain(key: str) -> str:
        left, made = key.split("."), []
        while left:
            run = next(run for run in ("a.b", "layer1.0", "a", "net", left[0]) if left[: run.count(".") + 1] == run.split("."))
            made += [pairs.get(run, run)] if pairs.get(run, run) else []
            left = left[run.count(".") + 1 :]
        return ".".join(made)

    table = [key for key in table if plain(key)]
    assert renamed(op("replace", pairs=pairs).edits(table, None), table) == [plain(key) for key in table]


@given(tables)
def test_a_swap_twice_is_no_change(table: list[str]) -> None:
    table = [*table, "swap.x", "swap.y"]
    swap = op("rename", pairs={"swap.x": "swap.y", "swap.y": "swap.x"})
    once = renamed(swap.edits(table, None), table)
    assert once != table
    assert renamed(swap.edits(once, None), once) == table


@given(tables, st.lists(st.sampled_from(["module", "a", "a.b"]), max_size=2), st.sampled_from([["net"], ["net", "0"]]))
def test_align_names_gives_each_key_a_target_name_which_is_its_own(table: list[str], prefixes: list[str], dropped: list[str]) -> None:
    target = [key.removeprefix("module.") for key in table if "net" not in key.split(".")]
    align = op("align_names", prefixes=prefixes, segments=dropped)
    try:
        edits = align.edits(table, set(target))
    except RulesError:
        return
    places = [edit.target for edit in edits]
    assert len(set(places)) == len(places)
    assert set(places) <= set(target)
    assert all(edit.source == edit.target for edit in edits if edit.source in target)
    again = renamed(edits, table)
    settled = align.edits(again, set(target))
    assert renamed(settled, again) == again, "a second time changes nothing"


@given(tables)
def test_align_names_finds_wrapped_keys_whichever_side_is_wrapped(table: list[str]) -> None:
    plain = list(dict.fromkeys("root." + key.replace("network", "x") for key in table if not {"net", "module"} & set(key.split("."))))
    wrapped = ["module." + key + ".net.w" for key in plain]
    plain = [key + ".w" for key in plain]
    align = op("align_names", prefixes="module", segments="net")
    assert renamed(align.edits(wrapped, plain), wrapped) == plain
    assert renamed(align.edits(plain, wrapped), plain) == wrapped


MANY = [f"module.base_model.layer{i % 50}.{i // 50}.conv{j}.net.weight" for i in range(10_000) for j in range(4)]
BARE = [key.removeprefix("module.").replace(".net", "") for key in MANY]


def at_scale() -> Iterator[Any]:
    yield pytest.param("strip_prefix", {"prefixes": ["module.", "base_model."]}, None, len(MANY), id="strip_prefix")
    yield pytest.param("replace", {"pairs": {f"nothing{n}": "" for n in range(500)} | {"net": ""}}, None, len(MANY), id="replace")
    yield pytest.param("replace", {"pairs": {"conv{i:int}.net": "c{i+1}"}}, None, len(MANY), id="replace with captures")
    yield pytest.param("rename", {"pairs": {key: key + ".x" for key in MANY[:5000]}}, None, 5000, id="rename, literal pairs")
    patterns = {f"module.base_model.layer{n}.{{r:path}}": f"l{n}.{{r}}" for n in range(50)}
    yield pytest.param("rename", {"pairs": patterns}, None, len(MANY), id="rename, patterns")
    yield pytest.param("drop", {"patterns": MANY[::2]}, None, len(MANY) // 2, id="drop")
    yield pytest.param("sub", {"pairs": {r"^module\.": ""}}, None, len(MANY), id="sub")
    yield pytest.param("unwrap", {"prefixes": "module.", "segments": "net"}, BARE, len(MANY), id="unwrap")
    layers = {"match": "module.base_model.layer{i:int}.{rest:path}", "pick": ["25-49", "0-24"]}
    yield pytest.param("layers", layers, None, len(MANY), id="layers")
    yield pytest.param("align_names", {"prefixes": "module.", "segments": "net"}, BARE, len(MANY), id="align_names")


@pytest.mark.parametrize(("name", "parameters", "target", "matches"), list(at_scale()))
def test_forty_thousand_keys_take_seconds(name: str, parameters: dict[str, Any], target: list[str] | None, matches: int) -> None:
    """A quadratic walk would be 40,000 times slower than the linear one; the limit leaves room for a busy machine."""
    start = time.process_time()
    edits = op(name, **parameters).edits(MANY, target)
    assert len(edits) == matches
    assert time.process_time() - start < 5.0


def test_a_message_lists_the_first_of_many_problems() -> None:
    with pytest.raises(RulesError) as caught:
        op("align_names", prefixes=["a", "b"]).edits([f"{x}.{i}" for i in range(100) for x in "ab"], [str(i) for i in range(100)])
    assert len(caught.value.problems) == 8


def test_keys_are_shown_escaped() -> None:
    with pytest.raises(RulesError) as caught:
        op("rename", pairs={"{x}.a": "b.{x}", "{y}.a": "c.{y}"}).edits(["\x1b[31mred.a"], None)
    assert "\x1b" not in str(caught.value)
    assert "red.a" in str(caught.value)


@pytest.mark.parametrize("name", ["rename", "copy", "tie"])
def test_all_wrong_pairs_of_a_rule_are_named_at_once(name: str) -> None:
    with pytest.raises(RulesError) as caught:
        op(name, pairs={"{a": "b", "c": "{d}", "e": "f"})
    assert len(caught.value.problems) == 2
    assert all(problem.what.startswith(f"{name}: ") for problem in caught.value.problems)


@pytest.mark.parametrize(("part", "what"), [("a" * 1025, "characters"), ("a" * 1024, None)])
def test_sub_caps_the_length_of_expressions(part: str, what: str | None) -> None:
    if what is None:
        assert op("sub", pairs={part: "b"}).edits(["x"], None) == []
        return
    with pytest.raises(RulesError, match=what):
        op("sub", pairs={part: "b"})
    with pytest.raises(RulesError, match=what):
        op("sub", pairs={"b": part})


def test_sub_does_not_search_keys_of_any_length() -> None:
    with pytest.raises(RulesError, match="at most 4096"):
        op("sub", pairs={"a": "b"}).edits(["a" * 4097], None)


@pytest.mark.parametrize("pairs", [{1: "a"}, {"a": 1}, {"a": None}, [("a", "b")]])
def test_pairs_are_texts(pairs: Any) -> None:
    with pytest.raises(RulesError, match="rename"):
        op("rename", pairs=pairs)
