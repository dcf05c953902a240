"""`python -m benchmarks.leave_one_out PAIRS...`: how `suggest` does on architectures by which its calibration was not fitted.

PAIRS are folders of `NAME.json`, each with `arch`, `source`, `target`, `truth` and `ignore_target`. For each architecture the
steepness and the least confidence are fitted on all others: of a grid, what gets most keys right, wrong ones taken off, among
what is right in 995 of 1000. The figures are those of the architectures left out, each by its own fit. A key is right where its
sources are; ops are not compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suggest import header_of
from ckpt_surgeon.mapping import calibration
from ckpt_surgeon.mapping.links import Family
from ckpt_surgeon.mapping.matching import match

_STEEPNESS = (6.0, 9.0, 12.0, 18.0)
_LEAST = (0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99)  # 0.5 is what may as well be otherwise
_PRECISION = 0.995

Setting = tuple[float, float]  # steepness, least confidence


@dataclass(frozen=True, slots=True)
class Count:
    """Keys answered right, answered wrong, and mapped in truth."""

    right: int = 0
    wrong: int = 0
    mapped: int = 0

    @classmethod
    def total(cls, counts: Iterable[Count]) -> Count:
        listed = list(counts)
        return cls(sum(one.right for one in listed), sum(one.wrong for one in listed), sum(one.mapped for one in listed))

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.wrong, 1)

    def __str__(self) -> str:
        recall, net = self.right / max(self.mapped, 1), (self.right - self.wrong) / max(self.mapped, 1)
        rates = f"precision {self.precision:.4f}  recall {recall:.4f}  net {net:.4f}"
        return f"{rates}  right {self.right}  wrong {self.wrong}  of {self.mapped}"


Table = Mapping[Setting, Mapping[str, Count]]  # each setting's counts by architecture


def main() -> int:
    """Print a line for each architecture left out, then for all of them, and for the numbers as they are."""
    options = _options()
    pairs = [json.loads(path.read_text(encoding="utf-8")) for folder in options.pairs for path in sorted(Path(folder).glob("*.json"))]
    table = {setting: counts for steepness in _STEEPNESS for setting, counts in _counted(pairs, steepness, options.sorted)}
    left_out = {}
    for arch in sorted({pair["arch"] for pair in pairs}):
        steepness, least = fitted(table, arch)
        left_out[arch] = table[steepness, least][arch]
        print(f"{arch:<20} {left_out[arch]}  (steepness {steepness:g}, least {least:g})")
    print(f"{'left out':<20} {Count.total(left_out.values())}")
    held = table[calibration.STEEPNESS, calibration.MIN_CONFIDENCE]
    print(f"{'as it is':<20} {Count.total(held.values())}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leave_one_out", description="What calibration is worth on architectures left out."
    )
    parser.add_argument("pairs", nargs="+", help="folders of NAME.json with arch, source, target and truth")
    parser.add_argument("--sorted", action="store_true", help="sort the source's keys by name, as safetensors files do")
    return parser.parse_args()


def fitted(table: Table, arch: str) -> Setting:
    """The setting which does best on all architectures but one; the most careful one where none is precise enough."""
    others = {setting: Count.total(count for name, count in counts.items() if name != arch) for setting, counts in table.items()}
    precise = [setting for setting, count in others.items() if count.precision >= _PRECISION]
    if not precise:
        return max(others, key=lambda setting: others[setting].precision)
    return max(precise, key=lambda setting: (others[setting].right - others[setting].wrong, setting[1]))


def _counted(pairs: Sequence[Mapping[str, Any]], steepness: float, by_name: bool) -> Iterator[tuple[Setting, dict[str, Count]]]:
    """The counts with this steepness, for each least confidence; every pair is matched once."""
    before, calibration.STEEPNESS = calibration.STEEPNESS, steepness
    try:
        made = [match(header_of(pair["source"], by_name=by_name), header_of(pair["target"])).families for pair in pairs]
    finally:
        calibration.STEEPNESS = before
    for least in _LEAST:
        counts: dict[str, list[Count]] = {}
        for pair, families in zip(pairs, made, strict=True):
            counts.setdefault(pair["arch"], []).append(counted(pair, [family for family in families if family.confidence >= least]))
        yield (steepness, least), {arch: Count.total(each) for arch, each in counts.items()}


def counted(pair: Mapping[str, Any], families: Sequence[Family]) -> Count:
    """What the families come to against the pair's truth."""
    made = {target: link.sources for family in families for link in family.links for target in link.targets}
    ignored = set(pair.get("ignore_target", ()))
    truth = {key: entry for key, entry in pair["truth"].items() if key not in ignored}
    answered = [key for key in pair["target"] if key in made and key not in ignored]
    found = Counter(_is_right(list(_origins(key, made, pair["source"])), truth.get(key)) for key in answered)
    return Count(found[True], found[False], len(truth))


def _is_right(sources: list[str], entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and sources in [entry["from"], *entry.get("alt_from", ())]


def _origins(key: str, made: Mapping[str, tuple[str, ...]], source: Mapping[str, Any]) -> Iterator[str]:
    """The source's keys of which a target is made, steps between them followed."""
    for name in made[key]:
        if name in source:
            yield name
        else:
            yield from _origins(name, made, source)


if __name__ == "__main__":
    sys.exit(main())
