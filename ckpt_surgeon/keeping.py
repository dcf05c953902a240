"""What of a plan's source stays in its output beside the tensors; and whether an output is what was planned. Pure."""

from __future__ import annotations

from ckpt_surgeon.formats.protocol import Keep, KeptParameter, Reader
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning import Plan, Source
from ckpt_surgeon.planning.optimizer_plan import Follower
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

__all__ = ["differences", "kept"]


def kept(plan: Plan, reader: Reader | None) -> Keep:
    """What of the source of a plan goes into its output beside the tensors."""
    sources = {key: recipe for key, recipe in plan.recipes.items() if isinstance(recipe, Source) and not recipe.file}
    return Keep(
        reader=reader,
        opaque={key: recipe.key for key, recipe in sources.items() if isinstance(recipe.spec, Opaque)},
        moved={key: recipe.key for key, recipe in sources.items() if not isinstance(recipe.spec, Opaque)},
        drops_optimizer=not plan.keeps_optimizer,
        optimizers={
            place: [[_kept_parameter(follower) for follower in group] for group in groups] for place, groups in plan.optimizer.groups.items()
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
