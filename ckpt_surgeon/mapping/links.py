"""What a mapping is made of: links between the keys of two headers, decided family by family."""

from __future__ import annotations

from typing import Any

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Alternative", "Change", "Family", "Link", "Mapping"]


@dataclass(frozen=True, slots=True)
class Change:
    """A tensor op as a rule would hold it, without its places: `Change("split", (("dim", 0), ("sizes", (768, 768, 768))))`."""

    op: str
    parameters: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """Targets which come from sources, in the order in which the op takes and gives them; without a change the bytes stay.

    A source is a key of the source header or the target of an earlier link, so that two ops in a row are two links, with a
    key of neither header between them.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Other links for a family's targets, or their place taken by none."""

    links: tuple[Link, ...]
    confidence: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """One decision: the links of one place in all its repetitions (`layers.*.q_proj`), right or wrong together.

    confidence: 0 to 1, the chance that every link is right; below the caller's least it is a question, not an answer.
    why: the evidence in a few words. doubt: what names and shapes cannot settle, if anything.
    alternatives: the next best, best first.
    """

    links: tuple[Link, ...]
    confidence: float
    why: str
    doubt: str = ""
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """All decisions between two headers, in target order, and what is left: target keys, source keys, in their headers' order."""

    families: tuple[Family, ...]
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
