"""The guards which need values (`finite`, `equal`), checked while the bytes of a plan's output pass by, before it takes its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ckpt_surgeon.errors import CoverageError, Problem
from ckpt_surgeon.evaluation import PIECE_ELEMENTS, Evaluator, equal_pieces
from ckpt_surgeon.formats.protocol import Part
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning import Plan
from ckpt_surgeon.rules.guards import EqualGuard, FiniteGuard
from ckpt_surgeon.spec import Opaque, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Watch", "check_values", "watched"]

_PIECE_BYTES: Final = 256 * 1024  # compared at once
_MOST_LISTED: Final = 5
_HINT: Final = "the values are not what `assert` says: nothing is written or loaded"


class Watch:
    """Looks at the values of a plan's output as they pass by, and tells at the end which guards do not hold."""

    def __init__(self, plan: Plan) -> None:
        from ckpt_surgeon.planning.guarding import finite_keys

        self._plan = plan
        finite = [guard for guard in plan.guards if isinstance(guard, FiniteGuard)]
        self._keys = {guard: {plan.ties.get(key, key) for key in finite_keys(guard, plan)} for guard in finite}
        self._asked = {key for keys in self._keys.values() for key in keys if _may_be_infinite(plan.header.tensors[key])}
        self._found: dict[str, int] = {}

    def passing(self, key: str, parts: Iterable[Part]) -> Iterable[Part]:
        """The bytes of a tensor; where a guard asks for them, they are looked at in pieces, each read once."""
        return self._looked_at(key, parts) if key in self._asked else parts

    def seeing(self, values: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """The same values of keys, looked at."""
        for key, value in values:
            if key in self._asked:
                self._found[key] = _not_finite(value)
            yield key, value

    def finish(self, evaluator: Evaluator) -> None:
        """Compare what has to be equal. Raises CoverageError with every guard which does not hold."""
        problems = [*self._infinite(), *self._unequal(evaluator)]
        if problems:
            raise CoverageError(problems)

    def _looked_at(self, key: str, parts: Iterable[Part]) -> Iterator[Part]:
        import torch

        spec = self._plan.header.tensors[key]
        count = 0
        for piece in equal_pieces(parts, PIECE_ELEMENTS * spec.dtype.itemsize):
            count += _not_finite(torch.frombuffer(bytearray(piece), dtype=getattr(torch, spec.dtype.name)))
            yield piece
        self._found[key] = count

    def _infinite(self) -> Iterator[Problem]:
        for guard, keys in self._keys.items():
            wrong = [f"{escape(key)} holds {count}" for key, count in self._found.items() if count and key in keys]
            if wrong:
                more = f" and {len(wrong) - _MOST_LISTED} keys more" if len(wrong) > _MOST_LISTED else ""
                yield Problem(f"finite: infinities or NaN: {', '.join(wrong[:_MOST_LISTED])}{more}", guard.where, _HINT)

    def _unequal(self, evaluator: Evaluator) -> Iterator[Problem]:
        from ckpt_surgeon.planning.guarding import equal_groups

        for guard in self._plan.guards:
            for first, *others in equal_groups(guard, self._plan) if isinstance(guard, EqualGuard) else ():
                wrong = [key for key in others if not self._are_equal(evaluator, first, key)]
                if wrong:
                    names = ", ".join(map(escape, wrong[:_MOST_LISTED]))
                    yield Problem(f"equal: {names} and {escape(first)} differ", guard.where, _HINT)

    def _are_equal(self, evaluator: Evaluator, first: str, second: str) -> bool:
        one, other = (self._plan.recipes[self._plan.ties.get(key, key)] for key in (first, second))
        if one == other:
            return True
        pieces = (equal_pieces(evaluator.parts(recipe), _PIECE_BYTES) for recipe in (one, other))
        return all(a == b for a, b in zip(*pieces, strict=True))


def watched(plan: Plan, evaluator: Evaluator) -> Iterator[tuple[str, Any]]:
    """The values of a plan's output, as `Evaluator.tensors` gives them. Raises CoverageError after the last where a guard does not hold."""
    if not plan.guards:
        yield from evaluator.tensors(plan)
        return
    watch = Watch(plan)
    yield from watch.seeing(evaluator.tensors(plan))
    watch.finish(evaluator)


def check_values(plan: Plan, evaluator: Evaluator) -> None:
    """Read what the guards of a plan ask for, where nothing else does. Raises CoverageError with every guard which does not hold."""
    watch = Watch(plan)
    for key, recipe in plan.recipes.items():
        for _ in watch.passing(key, evaluator.parts(recipe)) if not isinstance(recipe.spec, Opaque) else ():
            pass
    watch.finish(evaluator)


def _may_be_infinite(spec: TensorSpec) -> bool:
    return spec.dtype.is_float and not spec.dtype.is_packed


def _not_finite(tensor: torch.Tensor) -> int:
    """How many elements are infinite or NaN."""
    import torch

    from ckpt_surgeon.ops.precision import widened

    return int((~torch.isfinite(widened(tensor))).sum())
