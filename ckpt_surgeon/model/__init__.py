"""Live models and state_dicts: an nn.Module or `pkg.module:factory` -> Header and Reader. Runs the user's code: an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon.model.arguments import parse_arguments
    from ckpt_surgeon.model.building import build, called
    from ckpt_surgeon.model.factories import is_spec
    from ckpt_surgeon.model.initialization import initial_tensors
    from ckpt_surgeon.model.seeding import seeded
    from ckpt_surgeon.model.skeleton import skeleton
    from ckpt_surgeon.model.state import StateDictReader, header_of_module, header_of_state_dict

__all__ = [
    "StateDictReader",
    "build",
    "called",
    "header_of_module",
    "header_of_state_dict",
    "initial_tensors",
    "is_spec",
    "parse_arguments",
    "seeded",
    "skeleton",
]

__getattr__ = deferred(
    __name__,
    {
        "StateDictReader": "state",
        "build": "building",
        "called": "building",
        "header_of_module": "state",
        "header_of_state_dict": "state",
        "initial_tensors": "initialization",
        "is_spec": "factories",
        "parse_arguments": "arguments",
        "seeded": "seeding",
        "skeleton": "skeleton",
    },
)
