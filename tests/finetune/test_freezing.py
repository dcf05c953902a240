import copy
import io
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from ckpt_surgeon import finetune
from ckpt_surgeon.errors import RulesError


class Net(nn.Module):
    """Two blocks and a head: 10 parameters; 16 entries in the state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        result: torch.Tensor = self.fc(y.mean((2, 3)))
        return result


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def moved_statistics(model: nn.Module) -> list[str]:
    """The names of the norms whose statistics a step in training mode changes."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model(torch.randn(4, 3, 8, 8) * 3 + 1)
    changed = [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in changed))


@pytest.mark.parametrize(
    ("patterns", "frozen", "held"),
    [
        ("conv1.**", ["conv1.weight", "conv1.bias"], []),
        (["conv1.weight"], ["conv1.weight"], []),
        ("bn1.*", ["bn1.weight", "bn1.bias"], ["bn1"]),
        (["**.bias"], ["conv1.bias", "bn1.bias", "conv2.bias", "bn2.bias", "fc.bias"], []),
        ("bn*.{weight|bias}", ["bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias"], ["bn1", "bn2"]),
        ("*1.**", ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"], ["bn1"]),
        ("bn2.running_mean", [], ["bn2"]),
        (["re:(conv|bn)1\\..*", "fc.bias"], ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "fc.bias"], ["bn1"]),
    ],
)
def test_patterns_freeze_parameters_and_hold_the_norms_which_are_frozen_whole(
    patterns: list[str], frozen: list[str], held: list[str]
) -> None:
    model = Net()
    names = [name for name, _ in model.named_parameters()]
    assert finetune.freeze(model, patterns) == tuple(frozen)
    assert trainable(model) == [name for name in names if name not in frozen]
    assert moved_statistics(model) == [norm for norm in ("bn1", "bn2") if norm not in held]


def test_without_bn_eval_frozen_norms_go_on_learning() -> None:
    model = Net()
    finetune.freeze(model, "bn*.*", bn_eval=False)
    assert moved_statistics(model) == ["bn1", "bn2"]


def test_a_held_norm_is_in_eval_mode_at_once_and_whatever_the_model_does() -> None:
    model = Net()
    finetune.freeze(model, "bn1.*")
    modes = [(model.bn1.training, model.bn2.training)]
    for switch in (
        model.eval,
        model.train,
        model.bn1.train,
        partial(model.train, False),
        model.train,
    ):
        switch()
        modes.append((model.bn1.training, model.bn2.training))
    assert modes == [(False, True), (False, False), (False, True), (False, True), (False, False), (False, True)]
    assert model.bn1.train() is model.bn1


def test_a_second_freeze_changes_nothing_and_adds_up() -> None:
    model = Net()
    first = finetune.freeze(model, "*1.**")
    assert finetune.freeze(model, "*1.**") == first
    finetune.freeze(model, "bn2.weight")
    finetune.freeze(model, "bn2.bias")
    assert trainable(model) == ["conv2.weight", "conv2.bias", "fc.weight", "fc.bias"]
    assert moved_statistics(model) == []


def test_the_state_dict_is_not_changed_by_freezing() -> None:
    model = Net()
    before = copy.deepcopy(model.state_dict())
    finetune.freeze(model, "**")
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    model.load_state_dict(before, strict=True)


def _pickled(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    found: nn.Module = torch.load(buffer, weights_only=False)
    return found


@pytest.mark.parametrize("twin", [copy.deepcopy, _pickled], ids=["deepcopy", "pickle"])
def test_a_copy_of_the_model_is_frozen_too_and_on_its_own(twin: Callable[[nn.Module], nn.Module]) -> None:
    model = Net()
    finetune.freeze(model, "bn1.*")
    other = twin(model)
    assert moved_statistics(other) == ["bn2"]
    assert other.bn1.train() is other.bn1
    finetune.unfreeze(model, "bn1.*")
    assert moved_statistics(other) == ["bn2"]
    assert moved_statistics(model) == ["bn1", "bn2"]


def test_unfreeze_gives_back_what_freeze_took() -> None:
    model = Net()
    model.train()
    finetune.freeze(model, "**")
    assert finetune.unfreeze(model, "bn2.**") == ("bn2.weight", "bn2.bias")
    assert trainable(model) == ["bn2.weight", "bn2.bias"]
    assert model.bn2.training
    assert not model.bn1.training
    finetune.unfreeze(model)
    assert len(trainable(model)) == 10
    assert moved_statistics(model) == ["bn1", "bn2"]
    assert "train" not in model.bn1.__dict__


def test_unfreezing_what_was_never_frozen_does_no_harm() -> None:
    model = Net().eval()
    assert len(finetune.unfreeze(model)) == 10
    assert not model.bn1.training


@pytest.mark.parametrize(
    ("space", "below", "frozen", "held"),
    [
        ("parameters", 1, ["conv1.weight"], []),
        ("parameters", 4, ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"], ["bn1"]),
        ("state_dict", 4, ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"], ["bn1"]),
        ("state_dict", 8, ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "conv2.weight"], ["bn1"]),
        (
            "parameters",
            8,
            ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "conv2.weight", "conv2.bias", "bn2.weight", "bn2.bias"],
            ["bn1", "bn2"],
        ),
    ],
)
def test_the_same_index_freezes_less_when_buffers_count(space: str, below: int, frozen: list[str], held: list[str]) -> None:
    model = Net()
    assert finetune.freeze(model, below=below, space=space) == tuple(frozen)  # type: ignore[arg-type]
    assert moved_statistics(model) == [norm for norm in ("bn1", "bn2") if norm not in held]


def test_an_index_without_its_space_is_refused_with_both_counts() -> None:
    model = Net()
    with pytest.raises(RulesError, match="10 parameters and 16 entries") as caught:
        finetune.freeze(model, below=5)
    assert "i < 165" in caught.value.hint
    assert len(trainable(model)) == 10


def test_an_index_past_the_end_is_refused_as_read_off_the_other_space() -> None:
    with pytest.raises(RulesError, match=r"below=12 does not count parameters: the model has 10 parameters and 16 entries"):
        finetune.freeze(Net(), below=12, space="parameters")


@pytest.mark.parametrize("below", [0, -1, True, 17])
def test_an_index_which_counts_nothing_is_refused(below: int) -> None:
    with pytest.raises(RulesError, match="does not count state_dict"):
        finetune.freeze(Net(), below=below, space="state_dict")


@pytest.mark.parametrize(("below", "space"), [(3, "buffers"), (None, "parameters")])
def test_an_unknown_space_or_one_without_an_index_is_refused(below: int | None, space: str) -> None:
    with pytest.raises(RulesError):
        finetune.freeze(Net(), below=below, space=space)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("conv", "matches no parameter"),
        ("conv1", "matches no parameter"),
        ("onv1.weight", "matches no parameter"),
        ("module.conv1.weight", "matches no parameter"),
        ("scale", "matches only buffers"),
        ("a{", "a{"),
    ],
)
def test_a_pattern_which_freezes_nothing_is_an_error_and_nothing_is_frozen(pattern: str, said: str) -> None:
    model = Net()
    with pytest.raises(RulesError, match=said):
        finetune.freeze(model, ["conv1.weight", pattern])
    with pytest.raises(RulesError, match=said):
        finetune.unfreeze(model, pattern)
    assert len(trainable(model)) == 10


