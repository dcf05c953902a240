"""Guards on values: a bad one is found while bytes move, and then nothing stands at the destination."""

import pytest
import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError

NAN, INF = float("nan"), float("inf")
FINITE = {"finite": {"match": "**"}}


def guards(*entries, rules=()):
    return {"version": 1, "rules": list(rules), "assert": list(entries)}


def written(tmp_path, weights, document, suffix, **options):
    torch.save(weights, tmp_path / "in.pt")
    return surgeon.write(surgeon.plan(tmp_path / "in.pt", document), tmp_path / f"out{suffix}", **options)


BAD = {
    "NaN": torch.tensor([1.0, NAN]),
    "an infinity": torch.tensor([[-INF, 1.0, INF]]),
    "bfloat16": torch.tensor([1.0, NAN], dtype=torch.bfloat16),
    "float8": torch.tensor([1.0, NAN]).to(torch.float8_e4m3fn),
    "complex": torch.tensor([complex(0, INF)]),
    "in the last of many pieces": torch.cat([torch.zeros(900_000), torch.tensor([NAN])]),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_is_not_finite_is_found_and_nothing_is_written(tmp_path, bad, suffix):
    with pytest.raises(CoverageError, match=r"assert\[0\].finite: finite: infinities or NaN: b holds [12]") as caught:
        written(tmp_path, {"a": torch.ones(3), "b": bad}, guards(FINITE), suffix)
    assert caught.value.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_finite_is_written_as_ever(tmp_path, suffix):
    weights = {"a": torch.randn(700_000), "b": torch.arange(3), "c": torch.ones(2).to(torch.float8_e5m2), "e": torch.zeros(0)}
    written(tmp_path, weights, guards(FINITE), suffix, digest="sha256")
    with_guard = (tmp_path / f"out{suffix}").read_bytes()
    written(tmp_path, weights, guards(), suffix, force=True)
    assert (tmp_path / f"out{suffix}").read_bytes() == with_guard


def test_only_what_matches_is_looked_at(tmp_path):
    written(tmp_path, {"a": torch.ones(3), "b": torch.tensor([NAN])}, guards({"finite": {"match": "a"}}), ".pt")
    with pytest.raises(CoverageError, match="b holds 1"):
        written(tmp_path, {"x": torch.tensor([NAN])}, guards({"finite": {"match": "b"}}, rules=[{"rename": {"x": "b"}}]), ".safetensors")


def test_what_rules_compute_is_looked_at(tmp_path):
    rules = [{"add": {"source": ["a", "b"], "target": "c", "weights": [1, -1]}}]
    with pytest.raises(CoverageError, match="c holds 1"):
        written(tmp_path, {"a": torch.tensor([3e38]), "b": torch.tensor([-3e38])}, guards(FINITE, rules=rules), ".pt")


EQUAL = {"equal": {"source": ["a", "b"]}}
SAME = torch.randn(500_000)


def test_tensors_which_have_to_be_equal(tmp_path):
    other = SAME.clone()
    written(tmp_path, {"a": SAME, "b": other}, guards(EQUAL), ".safetensors")
    other[-1] += 1
    with pytest.raises(CoverageError, match="equal: b and a differ"):
        written(tmp_path, {"a": SAME, "b": other}, guards(EQUAL), ".pt")


def test_tied_tensors_are_equal(tmp_path):
    written(tmp_path, {"a": SAME, "b": SAME}, guards(EQUAL, {"finite": {"match": "b"}}), ".safetensors")


def test_remap_and_load_look_too():
    weights = {"weight": torch.tensor([[NAN]]), "bias": torch.ones(1)}
    model = torch.nn.Linear(1, 1)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for work in (lambda: surgeon.remap(weights, guards(FINITE)), lambda: surgeon.load(model, weights, guards(FINITE))):
        with pytest.raises(CoverageError, match="weight holds 1"):
            work()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    surgeon.load(model, {**weights, "weight": torch.ones(1, 1)}, guards(FINITE))
    assert model.weight.item() == 1


def test_an_edit_in_place_looks_before_it_touches_the_file(tmp_path):
    torch.save({"m.a": torch.tensor([NAN])}, tmp_path / "in.pt")
    before = (tmp_path / "in.pt").read_bytes()
    document = guards(FINITE, rules=[{"strip_prefix": "m."}])
    with pytest.raises(CoverageError, match="a holds 1"):
        surgeon.edit(surgeon.plan(tmp_path / "in.pt", document))
    assert (tmp_path / "in.pt").read_bytes() == before
