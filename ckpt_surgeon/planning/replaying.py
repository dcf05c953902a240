"""An origin -> the recipe which makes it anew: ops are built from their names and parameters, which a stranger may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_surgeon.errors import CorruptError, CoverageError, LimitError, RulesError
from ckpt_surgeon.keys.aliases import split_alias
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.planning.lineage import Origin, Work
from ckpt_surgeon.planning.recipe import Derived, Recipe, Source
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["needs_model", "recipe_of"]

# Ops which are evaluated for one tensor: a merge of a thousand experts takes some thousand. Inputs which are shared count each time.
_MAX_WORK: Final = 100_000
# Ops on top of each other; evaluating them recurses.
_MAX_DEPTH: Final = 100
# Of what lies between source and output: a few times as much as both, or this, which a small file may take.
_TIMES: Final = 4
_ROOM_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Part:
    """A recipe; how many ops stand in it, and how many on top of each other."""

    recipe: Recipe
    work: int = 0
    depth: int = 0


def needs_model(origin: Origin) -> bool:
    """Whether an origin draws on a model's own initialization, which no file holds."""
    return any(work.op == "init" and work.parameters.get("value") == "model" for work in origin.way.steps)


def recipe_of(origin: Origin, sources: Mapping[str, Header], nbytes: int) -> Recipe:
    """The recipe which makes a key from its sources, as its origin tells. sources: alias -> header, of the main source under an empty one.

    nbytes: of the sources and of the output together.

    Raises CoverageError where a source lacks a key, or is not given, CorruptError for an op which is unknown or does not take these
    tensors, and LimitError for more work, or larger tensors in between, than an honest manifest asks for.
    """
    parts = [_Part(_source(key, origin, sources)) for key in origin.sources]
    for work in origin.way.steps:
        try:
            parts.append(_made(work, [parts[i] for i in work.inputs], _TIMES * nbytes + _ROOM_BYTES))
        except RulesError as error:
            raise CorruptError(f"{work.op} cannot be done: {error.problems[0].what}", where=escape(origin.key)) from error
        except (CorruptError, LimitError) as error:
            raise error.located(escape(origin.key)) from error
    return parts[-1].recipe


def _source(name: str, origin: Origin, sources: Mapping[str, Header]) -> Source:
    """The entry which an origin names; a key of the main source may begin as one of another does."""
    alias, key = ("", name) if name in sources[""].entries else split_alias(name)
    hint = f"it may be another source's: give that, too (--source {alias}=PATH)" if alias not in sources else ""
    alias, key = (alias, key) if alias in sources else ("", name)
    found = sources[alias].entries.get(key)
    if not isinstance(found, TensorSpec):
        what = "has no key" if found is None else "has no plain tensor"
        raise CoverageError(f"the source {what} {escape(name)}, from which it is said to come", where=escape(origin.key), hint=hint)
    return Source(sources[alias].canonical(key), found, alias)


def _made(work: Work, inputs: list[_Part], max_bytes: int) -> _Part:
    specs = tuple(part.recipe.spec for part in inputs if isinstance(part.recipe.spec, TensorSpec))
    op = _op(work)
    outputs = op.infer(specs)
    if work.output >= len(outputs):
        raise CorruptError(f"{work.op} has {len(outputs)} outputs, and number {work.output} is wanted")
    part = _Part(
        Derived(op, tuple(part.recipe for part in inputs), work.output, outputs[work.output]),
        1 + sum(part.work for part in inputs),
        1 + max((part.depth for part in inputs), default=0),
    )
    if part.work > _MAX_WORK or part.depth > _MAX_DEPTH:
        raise LimitError(f"it takes {part.work} ops, {part.depth} on top of each other; {_MAX_WORK} and {_MAX_DEPTH} are allowed")
    if sum(spec.nbytes for spec in outputs) > max_bytes:
        raise LimitError(f"{work.op} makes {', '.join(map(str, outputs[:3]))}, far more than there is of both checkpoints")
    return part


def _op(work: Work) -> TensorOp:
    """The op which a manifest names, with its parameters. Raises CorruptError for an unknown one, RulesError as the op itself does."""
    from ckpt_surgeon.ops.registry import OPS
    from ckpt_surgeon.rules.fitting import fitted, misfits
    from ckpt_surgeon.rules.schema import parameters_schema

    if work.op not in OPS or not hasattr(OPS[work.op], "infer"):
        raise CorruptError(f"there is no op {escape(work.op)} on tensors", hint="an op of another package needs --plugins")
    schema = parameters_schema(OPS[work.op])
    known = schema["properties"]
    wrong = [name for name, value in work.parameters.items() if name not in known or misfits(value, known[name])]
    wrong += [name for name in schema["required"] if name not in work.parameters]
    if wrong:
        raise CorruptError(f"{work.op} does not take these parameters: {', '.join(map(escape, wrong))}")
    op = OPS[work.op](**{name: fitted(value, known[name]) for name, value in work.parameters.items()})
    assert isinstance(op, TensorOp)  # the registry's own class, not input
    return op
