"""What goes wrong, in lines on stderr and in exit codes: never a traceback, at most one hint, names escaped."""

import json
import signal

import click
import pytest
from cli_runs import invoke

from ckpt_surgeon import errors
from ckpt_surgeon.cli.faults import guarded
from ckpt_surgeon.cli.output import PipeClosedError
from ckpt_surgeon.cli.signals import Stopped
from ckpt_surgeon.errors import Problem, SurgeryError

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        # usage
        ((), 2, "ckpt-surgeon"),
        (("nonsense",), 2, "nonsense"),
        (("inspect",), 2, "CKPT"),
        (("inspect", "plain.safetensors", "--format", "xml"), 2, "xml"),
        (("diff", "plain.safetensors"), 2, "TARGET"),
        (("inspect", "plain.safetensors", "--surprise"), 2, "--surprise"),
        (("remap", "plain.safetensors"), 2, "--dry-run"),
        (("remap", "plain.safetensors", "-o", "a.xyz"), 2, ".xyz"),
        (("remap", "plain.safetensors", "-o", "a.pth", "--max-shard-size", "many"), 2, "many"),
        (("remap", "plain.safetensors", "-o", "a.pth", "--verify"), 2, "--target"),
        (("remap", "plain.safetensors", "-o", "a.pth", "--device", "cpu"), 2, "--verify"),
        (("diff", "plain.safetensors", "plain.safetensors", "--set", "novalue"), 2, "novalue"),
        (("diff", "plain.safetensors", "plain.safetensors", "--require-coverage", "2"), 2, "coverage"),
        (("inspect", "plain.safetensors", "--report", "out.pth"), 2, "out.pth"),
        # input refused
        (("inspect", "cut.safetensors"), 3, "cut.safetensors"),
        (("inspect", "page.pth"), 3, "page.pth"),
        (("diff", "plain.safetensors", "cut.safetensors"), 3, "cut.safetensors"),
        (("verify", "cut.safetensors", "nets:net"), 3, "cut.safetensors"),
        (("remap", "page.pth", "-o", "a.pth"), 3, "page.pth"),
        # rules or model refused
        (("diff", "wrapped.pth", "nets:net", "--rules", "typo.yaml"), 4, "typo.yaml:3:5: "),
        (("diff", "wrapped.pth", "nets:net", "-e", "strip_prefx: a."), 4, "-e 1:1:1: "),
        (("diff", "plain.safetensors", "nets:none"), 4, "none"),
        (("diff", "plain.safetensors", "nets:broken"), 4, "the factory is broken"),
        (("diff", "plain.safetensors", "nosuch:net"), 4, "nosuch"),
        (("diff", "plain.safetensors", "nets:net", "--model-arg", "classes"), 4, "classes"),
        (("inspect", "plain.safetensors", "--match", "{"), 4, "{"),
        # input / output
        (("inspect", "nothing.pth"), 5, "nothing.pth"),
        (("diff", "plain.safetensors", "nothing.pth"), 5, "nothing.pth"),
        (("diff", "wrapped.pth", "nets:net", "--rules", "nothing.yaml"), 5, "nothing.yaml"),
        (("remap", "plain.safetensors", "-o", "no/such/folder/a.pth"), 5, "no/such/folder"),
        (("remap", "plain.safetensors", "-o", "plain.safetensors", "--force"), 5, "plain.safetensors"),
        (("inspect", "plain.safetensors", "--report", "no/such/out.txt"), 5, "no/such/out.txt"),
    ],
)
def test_a_fault_has_its_code_and_is_one_line_which_says_where(words, code, says):
    result = invoke(*words)
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    hints = [line for line in lines if line.startswith("hint: ")]
    assert told
    assert says in told[0]
    assert len(hints) <= 1
    assert lines == told + hints
    assert result.stdout == ""


