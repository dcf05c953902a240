"""Presets: what each makes of names as they are found, what it leaves alone, and where `explain` says that it stands."""

import re
from typing import Any

import pytest

from ckpt_surgeon.planning import explain, make_plan
from ckpt_surgeon.rules import as_rules, parse_rules
from ckpt_surgeon.rules.presets import PRESETS
from ckpt_surgeon.spec import Header, TensorSpec

SPEC = TensorSpec.of("float32", 2)


def header(*keys: str) -> Header:
    return Header(dict.fromkeys(keys, SPEC))


def renamed(preset: str, keys: list[str], target: Header | None = None) -> dict[str, str]:
    """Each source key and the key under which it stands in the plan."""
    plan = make_plan(as_rules({"version": 1, "presets": [preset]}), header(*keys), target)
    found: Any = plan.recipes
    return {recipe.key: key for key, recipe in found.items()}


FOUND = {
    "wrappers": {
        "module.fc.weight": "fc.weight",
        "_orig_mod.module.conv.weight": "conv.weight",
        "module._orig_mod.bn.weight": "bn.weight",
        "_fsdp_wrapped_module.h.0._fsdp_wrapped_module._checkpoint_wrapped_module.w": "h.0.w",
        "_forward_module.head.weight": "head.weight",
        "a.module.weight": "a.module.weight",
        "modules.weight": "modules.weight",
    },
    "densenet": {
        "features.denseblock1.denselayer1.norm.1.weight": "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock4.denselayer16.norm.2.running_var": "features.denseblock4.denselayer16.norm2.running_var",
        "features.denseblock1.denselayer1.conv.2.weight": "features.denseblock1.denselayer1.conv2.weight",
        "features.transition1.norm.weight": "features.transition1.norm.weight",
        "features.norm0.weight": "features.norm0.weight",
        "other.norm.1.weight": "other.norm.1.weight",
        "classifier.weight": "classifier.weight",
    },
    "lora_peft": {
        "base_model.model.h.0.q_proj.lora_A.default.weight": "h.0.q_proj.lora_A.weight",
        "base_model.model.h.0.q_proj.lora_B.weight": "h.0.q_proj.lora_B.weight",
        "base_model.model.h.0.q_proj.base_layer.weight": "h.0.q_proj.weight",
        "base_model.model.wte.lora_embedding_A.default": "wte.lora_embedding_A",
        "base_model.model.h.0.q_proj.lora_magnitude_vector.default.weight": "h.0.q_proj.lora_magnitude_vector.weight",
        "default.weight": "default.weight",
    },
    "lora_diffusers": {
        "unet.mid.attn1.processor.to_q_lora.down.weight": "unet.mid.attn1.to_q.lora_A.weight",
        "unet.mid.attn1.processor.to_out_lora.up.weight": "unet.mid.attn1.to_out.0.lora_B.weight",
        "unet.mid.attn2.to_k.lora.down.weight": "unet.mid.attn2.to_k.lora_A.weight",
        "text_encoder.h.0.self_attn.q_proj.lora_linear_layer.up.weight": "text_encoder.h.0.self_attn.q_proj.lora_B.weight",
        "unet.attn.to_v_lora.up.weight": "unet.attn.to_v.lora_B.weight",
        "unet.down_blocks.0.weight": "unet.down_blocks.0.weight",
        "unet.up.lora_A.weight": "unet.up.lora_A.weight",
    },
    "lora_kohya": {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": "mid_block.attentions.0.proj_in.lora_A.weight",
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": "mid_block.attentions.0.proj_in.lora_B.weight",
        "lora_unet_mid_block_attentions_0_proj_in.alpha": "mid_block.attentions.0.proj_in.alpha",
        "lora_te1_text_model_encoder_layers_11_mlp_fc1.lora_down.weight": "text_model.encoder.layers.11.mlp.fc1.lora_A.weight",
        "fc.lora_A.weight": "fc.lora_A.weight",
    },
}

# Those which take names from a target: it has just the names which are to come out.
WITH_TARGET = {"lora_kohya"}


