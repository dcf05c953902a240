"""The demo: the main job on files which it makes itself."""

import re
from pathlib import Path

import pytest
import torch
from cli_runs import invoke

from ckpt_surgeon.cli.demo_data import FILES
from ckpt_surgeon.surgery import inspect


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of one run, and what it said."""
    folder = tmp_path_factory.mktemp("demo") / "tour"
    result = invoke("demo", str(folder))
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_it_types_diff_remap_and_verify(shown):
    typed = re.findall(r"^\$ ckpt-surgeon (\w+)", shown[1], re.MULTILINE)
    assert typed == ["diff", "remap", "verify"]


def test_each_step_says_what_the_command_says(shown):
    text = shown[1]
    assert "0 of 122 keys match (0.0 % of elements)" in text
    assert "(exit 1)" in text
    assert "wrote flow.pth: 120 keys" in text
    assert "optimizer state followed: optimizer; of its parameters followed 59, reset 1, dropped 2, new 2" in text
    assert "verified flow.pth" in text


def test_it_counts_what_the_usual_recipes_lose(shown):
    counts = [int(count) for count in re.findall(r"(\d+) of 122 tensors$", shown[1], re.MULTILINE)]
    assert counts == [0, 0, 111, 120]


def test_its_files_stay_and_are_what_they_claim(shown):
    folder, _ = shown
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == set(FILES)
    header = inspect(str(folder / "rgb.pth"))
    assert header.envelope.path == "state_dict"
    assert set(header.envelope.contents) >= {"epoch", "arch", "best_prec1"}
    assert header.envelope.optimizers == ("optimizer",)
    assert header.tensors["module.new_fc.weight"].shape[0] == 174
    assert "module.base_model.layer1.0.conv1.net.weight" in header


def test_the_flow_weights_are_the_mean_of_the_rgb_weights(shown):
    folder, _ = shown
    rgb = torch.load(folder / "rgb.pth")["state_dict"]
    flow = torch.load(folder / "flow.pth")
    old, new = rgb["module.base_model.conv1.weight"], flow["state_dict"]["base_model.conv1.weight"]
    assert torch.equal(new, old.mean(1, keepdim=True).expand_as(new))
    assert flow["epoch"] == 45


def test_the_optimizer_follows_and_begins_anew_where_the_weights_do(shown):
    folder, _ = shown
    rgb, flow = (torch.load(folder / name) for name in ("rgb.pth", "flow.pth"))
    old, new = rgb["optimizer"]["state"], flow["optimizer"]["state"]
    assert [len(group["params"]) for group in flow["optimizer"]["param_groups"]] == [62]
    assert sorted(new) == list(range(1, 60))
    assert all(torch.equal(new[i]["momentum_buffer"], old[i]["momentum_buffer"]) for i in new)


def test_it_may_be_run_again_in_its_own_folder(shown):
    folder, _ = shown
    assert invoke("demo", str(folder)).exit_code == 0


@pytest.mark.parametrize("name", FILES)
def test_it_never_writes_over_other_peoples_files(name, tmp_path):
    (tmp_path / name).write_text("precious")
    result = invoke("demo", str(tmp_path))
    assert result.exit_code == 5
    assert name in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_it_never_follows_a_link(shown, tmp_path):
    (tmp_path / "precious.pth").write_text("precious")
    (tmp_path / "rgb.pth").symlink_to(tmp_path / "precious.pth")
    (tmp_path / "tsm_small.py").write_text((shown[0] / "tsm_small.py").read_text())
    assert invoke("demo", str(tmp_path)).exit_code == 5
    assert (tmp_path / "precious.pth").read_text() == "precious"


def test_without_a_folder_it_makes_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = invoke("demo")
    assert result.exit_code == 0
    (made,) = tmp_path.iterdir()
    assert f"# In {made}: " in result.stdout


def test_it_leaves_the_current_folder_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("demo", "sub").exit_code == 0
    assert Path.cwd() == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["sub"]


def test_a_file_in_the_way_is_an_input_output_fault(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("demo", str(tmp_path / "file"))
    assert result.exit_code == 5
    assert result.stderr.startswith("error: ")
