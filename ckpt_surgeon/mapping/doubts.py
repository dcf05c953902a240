"""What neither shapes nor places can settle: the order of rows within a tensor, where names say that it may differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ckpt_surgeon.mapping.baking import baked, is_computed, is_either_dim
from ckpt_surgeon.mapping.calibration import BOTH_WAYS
from ckpt_surgeon.mapping.directions import unsure_directions
from ckpt_surgeon.mapping.fitting import main, other_channels
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.tree import Node
from ckpt_surgeon.mapping.words import meanings, terms

__all__ = ["CHANNELS", "ROTARY", "by_heads", "doubted"]

_BY_HEADS = ("query_key_value", "linear_qkv")  # GPT-NeoX, BLOOM, Falcon and Megatron pack these head by head; a few others don't
_PACKED = "queries, keys and values may be packed head by head on one side"
CHANNELS = "what added input channels start from is a choice"
_TOLD_CHANNELS = (1, 3, 10, 20)  # gray; colors; x and y of 5 or 10 frames of flow: these start from the mean (TSN)
_SHIFTED = "shift and scale may lie the other way round on one side"
_NORMED = "the target keeps the weight in parts (magnitude and direction, or vectors beside it), and no op parts one"
_EITHER_DIM = "under spectral norm, the dim is 1 for a transposed convolution, and 0 for any other"
_COMPUTED = "the source's layer computes its weight from this tensor, by code which no op stands for"
_WHICH_NORM = "which of several norms is the second depends on what the block holds"
_DECODER_NORMS = 3  # of self attention, cross attention, mlp
ROTARY = "rows for rotary positions may be in another order (rope_permute)"


def doubted(matches: Sequence[Match]) -> list[Match]:
    """The matches, those in doubt whose rows may be in another order."""
    rotary = _is_rotary(matches)
    return unsure_directions(_third_norms([_doubt(match, rotary) for match in matches]))


def _third_norms(matches: Sequence[Match]) -> list[Match]:
    """The matches; of three norms in one block all are in doubt where the mlp's is taken for the second, as it is of two."""
    blocks: dict[tuple[tuple[str, ...], int], list[Match]] = {}
    for match in matches:
        if match.form == "plain" and "norm" in meanings(match.targets[0].path[-1:]):
            blocks.setdefault((match.targets[0].path[:-1], match.targets[0].signature), []).append(match)
    doubtful = {
        id(match)
        for block in blocks.values()
        if len(block) == _DECODER_NORMS and any(map(_is_second_by_custom, block))
        for match in block
        if not match.doubt and match.targets[0].name != match.sources[0].name
    }
    return [match.within(BOTH_WAYS, _WHICH_NORM) if id(match) in doubtful else match for match in matches]


def _is_second_by_custom(match: Match) -> bool:
    """Whether a norm named for the mlp and one which is merely the second are taken for one another."""
    names = [terms(node.name) for node in (match.targets[0], match.sources[0])]
    return any("mlp" in one and "mlp" not in other and other[-1:] == ("2",) for one, other in (names, names[::-1]))


def _doubt(match: Match, rotary: bool) -> Match:
    target, source = match.targets[0], match.sources[0]
    names = [node.name for node in (target, source)]
    if match.form == "plain" and is_computed(target) != is_computed(source) and baked(target, source) is None:
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=_COMPUTED if is_computed(source) else _NORMED)
    if match.form == "plain" and is_either_dim(target, source):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=_EITHER_DIM)
    if match.form == "plain" and by_heads(target) != by_heads(source):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=_PACKED)
    if match.form == "plain" and rotary and names[0] != names[1] and _is_query_or_key(target) and _is_query_or_key(source):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=ROTARY)
    if match.form == "plain" and _is_modulation(target) != _is_modulation(source):
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=_SHIFTED)
    shapes = main(target).spec.shape, main(source).spec.shape
    if match.form == "plain" and other_channels(*shapes) and shapes[0][1] not in _TOLD_CHANNELS:
        return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=CHANNELS)
    return match


def by_heads(module: Node) -> bool:
    """Whether the name is one of those under which queries, keys and values mostly lie head by head."""
    return any(name in module.name for name in _BY_HEADS)


def _is_modulation(module: Node) -> bool:
    """Whether a layer gives a shift and a scale, and its name says so."""
    shape = main(module).spec.shape
    return len(shape) == 2 and shape[0] == 2 * shape[1] and "modulation" in meanings(module.path[-2:])


def _is_query_or_key(module: Node) -> bool:
    return not {"q", "k"}.isdisjoint(meanings(module.path[-1:]))


def _is_rotary(matches: Iterable[Match]) -> bool:
    """Whether positions may be rotary: norms without bias, as models have them which turn queries and keys, and no positions."""
    modules = [match.targets[0] for match in matches]
    norms = [module for module in modules if "norm" in meanings(module.path)]
    positions = any({"pos", "rel"} & set(meanings(module.path)) for module in modules)
    return bool(norms) and not positions and all(len(module.tensors) == 1 for module in norms)
