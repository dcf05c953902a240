"""What neither shapes nor places can settle: the order of rows within a tensor, where names say that it may differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ckpt_surgeon.mapping.calibration import BOTH_WAYS
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.tree import Node
from ckpt_surgeon.mapping.words import meanings

__all__ = ["BY_HEADS", "ROTARY", "doubted"]

BY_HEADS = "query_key_value"  # GPT-NeoX, BLOOM, Falcon and Megatron name so what they pack head by head; a few others don't
_PACKED = "queries, keys and values may be packed head by head on one side"
ROTARY = "rows for rotary positions may be in another order (rope_permute)"


def doubted(matches: Sequence[Match]) -> list[Match]:
    """The matches, those in doubt whose rows may be in another order."""
    rotary = _is_rotary(matches)
    return [_doubt(match, rotary) for match in matches]


def _doubt(match: Match, rotary: bool) -> Match:
    target, source = match.targets[0], match.sources[0]
    names = [node.name for node in (target, source)]
    if match.form == "plain" and (BY_HEADS in names[0]) != (BY_HEADS in names[1]):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=_PACKED)
    if match.form == "plain" and rotary and names[0] != names[1] and _is_query_or_key(target) and _is_query_or_key(source):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=ROTARY)
    return match


def _is_query_or_key(module: Node) -> bool:
    return not {"q", "k"}.isdisjoint(meanings(module.path[-1:]))


def _is_rotary(matches: Iterable[Match]) -> bool:
    """Whether positions may be rotary: norms without bias, as models have them which turn queries and keys, and no positions."""
    modules = [match.targets[0] for match in matches]
    norms = [module for module in modules if "norm" in meanings(module.path)]
    positions = any({"pos", "rel"} & set(meanings(module.path)) for module in modules)
    return bool(norms) and not positions and all(len(module.tensors) == 1 for module in norms)
