"""Manifests which lie: each is refused by name, before anything is computed, and nothing which it asks for is ever large."""

import copy
import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, CoverageError, LimitError, RulesError, SurgeryError

RULES = [
    {"concat": {"source": "{x:q|k}.w", "target": "qk.w"}},
    {"init": {"match": "new", "value": "zeros", "shape": [2]}},
    {"rename": {"n.w": "m.w"}},
]


@pytest.fixture
def honest(tmp_path, monkeypatch) -> dict[str, Any]:
    """The manifest of `out.safetensors`, which was made from `in.safetensors`; `out.lineage.json` is what tests put there."""
    monkeypatch.chdir(tmp_path)
    save_file({"q.w": torch.ones(2, 3), "k.w": torch.zeros(2, 3), "n.w": torch.arange(4.0)}, "in.safetensors")
    surgeon.write(surgeon.plan("in.safetensors", RULES), "out.safetensors", lineage="out.lineage.json", digest="sha256")
    with open("out.lineage.json", encoding="utf-8") as file:
        return json.load(file)


def verified(document: object) -> surgeon.Proof:
    with open("out.lineage.json", "w", encoding="utf-8") as file:
        file.write(document if isinstance(document, str) else json.dumps(document))
    return surgeon.verify_lineage("out.safetensors", "out.lineage.json", source="in.safetensors")


