"""The registry: explicit names, no double ones, plug-ins on demand; and every op is a frozen, hashable, importable value."""

import dataclasses
import doctest
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

import ckpt_surgeon.ops
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Body, TensorOp
from ckpt_surgeon.ops.registry import OPS, load_plugins, register
from ckpt_surgeon.ops.renaming import Rename
from ckpt_surgeon.ops.squeezing import Squeeze

MODULES = [f"ckpt_surgeon.ops.{module.name}" for module in pkgutil.iter_modules(ckpt_surgeon.ops.__path__)]
PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Move

@dataclass(frozen=True)
class Upper(NameDefaults):
    """Keys in capitals."""
    name: ClassVar[str] = "{name}"
    def edits(self, keys, target):
        return [Move(key, key.upper()) for key in keys]
'''


@pytest.fixture
def restored_ops() -> Any:
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


def install(folder: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real package with an entry point, as an installer leaves it."""
    (folder / "surgeon_plugin.py").write_text(PLUGIN.format(name=name), encoding="utf-8")
    metadata = folder / "surgeon_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: surgeon-plugin\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[ckpt_surgeon.ops]\n{name} = {value}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "surgeon_plugin", raising=False)


@pytest.mark.parametrize("name", OPS)
def test_an_op_bears_the_name_under_which_it_stands(name: str) -> None:
    assert OPS[name].name == name
    assert isinstance(OPS[name].body, Body)
    assert not OPS[name].body.whole or OPS[name].body.whole in {"match", *(field.name for field in dataclasses.fields(OPS[name]))}


@pytest.mark.parametrize("name", OPS)
def test_an_op_is_a_frozen_dataclass(name: str) -> None:
    assert dataclasses.is_dataclass(OPS[name])
    assert OPS[name].__dataclass_params__.frozen
    assert (OPS[name].__doc__ or "").strip().count(">>>"), "a before and an after stand in its docstring"


def test_registering_again_changes_nothing(restored_ops: None) -> None:
    before = dict(OPS)
    register(Squeeze)
    assert before == OPS


def test_a_double_name_is_refused_and_both_are_named(restored_ops: None) -> None:
    @dataclasses.dataclass(frozen=True)
    class Other(Rename):
        """Another op which calls itself rename."""

        name: ClassVar[str] = "rename"

    with pytest.raises(RulesError, match=r"rename.*ckpt_surgeon\.ops\.renaming\.Rename and .*Other"):
        register(Other)
    assert OPS["rename"] is Rename


def test_plugins_are_loaded_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_ops: None) -> None:
    install(tmp_path, "upper", "surgeon_plugin:Upper", monkeypatch)
    assert "upper" not in OPS
    load_plugins()
    load_plugins()
    op: Any = OPS["upper"]()
    assert [edit.target for edit in op.edits(["a.b"], None)] == ["A.B"]
    assert op.parameters() == {}


@pytest.mark.usefixtures("restored_ops")
@pytest.mark.parametrize("value", ["surgeon_plugin:Lower", "no_such_package:Upper"])
def test_a_plugin_which_cannot_be_imported_is_named(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "upper", value, monkeypatch)
    with pytest.raises(RulesError, match="upper.*" + value.split(":")[0]):
        load_plugins()


def test_a_plugin_cannot_take_the_name_of_an_op(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_ops: None) -> None:
    install(tmp_path, "drop", "surgeon_plugin:Upper", monkeypatch)
    with pytest.raises(RulesError, match=r"drop.*surgeon_plugin\.Upper"):
        load_plugins()


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_is_an_example_for_every_op() -> None:
    finder = doctest.DocTestFinder()
    examples = [test for module in MODULES for test in finder.find(importlib.import_module(module)) if test.examples]
    assert len(examples) >= len(OPS)


def test_importing_all_ops_and_reading_rules_needs_no_torch() -> None:
    script = (
        "import sys; from ckpt_surgeon.ops.registry import OPS, load_plugins; load_plugins();"
        "OPS['rename']({'a.{i:int}': 'b.{i}'}).edits(['a.1'], None); OPS['sub']({'a': 'b'}).edits(['a'], None);"
        "from ckpt_surgeon.spec import TensorSpec; OPS['transpose']().spans((TensorSpec.of('float32', 2, 3),));"
        "print([name for name in ('torch', 'numpy', 'yaml') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "given", "plain"),
    [
        ("squeeze", {"dims": 1}, {"dims": [1]}),
        ("split", {"sizes": [2, 3]}, {"dim": 0, "sizes": [2, 3]}),
        ("init", {"value": "model"}, {"value": "model", "seed": 0}),
        ("cast", {"dtype": "torch.float16"}, {"dtype": "float16"}),
        ("fit", {}, {"shape": "target"}),
        ("select", {"mode": "select", "channels": [1, None]}, {"mode": "select", "channels": [1, None], "dim": 1, "groups": 1}),
        ("rename", {"pairs": {"a": "b"}}, {"pairs": {"a": "b"}}),
        ("strip_prefix", {"prefixes": "module."}, {"prefixes": ["module."]}),
        ("align_names", {"segments": ["net"]}, {"prefixes": [], "segments": ["net"]}),
    ],
)
def test_parameters_are_plain_and_make_the_op_again(name: str, given: dict[str, Any], plain: dict[str, Any]) -> None:
    kind: Any = OPS["adapt_in_channels" if name == "select" else name]
    op = kind(**given)
    assert op.parameters() == plain
    assert kind(**json.loads(json.dumps(op.parameters()))) == op
    assert hash(kind(**op.parameters())) == hash(op)


def test_an_op_does_not_change_with_the_mapping_from_which_it_was_made() -> None:
    pairs = {"a": "b"}
    op = Rename(pairs)
    pairs["c"] = "d"
    assert op.pairs == {"a": "b"}


def test_ops_are_told_apart_by_role() -> None:
    assert isinstance(Squeeze(0), TensorOp)
    assert not isinstance(Rename({"a": "b"}), TensorOp)
