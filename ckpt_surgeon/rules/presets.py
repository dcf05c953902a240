"""Rules which many files would hold alike, by name: `presets: [wrappers]` runs them before the file's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ckpt_surgeon.rules.document import Given
from ckpt_surgeon.rules.entries import read_entry
from ckpt_surgeon.rules.node import Node, shown
from ckpt_surgeon.rules.rule import Rule

__all__ = ["PRESETS", "read_presets"]

_LORA: Final = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")

# Names which torch's own wrappers put around a model: DataParallel and DistributedDataParallel (`module`), torch.compile
# (`_orig_mod`), FullyShardedDataParallel, activation checkpointing, and Lightning Fabric's (`_forward_module`).
_WRAPPERS: Final = {
    "unwrap": {
        "prefixes": ["module."],
        "segments": ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"],
    }
}

# torchvision, models/densenet.py, `_load_state_dict`: old releases had dots in names which a module may no longer hold.
_DENSENET: Final = {
    "sub": {r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$": r"\1\2"},
}

# peft: a whole model's state_dict -> the names of `get_peft_model_state_dict`, less the adapter's name and the wrapper's.
_LORA_PEFT: Final = (
    {"strip_prefix": "base_model.model."},
    {"replace": {**{f"{name}.default": name for name in _LORA}, "base_layer": ""}},
)

# diffusers, utils/state_dict_utils.py: UNET_TO_DIFFUSERS, DIFFUSERS_TO_PEFT and, for the text encoder, DIFFUSERS_OLD_TO_PEFT.
_LORA_DIFFUSERS: Final = {
    "replace": {
        f"{before}{side}": f"{after}{name}"
        for side, name in (("down", "lora_A"), ("up", "lora_B"))
        for before, after in (
            ("lora.", ""),
            ("lora_linear_layer.", ""),
            ("to_{m:q|k|v}_lora.", "to_{m}."),
            ("processor.to_{m:q|k|v}_lora.", "to_{m}."),
            ("self_attn.to_{m:q|k|v}_lora.", "self_attn.{m}_proj."),
            ("to_out_lora.", "to_out.0."),
            ("processor.to_out_lora.", "to_out.0."),
            ("self_attn.to_out_lora.", "self_attn.out_proj."),
        )
    }
    | {"to_out.lora_magnitude_vector": "to_out.0.lora_magnitude_vector"}
}

# kohya-ss/sd-scripts, networks/lora.py: LoRANetwork's prefixes, and the layers of LoRAModule.
_LORA_KOHYA: Final = (
    {"unflatten": ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_"]},
    {"replace": {"lora_down": "lora_A", "lora_up": "lora_B"}},
)

PRESETS: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "wrappers": (_WRAPPERS,),
    "densenet": (_DENSENET,),
    "lora_peft": _LORA_PEFT,
    "lora_diffusers": (_LORA_DIFFUSERS,),
    "lora_kohya": _LORA_KOHYA,
}


def read_presets(node: Node) -> tuple[Rule, ...]:
    """The rules of the presets which a document lists, in order; complains of what is none."""
    if not isinstance(node.data, list):
        node.complain(f"presets is a list; found {shown(node.data)}", f"Such as `presets: [wrappers]`. Known: {', '.join(PRESETS)}.")
        return ()
    items = [node.child(at) for at in range(len(node.data))]
    for at, item in enumerate(items):
        if item.data in node.data[:at]:
            item.complain(f"presets: {shown(item.data)} is listed twice", "It runs once, before the rules.")
    names = [(item.word("presets: an item", tuple(PRESETS)), item.document.where(item.place)) for item in items]
    return tuple(rule for name, where in names for rule in _preset_rules(name, where))


def _preset_rules(name: str, where: str) -> tuple[Rule, ...]:
    """The rules of a preset, which stand at `where`; none of them has to match anything."""
    entries = (read_entry(Node(Given(entry), entry)) for entry in PRESETS[name])
    return tuple(replace(rule, expect="any", where=f"{where} ({name})") for rule in entries if rule is not None)