def found_by(preset: str, wanted: dict[str, str]) -> dict[str, str]:
    return renamed(preset, list(wanted), header(*wanted.values()) if preset in WITH_TARGET else None)


def test_every_preset_is_tried() -> None:
    assert set(FOUND) == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_names_as_they_are_found_become_the_common_ones_and_others_stay(preset: str) -> None:
    assert found_by(preset, FOUND[preset]) == FOUND[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_which_finds_nothing_and_one_which_ran_already_change_nothing(preset: str) -> None:
    for keys in (["a.weight", "b.bias"], list(FOUND[preset].values())):
        same = dict(zip(keys, keys, strict=True))
        assert found_by(preset, same) == same


def test_a_wrapper_name_which_the_target_has_is_the_model_s_own() -> None:
    target = header("module.fc.weight", "b._orig_mod.w")
    keys = ["_fsdp_wrapped_module.module.fc.weight", "b._orig_mod.w"]
    assert renamed("wrappers", keys, target) == {keys[0]: "module.fc.weight", keys[1]: keys[1]}


def test_densenet_names_are_those_which_torchvision_makes() -> None:
    """torchvision, models/densenet.py, `_load_state_dict` (0.20)."""
    pattern = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
    keys = [
        f"features.denseblock{b}.denselayer{n}.{kind}.{i}.{leaf}"
        for b in (1, 2)
        for n in (1, 12)
        for kind in ("norm", "conv", "relu", "pool")
        for i in (1, 2, 3)
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    matches = {key: pattern.match(key) for key in keys}
    assert renamed("densenet", keys) == {key: match[1] + match[2] if match else key for key, match in matches.items()}


PROJECTIONS = [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")]
SIDES = [("down", "lora_A"), ("up", "lora_B")]


def test_diffusers_names_are_those_which_its_tables_make() -> None:
    """diffusers, utils/state_dict_utils.py (0.42): UNET_TO_DIFFUSERS, DIFFUSERS_TO_PEFT, DIFFUSERS_OLD_TO_PEFT."""
    unet, new, old = {}, {}, {}
    for side, name in SIDES:
        unet |= {f".{x}_lora.{side}": f".{'to_out.0' if x == 'to_out' else x}.{name}" for x, _ in PROJECTIONS} | {
            f".lora.{side}": f".{name}"
        }
        new |= {f".{y}.lora_linear_layer.{side}": f".{y}.{name}" for _, y in PROJECTIONS}
        old |= {f".{x}_lora.{side}": f".{y}.{name}" for x, y in PROJECTIONS}
    unet[".to_out.lora_magnitude_vector"] = ".to_out.0.lora_magnitude_vector"
    wanted = {f"unet.mid.attn1{key}.weight": f"unet.mid.attn1{value}.weight" for key, value in unet.items()}
    wanted |= {f"text_encoder.h.0.self_attn{key}.weight": f"text_encoder.h.0.self_attn{value}.weight" for key, value in new.items()}
    wanted |= {f"text_encoder.h.1.self_attn{key}.weight": f"text_encoder.h.1.self_attn{value}.weight" for key, value in old.items()}
    assert renamed("lora_diffusers", list(wanted)) == wanted


def test_presets_run_before_the_rules_and_explain_says_where_they_stand() -> None:
    text = "version: 1\nrules:\n  - rename: {fc.weight: head.weight}\npresets: [densenet, wrappers]\n"
    plan = make_plan(parse_rules(text, "rules.yaml"), header("module.fc.weight"), None)
    passages = explain(plan, "head.weight").passages
    assert [(each.where, each.op) for each in passages] == [("rules.yaml:4:21 (wrappers)", "unwrap"), ("rules.yaml:3:5", "rename")]


def test_the_digest_tells_a_preset_from_none() -> None:
    plain, with_preset = (as_rules({"version": 1, "presets": presets}) for presets in ([], ["wrappers"]))
    assert plain.digest != with_preset.digest
    assert with_preset.digest == as_rules({"version": 1, "rules": [{**PRESETS["wrappers"][0], "expect": "any"}]}).digest