def changed(document: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """The document with another value at a path; an empty tuple's value takes it out."""
    made = copy.deepcopy(document)
    *way, last = path
    inner = made
    for step in way:
        inner = inner[step]
    if value == ():
        del inner[last]
    else:
        inner[last] = value
    return made


def test_the_honest_one_passes(honest):
    proof = verified(honest)
    assert (proof.keys, proof.digested, proof.made_anew) == (3, 3, 3)


PACK = 2  # the way of qk.w; those of names come first
STEP = ("ways", PACK, "steps", 0)
LIES: dict[str, tuple[tuple[Any, ...], object, type[SurgeryError], str]] = {
    "a field lacks": (("plan",), (), CorruptError, "lacks ['plan']"),
    "a field too many": (("comment",), "x", CorruptError, "fields which nobody knows: ['comment']"),
    "another version": (("schema_version",), 2, CorruptError, "no lineage of version 1"),
    "a version which is no number": (("schema_version",), True, CorruptError, "whole number"),
    "another document": (("document",), "plan", CorruptError, "no lineage of version 1"),
    "a digest of other letters": (("plan",), "Z" * 64, CorruptError, "no digest of 64"),
    "another plan": (("plan",), "0" * 64, CoverageError, "are not those of the plan 000000000000"),
    "fewer keys": (("targets",), 2, CoverageError, "it has 3 keys, 2 are told of"),
    "a number which is true": (("targets",), True, CorruptError, "targets is True"),
    "a number below 0": (("targets",), -1, CorruptError, "targets is -1"),
    "a fraction": (("targets",), 3.0, CorruptError, "targets is 3.0"),
    "rules which are no list": (("rules",), {}, CorruptError, "rules is no list"),
    "a rule without an op": (("rules", 0), {"rule": 1, "place": ""}, CorruptError, "a rule lacks ['op']"),
    "a rule which is not there": (("ways", 1, "rules"), [9], CorruptError, "a rule is 9"),
    "no way at all": (("ways",), [], CorruptError, "the first of its ways"),
    "another first way": (("ways", 0, "rules"), [0], CorruptError, "the first of its ways"),
    "a way without steps from two": (
        ("ways", 3),
        {"sources": 2, "steps": [], "rules": []},
        CorruptError,
        "a way without steps has 2 sources",
    ),
    "a way which is not there": (("keys", "qk.w", 0), 7, CorruptError, "a way is 7"),
    "a way before the first": (("keys", "qk.w", 0), -1, CorruptError, "a way is -1"),
    "a source too few": (("keys", "qk.w"), [PACK, "q.w"], CorruptError, "a way from 2 sources is given 1"),
    "a move without a way": (("keys", "qk.w"), [], CorruptError, "names no way"),
    "a source which is no text": (("keys", "qk.w"), [PACK, "q.w", 3], CorruptError, "a move's sources is no text"),
    "an input which comes later": ((*STEP, "inputs"), [0, 2], CorruptError, "an input is 2"),
    "a step which takes itself": ((*STEP, "inputs"), [2], CorruptError, "an input is 2"),
    "a prefix within a segment": (("prefixes",), {"m": [0, "n"]}, CorruptError, "a prefix is whole segments"),
    "a prefix from two sources": (("prefixes",), {"m.": [PACK, "a.", "b."]}, CorruptError, "a prefix leads to one source"),
    "a prefix which fills the memory": (("prefixes",), {"": [0, "a" * 5000 + "."]}, LimitError, "a prefix of 5001 characters"),
    "a key which is not there": (("keys", "x.w"), [0, "q.w"], CoverageError, "x.w is not there"),
    "a tensor which is not there": (("tensors", "x.w"), "float32[2]", CoverageError, "x.w is not there"),
    "another shape": (("tensors", "m.w"), "float32[5]", CoverageError, "m.w is float32[4], told is float32[5]"),
    "another source": (("keys", "qk.w"), [PACK, "q.w", "n.w"], CoverageError, "are not those of the plan"),
    "another parameter": ((*STEP, "parameters"), {"dim": 1}, CoverageError, "are not those of the plan"),
    "another digest of a tensor": (
        ("digests", "tensors", "m.w"),
        "0" * 64,
        CoverageError,
        "have other digests than the manifest says: m.w",
    ),
    "another digest of the whole": (("digests", "whole"), "0" * 64, CoverageError, "is the digest of: the whole"),
    "an unknown algorithm": (("digests", "algorithm"), "md5", SurgeryError, "'md5' is no digest"),
}


@pytest.mark.parametrize(("path", "value", "error", "says"), LIES.values(), ids=LIES)
def test_a_lie_is_refused(honest, path, value, error, says):
    with pytest.raises(error) as caught:
        verified(changed(honest, path, value) if path != ("ways", 3) else {**honest, "ways": [*honest["ways"], value]})
    assert says in str(caught.value)


TEXTS = {
    "no JSON": ("{", "no valid JSON"),
    "a key which stands twice": ('{"plan": 1, "plan": 2}', "stands twice"),
    "NaN": ('{"plan": NaN}', "NaN"),
    "a list": ("[]", "the manifest is no table"),
    "nested deeply": ("[" * 50 + "]" * 50, "nested"),
    "half a pair": ('{"plan": "\\ud800"}', "surrogate"),
}


@pytest.mark.parametrize(("text", "says"), TEXTS.values(), ids=TEXTS)
def test_a_text_which_is_no_manifest_is_refused(honest, text, says):
    with pytest.raises(CorruptError) as caught:
        verified(text)
    assert says in str(caught.value)
    assert "out.lineage.json" in str(caught.value)


def replayed(document: dict[str, Any]) -> surgeon.Proof:
    """A lie which is consistent in itself: its plan's digest, too, is that of what it tells."""
    from ckpt_surgeon.planning import parse_lineage, plan_digest

    told = {name: value for name, value in document.items() if name not in ("digests", "tensors")}
    lineage = parse_lineage(json.dumps(told), "it")
    header = surgeon.inspect("out.safetensors")
    return verified({**told, "plan": plan_digest(header, lineage.rows(header))})


def step(op: str, inputs: list[int], output: int = 0, **parameters: object) -> dict[str, Any]:
    return {"op": op, "parameters": parameters, "output": output, "inputs": inputs}


HUGE = {"value": "zeros", "shape": [1 << 20, 1 << 20], "dtype": "float32", "seed": 0}
CASTS = [step("cast", [i + 1], dtype="float32") for i in range(200)]
DOUBLED = [step("concat", [i + 1, i + 1], dim=0) for i in range(40)]
WORK: dict[str, tuple[list[dict[str, Any]], type[SurgeryError], str]] = {
    "an unknown op": ([step("explode", [0, 1])], CorruptError, "there is no op explode"),
    "an op on names": ([step("rename", [0, 1], pairs={"a": "b"})], CorruptError, "there is no op rename on tensors"),
    "an unknown parameter": ([step("concat", [0, 1], dim=0, size=3)], CorruptError, "does not take these parameters: size"),
    "a parameter of another type": ([step("concat", [0, 1], dim="0")], CorruptError, "does not take these parameters: dim"),
    "a parameter which lacks": ([step("cast", [0])], CorruptError, "does not take these parameters: dtype"),
    "a dim which is not there": ([step("concat", [0, 1], dim=9)], CorruptError, "concat cannot be done"),
    "an output which is not there": ([step("concat", [0, 1], output=3, dim=0)], CorruptError, "has 1 outputs, and number 3"),
    "too many inputs": ([step("cast", [0, 1], dtype="float16")], CorruptError, "cast cannot be done"),
    "no input": ([step("concat", [], dim=0)], CorruptError, "concat cannot be done"),
    "a tensor which fills the memory": ([step("init", [], **HUGE)], LimitError, "far more than there is"),
    "a chain without end": ([step("concat", [0, 1], dim=0), *CASTS], LimitError, "on top of each other"),
    "work which doubles": ([step("concat", [0, 1], dim=0), *DOUBLED], LimitError, "it takes 131071 ops"),
    "another shape": ([step("stack", [0, 1], dim=0)], CoverageError, "not of the shape or dtype"),
    "other values": ([step("concat", [1, 0], dim=0)], CoverageError, "not what their manifest makes of the source: qk.w"),
}


@pytest.mark.parametrize(("steps", "error", "says"), WORK.values(), ids=WORK)
def test_work_which_cannot_have_been_done_is_refused(honest, steps, error, says):
    with pytest.raises(error) as caught:
        replayed(changed(honest, ("ways", PACK, "steps"), steps))
    assert says in str(caught.value)
    assert "qk.w" in str(caught.value)


def test_work_on_nothing_which_doubles_is_refused(honest):
    doubled = [step("slice", [0], start=0, stop=0), *(step("concat", [i + 2, i + 2], dim=0) for i in range(40))]
    with pytest.raises(LimitError, match="ops"):
        replayed(changed(honest, ("ways", PACK, "steps"), doubled))


def test_a_source_which_is_not_there_is_named(honest):
    with pytest.raises(CoverageError, match=r"the source has no key z\.w, from which it is said to come"):
        replayed(changed(honest, ("keys", "qk.w"), [PACK, "q.w", "z.w"]))


def with_metadata(texts: dict[str, str]) -> None:
    from safetensors import safe_open

    with safe_open("out.safetensors", "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 it is no dict
    save_file(tensors, "lie.safetensors", {**metadata, **texts})


def test_a_header_whose_manifest_is_of_another_plan_is_refused(honest):
    with_metadata({"ckpt_surgeon.plan": "0" * 64})
    with pytest.raises(CorruptError, match=r"of another plan than ckpt_surgeon\.plan"):
        surgeon.lineage("lie.safetensors")


@pytest.mark.parametrize("text", ["", "{}", "[" * 40, "nothing"])
def test_a_header_whose_manifest_is_none_opens_and_only_its_lineage_is_refused(honest, text):
    with_metadata({"ckpt_surgeon.lineage": text})
    assert len(surgeon.inspect("lie.safetensors")) == 3
    with pytest.raises(CorruptError, match=r"ckpt_surgeon\.lineage"):
        surgeon.lineage("lie.safetensors")


@pytest.mark.parametrize("texts", [{"ckpt_surgeon.plan": "x"}, {"ckpt_surgeon.history": "{}"}, {"ckpt_surgeon.history": '["x"]'}])
def test_a_history_which_is_none_is_refused_where_it_would_be_carried_on(honest, texts):
    with_metadata(texts)
    assert surgeon.plan("lie.safetensors").header.metadata["ckpt_surgeon.plan"]
    with pytest.raises(CorruptError, match="are no digests of plans"):
        surgeon.plan("lie.safetensors", [{"add_prefix": "m."}])


def test_where_there_is_no_manifest_that_is_said(honest):
    with pytest.raises(RulesError, match="it carries no manifest"):
        surgeon.lineage("in.safetensors")
