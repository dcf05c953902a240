"""A plan into a live nn.Module: read and check everything, then copy; or leave the module untouched."""

from ckpt_surgeon.loading.live import load
from ckpt_surgeon.loading.tables import pre_hook, remap

__all__ = ["load", "pre_hook", "remap"]
