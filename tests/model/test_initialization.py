from pathlib import Path

import pytest
import torch
from torch import nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model import initial_tensors, seeded


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.scale = nn.Parameter(torch.ones(2))


class Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.set = nn.Parameter(torch.ones(2))
        self.kept = nn.Parameter(torch.ones(2))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.set)


def read(given: nn.Module | str, seed: int, *keys: str) -> dict[str, torch.Tensor]:
    reader = initial_tensors(given, seed, keys)
    assert list(reader.header) == list(keys)
    return {key: reader.read(key) for key in keys}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_seed_gives_the_same_values_again_and_another_seed_others() -> None:
    model = Net()
    assert same(read(model, 1, "a.weight", "a.bias"), read(model, 1, "a.weight", "a.bias"))
    assert not same(read(model, 1, "a.weight"), read(model, 2, "a.weight"))


def test_values_depend_neither_on_the_other_keys_nor_on_the_models_weights() -> None:
    model = Net()
    alone = read(model, 1, "b.weight")
    nn.init.zeros_(model.b.weight)
    among = read(model, 1, "a.weight", "b.weight", "norm.weight")
    assert torch.equal(alone["b.weight"], among["b.weight"])


def test_two_layers_of_one_shape_get_different_values() -> None:
    values = read(Net(), 1, "a.weight", "b.weight")
    assert not torch.equal(values["a.weight"], values["b.weight"])


def test_the_values_follow_the_modules_own_initialization() -> None:
    values = read(Net(), 1, "norm.weight", "norm.running_var", "norm.num_batches_tracked", "attention.in_proj_weight")
    assert values["norm.weight"].tolist() == [1.0] * 4
    assert values["norm.running_var"].tolist() == [1.0] * 4
    assert values["norm.num_batches_tracked"].item() == 0
    assert values["attention.in_proj_weight"].abs().max() <= (6 / (4 + 12)) ** 0.5


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_model_and_the_random_numbers_stay_untouched(device: str) -> None:
    with torch.device(device):
        model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    read(model, 1, "a.weight", "norm.bias")
    assert torch.equal(torch.get_rng_state(), state)
    assert device == "meta" or same(before, dict(model.state_dict()))
    assert {value.device.type for value in model.state_dict().values()} == {device}


def test_a_model_on_meta_gives_the_same_values_as_a_live_one() -> None:
    with torch.device("meta"):
        model = Net()
    assert same(read(model, 5, "a.weight"), read(Net(), 5, "a.weight"))


def test_a_factory_is_initialized_as_a_whole_under_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_initial.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.token = nn.Parameter(torch.randn(3))\n"
    )
    monkeypatch.chdir(tmp_path)
    with seeded(7):
        expected = torch.randn(3)
    state = torch.get_rng_state()
    assert torch.equal(read("users_initial:Net", 7, "token")["token"], expected)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ModelError, match="the model has no 'tokken'"):
        initial_tensors("users_initial:Net", 7, ["tokken"])


@pytest.mark.parametrize(
    ("model", "key", "said"),
    [
        (Net(), "scale", r"scale: Net has no reset_parameters\(\)"),
        (Net(), "c.weight", "the model has no module 'c'"),
        (Net(), "a.wait", "Linear has no such tensor"),
        (nn.Linear(1, 1, bias=False), "bias", "Linear has no such tensor"),
        (Forgetful(), "kept", "the initialization of Forgetful does not set it"),
    ],
)
def test_what_cannot_be_initialized_is_named(model: nn.Module, key: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        initial_tensors(model, 0, [key])


def test_what_the_initialization_sets_is_given_beside_what_it_forgets() -> None:
    assert read(Forgetful(), 0, "set")["set"].tolist() == [1.0, 1.0]


def test_a_reset_which_fails_is_a_model_error() -> None:
    class Broken(nn.Linear):
        def reset_parameters(self) -> None:
            raise RuntimeError("no")

    with torch.device("meta"), pytest.raises(RuntimeError):
        Broken(1, 1)
    model = nn.Linear(1, 1)
    model.__class__ = Broken
    with pytest.raises(ModelError, match="resetting a copy of Broken failed: RuntimeError: no"):
        initial_tensors(model, 0, ["weight"])


def _draw_and_fail() -> None:
    with seeded(3):
        torch.rand(3)
        raise KeyError


def test_seeding_is_undone_after_an_error_and_none_changes_nothing() -> None:
    state = torch.get_rng_state()
    with pytest.raises(KeyError):
        _draw_and_fail()
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(None):
        torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state)
