"""What of a plan's source stays in its output beside the tensors; and whether an output is what was planned. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from ckpt_surgeon.formats.protocol import Keep, KeptParameter, Reader
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning import Plan, Source
from ckpt_surgeon.planning.optimizer_plan import Follower
from ckpt_surgeon.spec import Header, Opaque, OptimizerState, TensorSpec

__all__ = ["differences", "kept", "optimizer_differences"]


def kept(plan: Plan, reader: Reader | None) -> Keep:
    """What of the source of a plan goes into its output beside the tensors. reader: the source, if what stands around them is kept."""
    sources = {key: recipe for key, recipe in plan.recipes.items() if isinstance(recipe, Source) and not recipe.file}
    return Keep(
        reader=reader,
        opaque={key: recipe.key for key, recipe in sources.items() if isinstance(recipe.spec, Opaque)},
        moved={key: recipe.key for key, recipe in sources.items() if not isinstance(recipe.spec, Opaque)},
        drops_optimizer=not plan.keeps_optimizer,
        optimizers={
            place: [[_kept_parameter(follower) for follower in group] for group in groups]
            for place, groups in plan.optimizer.groups.items()
            if reader is not None
        },
    )


def _kept_parameter(follower: Follower) -> KeptParameter:
    made = {
        name: (key, recipe.spec) for name, (key, recipe) in follower.made.items() if isinstance(recipe.spec, TensorSpec)
    }  # a state's opaque entries are never made anew
    return KeptParameter(follower.name, follower.source, made)


def differences(found: Header, planned: Header) -> list[str]:
    """Where the header of an output is not that of the plan: a few lines, or none."""
    keys = [key for key in {**planned.entries, **found.entries} if found.entries.get(key) != planned.entries.get(key)]
    wrong = [f"{escape(key)}: {found.entries.get(key)} instead of {planned.entries.get(key)}" for key in keys[:5]]
    return wrong + ([f"ties {dict(found.aliases)} instead of {dict(planned.aliases)}"] if found.aliases != planned.aliases else [])


def optimizer_differences(found: Mapping[str, OptimizerState | None], keep: Keep) -> list[str]:
    """Where the optimizers of an output (by their places) are not those which were to be made anew: a few lines, or none."""
    wrong = []
    for place, groups in keep.optimizers.items():
        state = found.get(place)
        if state is None or list(map(len, state.groups)) != list(map(len, groups)):
            wrong.append(f"the groups of {escape(place)}")
            continue
        for each, parameter in zip(chain.from_iterable(state.groups), chain.from_iterable(groups), strict=True):
            held = state.entries.get(each, {})
            is_other = any(held.get(name) != spec for name, (_, spec) in parameter.made.items())
            if is_other or (parameter.source is None and held):
                wrong.append(f"the state of {escape(str(parameter.name))} in {escape(place)}")
    return wrong[:5]
