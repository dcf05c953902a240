"""A real package with ops in a folder on the path: its code is run when `--plugins` is said, and by nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
MODULE = '''
import os
import pathlib

pathlib.Path(os.environ["LOADED"]).touch()

from dataclasses import dataclass
from typing import ClassVar
from ckpt_surgeon.ops.defaults import NameDefaults, TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Move
from ckpt_surgeon.ops.roles import Roles

ROLES = Roles(sources=("weight", "scale"))


@dataclass(frozen=True)
class Upper(NameDefaults):
    """Keys which start with a text, in capitals."""

    name: ClassVar[str] = "upper"
    body: ClassVar[Body] = Body("start")
    start: str

    def edits(self, keys, target):
        return [Move(key, key.upper()) for key in keys if key.startswith(self.start)]


@dataclass(frozen=True)
class Negate(TensorDefaults):
    """The same tensor, less than nothing."""

    name: ClassVar[str] = "negate"
    body: ClassVar[Body] = Body("match", filled=("hidden",))
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"
    hidden: int = 0

    def infer(self, specs):
        return specs

    def apply(self, tensors):
        return tuple(-tensor for tensor in tensors)


@dataclass(frozen=True)
class Dequantize(TensorDefaults):
    """A weight times its scale."""

    name: ClassVar[str] = "dequantize"
    body: ClassVar[Body] = Body(filled=("inputs",), roles=ROLES)
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"
    inputs: tuple[str, ...] | None = None

    def infer(self, specs):
        return (ROLES.named(self.inputs, specs, self.name)["weight"],)

    def apply(self, tensors):
        given = ROLES.named(self.inputs, tensors, self.name)
        return (given["weight"] * given["scale"],)


def thing():
    """No op."""
'''
ENTRIES = "upper = shouting.ops:Upper\nnegate = shouting.ops:Negate\ndequantize = shouting.ops:Dequantize\n"
RULES = "version: 1\nrules:\n  - upper: b\n  - negate: a.*\n"


class Package:
    """The installed package, and a command line which can import it."""

    def __init__(self, folder: Path, entries: str = ENTRIES) -> None:
        self.folder = folder
        site = folder / "site"
        metadata = site / "shouting-2.0.dist-info"
        (site / "shouting").mkdir(parents=True)
        metadata.mkdir()
        (site / "shouting" / "__init__.py").write_text("")
        (site / "shouting" / "ops.py").write_text(MODULE)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 2.0\n")
        (metadata / "entry_points.txt").write_text(f"[ckpt_surgeon.ops]\n{entries}")
        (folder / "rules.yaml").write_text(RULES)
        save_file({"a.w": torch.tensor([1.0, -2.0]), "b.w": torch.tensor([3.0])}, folder / "in.safetensors")

    @property
    def is_loaded(self) -> bool:
        """Whether its code was run."""
        return (self.folder / "loaded").exists()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), str(self.folder / "site")])
        environment = {**os.environ, "PYTHONPATH": path, "LOADED": str(self.folder / "loaded")}
        command = [sys.executable, "-m", "ckpt_surgeon", *words]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


def test_without_the_flag_the_op_is_known_by_name_and_not_run(package: Package) -> None:
    done = package.run("remap", "in.safetensors", "--rules", "rules.yaml", "-o", "out.safetensors")
    assert done.returncode == 4
    lines = done.stderr.splitlines()
    assert lines[0] == "error: rules.yaml:3:5: 'upper' is an op of another package, which is not loaded"
    assert lines[1] == "error: rules.yaml:4:5: 'negate' is an op of another package, which is not loaded"
    assert "--plugins" in lines[-1]
    assert not package.is_loaded
    assert not (package.folder / "out.safetensors").exists()


@pytest.mark.parametrize("word", ["uper", "drp", "shouting"])
def test_a_typo_runs_nobodys_code(package: Package, word: str) -> None:
    done = package.run("remap", "in.safetensors", "-e", f"{word}: a.*", "--dry-run")
    assert done.returncode == 4
    assert f"'{word}'" in done.stderr
    assert not package.is_loaded


def test_with_the_flag_its_ops_are_rules_as_ours_are(package: Package) -> None:
    done = package.run("remap", "in.safetensors", "--rules", "rules.yaml", "--plugins", "-o", "out.safetensors")
    assert done.returncode == 0, done.stderr
    found = load_file(package.folder / "out.safetensors")
    assert {key: tensor.tolist() for key, tensor in found.items()} == {"a.w": [-1.0, 2.0], "B.W": [3.0]}
    assert package.is_loaded


def test_an_op_of_another_package_has_roles_as_ours_have(package: Package) -> None:
    rule = "dequantize: {source: {scale: b.w, weight: a.w}, target: w}"
    done = package.run("remap", "in.safetensors", "-e", rule, "--plugins", "-o", "out.safetensors")
    assert done.returncode == 0, done.stderr
    assert load_file(package.folder / "out.safetensors")["w"].tolist() == [3.0, -6.0]
    wrong = package.run("remap", "in.safetensors", "-e", rule.replace("scale:", "scales:"), "--plugins", "--dry-run")
    assert wrong.returncode == 4
    assert "scales" in wrong.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("diff", "in.safetensors", "in.safetensors", "-e", "negate: a.*"),
        ("explain", "in.safetensors", "a.w", "-e", "negate: a.*"),
        ("remap", "in.safetensors", "-e", "negate: a.*", "--dry-run"),
        ("verify", "in.safetensors", "in.safetensors", "--device", "meta", "-e", "negate: a.*"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_which_reads_rules_has_the_flag(package: Package, words: tuple[str, ...]) -> None:
    refused = package.run(*words)
    assert refused.returncode == 4
    assert "not loaded" in refused.stderr
    taken = package.run(*words, "--plugins")
    assert "not loaded" not in taken.stderr
    assert taken.returncode == 0, taken.stderr
    assert package.is_loaded


def test_the_schema_describes_them_only_with_the_flag(package: Package) -> None:
    plain, whole = (json.loads(package.run("schema", *words).stdout) for words in ((), ("--plugins",)))
    assert set(whole["$defs"]) - set(plain["$defs"]) == {"op_upper", "op_negate", "op_dequantize"}
    assert "hidden" not in json.dumps(whole), "what bind fills is no parameter"
    assert {key: whole["$defs"][key] for key in plain["$defs"]} == plain["$defs"]


def test_the_parameters_of_their_ops_are_checked_and_placed(package: Package) -> None:
    done = package.run("remap", "in.safetensors", "--plugins", "-e", "negate: {match: a, hidden: 1}", "-e", "upper: 3", "--dry-run")
    assert done.returncode == 4
    assert "-e 1:1:20: negate: unknown word 'hidden'" in done.stderr
    assert "-e 2:1:8: upper: start is 3; allowed: text" in done.stderr


BROKEN = [
    ("upper = shouting.ops:Lower\n", ["'upper'", "shouting.ops:Lower", "cannot be imported"]),
    ("upper = no_such_package:Upper\n", ["'upper'", "no_such_package", "cannot be imported"]),
    ("upper = shouting.ops:thing\n", ["'upper'", "shouting.ops:thing", "no frozen dataclass"]),
    ("upper = shouting.ops:MODULE_IS_NO_OP.x\n", ["'upper'", "cannot be imported"]),
    ("upper = shouting.ops\n", ["'upper'", "no frozen dataclass"]),
    ("upper = shouting.ops:NameDefaults\n", ["'upper'", "no frozen dataclass"]),
]


@pytest.mark.parametrize(("entries", "says"), BROKEN)
def test_a_package_without_an_op_is_refused_only_when_it_is_asked_for(tmp_path: Path, entries: str, says: list[str]) -> None:
    package = Package(tmp_path, entries)
    assert package.run("schema").returncode == 0
    done = package.run("schema", "--plugins")
    assert (done.returncode, done.stdout) == (4, "")
    assert [word for word in says if word not in done.stderr] == []
    assert "Traceback" not in done.stderr
