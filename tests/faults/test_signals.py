"""Signals at random moments: the temporary goes, the code says which it was; after a SIGKILL the next run cleans up."""

import random

import fault_signals
import pytest
from fault_edits import EDITS
from fault_scenarios import SCENARIOS

ROUNDS = 2


@pytest.mark.parametrize("number", fault_signals.SIGNALS, ids=lambda each: each.name)
@pytest.mark.parametrize("scenario", [SCENARIOS[1], SCENARIOS[-2], *EDITS], ids=lambda each: each.name)
def test_a_signal_at_any_moment_leaves_the_old_or_the_new_one(tmp_path, scenario, number):
    stage = fault_signals.stage_of(tmp_path, scenario)
    for seed in range(ROUNDS):
        assert fault_signals.violations(stage, number, random.Random(seed)) == []
