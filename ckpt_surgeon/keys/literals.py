"""What a key must hold for a pattern to match it: a look for some characters is 20 times as quick as a regular expression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ckpt_surgeon.keys.syntax import Braced, Segment

__all__ = ["literal_of_regex", "literal_of_segments"]

# One item of an expression: an escape, a class of characters, an opening parenthesis, a count, or a character.
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\[\\])*\]|\((?:\?(?:P<|:))?|\{[^}]*\}|.", re.DOTALL)
_GAPS = frozenset([".", "^", "$", *(f"\\{letter}" for letter in "dDwWsSbB")])
_QUANTIFIERS = frozenset("*?+{")
_BREAKS = _QUANTIFIERS | frozenset("([)|")
_LONE = frozenset("[{}]")  # by themselves they belong to what is not seen whole


def literal_of_segments(segments: Sequence[Segment]) -> str:
    """The longest run of characters which every key holds that these segments match; empty where there is none.

    >>> from ckpt_surgeon.keys.syntax import parse_segments
    >>> literal_of_segments(parse_segments("model.layers.{i:int}.**.norm.bias"))
    'model.layers'
    """
    runs = [""]
    for segment in segments:
        for piece in segment:
            if isinstance(piece, Braced):
                runs.append("")
                continue
            first, *others = piece.text.split("*")
            runs[-1] += first
            runs += others
        runs[-1] += "."
    # An empty path takes a dot away, so those at the ends of a run are not sure to be there.
    return max((run.strip(".") for run in runs), key=len)


def literal_of_regex(source: str) -> str:
    """The longest run of characters which every text holds that this expression finds; empty where that is not plain to see.

    Only what stands outside of all groups counts.

    >>> literal_of_regex(r"(?P<a>.*)\\.w2\\.weight")
    '.w2.weight'
    """
    runs = [""]
    depth = 0
    for token, following in pairwise([*_TOKEN.findall(source), ""]):
        if _is_unclear(token, following) or (token == "|" and depth == 0):
            return ""
        depth += token[0] == "("
        depth -= token == ")"
        if token[0] in _QUANTIFIERS:
            runs[-1] = runs[-1][:-1]
        if depth or token in _GAPS or token[0] in _BREAKS:
            runs.append("")
        else:
            runs[-1] += token[-1]
    return max(runs, key=len)


def _is_unclear(token: str, following: str) -> bool:
    """Whether it may mean what this module does not know: flags, conditions, calls, odd classes, escapes of several characters."""
    if token[0] == "\\":
        return token not in _GAPS and (len(token) == 1 or token[1].isalnum())
    return (token == "(" and following[:1] in ("?", "*")) or token in _LONE
