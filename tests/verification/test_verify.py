import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, CoverageError, DiskError, ModelError, NothingLoadedError


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {key: torch.randn_like(value) if value.is_floating_point() else value + 5 for key, value in Net().state_dict().items()}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Save a dict of tensors, and give its path."""

    def save(state: Any, name: str = "w.pt") -> str:
        path = tmp_path / name
        save_file(state, path) if name.endswith(".safetensors") else torch.save(state, path)
        return str(path)

    return save


@pytest.mark.parametrize("device", ["auto", "meta", "cpu"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_checkpoint_which_fits_is_proved_on_each_device(saved: Callable[..., str], name: str, device: str) -> None:
    outcome = surgeon.verify(saved(weights(), name), Net(), device)
    assert outcome.exact == tuple(Net().state_dict())
    assert outcome.coverage == outcome.coverage_keys == 1.0
    assert outcome.notes[0].startswith("7 tensors (") or outcome.notes[0].startswith("9 tensors (")


@pytest.mark.parametrize(
    ("device", "said"),
    [("meta", "a strict load on meta went well"), ("cpu", "a strict load on cpu went well, and every tensor there is the file's")],
)
def test_the_notes_say_what_was_done_and_where(saved: Callable[..., str], device: str, said: str) -> None:
    assert said in surgeon.verify(saved(weights()), Net(), device).notes[-1]


def test_auto_takes_what_is_there_and_says_it(saved: Callable[..., str]) -> None:
    note = surgeon.verify(saved(weights()), Net()).notes[-1]
    assert f"on {'cuda (' if torch.cuda.is_available() else 'cpu '}" in note


def test_a_factory_a_checkpoint_and_a_header_are_targets(
    saved: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users_verified.py").write_text("from torch import nn\ndef f(n=3): return nn.Linear(2, n)\n")
    path = saved(nn.Linear(2, 4).state_dict())
    assert "strict load" in surgeon.verify(path, "users_verified:f", arguments={"n": 4}).notes[-1]
    for target in (path, saved(nn.Linear(2, 4).state_dict(), "other.safetensors"), surgeon.inspect(path), nn.Linear(2, 4).state_dict()):
        assert surgeon.verify(path, target).notes == ("2 tensors (48 bytes) were read back",)


def test_the_given_model_stays_as_it_is(saved: Callable[..., str]) -> None:
    model = Net()
    before = {key: (value.data_ptr(), value.clone()) for key, value in model.state_dict().items()}
    surgeon.verify(saved(weights()), model)
    assert all(value.data_ptr() == before[key][0] and torch.equal(value, before[key][1]) for key, value in model.state_dict().items())
    assert not any(parameter.is_meta for parameter in model.parameters())


def without(*names: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights().items() if not key.startswith(names)}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "a key is missing": (without("fc.bias"), {}, CoverageError, "fc.bias"),
    "a key is left over": ({**weights(), "x": torch.ones(1)}, {}, CoverageError, "unexpected"),
    "a shape differs": ({**weights(), "fc.bias": torch.ones(7)}, {}, CoverageError, "mismatched"),
    "nothing matches": ({"x": torch.ones(1)}, {}, NothingLoadedError, "nothing"),
    "another key may be missing": (without("fc.bias"), {"allow_missing": ["fc.weight"]}, CoverageError, "fc.bias"),
    "values would be lost": ({**weights(), "fc.bias": torch.ones(3).double()}, {}, CoverageError, "lose values"),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(saved: Callable[..., str], case: str, device: str) -> None:
    state, options, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        surgeon.verify(saved(state), Net(), device, **options)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_what_may_be_missing_or_left_over_is_said(saved: Callable[..., str], device: str) -> None:
    path = saved({**without("fc."), "aux": torch.ones(1)})
    outcome = surgeon.verify(path, Net(), device, allow_missing=["fc.**"], allow_unexpected=["aux"])
    assert (outcome.missing_keys, outcome.unexpected_keys) == (("fc.weight", "fc.bias"), ("aux",))


def test_what_the_rules_allow_holds_here_too(saved: Callable[..., str]) -> None:
    rules = {"version": 1, "rules": [{"strip_prefix": "module."}], "allow": {"missing": ["fc.**"]}}
    assert surgeon.verify(saved(without("fc.")), Net(), rules=rules).missing_keys == ("fc.weight", "fc.bias")


def test_a_file_which_is_damaged_or_gone_is_an_error(saved: Callable[..., str], tmp_path: Path) -> None:
    path = Path(saved(weights(), "w.safetensors"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptError):
        surgeon.verify(path, Net())
    with pytest.raises(DiskError):
        surgeon.verify(tmp_path / "gone.pt", Net())


# -- the load itself


def test_a_counter_which_old_files_lack_is_filled_by_the_load(saved: Callable[..., str]) -> None:
    state = without("norm.num_batches_tracked")
    assert surgeon.verify(saved(state), Net(), "cpu").filled == ("norm.num_batches_tracked",)


def test_a_counter_which_the_files_version_promises_is_missed_by_the_load(saved: Callable[..., str]) -> None:
    state = Net().state_dict()
    del state["norm.num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        Net().load_state_dict(state)
    with pytest.raises(CoverageError, match=r"norm.num_batches_tracked"):
        surgeon.verify(saved(state), Net(), "cpu")


def _refuse(*_: Any) -> None:
    raise ValueError("not with me")


def _double(_: nn.Module, state: dict[str, torch.Tensor], *__: Any) -> None:
    state["fc.bias"] = state["fc.bias"] * 2


def test_the_models_own_hooks_run(saved: Callable[..., str]) -> None:
    model = Net()
    model.register_load_state_dict_pre_hook(_refuse)
    for device in ("meta", "cpu"):
        with pytest.raises(CoverageError, match=rf"failed on {device}: ValueError: not with me"):
            surgeon.verify(saved(weights()), model, device)


def test_a_hook_which_changes_values_is_found_by_comparing(saved: Callable[..., str]) -> None:
    model = Net()
    model.register_load_state_dict_pre_hook(_double)
    assert "no values" in surgeon.verify(saved(weights()), model, "meta").notes[-1]
    with pytest.raises(CoverageError, match=r"not the file's after a load on cpu: fc\.bias"):
        surgeon.verify(saved(weights()), model, "cpu")


def test_nan_and_negative_zero_compare_bit_for_bit(saved: Callable[..., str]) -> None:
    state = {**weights(), "fc.bias": torch.tensor([float("nan"), -0.0, float("inf")])}
    surgeon.verify(saved(state), Net(), "cpu")


def test_a_wider_model_is_compared_in_its_own_dtype(saved: Callable[..., str]) -> None:
    outcome = surgeon.verify(saved(weights()), Net().double(), "cpu")
    assert any("cast" in note for note in outcome.notes)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_tied_weights_fit_under_any_of_their_names_but_not_with_two_values(saved: Callable[..., str], device: str) -> None:
    one, two = torch.ones(4, 3), torch.zeros(4, 3)
    for state in (Tied().state_dict(), {"embed.weight": one}, {"head.weight": one}, {"embed.weight": one, "head.weight": one.clone()}):
        surgeon.verify(saved(state), Tied(), device)
    with pytest.raises(CoverageError, match=r"different values: embed.weight and head.weight"):
        surgeon.verify(saved({"embed.weight": one, "head.weight": two}), Tied(), device)


class Extra(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"step": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        if set(state) != {"step"}:
            raise ValueError("no step")


def test_extra_state_is_given_to_the_model(saved: Callable[..., str]) -> None:
    state = Extra(2, 2).state_dict()
    surgeon.verify(saved(state), Extra(2, 2), "cpu")
    with pytest.raises(CoverageError, match="no step"):
        surgeon.verify(saved({**state, "_extra_state": {"other": 1}}), Extra(2, 2), "cpu")


# -- devices


def test_cuda_without_a_gpu_is_refused_clearly(saved: Callable[..., str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ModelError, match="there is no CUDA device here") as caught:
        surgeon.verify(saved(weights()), Net(), "cuda")
    assert "--device cpu" in caught.value.hint


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "", "CPU"])
def test_another_device_is_refused(saved: Callable[..., str], device: str) -> None:
    with pytest.raises(ModelError, match="there is no device"):
        surgeon.verify(saved(weights()), Net(), device)


def test_a_load_needs_a_model(saved: Callable[..., str]) -> None:
    path = saved(weights())
    with pytest.raises(ModelError, match="the target is no model"):
        surgeon.verify(path, path, "cpu")


@pytest.mark.gpu
def test_on_a_gpu_every_tensor_is_read_back_from_there(saved: Callable[..., str]) -> None:
    model = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(8)))
    path = saved(model.state_dict(), "w.safetensors")
    torch.cuda.init()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outcome = surgeon.verify(path, model, "cuda")
    assert "a strict load on cuda (" in outcome.notes[-1]
    assert torch.cuda.max_memory_allocated() - before <= 9 * 1024 * 1024 * 4
    assert torch.cuda.memory_allocated() == before


# -- against the plan


STRIP = [{"strip_prefix": "module."}]


def test_the_bytes_are_those_which_the_rules_make_of_the_source(saved: Callable[..., str], tmp_path: Path) -> None:
    source = saved({f"module.{key}": value for key, value in weights().items()}, "source.pt")
    out = tmp_path / "out.safetensors"
    surgeon.write(surgeon.plan(source, STRIP, Net()), out)
    outcome = surgeon.verify(out, Net(), rules=STRIP, source=source)
    assert "9 tensors are those which the rules make of the source" in outcome.notes


@pytest.mark.parametrize("target", [Net(), None], ids=["model", "checkpoint"])
def test_other_values_than_the_plans_are_found(saved: Callable[..., str], target: nn.Module | None) -> None:
    source = saved({f"module.{key}": value for key, value in weights().items()}, "source.pt")
    changed = weights()
    changed["fc.bias"][1] += 1e-7
    out = saved(changed, "out.safetensors")
    surgeon.verify(out, target or out)
    with pytest.raises(CoverageError, match=r"not those which the rules make of the source: fc\.bias"):
        surgeon.verify(out, target or out, rules=STRIP, source=source)


def test_another_dtype_than_the_plans_is_found_in_the_header(saved: Callable[..., str]) -> None:
    source = saved({f"module.{key}": value for key, value in weights().items()}, "source.pt")
    out = saved({**weights(), "fc.bias": weights()["fc.bias"].half()}, "out.pt")
    with pytest.raises(CoverageError, match=r"fc.bias is f16\[3\], planned is f32\[3\]"):
        surgeon.verify(out, Net(), rules=STRIP, source=source)


def test_without_rules_the_source_must_hold_the_same(saved: Callable[..., str]) -> None:
    source, out = saved(weights(), "source.pt"), saved(weights(), "out.safetensors")
    assert "9 tensors are" in surgeon.verify(out, Net(), source=source).notes[1]


def test_progress_counts_every_byte_of_every_pass(saved: Callable[..., str]) -> None:
    path = saved(weights(), "w.safetensors")
    for device, passes in (("meta", 1), ("cpu", 2)):
        calls: list[tuple[int, int | None]] = []
        surgeon.verify(path, Net(), device, progress=lambda *call, calls=calls: calls.append(call))
        nbytes = surgeon.inspect(path).nbytes
        assert calls[-1] == (passes * nbytes, passes * nbytes)
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)


MEMORY = """
import resource, sys, torch
from torch import nn
import ckpt_surgeon as surgeon
with torch.device("meta"):
    model = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(8)))
    small = nn.Sequential(nn.Linear(2, 2, bias=False))
surgeon.verify(sys.argv[2], small, "cpu")
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
open("/proc/self/clear_refs", "w").write("5")
surgeon.verify(sys.argv[1], model, "cpu")
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
def test_the_peak_is_the_model_and_its_largest_tensor(saved: Callable[..., str]) -> None:
    size, largest = 8 * 2048 * 2048 * 4, 2048 * 2048 * 4
    path = saved(nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(8))).state_dict(), "w.safetensors")
    small = saved(nn.Sequential(nn.Linear(2, 2, bias=False)).state_dict(), "small.safetensors")
    done = subprocess.run([sys.executable, "-c", MEMORY, path, small], capture_output=True, text=True, check=True)
    assert 0.9 * size < int(done.stdout) < size + 1.5 * largest
