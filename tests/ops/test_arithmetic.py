"""Arithmetic of whole checkpoints: as its references compute it, piece by piece as in the whole, and in bounded memory."""

import subprocess
import sys

import pytest
import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.sources import open_source


def drawn(count, shape=(300, 70), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for _ in range(count)]


def test_an_average_is_torchs_mean():
    tensors = drawn(5)
    (found,) = OPS["average"]().apply(tuple(tensors))
    torch.testing.assert_close(found, torch.stack(tensors).mean(0), rtol=1e-6, atol=1e-7)


def test_an_average_of_halves_is_rounded_once():
    tensors = drawn(5, dtype=torch.bfloat16)
    (found,) = OPS["average"]().apply(tuple(tensors))
    assert torch.equal(found, torch.stack([tensor.double() for tensor in tensors]).mean(0).float().to(torch.bfloat16))


def test_ema_is_timms_bit_for_bit():
    averaged, new = drawn(2)
    (found,) = OPS["ema"](decay=0.9998).apply((averaged, new))
    assert torch.equal(found, averaged * 0.9998 + (1.0 - 0.9998) * new)


def test_ema_is_torchs_swa():
    averaged, new = drawn(2)
    model = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    expected = averaged.clone()
    model([expected], [new], 1)
    (found,) = OPS["ema"](decay=0.99).apply((averaged, new))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_task_vectors_are_negated_and_added_as_in_their_paper():
    base, one, two = drawn(3)
    (found,) = OPS["task_vector"](scales=[0.3, -0.5]).apply((base, one, two))
    vectors = [one - base, two - base]
    assert torch.equal(found, base + 0.3 * vectors[0] + -0.5 * vectors[1])


def mergekits_slerp(t, first, second, threshold=0.9995, eps=1e-8):
    """mergekit, merge_methods/slerp.py, in numpy's float32 there as here."""
    import numpy as np

    v0, v1 = first.float().numpy(), second.float().numpy()
    v0_copy, v1_copy = np.copy(v0), np.copy(v1)
    v0, v1 = (v / np.linalg.norm(v) if np.linalg.norm(v) > eps else v for v in (v0, v1))
    dot = np.sum(v0 * v1)
    if np.abs(dot) > threshold:
        return torch.from_numpy((1 - t) * v0_copy + t * v1_copy)
    theta_0 = np.arccos(dot)
    theta_t = theta_0 * t
    s0, s1 = np.sin(theta_0 - theta_t) / np.sin(theta_0), np.sin(theta_t) / np.sin(theta_0)
    return torch.from_numpy(s0 * v0_copy + s1 * v1_copy)


@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("near", [0.0, 0.5, 0.99, 1.0])
def test_slerp_is_mergekits(t, near):
    first, other = drawn(2)
    second = near * first + (1 - near) * other
    (found,) = OPS["slerp"](t=t).apply((first, second))
    torch.testing.assert_close(found, mergekits_slerp(t, first, second), rtol=1e-5, atol=1e-6)


def test_slerp_keeps_the_length_between_tensors_of_one_length():
    first, second = (tensor / tensor.norm() for tensor in drawn(2))
    (found,) = OPS["slerp"](t=0.3).apply((first, second))
    assert found.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert (0.7 * first + 0.3 * second).norm().item() < 0.8


def test_slerp_of_zeros_is_zeros():
    zeros = torch.zeros(4)
    assert torch.equal(OPS["slerp"](t=0.5).apply((zeros, zeros))[0], zeros)


@pytest.mark.parametrize("name", ["scale", "add", "average", "ema", "task_vector", "slerp"])
def test_what_is_too_large_for_the_type_is_refused(name):
    op = {
        "scale": OPS["scale"](by=4),
        "add": OPS["add"](weights=(4, 0)),
        "average": OPS["average"](weights=(4, -3)),
        "ema": OPS["ema"](decay=1.0),
        "task_vector": OPS["task_vector"](scales=(3,)),
        "slerp": OPS["slerp"](t=0.0),
    }[name]
    large, small = torch.full((3,), 6e4, dtype=torch.float16), torch.full((3,), -6e4, dtype=torch.float16)
    given = (large,) if name == "scale" else (small, large) if name == "task_vector" else (large, small)
    if name in ("ema", "slerp"):  # between two tensors nothing is larger than both
        assert torch.equal(op.apply(given)[0], large)
        return
    with pytest.raises(RulesError, match=f"{name}: .* too large for float16"):
        op.apply(given)


