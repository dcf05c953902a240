"""`python -m benchmarks.suggest PAIRS OUT [--sorted]`: what `suggest` makes of pairs of headers, for a scorer.

PAIRS is a folder of `NAME.json`, each with `source` and `target` (`{key: {shape, dtype}}`). For each, OUT gets a `NAME.json` with
`{target key: {"from": [source keys], "op": ...}}`, read off the plan of the suggested rules, and `NAME.yaml`, the rules themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.spelling import spelled
from ckpt_surgeon import Header, TensorSpec, suggestion
from ckpt_surgeon.mapping.writing import Suggestion
from ckpt_surgeon.planning import Plan

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16"}
_DTYPES |= {"I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64"}


@dataclass(frozen=True, slots=True)
class Done:
    """One pair: its suggestion and the seconds which it took."""

    name: str
    suggestion: Suggestion
    seconds: float


def main() -> int:
    """Print a line for each pair, then the medians; 1 where a pair made an error."""
    options = _options()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    done = [_run(path, out, options) for path in sorted(Path(options.pairs).glob("*.json"))]
    for each in done:
        found = each.suggestion
        print(
            f"{each.name:<48} {each.seconds:6.2f} s  size {found.size:>3}  open {len(found.open_targets):>4}  least {found.confidence:.3f}"
        )
    times, sizes = [each.seconds for each in done], [each.suggestion.size for each in done]
    print(f"{len(done)} pairs: median {median(times):.2f} s, most {max(times):.2f} s; size median {median(sizes):g}, most {max(sizes)}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suggest", description="Suggestions for pairs of headers, as a scorer reads them."
    )
    parser.add_argument("pairs", help="a folder of NAME.json with source and target")
    parser.add_argument("out", help="the folder for NAME.json and NAME.yaml")
    parser.add_argument("--sorted", action="store_true", help="sort the source's keys by name, as safetensors files do")
    parser.add_argument("--min-confidence", type=float, help="what is less sure is left unmapped")
    return parser.parse_args()


def _run(path: Path, out: Path, options: argparse.Namespace) -> Done:
    pair = json.loads(path.read_text(encoding="utf-8"))
    source, target = header_of(pair["source"], by_name=options.sorted), header_of(pair["target"])
    started = perf_counter()
    found = suggestion(source, target, min_confidence=options.min_confidence)
    seconds = perf_counter() - started
    (out / f"{path.stem}.json").write_text(json.dumps(dict(_predictions(found.plan)) if found.plan else {}, indent=1), encoding="utf-8")
    (out / f"{path.stem}.yaml").write_text(found.text, encoding="utf-8")
    print(path.stem, file=sys.stderr, flush=True)
    return Done(path.stem, found, seconds)


def header_of(table: Mapping[str, Any], *, by_name: bool = False) -> Header:
    names = sorted(table) if by_name else list(table)
    return Header({name: TensorSpec.of(_dtype(table[name]["dtype"]), *table[name]["shape"]) for name in names})


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name.removeprefix("torch."))


def _predictions(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each target key which the plan fills from the source."""
    for key in (*plan.recipes, *plan.ties):
        sources, op = spelled(plan.recipes[plan.ties.get(key, key)])
        if sources:
            yield key, {"from": sources, "op": op}


if __name__ == "__main__":
    sys.exit(main())
