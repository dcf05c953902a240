"""`python -m benchmarks`: make the data, run the rows in interleaved rounds, print the table.

Ends with 1 when an outcome was wrong; a goal which is not met is shown, and is no failure of the run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.data import Place
from benchmarks.growth import growth_rows, growth_table
from benchmarks.headers import control_rows, header_rows
from benchmarks.moving import moving_rows
from benchmarks.peers import peer_rows
from benchmarks.report import FORMATS, document, machine
from benchmarks.rounds import Result, measure
from benchmarks.rows import Row

_GB = 1000**3


def main() -> int:
    options = _options()
    with TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(folder, int(options.gb * _GB), options.keys)
        rows = growth_rows(place) if options.growth else _rows(place, options.peer_python)
        chosen = [row for row in rows if any(word in f"{row.group}: {row.name}" for word in options.only or [""])]
        results = measure(chosen, place, options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    size = {"model": f"{options.gb:g} GB", "keys": str(options.keys), "rounds": str(options.rounds)}
    settings = {**size, **machine()}
    _show(results, settings, options)
    return int(any(result.state == "wrong" for result in results))


def _rows(place: Place, peer_python: str | None) -> list[Row]:
    return [*control_rows(place), *header_rows(place), *moving_rows(place), *peer_rows(place, peer_python)]


def _show(results: list[Result], settings: dict[str, str], options: argparse.Namespace) -> None:
    if options.json:
        Path(options.json).write_text(document(results, settings), encoding="utf-8")
    print(FORMATS[options.format](results, settings))
    if options.growth:
        print("", growth_table(results), sep="\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What surgery costs against cp, cmp, an empty Python, and others."
    )
    parser.add_argument("--gb", type=float, default=0.512, help="bytes of the model of 435 tensors, in GB (0.512)")
    parser.add_argument("--keys", type=int, default=200_000, help="tensors of the file of tiny tensors (200000)")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved pairs of each row (15)")
    parser.add_argument("--only", action="append", metavar="WORD", help="rows whose `group: name` holds WORD; may be given again")
    parser.add_argument("--folder", help="keep the data here; default: a temporary folder")
    parser.add_argument("--peer-python", metavar="PATH", help="an interpreter which has BrainSurgery, mergekit or transformers")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--growth", action="store_true", help="how cost grows with bytes, tensors, keys and rules instead")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
