"""What the values say of what headers had settled, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.probing.groups import Links
from ckpt_surgeon.probing.strands import Strand

__all__ = ["Findings"]

_BLANK = "the target's values are all one number, or none, and tell nothing"
_SUSPECT = ("near", "unlike")
_OTHERS = "the files hold other weights, so that what headers settled stands"


@dataclass(frozen=True, slots=True)
class Findings:
    """strands: of what headers had settled. equal, near: what turns to where the values are equal, or near. along: what goes with its part.

    doubts: target key -> what the values speak against. is_same: whether both sides come of the same weights; else that some are
    not equal tells nothing. is_blank: whether the target's values tell nothing.
    """

    strands: Sequence[Strand]
    equal: Sequence[Links]
    near: Sequence[Links]
    along: Sequence[Links]
    doubts: Mapping[str, str] = field(default_factory=dict)
    is_same: bool = False
    is_blank: bool = False

    @property
    def turned(self) -> list[Links]:
        """All which the values turn."""
        return [*self.equal, *self.near, *self.along]

    def remark(self) -> str:
        """What a user has to know of it, in a sentence."""
        equal = self._count("equal")
        suspects = self._count("near") + self._count("unlike")
        if not equal + suspects:
            return ""
        told = f"values: {equal or 'none'} of {equal + suspects} tensors which headers settled {_are(equal)} equal on both sides"
        parts = [f"{count} {_are(count)} {what}" for what, count in self._parts().items() if count]
        return "; ".join([told, *parts]) + self._ending()

    def _ending(self) -> str:
        """Why the rest stands, where there is any."""
        made = {key for links in self.turned for link in links for key in link.targets} | self.doubts.keys()
        if self.is_same or all(key in made for strand in self.strands for key in strand.targets if strand.standing in _SUSPECT):
            return ""
        return f": {_BLANK if self.is_blank else _OTHERS}"

    def _parts(self) -> dict[str, int]:
        """What becomes of those which are not equal -> how many these are."""
        kinds = (("equal", self.equal), ("near", self.near), ("along", self.along))
        turned = {key: kind for kind, ways in kinds for way in ways for link in way for key in link.targets}
        suspects = [(strand.standing, key) for strand in self.strands if strand.standing in _SUSPECT for key in strand.targets]
        left = [standing for standing, key in suspects if key not in turned and key not in self.doubts]
        return {
            "elsewhere, and turned there": sum(turned.get(key) == "equal" for _, key in suspects),
            "near others, and turned there": sum(turned.get(key) == "near" for _, key in suspects),
            "of parts which are turned, and with them": sum(turned.get(key) == "along" for _, key in suspects),
            "near, as after some training": left.count("near"),
            "not, and open": sum(key in self.doubts for _, key in suspects),
        }

    def _count(self, standing: str) -> int:
        return sum(len(strand.targets) for strand in self.strands if strand.standing == standing)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
