"""`suggest`: what is settled, what is open, and the rules, in each form."""

import json

import pytest

from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link, Mapping
from ckpt_surgeon.mapping.writing import Suggestion, written
from ckpt_surgeon.report.rendering import render
from ckpt_surgeon.report.suggestion import SuggestionReport
from ckpt_surgeon.spec import Header, TensorSpec

SQUARE, ROW = TensorSpec.of("float32", 4, 4), TensorSpec.of("float32", 4)
SOURCE = Header({"module.fc.weight": SQUARE, "module.fc.bias": ROW, "a.w": SQUARE, "b.w": SQUARE, "old.w": ROW})
TARGET = Header({"fc.weight": SQUARE, "fc.bias": ROW, "q.w": SQUARE, "k.w": SQUARE, "head.w": ROW})
FC = (
    Family((Link(("module.fc.weight",), ("fc.weight",), Change("transpose", (("dims", (0, 1)),))),), 0.99, "the one of its shape"),
    Family((Link(("module.fc.bias",), ("fc.bias",)),), 0.9876, "by name"),
)


def _twin(key: str, other: str, place: str, doubt: str = "") -> Family:
    other_way = Alternative((Link((other,), (place,)),), 0.4, "as good by shape")
    return Family((Link((key,), (place,)),), 0.55, "the first of two", doubt, (other_way,))


SETTLED = written(Mapping(FC), SOURCE, TARGET, 0.9)
OPEN = written(Mapping((*FC, _twin("a.w", "b.w", "q.w", "squares are alike"), _twin("b.w", "a.w", "k.w"))), SOURCE, TARGET, 0.9)
UNKNOWN = written(Mapping((_twin("a.w", "b.w", "q.w"),)), SOURCE, TARGET, 0.9)


def _lines(found: Suggestion, **words: object) -> list[str]:
    report = SuggestionReport(found, "a.pth", "net:flow", **words)  # type: ignore[arg-type]
    return [" ".join(line.split()) for line in render(report).splitlines()]


def test_the_first_line_says_how_much_is_settled_and_how_surely() -> None:
    assert _lines(SETTLED)[0] == "2 of 5 keys are settled: 3 rules, 3 names and ops; the least sure has a confidence of 0.987"


def test_a_confidence_is_never_rounded_up() -> None:
    assert "0.988" not in "\n".join(_lines(SETTLED))


def test_what_is_new_and_what_is_left_out_is_named() -> None:
    lines = _lines(SETTLED)
    assert "new, nothing of the source is it: 1 key, head.w" in lines
    assert "open: 2 keys" in lines  # q.w and k.w, for a.w and b.w are left out, and of their shape
    assert "left out, no part of the target is it: 3 keys, a.w, b.w, old.w" in lines


def test_the_rules_stand_there_as_they_are() -> None:
    text = render(SuggestionReport(SETTLED, "a.pth", "net:flow"))
    assert text.endswith(f"\nrules\n{SETTLED.text}")


def test_rules_which_went_to_a_file_do_not_stand_there_again() -> None:
    lines = _lines(SETTLED, out="rules.yaml")
    assert "wrote rules.yaml" in lines
    assert "version: 1" not in lines


def test_a_question_shows_its_answers_the_likeliest_first() -> None:
    lines = _lines(OPEN)
    at = lines.index("open: 2 keys")
    assert lines[at + 1] == "target may be confidence why"
    assert lines[at + 3 : at + 5] == ["q.w, k.w a.w, b.w 0.550 the first of two; squares are alike", "b.w, a.w 0.400 as good by shape"]


def test_details_list_every_key() -> None:
    many = Header({f"a.{i}.w": SQUARE for i in range(9)} | {f"b.{i}.w": SQUARE for i in range(9)})
    target = Header({f"{i}.w": SQUARE for i in range(9)})
    families = tuple(_twin(f"a.{i}.w", f"b.{i}.w", f"{i}.w") for i in range(9))
    found = written(Mapping(families), many, target, 0.9)
    assert any("{0..8}.w x9" in line for line in _lines(found))
    assert any("a.0.w, a.1.w, a.2.w" in line for line in _lines(found, detailed=True))


def test_an_answer_which_is_nothing_says_so() -> None:
    nothing = Family((Link(("a.w",), ("q.w",)),), 0.5, "alike", "", (Alternative((), 0.5, "may be new"),))
    lines = _lines(written(Mapping((nothing,)), SOURCE, TARGET, 0.9))
    assert "(nothing: it stays new) 0.500 may be new" in lines


def test_where_nothing_is_settled_the_page_says_so() -> None:
    assert _lines(UNKNOWN)[0].startswith("0 of 5 keys are settled: ")


def test_the_document_has_links_with_their_ops() -> None:
    document = json.loads(render(SuggestionReport(OPEN, "a.pth", "net:flow"), "json"))
    assert document["families"][0] == {
        "confidence": 0.99,
        "why": "the one of its shape",
        "links": [{"sources": ["module.fc.weight"], "targets": ["fc.weight"], "op": {"op": "transpose", "dims": [0, 1]}}],
    }
    assert [question["targets"] for question in document["questions"]] == [["q.w", "k.w"]]
    answers = document["questions"][0]["answers"]
    assert [answer["rules"] for answer in answers] == [
        [{"rename": {"a.w": "q.w", "b.w": "k.w"}}],
        [{"rename": {"b.w": "q.w", "a.w": "k.w"}}],
    ]
    assert (document["settled"], document["size"], document["missing"], document["unused"]) == (False, OPEN.size, ["head.w"], ["old.w"])


@pytest.mark.parametrize(("form", "start", "end"), [("md", "```yaml\n", "```\n"), ("html", "<pre><code>", "</code></pre>")])
def test_other_forms_hold_the_rules_as_a_block(form: str, start: str, end: str) -> None:
    text = render(SuggestionReport(SETTLED, "a.pth", "net:flow"), form)  # type: ignore[arg-type]
    _, _, rest = text.partition(start)
    block, _, _ = rest.partition(end)
    assert block.startswith("version: 1\nrules:\n")


def test_backticks_in_a_name_do_not_end_a_block() -> None:
    odd = Header({"a```.w": SQUARE})
    found = written(Mapping((Family((Link(("a```.w",), ("q.w",)),), 0.99, "alone"),)), odd, TARGET, 0.9)
    assert "````yaml\n" in render(SuggestionReport(found, "a", "b"), "md")


def test_names_from_files_are_escaped() -> None:
    odd = Header({"a\x1b[31m": SQUARE})
    found = written(Mapping((), (), ("a\x1b[31m",)), odd, TARGET, 0.9)
    assert "\x1b" not in render(SuggestionReport(found, "a\x1b", "b"))
