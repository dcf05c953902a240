"""The options of every command: variables, color, report files, the progress line."""

import errno
import io
import json
import os

import click
import pytest
from cli_runs import invoke

from ckpt_surgeon import disk
from ckpt_surgeon.cli.progress import ProgressLine
from ckpt_surgeon.cli.surgery_options import parse_variables
from ckpt_surgeon.cli.view import View
from ckpt_surgeon.report.header import HeaderReport
from ckpt_surgeon.spec import Header, TensorSpec

REPORT = HeaderReport(Header({"a": TensorSpec.of("float32", 1)}), "a.pth", ())


@pytest.mark.parametrize(
    ("pairs", "variables"),
    [
        ([], {}),
        (["a=true", "b=Flow"], {"a": True, "b": "Flow"}),
        (["a=1", "b=1.5", "c=0x10", "d=1e3"], {"a": 1, "b": 1.5, "c": 16, "d": 1000.0}),
        (["a=", "b=null", "c=~"], {"a": None, "b": None, "c": None}),
        (["a=yes", "b=on", "c=1_000"], {"a": "yes", "b": "on", "c": "1_000"}),
        (["a=b=c", "path=x.y z"], {"a": "b=c", "path": "x.y z"}),
    ],
)
def test_a_variable_reads_as_yaml_does(pairs, variables):
    found = parse_variables(pairs)
    assert found == variables
    assert [type(value) for value in found.values()] == [type(value) for value in variables.values()]


@pytest.mark.parametrize("pairs", [["a"], ["=1"], [""], ["a=1", "a=2"], ["a=.inf"]])
def test_a_variable_which_says_nothing_clear_is_refused(pairs):
    with pytest.raises(click.BadParameter):
        parse_variables(pairs)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, monkeypatch, color="auto", **variables):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    View(stream, color=color).show(REPORT)
    return "\x1b[" in stream.getvalue()


@pytest.mark.parametrize(
    ("stream", "color", "variables", "colored"),
    [
        (Terminal, "auto", {}, True),
        (Terminal, "auto", {"NO_COLOR": "1"}, False),
        (Terminal, "auto", {"NO_COLOR": ""}, True),
        (Terminal, "auto", {"TERM": "dumb"}, False),
        (Terminal, "never", {}, False),
        (Terminal, "always", {"NO_COLOR": "1"}, True),
        (io.StringIO, "auto", {}, False),
        (io.StringIO, "always", {}, True),
    ],
)
def test_color_is_for_terminals_unless_it_is_told_otherwise(stream, color, variables, colored, monkeypatch):
    assert shown(stream(), monkeypatch, color, **variables) is colored


@pytest.mark.parametrize(
    ("name", "starts"),
    [("r.txt", "format: "), ("r.md", "# inspect"), ("r.html", "<!DOCTYPE html>"), ("R.HTML", "<!DOCTYPE html>"), ("r.json", "{")],
)
def test_a_report_file_is_written_in_the_form_of_its_suffix(name, starts, folder):
    result = invoke("inspect", "plain.safetensors", "--report", name)
    assert result.exit_code == 0
    assert (folder / name).read_text(encoding="utf-8").startswith(starts)
    assert result.stdout.startswith("format: ")


def test_a_report_file_is_written_for_a_negative_answer_too(folder):
    assert invoke("diff", "wrapped.pth", "nets:net", "--report", "r.json").exit_code == 1
    assert json.loads((folder / "r.json").read_text())["same"] is False


@pytest.mark.parametrize("name", ["plain.safetensors", "wrapped.pth", "model.safetensors.index.json", "noend", "rules.yaml"])
def test_a_report_never_takes_the_name_of_a_checkpoint_or_of_rules(name, folder):
    (folder / name).write_text("precious") if not (folder / name).exists() else None
    before = (folder / name).read_bytes()
    assert invoke("inspect", "plain.safetensors", "--report", name).exit_code == 2
    assert (folder / name).read_bytes() == before


