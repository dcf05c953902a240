"""Evidence beyond headers, on request: both models run on the same input, or the values themselves. Loaded on use."""

from ckpt_surgeon.probing.probe import Probe, Probed, probed

__all__ = ["Probe", "Probed", "probed"]
