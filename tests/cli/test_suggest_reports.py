"""`suggest`: its report in each format, its exit codes, names which are odd, sources which are models."""

import json
import re

import pytest
import torch
from cli_runs import invoke
from safetensors.torch import save_file

import ckpt_surgeon as surgeon

FORMATS = ["table", "json", "md", "html"]


def _save(folder, name, shapes):
    save_file({key: torch.zeros(*shape) for key, shape in shapes.items()}, folder / name)


@pytest.fixture
def twins(folder):
    """One body in the target, two alike in the source: a question."""
    body = {f"{i}.weight": (3, 4 + i) for i in range(3)}
    _save(folder, "twins.safetensors", {f"{side}.{key}": shape for side in ("one", "two") for key, shape in body.items()})
    _save(folder, "body.safetensors", body)
    return folder


@pytest.mark.parametrize("shown", FORMATS)
def test_each_format_holds_the_rules(folder, shown):
    done = invoke("suggest", "wrapped.pth", "plain.safetensors", "--format", shown)
    assert done.exit_code == 0
    assert "strip_prefix" in done.stdout
    assert "module." in done.stdout


@pytest.mark.parametrize("shown", FORMATS)
def test_each_format_holds_the_questions_and_both_answers(twins, shown):
    done = invoke("suggest", "twins.safetensors", "body.safetensors", "--format", shown)
    assert done.exit_code == 1
    assert "strip_prefix: one." in done.stdout or '"one.0.weight"' in done.stdout
    assert "strip_prefix: two." in done.stdout or '"two.0.weight"' in done.stdout


@pytest.mark.parametrize("shown", ["json", "md", "html"])
def test_a_report_may_go_to_a_file(folder, shown):
    done = invoke("suggest", "wrapped.pth", "plain.safetensors", "--format", shown, "--report", f"report.{shown}", "-o", "found.yaml")
    assert done.exit_code == 0
    assert "strip_prefix" in (folder / "found.yaml").read_text()
    assert (folder / f"report.{shown}").stat().st_size > 0


def test_the_document_tells_families_with_links_and_confidence(folder):
    document = json.loads(invoke("suggest", "wrapped.pth", "plain.safetensors", "--format", "json").stdout)
    assert document["schema_version"]
    text = json.dumps(document)
    assert '"module.0.weight"' in text
    assert '"0.weight"' in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("wrapped.pth", "plain.safetensors"), 0),
        (("twins.safetensors", "body.safetensors"), 1),
        (("wrapped.pth",), 2),
        (("wrapped.pth", "plain.safetensors", "--min-confidence", "2"), 2),
        (("wrapped.pth", "plain.safetensors", "--nonsense"), 2),
        (("page.pth", "plain.safetensors"), 3),
        (("wrapped.pth", "cut.safetensors"), 3),
        (("wrapped.pth", "nets:nothing"), 4),
        (("wrapped.pth", "nets:broken"), 4),
        (("nowhere.pth", "plain.safetensors"), 5),
    ],
)
def test_the_exit_code_says_what_happened(twins, words, code):
    done = invoke("suggest", *words)
    assert done.exit_code == code
    assert (code < 2) == ("error: " not in done.stderr.lower())


def test_a_file_which_was_written_before_is_kept_where_nothing_can_be_read(folder):
    (folder / "found.yaml").write_text("mine")
    assert invoke("suggest", "page.pth", "plain.safetensors", "-o", "found.yaml", "--force").exit_code == 3
    assert (folder / "found.yaml").read_text() == "mine"


def test_a_file_with_questions_is_written_all_the_same(twins):
    assert invoke("suggest", "twins.safetensors", "body.safetensors", "-o", "found.yaml").exit_code == 1
    with pytest.raises(surgeon.NothingLoadedError):
        surgeon.plan("twins.safetensors", "found.yaml", "body.safetensors", allow_missing=["**"])
    done = invoke("remap", "twins.safetensors", "--rules", "found.yaml", "--target", "body.safetensors", "-o", "out.safetensors")
    assert done.exit_code == 1
    assert not (twins / "out.safetensors").exists()


def test_an_answer_which_is_uncommented_settles_it(twins):
    invoke("suggest", "twins.safetensors", "body.safetensors", "-o", "found.yaml")
    text = (twins / "found.yaml").read_text()
    first = text.split("  ## 0.")[1]
    answer = re.sub(r"(?m)^  # ", "  ", first)
    (twins / "answered.yaml").write_text("version: 1\nrules:\n" + "\n".join(answer.splitlines()[1:]) + "\n")
    done = invoke("remap", "twins.safetensors", "--rules", "answered.yaml", "--target", "body.safetensors", "-o", "out.safetensors")
    assert done.exit_code == 0
    assert invoke("diff", "out.safetensors", "body.safetensors").exit_code == 0


@pytest.mark.parametrize(
    "key", ["a b.weight", "a:b.weight", "#a.weight", "'a'.weight", "ä.weight", "yes.weight", "- a.weight", "{x}.weight", "a*.weight"]
)
def test_odd_names_are_written_so_that_they_are_read_back(folder, key):
    _save(folder, "odd.safetensors", {f"net.{key}": (3, 4), "net.plain.bias": (7,)})
    _save(folder, "even.safetensors", {"even.weight": (3, 4), "plain.bias": (7,)})
    done = invoke("suggest", "odd.safetensors", "even.safetensors", "--min-confidence", "0", "-o", "found.yaml")
    assert done.exit_code == 0
    assert surgeon.diff("odd.safetensors", "even.safetensors", "found.yaml").same


def test_controls_in_names_are_shown_escaped(folder):
    _save(folder, "odd.safetensors", {"a\x1b[31m.weight": (3, 4)})
    done = invoke("suggest", "odd.safetensors", "plain.safetensors")
    assert "\x1b[31m" not in done.stdout


def test_a_model_may_be_the_target_of_what_another_saved(folder):
    torch.save({f"wrapped.{key}": value for key, value in surgeon_weights(folder).items()}, folder / "other_names.pth")
    done = invoke("suggest", "other_names.pth", "nets:net", "-o", "found.yaml")
    assert done.exit_code == 0
    assert "strip_prefix: wrapped." in (folder / "found.yaml").read_text()


def surgeon_weights(folder):
    return torch.load(folder / "wrapped.pth", weights_only=True)["state_dict"]


def test_quiet_says_nothing_and_still_writes(folder):
    done = invoke("suggest", "wrapped.pth", "plain.safetensors", "-o", "found.yaml", "-q")
    assert done.exit_code == 0
    assert (folder / "found.yaml").exists()
