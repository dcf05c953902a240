"""A few real kills and faults of the real command line, under strace; `make faults` does them all."""

import fault_injection
import pytest
from fault_injection import Injection
from fault_scenarios import SCENARIOS, Stage

SAMPLE = [Injection("fsync", 1, "EIO"), Injection("fsync", 2, "KILL"), Injection("chmod", 1, "TERM"), Injection("close", 5, "EDQUOT")]


@pytest.fixture
def stage(tmp_path):
    reason = fault_injection.why_not()
    if reason:
        pytest.skip(reason)
    return Stage(tmp_path, SCENARIOS[3])


def test_what_strace_lets_happen_breaks_no_promise(stage):
    assert [each.violations(stage) for each in SAMPLE] == [[]] * len(SAMPLE)


def test_every_call_of_the_writer_is_found(stage):
    found = {each.call for each in fault_injection.injections(stage)}
    assert {"mkdir", "openat", "flock", "fallocate", "write", "ftruncate", "fsync", "chmod", "rename", "unlink", "rmdir", "close"} <= found
