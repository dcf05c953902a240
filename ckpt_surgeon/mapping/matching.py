"""From two headers to a mapping: which keys of the source are which of the target, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ckpt_surgeon.mapping.adapters import with_adapters, without_adapters
from ckpt_surgeon.mapping.aligning import Aligner
from ckpt_surgeon.mapping.calibration import BOTH_WAYS
from ckpt_surgeon.mapping.choosing import Orders
from ckpt_surgeon.mapping.doubts import doubted
from ckpt_surgeon.mapping.evidence import Evidence, Lexicon, Naming
from ckpt_surgeon.mapping.families import families
from ckpt_surgeon.mapping.layouts import turn
from ckpt_surgeon.mapping.links import Mapping
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.slots import asked, without_slots
from ckpt_surgeon.mapping.tree import Node, Trees
from ckpt_surgeon.mapping.twins import copies
from ckpt_surgeon.spec import Header

__all__ = ["match"]


_DIGITS = re.compile(r"\d+")
_STRANGER = "nearly all else keeps its name, and this would not"
_SURE = 0.95
_STRANGE = 0.2  # what speaks against a match and can't make it unsure by itself


def match(source: Header, target: Header) -> Mapping:
    """The mapping of `source` to `target`, from keys, shapes, dtypes and order alone."""
    if not source.tensors or not target.tensors:
        return Mapping((), tuple(target), tuple(source))
    trees = Trees()
    base, adapters = without_adapters(source, target)
    weights, averages = without_slots(base)
    left, right = trees.tree(target), trees.tree(weights)
    found = _namesakes(left, right) if _keep_their_names(weights, target) else _aligned(left, right)
    decided = families(doubted(turn(found)))
    made = with_adapters(asked(decided, averages or copies(decided, weights)), adapters)
    links = [link for family in made for link in family.links]
    given = {key for link in links for key in link.targets}
    used = {key for link in links for key in link.sources}
    return Mapping(made, tuple(key for key in target if key not in given), tuple(key for key in source if key not in used))


def _keep_their_names(source: Header, target: Header) -> bool:
    """Whether all that one header holds stands in the other, name and shape; and what is over there repeats none of it."""
    shared = {key for key, spec in source.tensors.items() if key in target.tensors and target.tensors[key] == spec}
    over = {key for header in (source, target) for key in header.tensors} - shared
    patterns = {_DIGITS.sub("#", key) for key in shared}
    return len(shared) in (len(source.tensors), len(target.tensors)) and all(_DIGITS.sub("#", key) not in patterns for key in over)


def _namesakes(target: Node, source: Node) -> list[Match]:
    named = {_name(node): node for node in source.modules}
    return [Match((node,), (named[_name(node)],), 1.0, "the same name and shape") for node in target.modules if _name(node) in named]


def _name(module: Node) -> str:
    """The module's name, whether it stands alone or holds others, too."""
    return ".".join(filter(None, module.path))


def _aligned(target: Node, source: Node) -> list[Match]:
    """The matches by structure, names and places; a second time with what the first tells of names, where that may change something."""
    orders = _orders(target, source)
    first = Aligner(Evidence(orders, Lexicon()))
    matches = first.align(target, source, last=True)
    evidence = Evidence(orders, Lexicon(matches, first.pairs), Naming.of(matches))
    found = matches if _is_settled(matches, evidence, target, source) else Aligner(evidence).align(target, source, last=True)
    return [_estranged(match, evidence) for match in found]


def _estranged(match: Match, evidence: Evidence) -> Match:
    """A question where nearly all else keeps its name and these two do not."""
    return match.within(BOTH_WAYS, _STRANGER) if match.form == "plain" and evidence.estranged(match.targets[0], match.sources[0]) else match


def _is_settled(matches: Sequence[Match], evidence: Evidence, target: Node, source: Node) -> bool:
    """Whether what the matches tell of names can change none of them, nor add one."""
    left = sum(len(match.targets) for match in matches) < len(target.modules)
    right = sum(len(match.sources) for match in matches) < len(source.modules)
    if left and right:
        return False
    return all(match.confidence >= _SURE and _strangeness(match, evidence) < _STRANGE for match in matches)


def _strangeness(match: Match, evidence: Evidence) -> float:
    return evidence.strangeness(match.targets[0], match.sources[0]) if match.form == "plain" else 0.0


def _orders(target: Node, source: Node) -> Orders:
    """Whether places tell anything: a sorted file's don't, and two files whose unmistakable modules stand in other orders don't."""
    return Orders(not _is_sorted(target), not _is_sorted(source), _agreement(target, source))


def _is_sorted(tree: Node) -> bool:
    keys = [tensor.key for module in sorted(tree.modules, key=lambda node: node.first) for tensor in module.tensors]
    return keys == sorted(keys)


def _agreement(target: Node, source: Node) -> float:
    """How many neighbors among the modules with shapes of their own stand in the same order in both files, 0 to 1."""
    left, right = _lone(target), _lone(source)
    shared = sorted((node.first, right[signature].first) for signature, node in left.items() if signature in right)
    if len(shared) < 2:
        return 0.5
    places = [place for _, place in shared]
    return sum(a < b for a, b in pairwise(places)) / (len(places) - 1)


def _lone(tree: Node) -> dict[int, Node]:
    """The modules whose shapes no other has, by signature."""
    groups: dict[int, list[Node]] = {}
    for module in tree.modules:
        groups.setdefault(module.signature, []).append(module)
    return {signature: nodes[0] for signature, nodes in groups.items() if len(nodes) == 1}
