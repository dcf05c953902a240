"""What the benchmarks hold for right is what the rules mean; and what is wrong is found."""

import pytest
import torch

import ckpt_surgeon as surgeon
from benchmarks.checking import EXPECTATIONS, difference, ruled, table_of, trained
from benchmarks.making import MAKERS
from benchmarks.moving import RULES


@pytest.fixture
def start(tmp_path) -> dict[str, torch.Tensor]:
    MAKERS["start"](tmp_path / "start.safetensors")
    return table_of(str(tmp_path / "start.safetensors"))


@pytest.mark.parametrize(("rule", "expectation"), [(rule, expectation) for _, rule, expectation in RULES])
def test_an_expectation_is_what_its_rule_means(rule, expectation, start, tmp_path):
    out = tmp_path / "out.safetensors"
    surgeon.write(surgeon.plan(start, rules_of(tmp_path, rule)), out)
    assert difference(EXPECTATIONS[expectation](start), table_of(str(out))) is None
    assert difference(start, table_of(str(out))) is not None  # the rule does something


def rules_of(folder, rule: str) -> str:
    path = folder / "rules.yaml"
    path.write_text(f"version: 1\nrules:\n  - {rule}\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("count", [3, 20])
def test_twenty_rules_are_known_too(count, tmp_path):
    MAKERS["keys"](tmp_path / "keys.safetensors", "4400")  # of two layers
    MAKERS["rules"](tmp_path / "rules.yaml", str(count))
    table = table_of(str(tmp_path / "keys.safetensors"))
    assert difference(ruled(count, table), surgeon.remap(table, str(tmp_path / "rules.yaml"))) is None


def test_narrowing_is_bfloat16(start, tmp_path):
    MAKERS["narrowing"](tmp_path / "rules.yaml")
    assert difference(EXPECTATIONS["narrowed"](start), surgeon.remap(start, str(tmp_path / "rules.yaml"))) is None


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ({}, "keys which lack: ['w'], of 1; which are too many: [], of 0"),
        ({"w": torch.arange(9.0), "v": torch.ones(1)}, "keys which lack: [], of 0; which are too many: ['v'], of 1"),
        ({"w": torch.arange(9)}, "w: torch.int64[9] instead of torch.float32[9]"),
        ({"w": torch.arange(9.0).reshape(3, 3)}, "w: torch.float32[3, 3] instead of torch.float32[9]"),
        ({"w": torch.arange(9.0).flip(0)}, "w: other bytes"),
        ({"w": torch.tensor([-0.0, *range(1, 9)])}, "w: other bytes"),  # equal as a number
        ({"w": torch.arange(9.0)}, None),
    ],
)
def test_a_difference_is_named(other, wrong):
    assert difference({"w": torch.arange(9.0)}, other) == wrong


def test_only_the_whole_comparison_sees_the_middle():
    good, bad = torch.zeros(20_000), torch.zeros(20_000)
    bad[10_000] = 1
    assert difference({"w": good}, {"w": bad}) == "w: other bytes"
    assert difference({"w": good}, {"w": bad}, sampled=True) is None
    bad[-1] = 1
    assert difference({"w": good}, {"w": bad}, sampled=True) == "w: other bytes"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda found: None, None),
        (lambda found: found["state_dict"].pop("fc.bias"), "keys which lack: ['fc.bias']"),
        (lambda found: found.update(epoch=31), "around the weights: ['/epoch']"),
        (lambda found: found.pop("optimizer"), "around the weights: ['/optimizer/param_groups/0/"),
        (lambda found: found["optimizer"]["state"][0]["momentum_buffer"].add_(1), "momentum_buffer: other bytes"),
    ],
)
def test_a_training_checkpoint_has_to_be_whole(change, wrong, tmp_path):
    MAKERS["training"](tmp_path / "before.pth", "2")
    found = torch.load(tmp_path / "before.pth", weights_only=True)
    found["state_dict"] = {key.removeprefix("module."): tensor for key, tensor in found["state_dict"].items()}
    change(found)
    torch.save(found, tmp_path / "after.pth")
    said = trained(str(tmp_path / "before.pth"), str(tmp_path / "after.pth"))
    assert said is None if wrong is None else wrong in said
