import pytest
import torch
from torch import nn

from ckpt_surgeon import finetune
from ckpt_surgeon.errors import ModelError, RulesError


def holding(layer: nn.Module) -> nn.Module:
    return nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), layer)})


@pytest.mark.parametrize(
    ("layer", "outputs"),
    [
        (nn.Linear(4, 10), 7),
        (nn.Linear(4, 10, bias=False), 20),
        (nn.Linear(4, 10, dtype=torch.float64), 7),
        (nn.Linear(4, 10, dtype=torch.bfloat16), 7),
        (nn.Linear(4, 10, device="meta"), 7),
        (nn.Conv1d(4, 10, 3, padding="same"), 7),
        (nn.Conv2d(4, 10, (3, 5), stride=2, padding=(1, 2), dilation=2, bias=False), 7),
        (nn.Conv2d(4, 10, 1, groups=2, padding_mode="circular"), 6),
        (nn.Conv3d(4, 10, 3), 1),
        (nn.ConvTranspose2d(4, 10, 3, stride=2, output_padding=1), 7),
    ],
    ids=repr,
)
def test_the_new_layer_differs_only_in_its_outputs(layer: nn.Module, outputs: int) -> None:
    model = holding(layer).eval()
    new = finetune.replace_head(model, "body.1", outputs)
    assert model.get_submodule("body.1") is new
    assert type(new) is type(layer)
    expected = repr(layer).replace("out_features=10", f"out_features={outputs}").replace(", 10, ", f", {outputs}, ")
    assert repr(new) == expected
    assert (new.weight.dtype, new.weight.device, new.training) == (layer.weight.dtype, layer.weight.device, False)  # type: ignore[union-attr]
    assert list(model.state_dict()) == [f"body.{name}" for name in holding(layer)["body"].state_dict()]
    assert all(parameter.requires_grad for parameter in new.parameters())


def test_the_rest_of_the_model_stays_and_the_order_of_layers_too() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Softmax(-1))
    first = model[0]
    finetune.replace_head(model, "2", 6)
    assert [type(layer) for layer in model] == [nn.Linear, nn.ReLU, nn.Linear, nn.Softmax]
    assert model[0] is first
    assert model(torch.ones(1, 2)).shape == (1, 6)


def test_a_seed_gives_the_same_weights_on_any_dtype_and_leaves_the_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    weights = [
        finetune.replace_head(holding(nn.Linear(4, 10, dtype=dtype)), "body.1", 7, seed=3).weight
        for dtype in (torch.float32, torch.bfloat16)
    ]
    other = finetune.replace_head(holding(nn.Linear(4, 10)), "body.1", 7, seed=4).weight
    assert torch.equal(weights[0].bfloat16(), weights[1])  # type: ignore[union-attr, operator]
    assert not torch.equal(weights[0], other)  # type: ignore[arg-type]
    assert not torch.equal(torch.get_rng_state(), state)  # the old layers drew numbers, so compare around one call only
    state = torch.get_rng_state()
    finetune.replace_head(holding_meta(), "body.1", 7, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def holding_meta() -> nn.Module:
    with torch.device("meta"):
        return holding(nn.Linear(4, 10))


def test_an_initializer_is_called_on_the_new_layer_under_the_seed() -> None:
    def init(layer: nn.Module) -> None:
        nn.init.normal_(layer.weight, std=100.0)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    first, second = (finetune.replace_head(holding(nn.Linear(4, 10)), "body.1", 7, seed=1, init=init) for _ in range(2))
    assert first.weight.abs().max() > 10  # type: ignore[operator, union-attr]
    assert first.bias.abs().sum() == 0  # type: ignore[operator, union-attr]
    assert torch.equal(first.weight, second.weight)  # type: ignore[arg-type]


def test_a_layer_under_two_names_is_replaced_under_both() -> None:
    layer = nn.Linear(2, 3)
    model = nn.ModuleDict({"fc": layer, "head": layer})
    new = finetune.replace_head(model, "head", 5)
    assert model["fc"] is model["head"] is new


@pytest.mark.parametrize("name", ["", "head", "body.1.weight", "body.", "body.7"])
def test_a_name_which_is_no_layer_is_refused(name: str) -> None:
    with pytest.raises(RulesError):
        finetune.replace_head(holding(nn.Linear(4, 10)), name, 7)


def test_a_wrong_name_gets_the_layers_there_are() -> None:
    with pytest.raises(RulesError, match="no layer 'fc'") as caught:
        finetune.replace_head(holding(nn.Linear(4, 10)), "fc", 7)
    assert caught.value.hint == "its last linear or convolutional layers are body.0, body.1"


@pytest.mark.parametrize("outputs", [0, -3, 2.0, True, "7", None])
def test_a_number_of_outputs_which_is_none_is_refused(outputs: object) -> None:
    with pytest.raises(RulesError, match="whole number of at least 1"):
        finetune.replace_head(holding(nn.Linear(4, 10)), "body.1", outputs)  # type: ignore[arg-type]


def test_outputs_which_do_not_divide_into_the_groups_are_refused() -> None:
    with pytest.raises(RulesError, match="7 outputs do not divide into its 2 groups"):
        finetune.replace_head(holding(nn.Conv2d(4, 10, 1, groups=2)), "body.1", 7)


class Own(nn.Linear):
    pass


def normed() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(4, 10))


def hooked() -> nn.Module:
    layer = nn.Linear(4, 10)
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.ReLU(), "is a ReLU, not a plain"),
        (nn.Sequential(nn.Linear(4, 10)), "is a Sequential, not a plain"),
        (Own(4, 10), "is a Own, not a plain"),
        (nn.LazyLinear(10), "is a LazyLinear"),
        (normed(), "is a ParametrizedLinear"),
        (hooked(), "has hooks"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_which_would_lose_something_is_refused_and_stays(layer: nn.Module, said: str) -> None:
    model = holding(layer)
    with pytest.raises(ModelError, match=said):
        finetune.replace_head(model, "body.1", 7)
    assert model.get_submodule("body.1") is layer


def test_a_head_which_is_tied_is_refused() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10, bias=False)})
    model["head"].weight = model["embed"].weight
    with pytest.raises(ModelError, match=r"head shares its weights with embed.weight"):
        finetune.replace_head(model, "head", 7)
