import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model import build, is_spec

_names = iter(range(10_000))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write the text as a module of its own in the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = f"users_net_{next(_names)}"
        (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(text))
        return name

    return write


@pytest.mark.parametrize("text", ["net:build", "pkg.sub.net:Net", "net:Net.small", "_a1:b"])
def test_a_spec_is_recognized(text: str) -> None:
    assert is_spec(text)


@pytest.mark.parametrize(
    "text", ["net", "net:", ":build", "net:build()", "a/b.pt", "C:\\x", "net:a:b", "1net:b", "net.:b", "https://x:80", ""]
)
def test_what_is_no_spec_is_not_taken_for_one(text: str) -> None:
    assert not is_spec(text)
    with pytest.raises(ModelError, match=r"is no model"):
        build(text)


def test_a_function_a_class_a_dotted_path_and_an_instance_are_models(make: Callable[[str], str]) -> None:
    name = make(
        """
        class Net(nn.Sequential):
            def __init__(self, width=4):
                super().__init__(nn.Linear(3, width))
            @classmethod
            def wide(cls):
                return cls(40)
        def factory(width):
            return Net(width)
        net = Net()
        """
    )
    widths = {
        "Net": {},
        "Net.wide": {},
        "factory": {"width": 7},
        "net": {},
    }
    found = {path: build(f"{name}:{path}", arguments).get_parameter("0.weight").shape for path, arguments in widths.items()}
    assert found == {"Net": (4, 3), "Net.wide": (40, 3), "factory": (7, 3), "net": (4, 3)}


def test_the_model_stands_on_meta_or_where_it_is_asked_to(make: Callable[[str], str]) -> None:
    spec = make("def f(): return nn.Linear(2, 2)") + ":f"
    assert build(spec).get_parameter("weight").is_meta
    assert build(spec, device="cpu").get_parameter("weight").device.type == "cpu"


def test_a_factory_which_reads_values_is_built_on_the_cpu(make: Callable[[str], str]) -> None:
    name = make(
        """
        def f():
            rates = [x.item() for x in torch.linspace(0, 1, 3)]
            return nn.Linear(2, len(rates))
        """
    )
    weight = build(f"{name}:f").get_parameter("weight")
    assert weight.shape == (3, 2)
    assert not weight.is_meta
    assert weight.abs().sum() > 0


def test_building_on_meta_leaves_the_initializers_working_afterwards(make: Callable[[str], str]) -> None:
    build(make("def f(): return nn.Embedding(9, 9)") + ":f")
    with pytest.raises(ModelError):
        build(make("def f(): raise ValueError('no')") + ":f")
    assert nn.init.zeros_(torch.ones(2)).sum() == 0
    assert nn.Linear(4, 4).weight.std() > 0


def test_a_model_on_meta_draws_no_random_numbers(make: Callable[[str], str]) -> None:
    before = torch.get_rng_state()
    build(make("def f(): return nn.Sequential(nn.Embedding(9, 9), nn.Linear(3, 3))") + ":f")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "factory",
    [
        "return nn.Embedding(9, 9)",
        "net = nn.Linear(9, 9)\n    net.weight.data.normal_(0, 0.02)\n    return net",
        "net = nn.Linear(9, 9)\n    nn.init.normal_(tensor=net.weight, std=0.02)\n    return net",
    ],
)
def test_what_fills_weights_on_meta_does_not_load_the_rest_of_torch(factory: str, tmp_path: Path) -> None:
    (tmp_path / "users_words.py").write_text(f"from torch import nn\ndef f():\n    {factory}\n")
    code = "import sys; from ckpt_surgeon.model import build; print(build('users_words:f').weight.is_meta, 'sympy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == "True False\n"


