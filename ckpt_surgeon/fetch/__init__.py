"""http(s) sources into torch hub's cache folder."""

from ckpt_surgeon.fetch.downloading import fetch

__all__ = ["fetch"]
