"""8 writers and 4 readers on one destination: no torn read, and each writer publishes or is told that another is at work."""

import pytest
from fault_contention import WRITERS, violations


@pytest.mark.parametrize("out", ["out.safetensors", "shards"])
@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_many_writers_and_readers_of_one_destination(tmp_path, out, rounds):
    counts, broken = violations(tmp_path / "folder", out, rounds)
    assert broken == []
    assert counts["published"] + counts["locked"] == WRITERS * rounds
    assert counts["published"] > 0
    assert counts["read"] > 0