def test_all_problems_of_several_rules_files_are_told_together(folder):
    (folder / "other.yaml").write_text("version: 1\nrules:\n  - rnme: {a: b}\n  - drp: a\n")
    result = invoke("diff", "wrapped.pth", "nets:net", "--rules", "typo.yaml", "--rules", "other.yaml", "-e", "foo: 1")
    places = [line.split(": ")[1] for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert places == ["typo.yaml:3:5", "other.yaml:3:5", "other.yaml:4:5", "-e 1:1:1"]


def test_a_traceback_is_shown_only_by_debug():
    plain = invoke("diff", "plain.safetensors", "nets:broken")
    told = invoke("diff", "plain.safetensors", "nets:broken", "--debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in told.stderr
    assert plain.exit_code == told.exit_code == 4


def test_usage_has_no_traceback_even_with_debug():
    assert "Traceback" not in invoke("diff", "--debug").stderr


def test_names_from_files_are_escaped(folder):
    name = "a\n\x1b[31mred.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "evil.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for words in (
        ("inspect", "evil.safetensors"),
        ("diff", "evil.safetensors", "plain.safetensors"),
        ("remap", "evil.safetensors", "--target", "plain.safetensors", "--dry-run"),
    ):
        result = invoke(*words)
        assert result.exit_code in (0, 1)
        assert "\x1b" not in result.output
        assert "a\\n\\x1b[31mred.weight" in result.output


def test_a_path_of_control_characters_is_escaped():
    result = invoke("inspect", "\x1b[2J\n.pth")
    assert result.stderr.splitlines()[0] == "error: \\x1b[2J\\n.pth: no such file or folder"


CODES = {
    "SurgeryError": 1,
    "CoverageError": 1,
    "NothingLoadedError": 1,
    "CorruptError": 3,
    "UnsafeError": 3,
    "LimitError": 3,
    "RulesError": 4,
    "ModelError": 4,
    "DiskError": 5,
    "LockedError": 5,
}


def ended(error, capsys, **options):
    def body():
        raise error

    code = guarded(body, debug=options.get("debug", False))
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_error_class_has_its_exit_code(name, code, capsys):
    assert ended(getattr(errors, name)("it is wrong", where="x", hint="mend it"), capsys) == (
        code,
        "error: x: it is wrong\nhint: mend it\n",
    )


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("oh"), 70, "error: a bug here: ValueError: oh\nhint: run it again with --debug, and report what it says\n"),
        (RecursionError("deep"), 70, "error: a bug here: RecursionError: deep\nhint: run it again with --debug, and report what it says\n"),
        (KeyboardInterrupt(), 130, "error: stopped by SIGINT\n"),
        (Stopped(signal.SIGINT), 130, "error: stopped by SIGINT\n"),
        (Stopped(signal.SIGTERM), 143, "error: stopped by SIGTERM\n"),
        (Stopped(signal.SIGHUP), 129, "error: stopped by SIGHUP\n"),
        (PipeClosedError(), 141, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (PermissionError(13, "Permission denied", "a.pth"), 5, "error: a.pth: Permission denied\n"),
        (MemoryError(), 5, "error: out of memory\n"),
        (click.UsageError("so not"), 2, "error: ckpt-surgeon: so not\nhint: ckpt-surgeon --help\n"),
        (click.exceptions.Exit(0), 0, ""),
        (click.exceptions.Exit(1), 1, ""),
    ],
)
def test_each_ending_has_its_code_and_its_line(error, code, told, capsys):
    assert ended(error, capsys) == (code, told)


def test_a_bug_shows_its_traceback_by_debug_only(capsys):
    assert "Traceback" in ended(ValueError("oh"), capsys, debug=True)[1]
    assert "Traceback" not in ended(ValueError("oh"), capsys)[1]


def test_many_problems_are_counted_not_listed(capsys):
    code, told = ended(SurgeryError(Problem(f"wrong {i}", hint="do") for i in range(60)), capsys)
    lines = told.splitlines()
    assert (code, len(lines)) == (1, 52)
    assert lines[-2:] == ["error: and 10 more of the same phase", "hint: do"]


def test_one_hint_for_several_problems(capsys):
    _, told = ended(SurgeryError([Problem("a", hint="first"), Problem("b", hint="second")]), capsys)
    assert told == "error: a\nerror: b\nhint: first\n"


def test_a_return_is_the_exit_code():
    assert guarded(lambda: 1, debug=False) == 1
    assert guarded(lambda: 0, debug=False) == 0
