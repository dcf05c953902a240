"""The table and the JSON of the benchmarks, and a whole run of them as a process."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.data import Place
from benchmarks.figures import Figure, Goal, Pair, judge, summary_of
from benchmarks.growth import growth_rows, growth_table
from benchmarks.headers import control_rows, header_rows
from benchmarks.measuring import Job
from benchmarks.moving import moving_rows
from benchmarks.peers import peer_rows
from benchmarks.report import document, markdown, text
from benchmarks.rounds import Result
from benchmarks.rows import Row

SETTINGS = {"model": "1 GB", "rounds": "15"}
JOB, BASE = Job("remap", ("true",)), Job("cp", ("true",))


def result(goal: Goal, seconds: float, group: str = "moving") -> Result:
    """A job of these seconds against a base of two."""
    pair = Pair(Figure(seconds, seconds / 2, 12, 30), Figure(2, 1, 600, 700))
    found = summary_of([pair], goal)
    return Result(Row(group, "rename | pt", JOB, BASE, goal), "measured", summary=found, verdicts=tuple(judge(goal, found, None)))


SKIPPED = Result(Row("peers", "rename", JOB, BASE, Goal(wall=1)), "skipped", "peer is not\ninstalled")


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        (result(Goal(), 3), ""),
        (result(Goal(wall=1.5, cpu=1.6), 3), "met: CPU 1.50 <= 1.60, wall 1.50 <= 1.50"),
        (result(Goal(wall=1.25, anonymous=16), 3), "not met: wall 1.50 > 1.25, MiB 12.00 <= 16.00"),
        (result(Goal(wall=1, cpu=1), 0.5, "peers"), "met: 4.0 x faster, 4.0 x less CPU, 12 against 600 MiB"),
        (result(Goal(wall=1, cpu=1), 3, "peers"), "not met: 1.5 x slower, 1.5 x more CPU, 12 against 600 MiB"),
        (SKIPPED, "skipped: peer is not installed"),
        (replace(SKIPPED, state="wrong", reason="w: other bytes"), "wrong: w: other bytes"),
    ],
)
def test_the_last_column_says_what_came_of_the_goal(found, cell):
    line = markdown([found], SETTINGS).splitlines()[-1]
    assert line.split(" | ")[-1].removesuffix("|").strip() == cell
    assert cell in text([found], SETTINGS)


def test_markdown_is_one_table_of_equal_rows():
    said, empty, *table = markdown([result(Goal(), 3), SKIPPED], SETTINGS).splitlines()
    assert (said, empty) == ("model 1 GB, rounds 15.", "")
    assert {line.replace(r"\|", "").count("|") for line in table} == {9}
    assert r"| rename \| pt | cp | 1.50 (1.50 to 1.50) | 1.50 (1.50 to 1.50) | 3.00 | 1.50 | 12 |  |" in table


def test_the_document_holds_what_the_table_shows():
    goal = Goal(wall=1.25)
    rows = json.loads(document([result(goal, 3), SKIPPED], SETTINGS))["rows"]
    assert [row["state"] for row in rows] == ["measured", "skipped"]
    assert rows[0]["verdicts"] == [{"measure": "wall", "limit": 1.25, "found": 1.5, "state": "missed"}]
    assert (rows[0]["figures"]["cpu_seconds"], rows[1]["figures"], rows[1]["reason"]) == (1.5, None, "peer is not\ninstalled")


def test_every_row_has_a_name_of_its_own_and_data_which_can_be_made(tmp_path):
    place = Place(tmp_path, 10**9, 200_000)
    for rows in ([*control_rows(place), *header_rows(place), *moving_rows(place), *peer_rows(place)], growth_rows(place)):
        names = [(row.group, row.name, row.base.name) for row in rows]
        assert len(set(names)) == len(names)
        for row in rows:
            known = [place.path(data) for data in row.data]
            named = [word for word in row.job.command if word.startswith(str(tmp_path)) and word != row.job.output]
            assert all(any(word.startswith(path) for path in known) for word in named), row.name


def test_growth_shows_what_a_million_more_would_cost():
    sizes = [(1_000_000, 2.0), (3_000_000, 8.0)]
    results = [replace(result(Goal(), seconds), row=Row("growth", f"bytes: {n}", JOB, BASE, Goal())) for n, seconds in sizes]
    assert growth_table(results).splitlines()[-1] == "| bytes | 1,000,000, 3,000,000 | 1.00, 4.00 | 1.5 | 12, 12 |"


def test_a_whole_run_ends_well_and_writes_what_it_shows(repository, tmp_path):
    kept = ["--json", tmp_path / "all.json", "--folder", tmp_path / "data"]
    chosen = ["--only", "control: cp against", "--only", "headers: diff, safetensors", "--only", "moving: rename, safetensors"]
    command = [sys.executable, "-m", "benchmarks", "--gb", "0.002", "--rounds", "1", "--format", "md", *kept, *chosen]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=repository, check=False)
    assert found.returncode == 0, found.stderr
    rows = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["what"], row["state"]) for row in rows] == [
        ("cp against cp", "measured"),
        ("diff, safetensors", "measured"),
        ("rename, safetensors", "measured"),
    ]
    assert all(f"| {row['what']} |" in found.stdout for row in rows)
    assert not list((tmp_path / "data").glob("out-*"))
