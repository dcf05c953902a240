"""Several sources through the library: files, state_dicts and modules, written, loaded and compared."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import DiskError, ModelError, RulesError

MAIN = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}
EMA = {"a": torch.full((2, 3), 7.0), "c": torch.arange(5.0)}
RULES = [{"drop": "a"}, {"rename": {"ema::a": "a"}}, {"copy": {"ema::c": "c"}}]
WANTED = {"a": EMA["a"], "b": MAIN["b"], "c": EMA["c"]}


@pytest.fixture
def files(tmp_path):
    save_file(MAIN, tmp_path / "main.safetensors")
    torch.save(EMA, tmp_path / "ema.pt")
    (tmp_path / "rules.yaml").write_text(
        'version: 1\nsources: {ema: ema.pt}\nrules:\n  - drop: a\n  - rename: {"ema::a": a}\n  - copy: {"ema::c": c}\n'
    )
    return tmp_path


def same(found, wanted=WANTED):
    return set(found) == set(wanted) and all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_rules_file_names_its_sources(files, suffix):
    out = files / f"out.{suffix}"
    surgeon.write(surgeon.plan(files / "main.safetensors", files / "rules.yaml"), out)
    assert same(load_file(out) if suffix == "safetensors" else torch.load(out))
    assert same(surgeon.remap(files / "main.safetensors", files / "rules.yaml"))


def test_what_a_call_gives_overrides_what_the_rules_declare(files):
    other = {"a": torch.zeros(2, 3), "c": torch.zeros(5)}
    found = surgeon.remap(MAIN, files / "rules.yaml", sources={"ema": other})
    assert same(found, {**other, "b": MAIN["b"]})


@pytest.mark.parametrize("kind", ["path", "state_dict", "module"])
def test_a_source_is_whatever_a_source_may_be(files, kind):
    module = torch.nn.Module()
    for key, tensor in EMA.items():
        module.register_buffer(key, tensor)
    given = {"path": files / "ema.pt", "state_dict": EMA, "module": module}[kind]
    assert same(surgeon.remap(MAIN, RULES, sources={"ema": given}))


def test_load_takes_keys_of_other_sources():
    model = torch.nn.Module()
    for key, tensor in WANTED.items():
        model.register_buffer(key, torch.zeros_like(tensor))
    outcome = surgeon.load(model, MAIN, RULES, sources={"ema": EMA})
    assert same(model.state_dict())
    assert outcome.exact == ("a", "b", "c")


def test_diff_compares_values_of_other_sources():
    assert surgeon.diff(MAIN, WANTED, RULES, sources={"ema": EMA}).same
    found = surgeon.diff(MAIN, {**WANTED, "c": torch.ones(5)}, RULES, sources={"ema": EMA}, values=True)
    assert (found.values.equal, list(found.values.different)) == (("a", "b"), ["c"])


def test_verify_proves_what_several_sources_became(files):
    out = files / "out.safetensors"
    surgeon.write(surgeon.plan(files / "main.safetensors", files / "rules.yaml"), out)
    proof = {"rules": files / "rules.yaml", "source": files / "main.safetensors"}
    surgeon.verify(out, out, **proof)
    with pytest.raises(surgeon.CoverageError):
        surgeon.verify(out, out, **proof, sources={"ema": {**EMA, "c": torch.ones(5)}})


def test_a_source_which_changed_meanwhile_is_found_out(files):
    plan = surgeon.plan(files / "main.safetensors", files / "rules.yaml")
    torch.save({**EMA, "d": torch.ones(1)}, files / "ema.pt")
    with pytest.raises(DiskError, match="the source 'ema' has changed since the plan was made"):
        surgeon.write(plan, files / "out.pt")
    assert not (files / "out.pt").exists()


def test_a_source_without_weights_is_refused_where_they_are_needed(files):
    plan = surgeon.plan(files / "main.safetensors", RULES, sources={"ema": surgeon.inspect(files / "ema.pt")})
    with pytest.raises(ModelError, match="the source 'ema' has no values"):
        surgeon.write(plan, files / "out.pt")


def test_a_source_is_opened_only_where_something_of_it_is_read(files):
    plan = surgeon.plan(files / "main.safetensors", {"version": 1}, sources={"ema": files / "ema.pt"})
    (files / "ema.pt").unlink()
    surgeon.write(plan, files / "out.pt")
    assert same(torch.load(files / "out.pt"), MAIN)


def test_no_source_is_written_over(files):
    plan = surgeon.plan(files / "main.safetensors", files / "rules.yaml")
    before = (files / "ema.pt").read_bytes()
    with pytest.raises(DiskError, match="it is the source"):
        surgeon.write(plan, files / "ema.pt", force=True)
    assert (files / "ema.pt").read_bytes() == before


def test_in_place_takes_nothing_of_other_files(files):
    plan = surgeon.plan(files / "main.safetensors", [{"copy": {"ema::c": "c"}}], sources={"ema": files / "ema.pt"})
    with pytest.raises(RulesError, match="c: its bytes are made anew"):
        surgeon.edit(plan)


def test_optimizer_state_does_not_stay_with_a_parameter_of_another_file(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "main.pt")
    plan = surgeon.plan(tmp_path / "main.pt", [{"drop": "bias"}, {"copy": {"ema::bias": "bias"}}], sources={"ema": model.state_dict()})
    assert not plan.keeps_optimizer


@pytest.mark.parametrize("alias", ["", "a-b", "re", 3])
def test_a_name_which_is_no_alias_is_refused(alias):
    with pytest.raises(RulesError, match="is no alias of a source"):
        surgeon.plan(MAIN, [], sources={alias: EMA})