def test_an_initializer_gives_its_tensor_back_on_meta_as_well(make: Callable[[str], str]) -> None:
    name = make(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(nn.init.normal_(torch.empty(3, 4)))
        """
    )
    weight = build(f"{name}:Net").get_parameter("scale")
    assert weight.is_meta
    assert weight.shape == (3, 4)


def test_tensors_which_are_not_on_meta_are_filled_while_the_model_is_built_there(make: Callable[[str], str]) -> None:
    name = make(
        """
        def f():
            ones = nn.init.ones_(torch.empty(5, device="cpu"))
            drawn = torch.zeros(5, device="cpu").normal_()
            return nn.Linear(int(ones.sum()), 2 if drawn.abs().sum() > 0 else 1)
        """
    )
    weight = build(f"{name}:f").get_parameter("weight")
    assert weight.is_meta
    assert weight.shape == (2, 5)


def test_an_initializer_which_is_imported_while_the_model_is_built_goes_on_working(make: Callable[[str], str]) -> None:
    name = make(
        """
        def f():
            global ones_
            from torch.nn.init import ones_
            return nn.Linear(1, 1)
        """
    )
    build(f"{name}:f")
    assert sys.modules[name].ones_(torch.zeros(3)).sum() == 3


def test_the_current_folder_is_importable_only_meanwhile(
    make: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = make("def f(): return nn.Linear(1, 2)")
    outer = make(f"def f():\n    import {inner}\n    return {inner}.f()")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    before = list(sys.path)
    assert build(f"{outer}:f").get_parameter("weight").shape == (2, 1)
    assert sys.path == before


def test_what_the_users_code_prints_does_not_mix_with_results(make: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    build(make("print('importing')\ndef f():\n    print('building')\n    return nn.Linear(1, 1)") + ":f")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "importing\nbuilding\n"


@pytest.mark.parametrize(
    ("code", "path", "said"),
    [
        ("", "no_such", "has no 'no_such'"),
        ("class A: pass", "A.b", "A has no 'b'"),
        ("x = 3", "x", "it is a int, neither a factory nor a model"),
        ("def f(): return {}", "f", "it returned dict, not an nn.Module"),
        ("def f(): raise KeyError('depth')", "f", "building the model failed in .*py:3: KeyError: 'depth'"),
        ("def f(): raise SystemExit(3)", "f", "building the model failed in .*: SystemExit: 3"),
        ("def f(): assert False", "f", "AssertionError\nhint"),
        ("def f(width): return nn.Linear(1, width)", "f", "missing a required argument: 'width'; it takes .width."),
        ("raise RuntimeError('broken')", "f", "importing users_net_.* failed in .*:3: RuntimeError: broken"),
        ("import sys; sys.exit(0)", "f", "importing .*SystemExit: 0"),
        ("def f(: pass", "f", "SyntaxError"),
        ("import no_such_library_at_all", "f", "importing .*ModuleNotFoundError: No module named 'no_such_library_at_all'"),
    ],
)
def test_a_fault_of_the_users_code_is_a_model_error_which_says_where(make: Callable[[str], str], code: str, path: str, said: str) -> None:
    spec = f"{make(code)}:{path}"
    with pytest.raises(ModelError, match=said) as caught:
        build(spec)
    assert caught.value.problems[0].where == spec
    assert caught.value.exit_code == 4


def test_a_long_message_is_cut_to_one_line(make: Callable[[str], str]) -> None:
    with pytest.raises(ModelError) as caught:
        build(make("def f(): raise ValueError('a\\nb ' * 10_000)") + ":f")
    assert len(caught.value.problems[0].what) < 500
    assert "\n" not in caught.value.problems[0].what


@pytest.mark.parametrize("name", ["no_such_module_here", "no_such_package.net"])
def test_a_missing_module_is_named_with_what_to_do(name: str) -> None:
    with pytest.raises(ModelError, match=f"there is no module '{name.split('.')[0]}'") as caught:
        build(f"{name}:f")
    assert "PYTHONPATH" in caught.value.hint


def test_a_missing_name_gets_a_guess(make: Callable[[str], str]) -> None:
    with pytest.raises(ModelError) as caught:
        build(make("def build_model(): return nn.Linear(1, 1)") + ":build_modle")
    assert caught.value.hint == "did you mean build_model?"


def test_wrong_arguments_are_refused_before_anything_is_built(make: Callable[[str], str], tmp_path: Path) -> None:
    name = make("def f(width=3):\n    open('called', 'w').close()\n    return nn.Linear(1, width)\nnet = nn.Linear(1, 1)")
    with pytest.raises(ModelError, match=r"unexpected keyword argument 'widht'; it takes \(width=3\)"):
        build(f"{name}:f", {"widht": 3})
    with pytest.raises(ModelError, match="takes no arguments"):
        build(f"{name}:net", {"width": 3})
    assert not (tmp_path / "called").exists()


def test_an_interrupt_is_not_swallowed(make: Callable[[str], str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(make("def f(): raise KeyboardInterrupt") + ":f")
