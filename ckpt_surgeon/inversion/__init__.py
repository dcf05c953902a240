"""A plan's rules turned round: what takes its output back to its source, proven on the headers. Pure."""

from ckpt_surgeon.inversion.inverting import invert_plan

__all__ = ["invert_plan"]
