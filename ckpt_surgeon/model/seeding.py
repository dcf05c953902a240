"""A seed for a while: what is drawn inside is repeatable, and the caller's own random numbers go on as if nothing was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["derived_seed", "seeded"]


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw torch's CPU random numbers from `seed` inside, and restore their state after; None changes nothing.

    Only the CPU's generator is touched: `torch.manual_seed` would reseed every accelerator as well.
    """
    if seed is None:
        yield
        return
    import torch

    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for each name, so that what one name draws does not depend on which others are asked for."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