STREAMED = {
    "scale": {"scale": {"match": "a", "by": 0.3}},
    "add": {"add": {"source": ["a", "b", "c"], "target": "a", "weights": [0.1, 0.2, 0.3]}},
    "average": {"average": {"source": ["a", "b", "c"], "target": "a"}},
    "ema": {"ema": {"source": ["a", "b"], "target": "a", "decay": 0.9}},
    "task_vector": {"task_vector": {"source": ["a", "b", "c"], "target": "a", "scales": [0.3, -0.2]}},
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("rule", STREAMED.values(), ids=STREAMED)
def test_pieces_are_what_the_whole_comes_to(tmp_path, rule, suffix):
    a, b, c = drawn(3, (700_003,))
    surgeon.write(surgeon.plan({"a": a, "b": b.double(), "c": c.bfloat16()}), tmp_path / f"a.{suffix}")
    with open_source(tmp_path / f"a.{suffix}") as reader:
        rules = as_rules({"version": 1, "rules": [rule], "allow": {"casts": "**"}})
        recipe = make_plan(rules, reader.header, None).recipes["a"]
        evaluator = Evaluator({"": reader})
        parts = list(evaluator.parts(recipe))
        assert len(parts) > 1
        assert not any(isinstance(part, FileRange) for part in parts)
        assert b"".join(map(bytes, parts)) == evaluator.tensor(recipe).numpy().tobytes()


def test_a_chain_is_streamed_too_and_cuts_of_inputs_need_not_agree(tmp_path):
    a, b, c = drawn(3, (600_000,))
    torch.save({"a": a, "b": b[:200_001].clone(), "c": b[200_001:].clone(), "d": c}, tmp_path / "a.pt")
    rules = [
        {"concat": {"source": ["b", "c"], "target": "bc"}},
        {"scale": {"match": "d", "by": 0.5}},
        {"add": {"source": ["a", "bc", "d"], "target": "a"}},
        {"cast": {"match": "a", "dtype": "float64"}},
    ]
    with open_source(tmp_path / "a.pt") as reader:
        recipe = make_plan(as_rules({"version": 1, "rules": rules}), reader.header, None).recipes["a"]
        parts = list(Evaluator({"": reader}).parts(recipe))
    assert len(parts) > 1
    assert torch.equal(torch.frombuffer(bytearray(b"".join(map(bytes, parts))), dtype=torch.float64), (a + b + c * 0.5).double())


def test_what_is_computed_as_a_whole_is_not_cut_behind_it(tmp_path):
    torch.save({"a": drawn(1, (600, 500))[0]}, tmp_path / "a.pt")
    rules = [{"transpose": {"match": "a"}}, {"scale": {"match": "a", "by": 0.5}}]
    with open_source(tmp_path / "a.pt") as reader:
        recipe = make_plan(as_rules({"version": 1, "rules": rules}), reader.header, None).recipes["a"]
        assert len(list(Evaluator({"": reader}).parts(recipe))) == 1


PEAK = """
import resource, sys
import torch, ckpt_surgeon as surgeon
rules = [{"average": {"source": ["w", "b::w"], "target": "w"}}]
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
surgeon.write(surgeon.plan("a.safetensors", rules, sources={"b": "b.safetensors"}), "out.safetensors")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)
"""


def test_an_average_of_files_takes_no_memory_for_their_tensors(tmp_path, repository):
    for name in "ab":
        surgeon.write(surgeon.plan({"w": torch.ones(64, 1024, 1024)}), tmp_path / f"{name}.safetensors")
    environment = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout) < 100  # MiB; each of the three tensors has 256
