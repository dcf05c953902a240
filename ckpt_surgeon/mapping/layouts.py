"""Which way square matrices lie: what shapes can't say of them, the others of their kind do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ckpt_surgeon.mapping.calibration import BOTH_WAYS, TURNED_ALIKE
from ckpt_surgeon.mapping.fitting import main
from ckpt_surgeon.mapping.matches import Form, Match
from ckpt_surgeon.mapping.tree import Tensor
from ckpt_surgeon.mapping.words import meanings

__all__ = ["EITHER_WAY", "turn"]

EITHER_WAY = "a square matrix: whether it is transposed is not to be seen"

Kind = tuple[Form, str, str, bool, bool, bool]
Shape = tuple[int, ...]


def turn(matches: Sequence[Match]) -> list[Match]:
    """The matches, square matrices turned where all others of their kind are; unsure where some are and some aren't."""
    turned: Counter[Kind] = Counter(_kind(match) for match in matches if _is_turned(match) is True)
    straight: Counter[Kind] = Counter(_kind(match) for match in matches if _is_turned(match) is False)
    return [_settle(match, turned, straight) if _is_square(match) else match for match in matches]


def _kind(match: Match) -> Kind:
    """Bare matrices, tables of embeddings, layers, and those in blocks may lie in ways of their own."""
    nodes = match.targets[0], match.sources[0]
    table = any("embed" in meanings(node.path[-2:]) for node in nodes)
    bias = any(tensor.role == "bias" for node in nodes for tensor in node.tensors)
    return match.form, _spelling(main(nodes[0])), _spelling(main(nodes[1])), table, bias, bool(nodes[0].numbers)


def _spelling(tensor: Tensor) -> str:
    """How a matrix is called: a `weight`, by a name of its own (""), or `w`, `kernel` and the like, which may lie the other way."""
    if tensor.role in ("direction", "original"):
        return "weight"
    return tensor.role if "weight" in tensor.key.lower() or not tensor.role else "kernel"


def _is_turned(match: Match) -> bool | None:
    """Whether a matrix which is not square is turned; None for all else."""
    left, right = _matrices(match)
    if len(left) != 2 or len(right) != 2 or left[0] == left[1]:
        return None
    return left == right[::-1]


def _is_square(match: Match) -> bool:
    left, right = _matrices(match)
    return left == right and len(left) == 2 and left[0] == left[1] > 1


def _matrices(match: Match) -> tuple[Shape, Shape]:
    """The shapes of both sides: of a stack those of one of its parts, and of the keys which are laid together for it."""
    left, right = main(match.targets[0]).spec.shape, main(match.sources[0]).spec.shape
    if match.form == "plain":
        return left, right
    if match.form not in ("stack", "unstack"):
        return (), ()
    parts = match.sources if match.form == "stack" else match.targets
    whole, row = (left, right) if match.form == "stack" else (right, left)
    height = sum(main(node).spec.shape[0] for node in parts[: match.parts])
    return whole[1:], (height, *row[1:])


def _settle(match: Match, turned: Counter[Kind], straight: Counter[Kind]) -> Match:
    kind = _kind(match)
    if turned[kind] and not straight[kind]:
        return replace(match, turned=True, confidence=match.confidence * TURNED_ALIKE, why=f"{match.why}; turned as all of its kind")
    bare = kind[1] != kind[2]
    if turned[kind] or (bare and not straight[kind]):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=EITHER_WAY)
    return match
