"""`init: {value: normal}`: drawn with a seed, other numbers for each key, and torch's own random state left alone."""

import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.sources import header_of

TARGET = {"a": torch.zeros(300, 100), "b": torch.zeros(300, 100), "c": torch.zeros(5, dtype=torch.bfloat16), "old": torch.zeros(2)}


def drawn(**parameters):
    rules = [{"init": {"match": ["a", "b", "c"], "value": "normal", **parameters}}]
    return surgeon.remap({"old": torch.ones(2)}, rules, header_of(TARGET))


def test_values_are_drawn_around_0_with_the_deviation_which_is_wanted():
    for parameters, std in (({}, 0.02), ({"std": 0.5}, 0.5)):
        found = drawn(**parameters)["a"]
        assert abs(found.mean().item()) < std / 50
        assert abs(found.std().item() / std - 1) < 0.02


def test_a_seed_gives_the_same_again_and_each_key_other_numbers():
    state = torch.get_rng_state()
    one, again, other = drawn(seed=1), drawn(seed=1), drawn(seed=2)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["a"], other["a"])
    assert not torch.equal(one["a"], one["b"])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_keys_are_new():
    rules = [{"init": {"match": ["a", "b", "c"], "value": "normal"}}]
    plan = surgeon.plan({"old": torch.ones(2)}, rules, header_of(TARGET))
    assert plan.outcome.initialized == ("a", "b", "c")
    assert not plan.ties
