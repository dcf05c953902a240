"""The values of the tensors which a diff matched: equal bit for bit, or how far apart."""

from ckpt_surgeon.distance.comparing import compare_values

__all__ = ["compare_values"]