def test_all_patterns_without_effect_are_named_together() -> None:
    with pytest.raises(RulesError) as caught:
        finetune.freeze(Net(), ["a.*", "fc.*", "b.*"])
    assert len(caught.value.problems) == 2


def test_statistics_alone_are_no_reason_where_norms_may_learn() -> None:
    with pytest.raises(RulesError, match="matches only buffers"):
        finetune.freeze(Net(), "bn1.running_mean", bn_eval=False)


def test_no_pattern_and_no_index_freezes_nothing() -> None:
    model = Net()
    assert finetune.freeze(model) == ()
    assert len(trainable(model)) == 10


def test_a_tied_parameter_freezes_under_all_its_names() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    model["head"].weight = model["embed"].weight
    assert finetune.freeze(model, "head.weight") == ("embed.weight", "head.weight")
    assert trainable(model) == []
    assert finetune.unfreeze(model, "embed.weight") == ("embed.weight", "head.weight")


@pytest.mark.parametrize(
    "norm",
    [
        partial(nn.BatchNorm1d, 3),
        partial(nn.BatchNorm1d, 3, affine=False),
        partial(nn.BatchNorm1d, 3, momentum=None),
        partial(nn.SyncBatchNorm, 3),
        nn.LazyBatchNorm1d,
        partial(nn.LazyBatchNorm1d, affine=False),
        partial(nn.InstanceNorm1d, 3, track_running_stats=True),
        partial(nn.InstanceNorm1d, 3, affine=True, track_running_stats=True),
    ],
    ids=repr,
)
def test_every_kind_of_norm_with_statistics_is_held(norm: Callable[[], nn.Module]) -> None:
    model = nn.Sequential(norm(), nn.Dropout())
    finetune.freeze(model, "0.**")
    model.train()
    assert [module.training for module in model] == [False, True]
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_lazy_norm_stays_held_when_it_gets_its_shape() -> None:
    model = nn.Sequential(nn.LazyBatchNorm1d())
    finetune.freeze(model, "**")
    model(torch.randn(5, 3) + 4)
    model.train()(torch.randn(5, 3) + 4)
    assert type(model[0]) is nn.BatchNorm1d
    assert model[0].running_mean.tolist() == [0, 0, 0]


def test_a_norm_without_parameters_is_left_alone_when_it_is_not_named() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Linear(3, 3))
    finetune.freeze(model, "1.**")
    assert model.train()[0].training


def test_a_norm_which_the_user_froze_is_held_only_when_it_is_named() -> None:
    model = Net()
    model.bn1.requires_grad_(False)
    finetune.freeze(model, "conv1.**")
    assert model.train().bn1.training
    finetune.freeze(model, "bn1.weight")
    assert not model.train().bn1.training


def test_one_norm_in_two_places_is_held_under_either_name() -> None:
    shared = nn.BatchNorm1d(3, affine=False)
    model = nn.ModuleDict({"a": shared, "b": shared})
    finetune.freeze(model, "b.running_var")
    assert not model.train()["a"].training


def test_a_frozen_part_does_not_change_while_the_rest_trains() -> None:
    model = Net()
    finetune.freeze(model, ["*1.**", "*2.**"])
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(finetune.param_groups(model, lr={"fc.*": 0.5}), momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    changed = [key for key, value in model.state_dict().items() if not torch.equal(before[key], value)]
    assert changed == ["fc.weight", "fc.bias"]
