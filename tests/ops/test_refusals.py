"""What an op refuses when a rule is read, and what when its shapes are known: each time with the part which is meant."""

from typing import Any

import pytest
from op_samples import specs_of

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import NameOp
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import as_rules

BIG = 2**63
# op, its body as a rules file has it, words of the refusal
READ = [
    ("squeeze", {"match": "a", "dims": BIG}, ["squeeze: dims", str(BIG)]),
    ("squeeze", {"match": "a", "dims": [0.0]}, ["0.0", "whole number"]),
    ("squeeze", {"match": "a", "dims": "all"}, ["squeeze: dims is 'all'"]),
    ("squeeze", {"match": "a", "shape": [1]}, ["unknown word 'shape'"]),
    ("unsqueeze", {"match": "a"}, ["unsqueeze needs dims"]),
    ("unsqueeze", {"match": "a", "dims": None}, ["unsqueeze: dims is nothing"]),
    ("reshape", {"match": "a", "shape": [-1, -1]}, ["several -1"]),
    ("reshape", {"match": "a", "shape": [-2]}, ["-2", "0 or more"]),
    ("reshape", {"match": "a", "shape": 3}, ["reshape: shape is 3"]),
    ("transpose", {"match": "a", "dims": [0]}, ["transpose: dims is [0]", "2 whole numbers"]),
    ("transpose", {"match": "a", "dims": [True, False]}, ["transpose: dims", "true"]),
    ("permute", {"match": "a"}, ["permute needs dims"]),
    ("permute", {"match": "a", "dims": ["0"]}, ["found '0' in it"]),
    ("cast", {"match": "a", "dtype": "float33"}, ["'float33'", "no dtype", "Did you mean 'float32'"]),
    ("cast", {"match": "a", "dtype": "f33"}, ["'f33'", "Common ones: float32, float16, bfloat16"]),
    ("cast", {"match": "a", "dtype": ""}, ["cast: dtype is empty"]),
    ("cast", {"match": "a"}, ["cast needs dtype"]),
    ("split", {"source": "a", "target": ["b", "c"], "sizes": []}, ["at least one part"]),
    ("split", {"source": "a", "target": ["b", "c"], "sizes": [1, -1]}, ["-1", "0 or more"]),
    ("split", {"source": "a", "target": ["b", "c"], "parts": 2}, ["unknown word 'parts'", "source, target, dim, sizes, heads"]),
    ("split", {"match": "a"}, ["split needs source and target; found match"]),
    ("concat", {"source": ["a", "b"], "target": "c", "axis": 0}, ["unknown word 'axis'", "source, target, dim."]),
    ("concat", {"source": ["a", "b"], "target": "c", "dim": None}, ["concat: dim is nothing"]),
    ("stack", {"source": ["a", "b"], "target": "c", "dim": 0.5}, ["stack: dim is 0.5"]),
    ("unstack", {"source": "a", "target": "b"}, ["several tensors"]),
    ("split", {"source": "a", "target": ["b", "c"], "sizes": [1], "heads": [1]}, ["give sizes or heads, not both"]),
    ("interleave", {"source": ["a", "b"], "target": "c"}, ["interleave needs groups"]),
    ("interleave", {"source": ["a", "b"], "target": "c", "groups": 0}, ["groups is 0", "1 or more"]),
    ("deinterleave", {"match": "a", "groups": 2}, ["deinterleave needs source and target; found match"]),
    ("deinterleave", {"source": "a", "target": ["b", "c"], "groups": 2, "parts": 2}, ["unknown word 'parts'"]),
    ("deinterleave", {"source": "a", "target": ["b", "c"], "groups": 2, "sizes": []}, ["sizes is an empty list"]),
    ("slice", {"match": "a", "step": 0}, ["step is 0"]),
    ("slice", {"match": "a", "stop": "end"}, ["stop is 'end'"]),
    ("take", {"match": "a"}, ["take needs indices"]),
    ("take", {"match": "a", "indices": ["0-3", "9-5"]}, ["'9-5'", "before it starts"]),
    ("pad", {"match": "a"}, ["neither before nor after", "after: target"]),
    ("pad", {"match": "a", "after": -1}, ["after is -1", "slice"]),
    ("pad", {"match": "a", "after": 1, "size": 2}, ["unknown word 'size'"]),
    ("region", {"source": ["a", "b"], "target": "a", "start": [-1]}, ["-1", "from 0"]),
    ("region", {"source": "a", "target": "b", "start": [0]}, ["several tensors"]),
    ("rope_permute", {"match": "a", "heads": 2, "source_layout": "half"}, ["rope_permute needs target_layout", "interleaved, half"]),
    ("rope_permute", {"match": "a", "heads": 2, "source_layout": "half", "target_layout": "half"}, ["both layouts are half"]),
    ("rope_permute", {"match": "a", "heads": 2, "source_layout": "hf", "target_layout": "half"}, ["source_layout is 'hf'"]),
    ("mha_to_gqa", {"match": "a", "heads": 32}, ["mha_to_gqa needs kv_heads"]),
    ("mha_to_gqa", {"match": "a", "heads": 32, "kv_heads": 5}, ["32 heads", "5 groups"]),
    ("gqa_to_mha", {"match": "a", "heads": 8, "kv_heads": 32}, ["8 heads", "32 groups", "multiple of kv_heads"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean"}, ["in_channels is missing", "in_channels: target"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 0}, ["in_channels is 0", "1 or more"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 3, "groups": 0}, ["groups is 0"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 3, "groups": 2}, ["3 does not divide by 2"]),
    ("adapt_in_channels", {"match": "a", "mode": "select", "in_channels": 3}, ["wants channels"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 3, "channels": [0]}, ["takes no channels"]),
    ("adapt_in_channels", {"match": "a", "mode": "select", "channels": [-1]}, ["negative", "from 0"]),
    ("adapt_in_channels", {"match": "a", "mode": "select", "channels": [0], "in_channels": 2}, ["are not 2"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": "source"}, ["in_channels is 'source'"]),
    ("inflate", {"match": "a", "mode": "centre"}, ["inflate needs time"]),
    ("inflate", {"match": "a", "mode": "center", "time": 3}, ["mode is 'center'", "mean, centre"]),
    ("collapse", {"match": "a", "dims": [2]}, ["unknown word 'dims'", "Did you mean 'dim'"]),
    ("linear_to_conv", {"match": "a", "kernel": [7, 7]}, ["linear_to_conv needs order"]),
    ("linear_to_conv", {"match": "a", "order": "chw", "kernel": "source"}, ["kernel is 'source'"]),
    ("conv_to_linear", {"match": "a", "order": "whc"}, ["order is 'whc'", "chw, hwc"]),
    ("decimate", {"match": "a", "m": 4}, ["decimate: m is 4"]),
    ("decimate", {"match": "a", "m": [4, 0]}, ["m is [4, 0]", "1 or more, or null"]),
    ("resample_patch_embed", {"match": "a", "patch_size": [14]}, ["patch_size is [14]", "2 whole numbers"]),
    ("resample_pos_embed", {"match": "a", "target_grid": "target"}, ["resample_pos_embed needs source_grid"]),
    (
        "resample_pos_embed",
        {"match": "a", "source_grid": [7, 28], "target_grid": "target"},
        ["[7, 28] is not square", "target_grid: [h, w]"],
    ),
    ("resample_pos_embed", {"match": "a", "source_grid": "square", "target_grid": "target", "is_told": True}, ["unknown word 'is_told'"]),
    ("resample_rel_pos_bias", {"match": "a", "mode": "linear", "source_window": "square", "target_window": "target"}, ["mode is 'linear'"]),
    ("resample_positions", {"match": "a", "mode": "linear", "size": 9}, ["mode linear wants align_corners"]),
    ("resample_positions", {"match": "a", "mode": "linear", "size": 9, "align_corners": 1}, ["align_corners is 1"]),
    ("head", {"match": "a", "mode": "drop"}, ["mode is 'drop'", "slice, grow, map"]),
    ("head", {"match": "a", "mode": "grow", "classes": "all"}, ["head: classes is 'all'"]),
    ("head", {"match": "a", "mode": "map", "source_labels": ["b", "b"], "target_labels": ["b"]}, ["source_labels has 'b' twice"]),
    ("head", {"match": "a", "mode": "map", "source_labels": "no/such", "target_labels": ["b"]}, ["source_labels: no/such", "folder"]),
    ("resize_vocab", {"match": "a"}, ["size is missing"]),
    ("resize_vocab", {"match": "a", "size": "target", "pad_to_multiple_of": 8}, ["not to be rounded"]),
    ("merge_lora", {"source": {"weight": "a", "lora_a": "b", "lora_b": "c"}, "target": "d"}, ["no alpha", "alpha: 16"]),
    ("merge_lora", {"source": {"weight": "a", "lora_a": "b", "lora_b": "c", "alpha": "e"}, "target": "d", "alpha": 1}, ["twice"]),
    ("merge_lora", {"source": {"weight": "a", "lora_a": "b"}, "target": "d", "alpha": 1}, ["source lacks lora_b"]),
    ("merge_lora", {"source": ["a", "b", "c"], "target": "d", "alpha": 1, "inputs": ["weight"]}, ["unknown word 'inputs'"]),
    ("fold_bn", {"source": ["a", "b"], "target": ["c", "d"]}, ["fold_bn needs eps"]),
    ("fold_bn", {"source": ["a", "b"], "target": "c", "eps": 1e-5}, ["several tensors"]),
    ("fold_bn", {"source": ["a", "b"], "target": {"weight": "c"}, "eps": 1e-5}, ["target lacks bias"]),
    ("bake_weight_norm", {"source": {"g": "a", "v": ["b"]}, "target": "c"}, ["v is one pattern"]),
    ("bake_spectral_norm", {"source": ["a", "b", "c"], "target": "d", "dim": "all"}, ["dim is 'all'"]),
    ("fit", {"match": "a", "shape": [1]}, ["unknown word 'shape'", "match, source, target."]),
    ("scale", {"match": "a"}, ["scale needs by"]),
    ("add", {"source": ["a", "b"], "target": "c", "weights": 2}, ["add: weights is 2"]),
    ("average", {"source": "a", "target": "c"}, ["average: its source is several tensors"]),
    ("average", {"source": ["a", "b"], "target": "c", "weights": [0, 0]}, ["weights [0.0, 0.0] add up to 0"]),
    ("ema", {"source": ["a", "b"], "target": "c", "decay": 2}, ["decay is 2", "from 0 to 1"]),
    ("task_vector", {"source": ["a", "b"], "target": "c", "weights": [1]}, ["unknown word 'weights'", "source, target, scales."]),
    ("slerp", {"source": ["a", "b"], "target": "c"}, ["slerp needs t"]),
    ("init", {"match": "a", "value": "zeros", "seed": -1}, ["seed is -1"]),
    ("init", {"match": "a", "value": "zeros", "shape": [-1]}, ["-1"]),
    ("init", {"match": "a", "value": "zeros", "dtype": "flaot32"}, ["'flaot32'", "Did you mean 'float32'"]),
    ("init", {"match": "a", "value": "random"}, ["value is 'random'", "zeros, ones, normal, model"]),
    ("init", {"match": "a", "valeu": "zeros"}, ["Did you mean 'value'"]),
    ("strip_prefix", "a..b", ["empty segment"]),
    ("strip_prefix", ".", ["empty segment"]),
    ("strip_prefix", "a.*", ["is a pattern"]),
    ("rearrange", {"match": "a"}, ["rearrange needs pattern"]),
    ("rearrange", {"match": "a", "pattern": "a b -> a"}, ["other dims on one side", "summed"]),
    ("rearrange", {"match": "a", "pattern": "a", "axes": {"a": 1}}, ["no pattern", "(h d) i -> h d i"]),
    ("layers", {"match": "h.{i:int}.{rest:path}"}, ["layers needs pick"]),
    ("layers", {"match": "h.{i:int}.**", "pick": [0]}, ["without a name", "{rest:path}"]),
    ("layers", {"match": "h.{i:int}.{j:int}", "pick": [0]}, ["captures 2 numbers", "index: i"]),
    ("unwrap", {}, ["neither prefixes nor segments"]),
    ("unwrap", {"segments": "a.b"}, ["no single segment"]),
    ("add_prefix", {"match": "a"}, ["add_prefix needs prefix"]),
    ("add_prefix", "{x}.", ["is a pattern"]),
    ("replace", {"a..b": "c"}, ["empty segment"]),
    ("replace", {"a": ".b"}, ["empty segment"]),
    ("replace", {"re:a": "b"}, ["regular expression", "rename"]),
    ("replace", {"a.{p:path}": "b"}, ["fixed number of segments"]),
    ("replace", {"a.{x}": "{y}"}, ["'y' is not captured"]),
    ("rename", {"a": ""}, ["the new name of 'a' is empty", "drop"]),
    ("rename", {"": "a"}, ["an empty text stands for no name"]),
    ("rename", {"a": "b.*"}, ["no wildcards"]),
    ("rename", {"a": "{e:int}"}, ["not captured", "unfolds"]),
    ("copy", {"a": ""}, ["the new name of 'a' is empty"]),
    ("tie", {"a": ""}, ["the new name of 'a' is empty"]),
    ("align_names", {}, ["neither prefixes nor segments"]),
    ("align_names", {"segments": ["a.b"]}, ["no single segment"]),
    ("align_names", {"prefixes": ["a."], "segments": [""]}, ["an empty text names nothing"]),
    ("drop", "", ["an empty text names nothing"]),
    ("keep", ["a", ""], ["an empty text names nothing"]),
    ("keep", [], ["empty list"]),
    ("sub", {"(": "a"}, ["no regular expression"]),
    ("sub", {"a": r"\1"}, ["no replacement"]),
]


@pytest.mark.parametrize(("name", "body", "says"), READ)
def test_a_wrong_parameter_is_refused_when_the_rule_is_read(name: str, body: Any, says: list[str]) -> None:
    with pytest.raises(RulesError) as caught:
        as_rules([{"drop": "fine"}, {name: body}])
    assert [word for word in says if word not in str(caught.value)] == []
    assert all(problem.where.startswith(f"rules[1].{name}") for problem in caught.value.problems)


# op, parameters, inputs, the targets' shapes, words of the refusal
PLANNED = [
    ("squeeze", {"dims": [1]}, ["f32[2, 3]"], None, ["squeeze: dim 1 of f32[2, 3] has size 3, not 1", "no dim of size 1"]),
    ("squeeze", {"dims": [0]}, ["f32[]"], None, ["dim 0 of f32[]", "no dims"]),
    ("squeeze", {}, ["f32[2, 1]"], ["f32[1, 2]"], ["f32[2, 1]", "the target's [1, 2]"]),
    ("unsqueeze", {"dims": [3]}, ["f32[2]"], None, ["dim 3", "f32[2]", "-2..1"]),
    ("unsqueeze", {"dims": [0, -2]}, ["f32[]"], None, ["twice"]),
    ("reshape", {"shape": [4]}, ["f32[2, 3]"], None, ["6 elements of f32[2, 3] are not 4"]),
    ("reshape", {"shape": [4, -1]}, ["f32[2, 3]"], None, ["6 elements", "do not divide by 4"]),
    ("reshape", {"shape": [0, -1]}, ["f32[0]"], None, ["0 elements", "[0, -1]"]),
    ("reshape", {"shape": "target"}, ["f32[6]"], ["f32[4]"], ["6 elements", "[4]"]),
    ("transpose", {}, ["f32[2, 3, 4]"], None, ["f32[2, 3, 4]", "dims: [0, 1]"]),
    ("transpose", {"dims": [0, 2]}, ["f32[2, 3]"], None, ["dim 2 of f32[2, 3]", "-2..1"]),
    ("transpose", {"dims": [0, -2]}, ["f32[2, 3]"], None, ["twice"]),
    ("permute", {"dims": [0, 1]}, ["f32[2]"], None, ["2 dims for f32[2]", "0..0"]),
    ("permute", {"dims": [0, 0]}, ["f32[2, 3]"], None, ["twice"]),
    ("permute", {"dims": [0, 2]}, ["f32[2, 3]"], None, ["dim 2 of f32[2, 3]"]),
    ("cast", {"dtype": "float32"}, ["c64[2]"], None, ["c64[2]", "no real one"]),
    ("cast", {"dtype": "float32"}, ["u4[2]"], None, ["packed"]),
    ("split", {"sizes": [1, 1]}, ["f32[3]"], None, ["dim 0 of f32[3] has size 3", "add up to 2"]),
    ("split", {}, ["f32[3]"], ["f32[]", "f32[2]"], ["dim 0 of the target's f32[]", "no dims"]),
    ("split", {}, ["f32[3, 2]"], ["f32[1, 2]", "f32[1, 2]"], ["has size 3", "[1, 1]", "add up to 2"]),
    ("split", {"dim": 1}, ["f32[3]"], ["f32[3, 1]", "f32[3, 1]"], ["dim 1 of f32[3]", "-1..0"]),
    ("concat", {}, ["f32[2, 3]", "f16[2, 3]"], None, ["differ in type", "cast"]),
    ("concat", {}, ["f32[2, 3]", "f32[2, 4]"], None, ["differ in dim 1", "only dim 0"]),
    ("concat", {}, ["f32[2]", "f32[2, 1]"], None, ["number of dims"]),
    ("concat", {}, ["f32[]", "f32[]"], None, ["dim 0 of f32[]", "no dims"]),
    ("stack", {}, ["f32[2]", "f32[3]"], None, ["f32[2] and f32[3] are not alike"]),
    ("stack", {"dim": 2}, ["f32[2]", "f32[2]"], None, ["dim 2", "f32[2] with one more dim", "-2..1"]),
    ("unstack", {}, ["f32[]"], None, ["dim 0 of f32[]"]),
    ("unstack", {}, ["f32[0, 2]"], None, ["size 0"]),
    ("split", {"heads": [2, 1]}, ["f32[4]"], ["f32[1]", "f32[1]"], ["4 rows of dim 0 of f32[4]", "[2, 1]", "3 in all"]),
    ("interleave", {"groups": 3}, ["f32[6]", "f32[4]"], None, ["dim 0 of input 1 has 4 rows", "3 equal groups"]),
    ("deinterleave", {"groups": 4}, ["f32[6]"], ["f32[4]", "f32[3]"], ["dim 0 of the target's f32[3] has 3 rows", "4 equal groups"]),
    ("rearrange", {"pattern": "(h d) -> h d", "axes": {"h": 4}}, ["f32[6]"], None, ["f32[6]", "(h d) -> h d", "length 6", "4"]),
    ("slice", {"stop": "target"}, ["f32[6]"], ["f32[7]"], ["stop 7 is outside of dim 0 of f32[6]", "-6..6"]),
    ("take", {"indices": [6]}, ["f32[6]"], None, ["dim 0 of f32[6] has 6 rows", "number 6", "0..5"]),
    ("pad", {"after": "target"}, ["f32[6]"], ["f32[5]"], ["dim 0 of f32[6]", "the target's 5", "slice"]),
    ("region", {"start": [5]}, ["f32[6]", "f32[2]"], None, ["dim 0 of f32[2] from 5 on", "f32[6]", "0..4"]),
    (
        "rope_permute",
        {"heads": 4, "source_layout": "half", "target_layout": "interleaved"},
        ["f32[6]"],
        None,
        ["dim 0 of f32[6] has 6 rows", "4 heads"],
    ),
    ("mha_to_gqa", {"heads": 4, "kv_heads": 2}, ["i64[8]"], None, ["i64[8]", "averaged"]),
    ("gqa_to_mha", {"heads": 4, "kv_heads": 4}, ["f32[6]"], None, ["dim 0 of f32[6] has 6 rows", "4 heads"]),
    ("adapt_in_channels", {"mode": "mean", "in_channels": "target"}, ["f32[6]"], ["f32[7]"], ["dim 1 of the target's f32[7]"]),
    ("inflate", {"mode": "mean", "time": 3}, ["f32[64]"], None, ["dim 2 of f32[64] with one more dim", "-2..1"]),
    ("inflate", {"mode": "mean", "time": 3}, ["i8[4, 3, 7, 7]"], None, ["i8[4, 3, 7, 7] holds no weights", "dequantized"]),
    ("collapse", {}, ["f32[4, 3, 0, 7]"], None, ["dim 2 of f32[4, 3, 0, 7] has size 0"]),
    ("linear_to_conv", {"order": "chw", "kernel": [7, 7]}, ["f32[9, 50]"], None, ["dim 1 of f32[9, 50]", "50 features", "[7, 7]"]),
    ("conv_to_linear", {"order": "chw"}, ["f32[9, 49]"], None, ["f32[9, 49]", "[out, c, h, w]"]),
    ("decimate", {"m": [4, None]}, ["f32[4096]"], None, ["2 steps for f32[4096]", "one for each dim"]),
    ("resample_patch_embed", {"patch_size": "target"}, ["f32[8, 3, 16, 16]"], ["f32[8]"], ["the target's f32[8]", "[out, in, h, w]"]),
    ("resample_pos_embed", {"source_grid": "square", "target_grid": "target"}, ["f32[1, 5, 8]"], ["f32[1, 5, 8]"], ["source's 2 x 2"]),
    ("resample_pos_embed", {"source_grid": [7, 28], "target_grid": [14, 14]}, ["f32[1, 196, 8]"], None, ["are 197"]),
    ("resample_rel_pos_bias", {"mode": "bicubic", "source_window": "square", "target_window": [2, 2]}, ["f32[16, 2]"], None, ["16 rows"]),
    ("resample_positions", {"mode": "slice", "size": 9}, ["i64[1, 8]"], None, ["i64[1, 8]", "position_ids"]),
    ("head", {"mode": "slice", "classes": 4}, ["f32[3, 2]"], None, ["dim 0 of f32[3, 2] has 3 classes, fewer than 4"]),
    ("head", {"mode": "grow", "classes": "target"}, ["f32[3, 2]"], ["f32[2, 2]"], ["3 classes, more than 2"]),
    ("resize_vocab", {"size": 4, "new": "mean"}, ["i64[3, 2]"], None, ["i64[3, 2]", "mean"]),
    ("merge_lora", {"alpha": 1}, ["f32[6, 4]", "f32[2, 5]", "f32[6, 2]"], None, ["lora_a f32[2, 5]", "[2, 4] would"]),
    ("fold_bn", {"eps": 0}, ["f32[6, 4]", "f32[6]", "f32[6]", "f32[6]", "f32[4]"], None, ["bn_running_var f32[4]"]),
    ("bake_weight_norm", {}, ["f32[6]", "f32[6, 4]"], None, ["g f32[6]", "[6, 1] would"]),
    ("bake_spectral_norm", {}, ["f32[6, 4]", "f32[6]", "f32[6]"], None, ["weight_v f32[6]", "[4] would"]),
    ("fit", {}, ["f32[2, 3]"], ["f32[3, 2]"], ["f32[2, 3]", "[3, 2]", "permute"]),
    ("scale", {"by": 2}, ["i64[2]"], None, ["i64[2] is of whole numbers", "copy"]),
    ("add", {}, ["f32[2]", "f32[2, 1]"], None, ["f32[2] and f32[2, 1] are not of one shape"]),
    ("average", {}, ["i64[]", "i64[]"], None, ["whole numbers", "Narrow the pattern"]),
    ("ema", {"decay": 0.5}, ["f32[2]"], None, ["1 inputs", "the average, then the new tensor"]),
    ("task_vector", {}, ["f32[2]"], None, ["1 inputs", "the base"]),
    ("slerp", {"t": 0.5}, ["c64[2]", "c64[2]"], None, ["c64[2] holds no weights"]),
    ("init", {"value": "zeros"}, [], None, ["shape: [...]"]),
    ("init", {"value": "zeros", "shape": [2**40, 2**40]}, [], None, ["more bytes than any file"]),
    ("init", {"value": "ones", "shape": [2], "dtype": "uint4"}, [], None, ["no ones"]),
]


@pytest.mark.parametrize(("name", "parameters", "inputs", "targets", "says"), PLANNED)
def test_a_wrong_shape_is_refused_before_a_weight_is_read(
    name: str, parameters: dict[str, Any], inputs: list[str], targets: list[str] | None, says: list[str]
) -> None:
    op: Any = OPS[name](**parameters)
    outputs = len(targets or parameters.get("sizes", [""]))
    with pytest.raises(RulesError) as caught:
        op.bind(outputs, None if targets is None else specs_of(targets)).infer(specs_of(inputs))
    assert [word for word in says if word not in str(caught.value)] == []
    assert str(caught.value).startswith(f"{name}: ")
    assert len(str(caught.value).splitlines()[0]) < 250


@pytest.mark.parametrize(("parts", "size", "says"), [(2, 4, None), (3, 4, "does not divide by 3"), (4, 4, None), (5, 0, None)])
def test_a_split_without_sizes_is_into_equal_parts_of_which_bind_knows_the_number(parts: int, size: int, says: str | None) -> None:
    op: Any = OPS["split"](dim=-1)
    bound = op.bind(parts, None)
    if says is not None:
        with pytest.raises(RulesError, match=says):
            bound.infer(specs_of([f"f32[2, {size}]"]))
        return
    assert bound.infer(specs_of([f"f32[2, {size}]"])) == specs_of([f"f32[2, {size // parts}]"]) * parts


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if hasattr(op, "edits")])
def test_an_op_on_names_leaves_an_empty_table_alone(name: str) -> None:
    bodies: dict[str, Any] = {
        "match": "a.{i:int}",
        "pick": (0,),
        "prefixes": ("a",),
        "prefix": "a",
        "pairs": {"a": "b"},
        "patterns": ("a",),
    }
    op: NameOp = OPS[name](**{word: body for word, body in bodies.items() if word in OPS[name].__dataclass_fields__})
    assert op.edits([], ["a"]) == []
