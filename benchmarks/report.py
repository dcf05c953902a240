"""The results as a table of text or markdown, and as JSON. Pure, but for what it reads of the machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.figures import Band, Summary, Verdict
from benchmarks.rounds import Result

__all__ = ["FORMATS", "document", "machine", "markdown", "text"]

_COLUMNS = ("what", "against", "wall", "CPU", "wall s", "CPU s", "MiB", "goal")
_RIGHT = slice(2, 7)
_LIBRARIES = ("torch", "numpy", "safetensors")
_SCHEMA_VERSION = 1
_LEAST_RATIO = 1e-6


def machine() -> dict[str, str]:
    """What the figures depend on: processor, cores, memory, kernel, versions."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 1e9:.0f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def text(results: Sequence[Result], settings: dict[str, str]) -> str:
    """Aligned columns."""
    lines = [", ".join(f"{name} {value}" for name, value in settings.items()), ""]
    rows = [_COLUMNS, *(_cells(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    aligned = [range(len(_COLUMNS))[_RIGHT].count(i) > 0 for i in range(len(_COLUMNS))]
    for row in rows:
        cells = [cell.rjust(n) if right else cell.ljust(n) for cell, n, right in zip(row, widths, aligned, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(results: Sequence[Result], settings: dict[str, str]) -> str:
    """A table for docs/performance.md."""
    rules = ["---:" if i in range(len(_COLUMNS))[_RIGHT] else "---" for i in range(len(_COLUMNS))]
    rows = [_COLUMNS, rules, *(_cells(result) for result in results)]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([", ".join(f"{name} {value}" for name, value in settings.items()) + ".", "", *lines])


def document(results: Sequence[Result], settings: dict[str, str]) -> str:
    """All figures, bands and verdicts."""
    rows: list[dict[str, Any]] = [
        {
            "group": result.row.group,
            "what": result.row.name,
            "against": result.row.base.name,
            "state": result.state,
            "reason": result.reason,
            "goal": asdict(result.row.goal),
            "figures": None if result.summary is None else asdict(result.summary),
            "verdicts": [asdict(verdict) for verdict in result.verdicts],
        }
        for result in results
    ]
    return json.dumps({"schema_version": _SCHEMA_VERSION, "settings": settings, "rows": rows}, indent=2) + "\n"


FORMATS = {"text": text, "md": markdown}


def _cells(result: Result) -> tuple[str, ...]:
    row, found = result.row, result.summary
    if found is None:
        return (row.name, row.base.name, *[""] * 5, f"{result.state}: {' '.join(result.reason.split())}")
    return (row.name, row.base.name, *_figures(found), _goal(result, found))


def _figures(found: Summary) -> tuple[str, ...]:
    seconds = (f"{found.wall_seconds:.2f}", f"{found.cpu_seconds:.2f}")
    return (_band(found.wall), _band(found.cpu), *seconds, f"{found.anonymous:.0f}")


def _band(band: Band) -> str:
    return f"{band.middle:.2f} ({band.low:.2f} to {band.high:.2f})"


def _goal(result: Result, found: Summary) -> str:
    if result.row.group == "peers":
        return f"{_met(result)}: {_compared(found)}"
    return f"{_met(result)}: {', '.join(map(_words, result.verdicts))}" if result.verdicts else ""


def _met(result: Result) -> str:
    return "not met" if any(verdict.state == "missed" for verdict in result.verdicts) else "met"


def _compared(found: Summary) -> str:
    wall = _times(found.wall.middle, "faster", "slower")
    return f"{wall}, {_times(found.cpu.middle, 'less', 'more')} CPU, {found.anonymous:.0f} against {found.base_anonymous:.0f} MiB"


def _times(ratio: float, better: str, worse: str) -> str:
    """`0.25` -> `4.0 x faster`, `2.0` -> `2.0 x slower`."""
    return f"{ratio:.1f} x {worse}" if ratio > 1 else f"{1 / max(ratio, _LEAST_RATIO):.1f} x {better}"


def _words(verdict: Verdict) -> str:
    sign = "<=" if verdict.state == "met" else ">"
    note = ", in the control's band" if verdict.state == "in the band" else ""
    return f"{verdict.measure} {verdict.found:.2f} {sign} {verdict.limit:.2f}{note}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
