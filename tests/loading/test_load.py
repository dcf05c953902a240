import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, CoverageError, DiskError, ModelError, NothingLoadedError, RulesError


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)
        self.register_buffer("grid", torch.rand(1, 2).expand(3, 2), persistent=False)


def bits(model: nn.Module) -> dict[str, tuple[int, int, bytes]]:
    """For every tensor: the object, its memory, and its bytes."""
    tensors = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return {name: (id(t), t.data_ptr(), t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()) for name, t in tensors}


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def weights(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {key: torch.randn_like(value) if value.is_floating_point() else value + 5 for key, value in Net().state_dict().items()}


def prefixed(prefix: str = "module.") -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in weights().items()}


@pytest.mark.parametrize("form", ["pt", "safetensors", "dict", "module", "path object"])
def test_whatever_holds_the_weights_can_be_loaded(tmp_path: Path, form: str) -> None:
    state = weights()
    source: Any = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    save_file(state, source) if form == "safetensors" else torch.save(state, source)
    given = {"dict": state, "path object": source}.get(form, str(source))
    if form == "module":
        given = Net()
        given.load_state_dict(state)
    model = Net()
    outcome = surgeon.load(model, given)
    assert same(model, state)
    assert outcome.exact == tuple(model.state_dict())
    assert (outcome.missing_keys, outcome.unexpected_keys, outcome.coverage, outcome.coverage_keys) == ((), (), 1.0, 1.0)


def test_rules_are_applied_on_the_way() -> None:
    model = Net()
    outcome = surgeon.load(model, prefixed(), rules=[{"strip_prefix": "module."}])
    assert same(model, weights())
    assert outcome.renamed == tuple(model.state_dict())


def test_the_source_is_not_changed() -> None:
    state = weights()
    before = copy.deepcopy(state)
    model = Net()
    surgeon.load(model, state)
    model.fc.weight.data.zero_()
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert not same(model, state)


def test_parameters_stay_the_same_objects_in_the_same_memory() -> None:
    model = Net()
    model.fc.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    places = {name: entry[:2] for name, entry in bits(model).items()}
    state = weights()
    surgeon.load(model, state)
    assert {name: entry[:2] for name, entry in bits(model).items()} == places
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["fc.weight", "fc.bias"]
    optimizer.step()
    assert torch.equal(model.conv.weight, state["conv.weight"] - 1)


def test_views_of_a_parameter_see_the_loaded_values() -> None:
    model = Net()
    view = model.conv.weight.detach().view(-1)
    state = weights()
    surgeon.load(model, state)
    assert torch.equal(view, state["conv.weight"].view(-1))


def test_what_may_be_missing_keeps_the_models_values_and_is_reported() -> None:
    model = Net()
    head = model.fc.weight.detach().clone()
    state = {key: value for key, value in weights().items() if not key.startswith("fc.")}
    outcome = surgeon.load(model, state, allow_missing=["fc.**"])
    assert outcome.missing_keys == outcome.new == ("fc.weight", "fc.bias")
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.conv.weight, state["conv.weight"])
    assert outcome.coverage == 1.0


def test_what_may_be_left_over_is_left_out_with_its_reason() -> None:
    model = Net()
    outcome = surgeon.load(model, {**weights(), "aux.weight": torch.ones(2)}, allow_unexpected=["aux.**"])
    assert outcome.unexpected_keys == ("aux.weight",)
    assert set(outcome.dropped) == {"aux.weight"}
    assert same(model, weights())


REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "a key is missing": ({k: v for k, v in weights().items() if k != "fc.bias"}, {}, CoverageError, "fc.bias"),
    "a key is left over": ({**weights(), "x": torch.ones(1)}, {}, CoverageError, "unexpected"),
    "a shape differs": ({**weights(), "fc.bias": torch.ones(7)}, {}, CoverageError, r"f32\[7\]"),
    "a shape differs though it may be missing": (
        {**weights(), "fc.bias": torch.ones(7)}, {"allow_missing": ["**"]}, CoverageError, "mismatched"),
    "nothing matches": (prefixed(), {}, NothingLoadedError, "nothing would be loaded"),
    "nothing matches though all may be missing": (
        prefixed(), {"allow_missing": ["**"], "allow_unexpected": ["**"]}, NothingLoadedError, "nothing would be loaded"),
    "a cast would lose values": (
        {k: v.double() if v.is_floating_point() else v for k, v in weights().items()}, {}, CoverageError, "lose values"),
    "a tensor stands where a number belongs": ({**weights(), "fc.bias": "text"}, {}, CoverageError, "fc.bias"),
    "too little is covered": (
        {k: v for k, v in weights().items() if k.startswith("conv")}, {"allow_missing": ["norm.running_*", "**.num_batches_tracked"]},
        CoverageError, "missing"),
    "a rule matches nothing": (weights(), {"rules": [{"strip_prefix": "module."}]}, RulesError, "match"),
    "an allowed pattern is none": (weights(), {"allow_missing": ["a{"]}, RulesError, ""),
    "the source is an envelope": ({"state_dict": weights()}, {}, ModelError, "one level deeper"),
    "there is no such file": ("no/such/file.pt", {}, DiskError, "no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(case: str) -> None:
    source, options, error, said = REFUSED[case]
    model = Net()
    before = bits(model)
    with pytest.raises(error) as caught:
        surgeon.load(model, source, **options)
    assert said.replace("\\", "") in str(caught.value)
    assert bits(model) == before


def test_a_required_coverage_counts_what_may_be_missing_by_other_rules() -> None:
    state = {key: value for key, value in weights().items() if not key.startswith("fc.")}
    assert surgeon.load(Net(), state, allow_missing=["fc.**"], require_coverage=1.0).coverage == 1.0


def test_a_file_which_is_cut_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[:-8])
    model = Net()
    before = bits(model)
    with pytest.raises(CorruptError):
        surgeon.load(model, path)
    assert bits(model) == before


def test_a_wider_dtype_takes_the_values_and_a_narrower_one_only_when_that_is_said() -> None:
    model = Net().double()
    outcome = surgeon.load(model, weights())
    assert torch.equal(model.conv.weight, weights()["conv.weight"].double())
    assert model.conv.weight.dtype == torch.float64
    assert any("cast" in note for note in outcome.notes)
    small = Net().half()
    surgeon.load(small, weights(), rules={"version": 1, "rules": [], "allow": {"casts": ["**"]}})
    assert torch.equal(small.fc.weight, weights()["fc.weight"].half())


def test_a_counter_which_old_files_lack_keeps_the_models_count() -> None:
    model = Net()
    model.norm.num_batches_tracked.fill_(3)
    state = {key: value for key, value in weights().items() if "num_batches" not in key}
    outcome = surgeon.load(model, state)
    assert outcome.filled == ("norm.num_batches_tracked",)
    assert model.norm.num_batches_tracked.item() == 3
    assert torch.equal(model.norm.weight, state["norm.weight"])


