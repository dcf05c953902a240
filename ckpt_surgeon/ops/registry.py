"""The ops by name. Ours stand here; those of other packages come from the entry-point group `ckpt_surgeon.ops`, when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import is_dataclass
from importlib import import_module

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Body, NameOp, TensorOp

__all__ = ["ENTRY_POINTS", "OPS", "OURS", "OpType", "load_plugins", "plugin_names", "register"]

ENTRY_POINTS = "ckpt_surgeon.ops"

OpType = type[NameOp | TensorOp]


# Name -> where in this folder the op is.
OURS: Mapping[str, str] = {
    "strip_prefix": "prefixes:StripPrefix",
    "add_prefix": "prefixes:AddPrefix",
    "replace": "replacing:Replace",
    "rename": "renaming:Rename",
    "align_names": "aligning:AlignNames",
    "drop": "selecting:DropKeys",
    "keep": "selecting:KeepKeys",
    "copy": "renaming:CopyKeys",
    "tie": "renaming:TieKeys",
    "sub": "substituting:Sub",
    "layers": "layering:Layers",
    "unwrap": "unwrapping:Unwrap",
    "unflatten": "unflattening:Unflatten",
    "squeeze": "squeezing:Squeeze",
    "unsqueeze": "squeezing:Unsqueeze",
    "reshape": "reshaping:Reshape",
    "transpose": "permuting:Transpose",
    "permute": "permuting:Permute",
    "rearrange": "rearranging:Rearrange",
    "cast": "casting:Cast",
    "split": "splitting:Split",
    "concat": "splitting:Concat",
    "stack": "stacking:Stack",
    "unstack": "stacking:Unstack",
    "interleave": "packing:Interleave",
    "deinterleave": "packing:Deinterleave",
    "slice": "taking:Slice",
    "take": "taking:Take",
    "flip": "flipping:Flip",
    "pad": "placing:Pad",
    "region": "placing:Region",
    "rope_permute": "rotary:RopePermute",
    "mha_to_gqa": "grouping:MhaToGqa",
    "gqa_to_mha": "grouping:GqaToMha",
    "scale": "arithmetic:Scale",
    "add": "arithmetic:Add",
    "average": "arithmetic:Average",
    "ema": "arithmetic:Ema",
    "task_vector": "arithmetic:TaskVector",
    "slerp": "spherical:Slerp",
    "adapt_in_channels": "channels:AdaptInChannels",
    "head": "heads:AdaptHead",
    "resize_vocab": "vocabulary:ResizeVocab",
    "merge_lora": "lora:MergeLora",
    "fold_bn": "batch_norm:FoldBatchNorm",
    "bake_weight_norm": "norms_of_weights:BakeWeightNorm",
    "bake_spectral_norm": "norms_of_weights:BakeSpectralNorm",
    "inflate": "inflating:Inflate",
    "collapse": "inflating:Collapse",
    "linear_to_conv": "flattening:LinearToConv",
    "conv_to_linear": "flattening:ConvToLinear",
    "decimate": "decimating:Decimate",
    "resample_patch_embed": "patch_embed:ResamplePatchEmbed",
    "resample_pos_embed": "pos_embed:ResamplePosEmbed",
    "resample_rel_pos_bias": "rel_pos_bias:ResampleRelPosBias",
    "resample_positions": "positions:ResamplePositions",
    "fit": "reshaping:Fit",
    "init": "initializing:Init",
}


class _Ops(MutableMapping[str, OpType]):
    """The ops by name, in order. Ours are imported when they are asked for: few rules use more than a few of them."""

    def __init__(self, ours: Mapping[str, str]) -> None:
        self._found: dict[str, OpType | str] = dict(ours)

    def __getitem__(self, name: str) -> OpType:
        found = self._found[name]
        if isinstance(found, str):
            module, _, word = found.partition(":")
            op: OpType = getattr(import_module(f"ckpt_surgeon.ops.{module}"), word)
            self._found[name] = found = op
        return found

    def __setitem__(self, name: str, op: OpType) -> None:
        self._found[name] = op

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


OPS = _Ops(OURS)


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
