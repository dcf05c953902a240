"""The stamp: the digest of the rules which made a file, in its text metadata; by it a second run of the same rules is known."""

from __future__ import annotations

from typing import Final

from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.spec import Header

__all__ = ["REPEATED", "is_repeated", "stamped"]

REPEATED: Final = "these rules have made the source already: it bears their digest"
_STAMP: Final = "ckpt_surgeon.rules"


def stamped(source: Header, rules: Rules, *, changes: bool) -> dict[str, str]:
    """The text metadata of an output, with the rules' digest where they changed something."""
    return {**source.metadata, _STAMP: rules.digest} if changes else dict(source.metadata)


def is_repeated(source: Header, rules: Rules) -> bool:
    """Whether the source is an output of these very rules, as its stamp says; a `.pt` file has no place for one."""
    return bool(rules.rules) and source.metadata.get(_STAMP) == rules.digest
