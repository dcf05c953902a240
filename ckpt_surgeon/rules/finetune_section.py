"""The section `finetune:` of a rules document -> Finetune."""

from __future__ import annotations

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.rules.finetune import Finetune, FreezeIndex, Head
from ckpt_surgeon.rules.node import Node

__all__ = ["CLASSES", "read_finetune"]

CLASSES = ("exact", "renamed", "adapted", "initialized", "missing", "new")  # of a target key; anything else under `lr` is a pattern
_WORDS = ("freeze", "freeze_index", "bn_eval", "lr", "head")


def read_finetune(node: Node) -> Finetune | None:
    """The section, or None after a complaint that it is no mapping."""
    if not node.is_mapping("finetune"):
        return None
    parts = {str(part.place[-1]): part for part in node.words(_WORDS, "finetune")}
    return Finetune(
        parts["freeze"].patterns("freeze") if "freeze" in parts else (),
        _read_freeze_index(parts["freeze_index"]) if "freeze_index" in parts else None,
        parts["bn_eval"].flag("bn_eval") if "bn_eval" in parts else True,
        _read_rates(parts["lr"]) if "lr" in parts else {},
        _read_head(parts["head"]) if "head" in parts else None,
    )


def _read_freeze_index(node: Node) -> FreezeIndex | None:
    if not _has_all(node, ("space", "below"), "freeze_index"):
        return None
    space = node.child("space").word("freeze_index: space", ("parameters", "state_dict"))
    below = node.child("below").integer("freeze_index: below")
    return FreezeIndex("parameters" if space == "parameters" else "state_dict", below)


def _read_head(node: Node) -> Head | None:
    if not _has_all(node, ("module", "classes"), "head"):
        return None
    return Head(node.child("module").text("head: module"), node.child("classes").integer("head: classes"))


def _has_all(node: Node, words: tuple[str, ...], what: str) -> bool:
    if not node.is_mapping(what):
        return False
    found = list(node.words(words, what))
    lacking = [word for word in words if word not in node.data]
    if lacking:
        node.complain(f"{what} needs {' and '.join(lacking)}")
    return len(found) == len(words)


def _read_rates(node: Node) -> dict[str, float]:
    if not node.is_mapping("lr"):
        return {}
    for key in node.data:
        if key not in CLASSES:
            _check_pattern(node.child(key), key)
    return {key: node.child(key).number(f"lr: {key}") for key in node.data}


def _check_pattern(node: Node, text: str) -> None:
    try:
        Pattern.parse(text)
    except RulesError as error:
        node.blame(error)
