"""From rules which a run refutes on to those which it proves, by exchanging what stands under each other's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.probing.bench import Bench, Result
from ckpt_surgeon.probing.concluding import misled
from ckpt_surgeon.probing.settling import CERTAIN
from ckpt_surgeon.probing.swaps import Swap, swaps
from ckpt_surgeon.spec import Header

__all__ = ["climbed"]


def climbed(bench: Bench, families: Sequence[Family], first: Result, target: Header, most: int) -> tuple[Sequence[Family], Result] | None:
    """The families with those siblings exchanged which make the outputs the source's, and the run which shows it; None where none do.

    Of what may have led astray the exchange which leads furthest is taken, and so on. Where several lead to equal outputs, no run
    can tell which is right, and none is taken. most: runs of the bench, all together. The bench is left as it was found, or proven.
    """
    last, taken = first, list[Swap]()
    while not last.is_equal:
        offered = list(swaps(families, target, misled(last)))
        tried = [(swap, _run(bench, swap)) for swap in offered[: max(0, most - bench.runs)]]
        equal = [pair for pair in tried if pair[1].is_equal]
        further = [pair for pair in tried if pair[1].reach() > last.reach()]
        if len(equal) > 1 or not equal + further or len(tried) < len(offered):
            for swap in reversed(taken):
                _put(bench, swap.before)
            return None
        swap, last = equal[0] if equal else max(further, key=lambda pair: pair[1].reach())
        _put(bench, swap.after)
        taken.append(swap)
        families = swap.applied(families, CERTAIN, _why(first))
    return families, last


def _run(bench: Bench, swap: Swap) -> Result:
    """What a swap leads to; the bench is left as it was."""
    _put(bench, swap.after)
    result = bench.run()
    _put(bench, swap.before)
    return result


def _put(bench: Bench, sources: Mapping[str, str]) -> None:
    bench.put([Link((name,), (key,)) for key, name in sources.items()])


def _why(first: Result) -> str:
    gap = "" if first.distance is None else f" by {first.distance:.2g}"
    return f"outputs equal on a random input; where names say they differ{gap}"
