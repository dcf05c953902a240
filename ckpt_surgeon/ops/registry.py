"""The ops by name. Ours stand here; those of other packages come from the entry-point group `ckpt_surgeon.ops`, when asked for."""

from __future__ import annotations

from dataclasses import is_dataclass

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.aligning import AlignNames
from ckpt_surgeon.ops.batch_norm import FoldBatchNorm
from ckpt_surgeon.ops.casting import Cast
from ckpt_surgeon.ops.channels import AdaptInChannels
from ckpt_surgeon.ops.heads import AdaptHead
from ckpt_surgeon.ops.initializing import Init
from ckpt_surgeon.ops.lora import MergeLora
from ckpt_surgeon.ops.norms_of_weights import BakeSpectralNorm, BakeWeightNorm
from ckpt_surgeon.ops.permuting import Permute, Transpose
from ckpt_surgeon.ops.prefixes import AddPrefix, StripPrefix
from ckpt_surgeon.ops.protocol import Body, NameOp, TensorOp
from ckpt_surgeon.ops.renaming import CopyKeys, Rename, TieKeys
from ckpt_surgeon.ops.replacing import Replace
from ckpt_surgeon.ops.reshaping import Fit, Reshape
from ckpt_surgeon.ops.selecting import DropKeys, KeepKeys
from ckpt_surgeon.ops.splitting import Concat, Split
from ckpt_surgeon.ops.squeezing import Squeeze, Unsqueeze
from ckpt_surgeon.ops.stacking import Stack, Unstack
from ckpt_surgeon.ops.substituting import Sub
from ckpt_surgeon.ops.vocabulary import ResizeVocab

__all__ = ["ENTRY_POINTS", "OPS", "OpType", "load_plugins", "plugin_names", "register"]

ENTRY_POINTS = "ckpt_surgeon.ops"

OpType = type[NameOp | TensorOp]

OPS: dict[str, OpType] = {
    "strip_prefix": StripPrefix,
    "add_prefix": AddPrefix,
    "replace": Replace,
    "rename": Rename,
    "align_names": AlignNames,
    "drop": DropKeys,
    "keep": KeepKeys,
    "copy": CopyKeys,
    "tie": TieKeys,
    "sub": Sub,
    "squeeze": Squeeze,
    "unsqueeze": Unsqueeze,
    "reshape": Reshape,
    "transpose": Transpose,
    "permute": Permute,
    "cast": Cast,
    "split": Split,
    "concat": Concat,
    "stack": Stack,
    "unstack": Unstack,
    "adapt_in_channels": AdaptInChannels,
    "head": AdaptHead,
    "resize_vocab": ResizeVocab,
    "merge_lora": MergeLora,
    "fold_bn": FoldBatchNorm,
    "bake_weight_norm": BakeWeightNorm,
    "bake_spectral_norm": BakeSpectralNorm,
    "fit": Fit,
    "init": Init,
}


def register(op: OpType) -> None:
    """Add an op under its own name. RulesError when another op bears the name already."""
    known = OPS.setdefault(op.name, op)
    if known is not op:
        raise RulesError(f"two ops are named {op.name!r}: {_origin(known)} and {_origin(op)}", hint="Rename or uninstall one of them.")


def load_plugins() -> None:
    """Import and register the ops of installed packages; a second call changes nothing. Nothing else here imports their code.

    Raises RulesError which names a plug-in which cannot be imported, is no op, or takes the name of another.
    """
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        try:
            op = entry.load()
        except (ImportError, AttributeError) as error:
            raise RulesError(f"the op {entry.name!r} of another package cannot be imported from {entry.value}: {error}") from error
        if not _is_op(op):
            raise RulesError(
                f"the op {entry.name!r} of another package is none: {entry.value} is no frozen dataclass with a name, a body, "
                "and edits or infer"
            )
        register(op)


def plugin_names() -> frozenset[str]:
    """What installed packages call their ops; their code is not imported."""
    from importlib.metadata import entry_points

    return frozenset(entry.name for entry in entry_points(group=ENTRY_POINTS))


def _is_op(thing: object) -> bool:
    has_words = isinstance(getattr(thing, "name", None), str) and isinstance(getattr(thing, "body", None), Body)
    return isinstance(thing, type) and is_dataclass(thing) and has_words and (hasattr(thing, "edits") or hasattr(thing, "infer"))


def _origin(op: OpType) -> str:
    return f"{op.__module__}.{op.__qualname__}"
