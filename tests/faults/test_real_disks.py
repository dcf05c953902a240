"""Power cuts and full disks on real file systems. `make faults` runs them too, and counts."""

import fault_power
import fault_space
import pytest
from fault_disks import why_not
from fault_edits import EDITS
from fault_power import HABITS
from fault_scenarios import SCENARIOS

pytestmark = pytest.mark.root

ALL = pytest.mark.parametrize("scenario", [*SCENARIOS, *EDITS], ids=lambda each: each.name)


@pytest.fixture(autouse=True)
def _mounting(tmp_path):
    reason = why_not(tmp_path)
    if reason:
        pytest.skip(reason)


@ALL
@pytest.mark.parametrize("habit", HABITS, ids=lambda each: each.name)
def test_the_power_may_go_at_any_moment(tmp_path, scenario, habit):
    count, broken = fault_power.violations(tmp_path, scenario, habit)
    assert broken == []
    assert count > 15


@ALL
def test_the_disk_may_be_full_at_any_size(tmp_path, scenario):
    count, broken = fault_space.violations(tmp_path, scenario)
    assert broken == []
    assert count > 12
