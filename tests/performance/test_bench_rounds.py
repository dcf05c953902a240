"""Rows in rounds: only right outcomes are measured; what cannot run is skipped, and never passed."""

import sys
from pathlib import Path

import pytest

from benchmarks.data import DataSet, Place
from benchmarks.figures import Goal
from benchmarks.measuring import Check, Job
from benchmarks.rounds import Result, measure
from benchmarks.rows import HasModule, HasOption, Row

QUIET = [].append
SCRIPT = "import sys, pathlib; runs = pathlib.Path(sys.argv[1]); runs.write_text(runs.read_text() + '{}')"
TABLE = """\
import pathlib, sys
runs = pathlib.Path(sys.argv[3]); runs.write_text(runs.read_text() + '.')
text = pathlib.Path(sys.argv[1]).read_bytes()
if len(runs.read_text()) > int(sys.argv[4]): text = text[:-1] + bytes([text[-1] ^ 1])
pathlib.Path(sys.argv[2]).write_bytes(text)
"""


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path, 2_000_000, 100)


def job(code: str, *words: str, **rest) -> Job:
    return Job("job", (sys.executable, "-c", code, *words), **rest)


def only(row: Row, place: Place, rounds: int = 1) -> Result:
    (result,) = measure([row], place, rounds, QUIET)
    return result


def copying(place: Place, expectation: str, right_runs: int) -> Row:
    """A row whose job copies a table, with one bit turned from the run after `right_runs` on."""
    (place.folder / "runs").write_text("")
    source, output = place.path(place.start), place.output("copy.safetensors")
    words = (source, output, str(place.folder / "runs"), str(right_runs))
    copy = job(TABLE, *words, output=output, check=Check(expectation, source))
    return Row("test", "copying", copy, job("pass"), Goal(wall=1e9), (place.start,))


def test_a_right_output_is_measured_and_removed(place):
    result = only(copying(place, "same", right_runs=9), place, rounds=3)
    assert (result.state, result.summary.rounds, result.verdicts[0].state) == ("measured", 3, "met")
    assert not Path(place.output("copy.safetensors")).exists()
    assert len((place.folder / "runs").read_text()) == 4  # one to see that it is right


@pytest.mark.parametrize(
    ("expectation", "right_runs", "reason"),
    [
        ("renamed", 9, "its output is wrong: keys which lack: ['model.blocks.0."),
        ("same", 2, "its output is wrong: lm_head.weight: other bytes"),  # right at first, and no more in the second round
    ],
)
def test_a_wrong_output_does_not_count(expectation, right_runs, reason, place):
    result = only(copying(place, expectation, right_runs), place, rounds=2)
    assert (result.state, result.summary, result.verdicts) == ("wrong", None, ())
    assert reason in result.reason
    assert not Path(place.output("copy.safetensors")).exists()


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        (HasOption("remap", "--by-magic"), "`remap` has no --by-magic yet"),
        (HasOption("remap", "--max"), "`remap` has no --max yet"),  # a part of a name is no option
        (HasModule(sys.executable, "no_such_peer"), "no_such_peer is not installed"),
        (HasModule(sys.executable, "torch", "no-such-script"), "torch has no no-such-script"),
    ],
)
def test_a_row_which_lacks_something_is_skipped_unrun(need, reason, place):
    row = Row("test", "lacking", job("import sys; sys.exit(1)"), job("pass"), Goal(wall=1e9), need=need)
    result = only(row, place)
    assert (result.state, result.reason, result.summary, result.verdicts) == ("skipped", reason, None, ())


@pytest.mark.parametrize("need", [HasOption("remap", "--max-shard-size"), HasModule(sys.executable, "torch")])
def test_what_is_there_is_not_lacking(need):
    assert need.lacking() is None


@pytest.mark.parametrize("base", [job("import sys; sys.exit('broken peer')"), Job("peer", ("no-such-program-at-all",))])
def test_without_its_base_a_row_says_nothing(base, place):
    result = only(Row("test", "alone", job("pass"), base, Goal(wall=1e9)), place)
    assert (result.state, result.verdicts) == ("skipped", ())


def test_bases_and_jobs_take_turns_and_starts_come_along(place):
    log = place.folder / "log"
    log.write_text("")
    first, second = ([job(SCRIPT.format(letter), str(log)) for letter in letters] for letters in ("JBS", "jb"))
    rows = [Row("test", "first", *first[:2], Goal(), start=first[2]), Row("test", "second", *second, Goal())]
    results = measure(rows, place, 2, QUIET)
    assert [result.state for result in results] == ["measured", "measured"]
    assert log.read_text() == "BSBJ" + "bbj" + "SBJ" + "bj" + "SJB" + "jb"


def test_data_are_made_once_with_what_they_are_made_from(place):
    derived = DataSet("twin.safetensors", ("copy",), place.start)
    place.make(derived)
    made = {path.name: path.stat().st_mtime_ns for path in place.folder.iterdir()}
    place.make(derived)
    assert made == {path.name: path.stat().st_mtime_ns for path in place.folder.iterdir()}
    assert sorted(made) == ["start.safetensors", "twin.safetensors"]
