"""How cost grows with bytes, tensors, keys and rules: the same job at three sizes each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchmarks.data import DataSet, Place
from benchmarks.figures import Goal
from benchmarks.measuring import Check
from benchmarks.moving import RENAME, remap_job
from benchmarks.rounds import Result
from benchmarks.rows import Row, empty_job, tool_job

__all__ = ["growth_rows", "growth_table", "slopes"]

_DIVISORS = (16, 4, 1)
_TENSORS = (1_000, 4_000, 16_000)  # 16,000 of what one model may have, within the smallest of the sizes in bytes
_RULES = (10, 40, 160)
_RULED_SHARE = 10  # of the keys, so that the rules are what grows
_KIND, _SIZE = 0, 1


def growth_rows(place: Place) -> list[Row]:
    """Rows named `KIND: SIZE`, each against an empty Python; the largest are of the place's own sizes."""
    return [
        *(_bytes_row(place, place.nbytes // divisor) for divisor in _DIVISORS),
        *(_tensors_row(place, count) for count in _TENSORS),
        *(_keys_row(place, place.keys // divisor) for divisor in _DIVISORS),
        *(_rules_row(place, count) for count in _RULES),
    ]


def slopes(measured: Sequence[tuple[int, float]]) -> list[float]:
    """What one more costs, from each size to the next, for sizes in ascending order: `[(1, 2.0), (3, 6.0)]` -> `[2.0]`."""
    return [(after - before) / (n - m) for (m, before), (n, after) in pairwise(measured)]


def growth_table(results: Sequence[Result]) -> str:
    """CPU time and memory for each kind of size, and the cost of a million more."""
    kinds = list(dict.fromkeys(_parts(result)[_KIND] for result in results))
    lines = ["| what grows | sizes | CPU s | CPU s for a million more | MiB |", "|---|---|---|---|---|"]
    for kind in kinds:
        found = [(int(_parts(each)[_SIZE]), each.summary) for each in results if _parts(each)[_KIND] == kind and each.summary is not None]
        costs = slopes([(n, summary.cpu_seconds) for n, summary in found])
        cells = [
            ", ".join(f"{n:,}" for n, _ in found),
            ", ".join(f"{summary.cpu_seconds:.2f}" for _, summary in found),
            ", ".join(f"{cost * 1e6:.4g}" for cost in costs),
            ", ".join(f"{summary.anonymous:.0f}" for _, summary in found),
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parts(result: Result) -> list[str]:
    return result.row.name.split(": ")


def _bytes_row(place: Place, nbytes: int) -> Row:
    sized = Place(place.folder, nbytes, place.keys)
    path = sized.path(sized.single)
    job = remap_job(place, path, "grown.safetensors", "-e", RENAME, check=Check("renamed", path))
    return Row("growth", f"bytes, rename: {nbytes}", job, empty_job(), Goal(), (sized.single,))


def _tensors_row(place: Place, count: int) -> Row:
    data = DataSet(f"tensors-{count}-{place.nbytes}.safetensors", ("tensors", str(count), str(place.nbytes // _DIVISORS[0])))
    path = place.path(data)
    job = remap_job(place, path, "grown.safetensors", "-e", RENAME, check=Check("renamed", path))
    return Row("growth", f"tensors, rename: {count}", job, empty_job(), Goal(), (data,))


def _keys_row(place: Place, keys: int) -> Row:
    sized = Place(place.folder, place.nbytes, keys)
    job = tool_job("diff", "diff", sized.path(sized.tiny), sized.path(sized.tiny_twin), says=f"{keys} of {keys} keys match")
    return Row("growth", f"keys, diff: {keys}", job, empty_job(), Goal(), (sized.tiny, sized.tiny_twin))


def _rules_row(place: Place, count: int) -> Row:
    sized = Place(place.folder, place.nbytes, max(place.keys // _RULED_SHARE, 1))
    rules = DataSet(f"rules-{count}.yaml", ("rules", str(count)))
    path = sized.path(sized.tiny)
    job = remap_job(place, path, "grown.safetensors", "--rules", place.path(rules), check=Check(f"ruled={count}", path))
    return Row("growth", f"rules, remap: {count}", job, empty_job(), Goal(), (sized.tiny, rules))
