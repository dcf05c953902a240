"""Evidence beyond headers, on request: both models run on the same input, or the values themselves. Loaded on use."""

from ckpt_surgeon.probing.examining import Examined, examined
from ckpt_surgeon.probing.probe import Probe

__all__ = ["Examined", "Probe", "examined"]
