"""What holds for every test: one torch thread each, tests which need what this machine lacks are skipped, the same examples in CI."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two workers share two cores; must stand before the first import of torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline measures the machine's load, not the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("there is no GPU here")
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("only root may do this")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return Path(__file__).resolve().parents[1]