@pytest.mark.parametrize(("found", "wanted"), [((), (1,)), ((1,), ())])
def test_a_scalar_and_a_vector_of_one_stand_for_each_other(found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    model = nn.Module()
    model.scale = nn.Parameter(torch.zeros(wanted))
    outcome = surgeon.load(model, {"scale": torch.full(found, 2.0)})
    assert model.scale.shape == wanted
    assert model.scale.sum().item() == 2.0
    assert outcome.notes


def test_an_initialized_head_is_repeatable() -> None:
    state = {key: value for key, value in weights().items() if not key.startswith("fc.")}
    rules = [{"init": {"match": "fc.**", "value": "model", "seed": 3}}]
    models = [Net(), Net()]
    outcomes = [surgeon.load(model, state, rules) for model in models]
    assert outcomes[0].initialized == ("fc.weight", "fc.bias")
    assert torch.equal(models[0].fc.weight, models[1].fc.weight)
    assert models[0].fc.weight.std() > 0


def test_variables_reach_the_rules() -> None:
    rules = [{"drop": "fc.**", "if": "new_classes"}, {"init": {"match": "fc.**", "value": "zeros"}, "if": "new_classes"}]
    model = Net(5)
    outcome = surgeon.load(model, weights(), rules, variables={"new_classes": True})
    assert model.fc.weight.abs().sum() == 0
    assert outcome.initialized == ("fc.weight", "fc.bias")
    with pytest.raises(CoverageError):
        surgeon.load(Net(5), weights(), rules, variables={"new_classes": False})


class Tied(nn.Module):
    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        if tie:
            self.head.weight = self.embed.weight


@pytest.mark.parametrize("names", [("embed.weight",), ("head.weight",), ("embed.weight", "head.weight")])
def test_a_tied_model_is_loaded_under_any_of_its_names_and_stays_tied(names: tuple[str, ...]) -> None:
    model, value = Tied(), torch.randn(4, 3)
    surgeon.load(model, dict.fromkeys(names, value))
    assert torch.equal(model.embed.weight, value)
    assert model.head.weight is model.embed.weight


def test_tied_weights_reach_an_untied_model_as_independent_ones() -> None:
    model, source = Tied(tie=False), Tied()
    surgeon.load(model, source)
    model.head.weight.data.zero_()
    assert torch.equal(model.embed.weight, source.embed.weight)


def test_a_tied_model_takes_no_two_values() -> None:
    model = Tied()
    before = bits(model)
    rivals = {"embed.weight": torch.zeros(4, 3), "head.weight": torch.ones(4, 3)}
    with pytest.raises(CoverageError, match=r"different values: embed.weight and head.weight"):
        surgeon.load(model, rivals)
    assert bits(model) == before
    twins = {"embed.weight": torch.full((4, 3), torch.nan), "head.weight": torch.full((4, 3), torch.nan)}
    surgeon.load(model, twins)
    assert model.head.weight.isnan().all()


def test_a_module_in_two_places_is_loaded_once() -> None:
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"a": shared, "b": shared})
    surgeon.load(model, {"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2)})
    assert shared.weight.sum() == 4
    assert model["a"] is model["b"]


def test_a_frozen_and_held_model_loads_too() -> None:
    model = Net()
    surgeon.finetune.freeze(model, "**")
    surgeon.load(model, weights())
    assert same(model, weights())
    assert not model.train().norm.training


class Widened(nn.Linear):
    """Doubles the weights of files older than its version 2."""

    _version = 2

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any) -> None:
        if local_metadata.get("version", 1) < 2:
            state_dict[prefix + "weight"] = state_dict[prefix + "weight"] * 2
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@pytest.mark.parametrize(("version", "factor"), [(1, 2), (2, 1)])
def test_a_modules_own_conversion_of_old_files_runs_by_the_files_version(version: int, factor: int) -> None:
    source = nn.ModuleDict({"old": Widened(2, 2)}).state_dict()
    source._metadata["old"]["version"] = version  # type: ignore[attr-defined]
    model = nn.ModuleDict({"new": Widened(2, 2)})
    surgeon.load(model, source, rules=[{"rename": {"old.{x}": "new.{x}"}}])
    assert torch.equal(model["new"].weight, source["old.weight"] * factor)


def test_a_hook_sees_a_complete_state_dict() -> None:
    model, seen = Net(), []
    model.register_load_state_dict_pre_hook(lambda module, state, *rest: seen.append((list(state), rest[2])))
    surgeon.load(model, {"conv.weight": weights()["conv.weight"]}, allow_missing=["**"])
    assert seen == [(list(model.state_dict()), True)]


def test_a_model_on_meta_is_refused() -> None:
    with torch.device("meta"):
        model = Net()
    with pytest.raises(ModelError, match="10 tensors on the meta device"):
        surgeon.load(model, weights())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_model_is_refused() -> None:
    with pytest.raises(ModelError, match="scripted"):
        surgeon.load(torch.jit.script(nn.Linear(2, 2)), nn.Linear(2, 2).state_dict())


MEMORY = """
import resource, sys, torch
from torch import nn
import ckpt_surgeon as surgeon
model = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(8)))
surgeon.load(nn.Linear(2, 2), nn.Linear(2, 2))
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
open("/proc/self/clear_refs", "w").write("5")
surgeon.load(model, sys.argv[1])
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
def test_the_peak_is_the_model_its_state_dict_and_little_more(tmp_path: Path) -> None:
    size, largest = 8 * 2048 * 2048 * 4, 2048 * 2048 * 4
    model = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(8)))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path / "w.safetensors")], capture_output=True, text=True, check=True)
    assert 0.9 * size < int(done.stdout) < size + 3 * largest


@pytest.mark.gpu
def test_a_model_on_a_gpu_stays_there_and_a_failed_load_is_taken_back() -> None:
    model = Net().cuda()
    places = [parameter.data_ptr() for parameter in model.parameters()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    handle = model.fc.register_load_state_dict_post_hook(lambda *_: 1 / 0)
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        surgeon.load(model, weights())
    assert same(model, before)
    handle.remove()
    surgeon.load(model, weights())
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    assert {value.device.type for value in model.state_dict().values()} == {"cuda"}
    assert same(model.cpu(), weights())


@pytest.mark.parametrize("shape", [(0, 3), (), (1,)])
def test_the_smallest_tensors_are_loaded_too(shape: tuple[int, ...]) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(shape))
    model.other = nn.Parameter(torch.zeros(1))
    surgeon.load(model, {"weight": torch.ones(shape), "other": torch.ones(1)})
    assert torch.equal(model.weight, torch.ones(shape))
