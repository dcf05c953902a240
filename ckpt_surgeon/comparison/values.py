"""Distance, how far the values of one tensor are from another's; Values, what a comparison of all values came to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Distance", "Values"]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a tensor a is from the target's tensor b.

    elements: of each. differing: those whose bits differ; where the dtypes differ, those whose values do (0 is -0, and NaN is NaN).
    nan: elements which are NaN, in a and in b; they are left out of what follows.
    max_abs: the largest |a - b|. relative_l2: ||a - b|| / ||b||. cosine: a b / (||a|| ||b||); of complex tensors its real part.
    Equal infinities are equal and left out; an infinity against another number makes max_abs and relative_l2 infinite.
    None is what is not defined: where every element is left out, for dtypes without arithmetic, a cosine with zeros or infinities.
    """

    elements: int
    differing: int
    nan: tuple[int, int] = (0, 0)
    max_abs: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The larger, the further apart: NaN first, then by relative L2 distance, then by the largest difference."""
        far = float("inf")
        relative = far if self.relative_l2 is None else self.relative_l2
        return any(self.nan), relative, far if self.max_abs is None else self.max_abs


@dataclass(frozen=True, slots=True)
class Values:
    """The values of the tensors which a diff matched; those which are tied on both sides count once, under their first name.

    equal: keys with no differing element (bit for bit, where the dtypes are the same). different: key -> Distance, furthest first.
    skipped: key -> why it was not compared. nbytes: of the target's tensors which were compared.
    """

    equal: tuple[str, ...] = ()
    different: Mapping[str, Distance] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    nbytes: int = 0
