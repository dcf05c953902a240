"""Matches gathered into decisions: one for each place in all its repetitions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ckpt_surgeon.mapping.doubts import ROTARY
from ckpt_surgeon.mapping.layouts import EITHER_WAY
from ckpt_surgeon.mapping.linking import links
from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.tree import Node

__all__ = ["families"]

_DIGITS = re.compile(r"\d+")


def families(matches: Sequence[Match]) -> tuple[Family, ...]:
    """A family for each pattern of targets, sources and form, in the targets' order."""
    groups: dict[tuple[object, ...], list[Match]] = {}
    for match in matches:
        groups.setdefault((_places(match.targets), _places(match.sources), match.form), []).append(match)
    ordered = sorted(groups.values(), key=lambda group: min(match.targets[0].first for match in group))
    return tuple(family for group in ordered if (family := _family(group)).links)


def _places(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The patterns of the nodes' paths, each once."""
    return tuple(dict.fromkeys(_place(node.path) for node in nodes))


def _place(path: tuple[str, ...]) -> str:
    """The path without the numbers of repetitions; one which is part of the module's own name (`conv1`) stays."""
    *parents, name = path or ("",)
    return ".".join([*(_DIGITS.sub("#", segment) for segment in parents), "#" if name.isdigit() else name])


def _family(group: Sequence[Match]) -> Family:
    weakest = min(group, key=lambda match: match.confidence)
    made: tuple[Link, ...] = tuple(link for match in sorted(group, key=_first) for link in links(match))
    doubts = list(dict.fromkeys(match.doubt for match in group if match.doubt))
    return Family(made, weakest.confidence, weakest.why, "; ".join(doubts), _alternatives(group, weakest))


def _first(match: Match) -> int:
    return match.targets[0].first


def _alternatives(group: Sequence[Match], weakest: Match) -> tuple[Alternative, ...]:
    """What else the targets may come from, or by which other op; nothing, where nothing is near."""
    rest = 1 - weakest.confidence
    plain = [match for match in group if match.form == "plain"]
    other = tuple(link for match in plain if match.rivals for link in links(match, match.rivals[0]))
    turned = tuple(link for match in group if match.doubt == EITHER_WAY for link in links(replace(match, turned=not match.turned)))
    rows = tuple(replace(link, change=_HALVES) for match in plain if match.doubt == ROTARY for link in links(match) if not link.change)
    found = (
        Alternative(rows, rest, "rows for rotary positions interleaved in the source; `heads` is not to be seen"),
        Alternative(turned, rest, "transposed"),
        Alternative(other, rest, "next best by names and places"),
    )
    return tuple(alternative for alternative in found if alternative.links)


_HALVES = Change("rope_permute", (("source_layout", "interleaved"), ("target_layout", "half")))
