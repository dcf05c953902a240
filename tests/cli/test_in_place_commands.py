"""`remap --in-place` and `recover`: what they say, with which code they end, and who is turned away meanwhile."""

import json

import pytest
import torch
from cli_runs import invoke

from ckpt_surgeon.formats.edit import Change, Edit
from ckpt_surgeon.formats.pending import journal_path
from ckpt_surgeon.publishing.journal import Journal

STRIP = ("-e", "strip_prefix: module.")


def keys(path):
    return sorted(torch.load(path, weights_only=True)["state_dict"])


def cut_short(path, written=1):
    """As if an edit of the last two bytes had been stopped after one of them, or after both; gives back the bytes from before."""
    before = path.read_bytes()
    edit = Edit((Change(len(before) - 2, before[-2:], b"\xff\xff"),), len(before), len(before))
    with open(journal_path(str(path)), "wb") as file:
        file.write(Journal(path.stat().st_ino, edit).to_bytes())
    with path.open("r+b") as file:
        file.seek(-written, 2)
        file.write(b"\xff" * written)
    return before


def test_the_source_itself_gets_other_names(folder):
    done = invoke("remap", "wrapped.pth", *STRIP, "--in-place")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "wrote wrapped.pth: 9 keys, 580 B, read back as planned")
    assert "0.weight" in keys("wrapped.pth")
    assert not list(folder.glob("*ckpt-surgeon*"))


def test_the_result_can_be_held_against_the_target(folder):
    done = invoke("remap", "wrapped.pth#state_dict", *STRIP, "--in-place", "--target", "nets:net", "--verify", "--format", "json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["path"], document["verified"]["action"]) == ("wrapped.pth", "verified")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (STRIP, 0, "in place: possible; no weight moves"),
        ((*STRIP, "-e", "drop: 2.bias"), 1, "in place: not possible"),
    ],
)
def test_a_dry_run_says_whether_it_is_possible(folder, words, code, line):
    before = (folder / "wrapped.pth").read_bytes()
    done = invoke("remap", "wrapped.pth", *words, "--in-place", "--dry-run")
    assert done.exit_code == code
    assert line in done.stdout.splitlines()
    found = json.loads(invoke("remap", "wrapped.pth", *words, "--in-place", "--dry-run", "--format", "json").stdout)["in_place"]
    assert found["possible"] == (code == 0)
    assert bool(found["obstacles"]) == (code == 1)
    assert (folder / "wrapped.pth").read_bytes() == before


def test_a_dry_run_which_was_not_asked_says_nothing_of_it(folder):
    assert "in place" not in invoke("remap", "wrapped.pth", *STRIP, "--dry-run").stdout
    assert "in_place" not in json.loads(invoke("remap", "wrapped.pth", *STRIP, "--dry-run", "--format", "json").stdout)


def test_what_is_not_possible_is_refused_with_the_way_out(folder):
    done = invoke("remap", "wrapped.pth", "-e", "drop: '**.2.bias'", "--in-place")
    assert done.exit_code == 4
    assert done.stderr.splitlines()[0] == "error: module.2.bias: it is not used, and its bytes would stay in the file"
    assert done.stderr.splitlines()[-1] == "hint: write a new file: -o OUT"


@pytest.mark.parametrize(
    "words", [("-o", "out.pt"), ("--to", "torch"), ("--max-shard-size", "1GB"), ("--force",), ("--bare",)], ids=lambda each: each[0]
)
def test_options_which_say_how_another_file_is_written_are_excluded(folder, words):
    done = invoke("remap", "wrapped.pth", *STRIP, "--in-place", *words)
    assert done.exit_code == 2
    assert f"excludes {words[0]}" in done.stderr


def test_an_edit_which_was_cut_short_is_first_undone_by_the_next(folder):
    path = folder / "wrapped.pth"
    cut_short(path)
    assert invoke("remap", "wrapped.pth", *STRIP, "--in-place").exit_code == 0
    assert "0.weight" in keys(path)


READERS = [
    ("inspect", "wrapped.pth"),
    ("diff", "wrapped.pth", "nets:net"),
    ("remap", "wrapped.pth", *STRIP, "--dry-run"),
    ("remap", "wrapped.pth", *STRIP, "--in-place", "--dry-run"),
    ("remap", "wrapped.pth", *STRIP, "-o", "out.pt"),
    ("remap", "plain.safetensors", "-o", "wrapped.pth", "--force"),
    ("explain", "wrapped.pth", "0.weight", *STRIP),
    ("verify", "wrapped.pth", "nets:net"),
]


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_everybody_else_is_turned_away_with_the_way_out(folder, words):
    cut_short(folder / "wrapped.pth")
    before = (folder / "wrapped.pth").read_bytes()
    done = invoke(*words)
    assert done.exit_code == 5
    assert "an in-place edit of it is unfinished" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hint: ckpt-surgeon recover ")
    assert (folder / "wrapped.pth").read_bytes() == before


@pytest.mark.parametrize(
    ("prepare", "recovery", "line"),
    [
        (lambda path: path.read_bytes(), "nothing", "no edit of it was cut short: nothing was changed"),
        (cut_short, "undone", "the edit is undone: the file is as it was before"),
        (lambda path: cut_short(path, 2), "finished", "all of the edit was there: it is finished"),
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_recover_says_what_it_did(folder, form, prepare, recovery, line):
    before = prepare(folder / "wrapped.pth")
    done = invoke("recover", "wrapped.pth", "--format", form)
    assert done.exit_code == 0
    if form == "table":
        assert done.stdout == f"wrapped.pth: {line}\n"
    else:
        assert json.loads(done.stdout) == {"schema_version": 1, "document": "recovery", "path": "wrapped.pth", "recovery": recovery}
    after = (folder / "wrapped.pth").read_bytes()
    assert after == (before[:-2] + b"\xff\xff" if recovery == "finished" else before)


def test_a_journal_of_another_file_is_refused_as_input_and_the_way_out_is_told(folder):
    cut_short(folder / "wrapped.pth")
    (folder / "wrapped.pth").write_bytes(b"something else")
    done = invoke("recover", "wrapped.pth")
    assert done.exit_code == 3
    assert "remove the journal: " in done.stderr
    assert invoke("remap", "wrapped.pth", *STRIP, "--in-place").exit_code == 3
    assert (folder / "wrapped.pth").read_bytes() == b"something else"


def test_a_url_and_a_model_are_refused_as_sources(folder):
    assert invoke("remap", "nets:net", *STRIP, "--in-place").exit_code == 4


def test_a_file_which_is_not_there(folder):
    assert invoke("recover", "absent.pt").exit_code == 5
    assert invoke("remap", "absent.pt", *STRIP, "--in-place").exit_code == 5