RENAMED = {"source.json": "wrapped.pth", "target.txt": "wrapped.pth", "rules.md": "rename.yaml"}
TAKEN = {
    "the source": ("inspect", "source.json", "--report", "source.json"),
    "the source under another name": ("inspect", "source.json", "--report", "./../{here}/source.json"),
    "a hard link to the source": ("inspect", "source.json", "--report", "twin.json"),
    "the source of which a table is named": ("inspect", "source.json#state_dict", "--report", "source.json"),
    "a link to the source": ("inspect", "source.json", "--report", "link.json"),
    "the target": ("diff", "wrapped.pth", "target.txt", "--report", "target.txt"),
    "the rules": ("diff", "wrapped.pth", "plain.safetensors", "--rules", "rules.md", "--report", "rules.md"),
    "the output": ("remap", "wrapped.pth", "--to", "torch", "-o", "out.json", "--report", "out.json"),
    "within the output": ("remap", "plain.safetensors", "-o", "shards", "--force", "--report", "shards/r.json"),
    "a folder of shards which is read": ("inspect", "shards", "--report", "shards/r.json"),
    "a link to anything": ("inspect", "wrapped.pth", "--report", "loose.json"),
    "a pipe": ("inspect", "wrapped.pth", "--report", "pipe.json"),
    "a folder": ("inspect", "wrapped.pth", "--report", "folder.json"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_report_takes_the_place_of_no_file_in_use_and_of_nothing_but_a_file(case, folder):
    assert invoke("remap", "plain.safetensors", "-o", "shards").exit_code == 0
    (folder / "rename.yaml").write_text("version: 1\nrules: []\n")
    for name, original in RENAMED.items():
        (folder / name).write_bytes((folder / original).read_bytes())
    os.link("source.json", "twin.json")
    os.symlink("source.json", "link.json")
    os.symlink("elsewhere", "loose.json")
    os.mkfifo("pipe.json")
    os.mkdir("folder.json")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = invoke(*(word.format(here=folder.name) for word in TAKEN[case]))
    assert (result.exit_code, result.stdout) == (5, ""), result.output
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_report_is_the_old_one_or_the_new_one(folder, monkeypatch):
    class FullSystem(type(disk.system)):
        def write(self, descriptor, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert invoke("inspect", "plain.safetensors", "--report", "r.json").exit_code == 0
    before = (folder / "r.json").read_bytes(), sorted(os.listdir(folder))
    monkeypatch.setattr(disk, "system", FullSystem())
    assert invoke("inspect", "wrapped.pth", "--report", "r.json").exit_code == 5
    assert ((folder / "r.json").read_bytes(), sorted(os.listdir(folder))) == before
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert invoke("inspect", "wrapped.pth", "--report", "r.json").exit_code == 0
    assert (folder / "r.json").read_bytes() != before[0]


@pytest.mark.parametrize("form", ["table", "json", "md", "html"])
def test_every_form_is_offered(form, folder):
    assert invoke("inspect", "plain.safetensors", "--format", form).exit_code == 0


class Clock:
    """Seconds, told by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_what_takes_less_than_a_second_draws_nothing():
    clock, stream = Clock(), Terminal()
    line = ProgressLine("writing", stream, clock)
    for clock.now in (0.0, 0.5, 0.99):
        line(10, 100)
    line.clear()
    assert stream.getvalue() == ""


def test_a_progress_line_is_drawn_in_place_and_taken_away():
    clock, stream = Clock(), Terminal()
    line = ProgressLine("writing", stream, clock)
    clock.now = 1.5
    line(500_000_000, 2_000_000_000)
    assert stream.getvalue() == "\r\x1b[Kwriting [#######                       ]  25 % of 2.0 GB"
    line.clear()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()


def test_a_progress_line_is_not_drawn_more_than_ten_times_a_second():
    clock, stream = Clock(), Terminal()
    line = ProgressLine("writing", stream, clock)
    for i in range(1000):
        clock.now = 2 + i / 1000
        line(i, 1000)
    assert 9 <= stream.getvalue().count("writing") <= 11


def test_without_a_total_the_bytes_are_told():
    clock, stream = Clock(), Terminal()
    line = ProgressLine("reading", stream, clock)
    clock.now = 2
    line(1500, None)
    assert stream.getvalue().endswith("reading 1.5 kB")


@pytest.mark.parametrize(("stream", "quiet", "is_drawn"), [(Terminal, False, True), (Terminal, True, False), (io.StringIO, False, False)])
def test_progress_is_for_terminals_only(stream, quiet, is_drawn, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream())
    with View(io.StringIO(), quiet=quiet).progress("writing") as progress:
        assert (progress is not None) is is_drawn
