"""What a command imports: header work needs neither torch nor numpy or yaml."""

import shutil
import subprocess
import sys

import pytest
from cli_runs import environment

from ckpt_surgeon.ops.registry import OURS

pytestmark = pytest.mark.usefixtures("folder")

LIGHT = {"torch", "numpy"}
CODE = """
import sys
from ckpt_surgeon.cli import main
try:
    main({words!r})
except SystemExit as ending:
    print(ending.code, *sorted({{name.split(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


def loaded(*words: str) -> tuple[int, set[str]]:
    """The exit code and the top-level modules of a run in a fresh interpreter."""
    command = [sys.executable, "-c", CODE.format(words=list(words))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(), timeout=120)
    code, *names = done.stderr.splitlines()[-1].split()
    return int(code), set(names)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("inspect", "plain.safetensors"), 0),
        (("inspect", "wrapped.pth"), 0),
        (("inspect", "wrapped.pth", "--match", "**.weight", "--format", "html"), 0),
        (("diff", "plain.safetensors", "other.safetensors"), 1),
        (("diff", "wrapped.pth", "plain.safetensors"), 1),
        (("diff", "plain.safetensors", "plain.safetensors", "--values"), 0),
        (("diff", "wrapped.pth", "wrapped.pth", "--values", "--format", "json"), 0),
        (("remap", "plain.safetensors", "--dry-run"), 0),
        (("remap", "wrapped.pth", "--dry-run"), 0),
        (("remap", "plain.safetensors", "--dry-run", "--target", "plain.safetensors", "--allow-missing", "x"), 0),
        (("explain", "plain.safetensors", "0.weight", "--target", "plain.safetensors"), 0),
        (("explain", "plain.safetensors", "0.weight"), 4),
        (("explain", "wrapped.pth", "module.0.weight"), 4),
        (("inspect", "cut.safetensors"), 3),
        (("inspect", "nothing.pth"), 5),
    ],
)
def test_headers_need_no_torch_numpy_or_yaml(words, code):
    ended, names = loaded(*words)
    assert ended == code
    assert not names & (LIGHT | {"yaml"})


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("diff", "wrapped.pth", "plain.safetensors", "--rules", "rules.yaml"), 0),
        (("diff", "wrapped.pth", "plain.safetensors", "-e", "strip_prefix: module."), 0),
        (("diff", "wrapped.pth", "plain.safetensors", "-e", "strip_prefix: module.", "--values"), 0),
        (("remap", "wrapped.pth", "--rules", "rules.yaml", "--target", "plain.safetensors", "--dry-run"), 0),
        (("explain", "wrapped.pth", "0.weight", "--rules", "rules.yaml"), 0),
        (("diff", "wrapped.pth", "plain.safetensors", "--rules", "typo.yaml"), 4),
    ],
)
def test_rules_need_no_torch_or_numpy(words, code):
    ended, names = loaded(*words)
    assert ended == code
    assert not names & {"torch", "numpy"}


def test_a_model_needs_torch():
    assert "torch" in loaded("inspect", "nets:net")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("remap", "plain.safetensors", "-o", "a.safetensors"),
        ("remap", "plain.safetensors", "-o", "a.safetensors", "--digest"),
        ("remap", "wrapped.pth", "-e", "strip_prefix: module.", "-o", "a.safetensors", "--bare", "--lineage", "--digest"),
        ("inspect", "wrapped.pth", "--digest"),
    ],
)
def test_bytes_which_only_move_need_no_torch(words):
    ended, names = loaded(*words)
    assert ended == 0
    assert not names & LIGHT


MODULES = """
import sys
from ckpt_surgeon.cli import main
try:
    main({words!r})
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
RULES_ROOMS = (
    "ckpt_surgeon.rules.reader",
    "ckpt_surgeon.rules.finetune",
    "ckpt_surgeon.ops",
    "ckpt_surgeon.planning",
    "ckpt_surgeon.keys.pattern",
    "importlib.metadata",
)
FORMS = ("ckpt_surgeon.report.html", "ckpt_surgeon.report.markdown", "html", "email", "pathlib", "urllib.parse")
WRITING = ("ckpt_surgeon.formats.protocol", "ckpt_surgeon.formats.edit", "ckpt_surgeon.publishing", "ckpt_surgeon.execution")
VALUES = ("ckpt_surgeon.comparison.values", "ckpt_surgeon.report.values", "ckpt_surgeon.distance")
TENSOR_RULES = ("ckpt_surgeon.planning.tensor_rules", "ckpt_surgeon.keys.grouping", "ckpt_surgeon.keys.folding")
UNUSED_WORDS = ("ckpt_surgeon.rules.condition", "ckpt_surgeon.rules.finetune", "ckpt_surgeon.keys.regular", "ckpt_surgeon.comparison.diff")


@pytest.mark.parametrize(
    ("words", "rooms"),
    [
        (("--help",), ("ckpt_surgeon.formats", "ckpt_surgeon.planning", "ckpt_surgeon.surgery", "ckpt_surgeon.report.text")),
        (
            ("inspect", "plain.safetensors"),
            (*RULES_ROOMS, *FORMS, *WRITING, "ckpt_surgeon.comparison", "ckpt_surgeon.rules", "ckpt_surgeon.model.building", "hashlib"),
        ),
        (
            ("diff", "plain.safetensors", "plain.safetensors"),
            (*RULES_ROOMS, *FORMS, *WRITING, *VALUES, "ckpt_surgeon.comparison.hints", "ckpt_surgeon.model.building", "hashlib"),
        ),
        (("diff", "plain.safetensors", "other.safetensors"), (*RULES_ROOMS, *FORMS, *WRITING, *VALUES)),
        (("remap", "plain.safetensors", "--dry-run"), (*FORMS, "ckpt_surgeon.rules.reader", "ckpt_surgeon.execution", *TENSOR_RULES)),
        (
            ("remap", "edited.safetensors", "--in-place", "-e", "add_prefix: model."),
            (*FORMS, *VALUES, *TENSOR_RULES, *UNUSED_WORDS, "ckpt_surgeon.shards", "ckpt_surgeon.execution", "ckpt_surgeon.report.recipes"),
        ),
        (("remap", "plain.safetensors", "-o", "a.safetensors"), (*FORMS, "ckpt_surgeon.digests")),
    ],
)
def test_a_command_loads_what_it_uses_and_no_more(words, rooms):
    shutil.copy("plain.safetensors", "edited.safetensors")
    command = [sys.executable, "-c", MODULES.format(words=list(words))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    names = done.stderr.split()
    assert "ckpt_surgeon.cli.application" in names
    assert f"ckpt_surgeon.cli.{words[0].strip('-')}" in names or words == ("--help",)
    assert [name for name in names if name in rooms or name.startswith(tuple(f"{room}." for room in rooms))] == []


@pytest.mark.parametrize(
    ("rule", "modules"),
    [
        ("strip_prefix: module.", {"prefixes"}),
        ("fit: '**'", {"reshaping"}),
        ("{split: {source: a.qkv, target: 'a.{x:q|k|v}'}, expect: 0}", {"splitting"}),
    ],
)
def test_of_all_ops_only_those_are_loaded_which_stand_in_a_rule(rule, modules):
    command = [sys.executable, "-c", MODULES.format(words=["diff", "wrapped.pth", "plain.safetensors", "-e", rule])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    ops = {home.partition(":")[0] for home in OURS.values()}
    assert {name.rpartition(".")[2] for name in done.stderr.split() if name.startswith("ckpt_surgeon.ops.")} & ops == modules
