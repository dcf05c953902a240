"""The seed's job: a TSM RGB checkpoint into a flow model, by the design's rules file; and what the old recipe hid."""

import copy
import sys
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, NothingLoadedError

sys.path.insert(0, str(Path(__file__).parent))
import tsm

RULES = """\
version: 1
rules:
  - align_names: {prefixes: [module., base_model.], segments: [net]}
  - drop: "new_fc.**"
    if: new_dataset
  - adapt_in_channels: {match: "base_model.conv1.weight", mode: mean, in_channels: target}
    if: {modality: Flow}
    expect: 1
allow: {missing: ["new_fc.**"]}
"""
VARIABLES = {"new_dataset": True, "modality": "Flow"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.manual_seed(0)
    torch.save({"epoch": 50, "arch": "resnet50", "state_dict": tsm.rgb().state_dict()}, "rgb.pth")
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def weights(path: str) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_the_checkpoint_has_the_320_tensors_of_the_real_one(folder):
    assert len(surgeon.inspect("rgb.pth")) == 320


def test_rgb_becomes_flow_and_only_the_new_head_is_new(folder):
    plan = surgeon.plan("rgb.pth", "rules.yaml", "tsm:flow", VARIABLES)
    outcome = surgeon.write(plan, "flow.pth")
    assert outcome.missing_keys == ("new_fc.weight", "new_fc.bias")
    assert outcome.coverage == 1.0
    before, after = weights("rgb.pth"), weights("flow.pth")
    mean = before["module.base_model.conv1.weight"].mean(1)
    assert all(torch.equal(after["base_model.conv1.weight"][:, i], after["base_model.conv1.weight"][:, 0]) for i in range(10))
    torch.testing.assert_close(after["base_model.conv1.weight"][:, 0], mean)
    for key, tensor in before.items():
        name = key.removeprefix("module.").replace(".net.", ".")
        if name != "base_model.conv1.weight" and "new_fc" not in name:
            assert torch.equal(after[name], tensor)


def test_verify_passes_with_the_new_head_allowed_and_fails_without(folder):
    surgeon.write(surgeon.plan("rgb.pth", "rules.yaml", "tsm:flow", VARIABLES), "flow.pth")
    surgeon.verify("flow.pth", "tsm:flow", device="cpu", allow_missing=["new_fc.**"])
    with pytest.raises(CoverageError, match="new_fc"):
        surgeon.verify("flow.pth", "tsm:flow", device="cpu")


def test_the_other_way_round_works_with_the_same_align_names_line(folder):
    surgeon.write(surgeon.plan("rgb.pth", "rules.yaml", "tsm:flow", VARIABLES), "flow.pth")
    rules = [{"align_names": {"prefixes": ["module.", "base_model."], "segments": ["net"]}}]
    plan = surgeon.plan("flow.pth", rules, "tsm:flow_shifted", allow_missing=["module.new_fc.**"])
    assert plan.outcome.missing_keys == ("module.new_fc.weight", "module.new_fc.bias")
    assert len(plan.outcome.renamed) == 318
    surgeon.write(plan, "back.pth")
    assert torch.equal(
        weights("back.pth")["module.base_model.layer1.0.conv1.net.weight"], weights("flow.pth")["base_model.layer1.0.conv1.weight"]
    )


def test_remap_twice_with_align_names_alone_changes_nothing(folder):
    surgeon.write(surgeon.plan("rgb.pth", "rules.yaml", "tsm:flow", VARIABLES), "flow.pth")
    rules = [{"align_names": {"prefixes": ["module.", "base_model."], "segments": ["net"]}}]
    again = surgeon.plan("flow.pth", rules, "tsm:flow", allow_missing=["new_fc.**"])
    assert len(again.outcome.exact) == 318
    surgeon.write(again, "again.pth")
    assert Path("again.pth").read_bytes() == Path("flow.pth").read_bytes()


def test_the_old_recipe_says_all_keys_matched_while_nothing_was_loaded(folder):
    model = tsm.TSN(174, 3, shift=True)
    before = copy.deepcopy(model.state_dict())
    pretrained = weights("rgb.pth")
    own = model.state_dict()
    own.update({key: value for key, value in pretrained.items() if key in own})
    assert str(model.load_state_dict(own)) == "<All keys matched successfully>"
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    diff = surgeon.diff("rgb.pth", model)
    assert (len(diff.matched), len(diff.missing), diff.same) == (0, 320, False)
    with pytest.raises(NothingLoadedError):
        surgeon.load(model, "rgb.pth", allow_missing=["**"], allow_unexpected=["**"])
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_diff_on_the_command_line_says_0_of_320_and_exits_1(folder):
    from ckpt_surgeon.cli import main

    (folder / "same.py").write_text("import tsm\ndef build(): return tsm.TSN(174, 3, True)\n")
    done = CliRunner().invoke(main, ["diff", "rgb.pth", "same:build"])
    assert done.exit_code == 1
    assert "0 of 320" in done.output


def test_load_brings_the_same_weights_as_the_written_file(folder):
    model = tsm.flow()
    outcome = surgeon.load(model, "rgb.pth", "rules.yaml", variables=VARIABLES)
    surgeon.write(surgeon.plan("rgb.pth", "rules.yaml", "tsm:flow", VARIABLES), "flow.pth")
    written = weights("flow.pth")
    assert outcome.new == ("new_fc.weight", "new_fc.bias")
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in written.items())


def test_a_resnet_saved_before_num_batches_tracked_loads_strictly(folder):
    model = tsm.TSN(174, 3, shift=True)
    old = {key: value for key, value in model.state_dict().items() if "num_batches_tracked" not in key}
    torch.save(old, "old.pth")
    plan = surgeon.plan("old.pth", target=tsm.TSN(174, 3, shift=True))
    assert plan.outcome.coverage == 1.0
    assert len(plan.filled) == 53
    surgeon.write(plan, "new.pth")
    fresh = tsm.TSN(174, 3, shift=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.load_state_dict(torch.load("new.pth", weights_only=True), strict=True)
    surgeon.load(tsm.TSN(174, 3, shift=True), "old.pth")
