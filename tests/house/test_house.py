"""The laws of the house which no linter knows: sizes, light imports, public names, who may print or exit."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE_LINES = 400  # beyond it a module holds two nouns
TESTS_PER_CODE = 1.3  # lines of tests for each line of code
HEAVY = frozenset({"torch", "numpy", "yaml", "safetensors", "rapidfuzz", "regex", "click"})
FIRST_OF_ALL = frozenset({"click"})  # what the command line may import at once

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "ckpt_surgeon").rglob("*.py"))


def dotted(path: Path) -> str:
    """`ckpt_surgeon/keys/pattern.py` -> `ckpt_surgeon.keys.pattern`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def lines_of_code(paths: Iterator[Path]) -> int:
    lines = (line.strip() for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT / "tests").stdout.strip()


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_holds_one_noun(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{path} has {lines} lines; {MODULE_LINES} are allowed. Which two things does it hold?"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_says_what_it_is_and_what_is_public(path: Path) -> None:
    tree = tree_of(path)
    names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    assert ast.get_docstring(tree), f"{path} has no docstring"
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    assert not defines or "__all__" in names or path.name == "__main__.py", f"{path} has no __all__"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if path.parent.name == "cli" or path.name == "__main__.py":
        return
    called = [ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    raised = [ast.unparse(node.exc) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Raise) and node.exc]
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "click.echo", "sys.stdout.write", "sys.stderr.write"}
    assert not forbidden & set(called)
    assert not [text for text in raised if text.startswith("SystemExit")]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_dataclasses_are_made_lazily(path: Path) -> None:
    imports = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"]
    names = {alias.name for node in imports for alias in node.names}
    assert "dataclass" not in names or path.name == "lazy_dataclass.py", "each costs a millisecond of every command's start"


def test_no_two_test_modules_bear_one_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))  # pytest imports them by this name alone


def test_the_tests_outweigh_the_code() -> None:
    code, tests = lines_of_code(iter(MODULES)), lines_of_code((ROOT / "tests").rglob("*.py"))
    assert tests >= TESTS_PER_CODE * code, f"{tests} lines of tests for {code} of code are {tests / code:.2f}; {TESTS_PER_CODE} are wanted"


def test_importing_the_library_imports_nothing_heavy() -> None:
    loaded = run_python("import sys, ckpt_surgeon; print(*{name.split('.')[0] for name in sys.modules})")
    assert not HEAVY & set(loaded.split())


def test_importing_the_command_line_imports_little() -> None:
    loaded = run_python("import sys, ckpt_surgeon.__main__, ckpt_surgeon.cli; print(*{name.split('.')[0] for name in sys.modules})")
    assert not (HEAVY - FIRST_OF_ALL) & set(loaded.split())


def test_no_submodule_hides_a_public_name() -> None:
    """`surgeon.diff` stays the function whatever was imported before; `surgeon.finetune` is the one public module."""
    code = """
import importlib, pkgutil, types, ckpt_surgeon as surgeon
before = {name: getattr(surgeon, name) for name in surgeon.__all__}
for module in pkgutil.walk_packages(surgeon.__path__, "ckpt_surgeon."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in surgeon.__all__:
    value = getattr(surgeon, name)
    assert value is before[name], f"{name} became {value}"
    assert callable(value) or name in ("finetune", "__version__"), f"{name} is {value}"
    assert not isinstance(value, types.ModuleType) or name == "finetune", f"{name} is a module"
print(*surgeon.__all__)
"""
    assert {"inspect", "diff", "plan", "remap", "write", "load", "verify", "pre_hook", "finetune"} <= set(run_python(code).split())


def test_dir_and_star_show_the_public_names() -> None:
    code = (
        "import ckpt_surgeon as surgeon; assert set(surgeon.__all__) <= set(dir(surgeon)); from ckpt_surgeon import *; print(diff.__name__)"
    )
    assert run_python(code) == "diff"


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import ckpt_surgeon

    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ckpt_surgeon.no_such_name
