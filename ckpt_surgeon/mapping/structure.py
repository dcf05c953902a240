"""How alike two parts of two trees are by what they hold, and where in them the best match lies."""

from __future__ import annotations

from ckpt_surgeon.mapping.calibration import SAME_SIZE
from ckpt_surgeon.mapping.tree import Node

__all__ = ["Structure"]

_STEP = 1e-6


class Structure:
    """Likenesses of parts by their shapes, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], float] = {}

    def likeness(self, left: Node, right: Node) -> float:
        """Shared shapes of all shapes, 0 to 1 (Dice); parts of one size are nearly alike, however it is cut up."""
        if left.signature == right.signature:
            return 1.0
        pair = (left.signature, right.signature)
        if pair not in self._known:
            shared = sum(min(count, right.shapes.get(shape, 0)) for shape, count in left.shapes.items())
            dice = 2 * shared / max(left.count + right.count, 1)
            self._known[pair] = max(dice, SAME_SIZE) if left.numel == right.numel else dice
        return self._known[pair]

    def deepest(self, left: Node, right: Node) -> tuple[Node, Node]:
        """From this pair down, child by child, as long as the parts get more alike."""
        while True:
            here = self.likeness(left, right)
            inner = max(left.unwrapped.children, key=lambda child: self.likeness(child, right), default=None)
            other = max(right.unwrapped.children, key=lambda child: self.likeness(left, child), default=None)
            gain = self.likeness(inner, right) - here if inner else 0.0
            other_gain = self.likeness(left, other) - here if other else 0.0
            if inner and gain > _STEP and gain >= other_gain:
                left = inner
            elif other and other_gain > _STEP:
                right = other
            else:
                return left, right
