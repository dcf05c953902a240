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
    ("split", {"source": "a", "target": ["b", "c"], "parts": 2}, ["unknown word 'parts'", "source, target, dim, sizes"]),
    ("split", {"match": "a"}, ["split needs source and target; found match"]),
    ("concat", {"source": ["a", "b"], "target": "c", "axis": 0}, ["unknown word 'axis'", "source, target, dim."]),
    ("concat", {"source": ["a", "b"], "target": "c", "dim": None}, ["concat: dim is nothing"]),
    ("stack", {"source": ["a", "b"], "target": "c", "dim": 0.5}, ["stack: dim is 0.5"]),
    ("unstack", {"source": "a", "target": "b"}, ["several tensors"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean"}, ["in_channels is missing", "in_channels: target"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 0}, ["in_channels is 0", "1 or more"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 3, "groups": 0}, ["groups is 0"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 3, "groups": 2}, ["3 does not divide by 2"]),
    ("adapt_in_channels", {"match": "a", "mode": "select", "in_channels": 3}, ["wants channels"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": 3, "channels": [0]}, ["takes no channels"]),
    ("adapt_in_channels", {"match": "a", "mode": "select", "channels": [-1]}, ["negative", "from 0"]),
    ("adapt_in_channels", {"match": "a", "mode": "select", "channels": [0], "in_channels": 2}, ["are not 2"]),
    ("adapt_in_channels", {"match": "a", "mode": "mean", "in_channels": "source"}, ["in_channels is 'source'"]),
    ("head", {"match": "a", "mode": "drop"}, ["mode is 'drop'", "slice, grow, map"]),
    ("head", {"match": "a", "mode": "grow", "classes": "all"}, ["head: classes is 'all'"]),
    ("head", {"match": "a", "mode": "map", "source_labels": ["b", "b"], "target_labels": ["b"]}, ["source_labels has 'b' twice"]),
    ("head", {"match": "a", "mode": "map", "source_labels": "no/such", "target_labels": ["b"]}, ["source_labels: no/such", "folder"]),
    ("resize_vocab", {"match": "a"}, ["size is missing"]),
    ("resize_vocab", {"match": "a", "size": "target", "pad_to_multiple_of": 8}, ["not to be rounded"]),
    ("merge_lora", {"source": ["a", "b", "c"], "target": "d"}, ["merge_lora needs alpha"]),
    ("merge_lora", {"source": {"weight": "a", "lora_a": "b"}, "target": "d", "alpha": 1}, ["source lacks lora_b"]),
    ("merge_lora", {"source": ["a", "b", "c"], "target": "d", "alpha": 1, "inputs": ["weight"]}, ["unknown word 'inputs'"]),
    ("fold_bn", {"source": ["a", "b"], "target": ["c", "d"]}, ["fold_bn needs eps"]),
    ("fold_bn", {"source": ["a", "b"], "target": "c", "eps": 1e-5}, ["several tensors"]),
    ("fold_bn", {"source": ["a", "b"], "target": {"weight": "c"}, "eps": 1e-5}, ["target lacks bias"]),
    ("bake_weight_norm", {"source": {"g": "a", "v": ["b"]}, "target": "c"}, ["v is one pattern"]),
    ("bake_spectral_norm", {"source": ["a", "b", "c"], "target": "d", "dim": "all"}, ["dim is 'all'"]),
    ("fit", {"match": "a", "shape": [1]}, ["unknown word 'shape'", "match, source, target."]),
    ("init", {"match": "a", "value": "zeros", "seed": -1}, ["seed is -1"]),
    ("init", {"match": "a", "value": "zeros", "shape": [-1]}, ["-1"]),
    ("init", {"match": "a", "value": "zeros", "dtype": "flaot32"}, ["'flaot32'", "Did you mean 'float32'"]),
    ("init", {"match": "a", "value": "random"}, ["value is 'random'", "zeros, ones, model"]),
    ("init", {"match": "a", "valeu": "zeros"}, ["Did you mean 'value'"]),
    ("strip_prefix", "a..b", ["empty segment"]),
    ("strip_prefix", ".", ["empty segment"]),
    ("strip_prefix", "a.*", ["is a pattern"]),
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


def test_each_op_stands_in_the_table() -> None:
    assert {name for name, _, _ in READ} == set(OPS)


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
    ("adapt_in_channels", {"mode": "mean", "in_channels": "target"}, ["f32[6]"], ["f32[7]"], ["dim 1 of the target's f32[7]"]),
    ("head", {"mode": "slice", "classes": 4}, ["f32[3, 2]"], None, ["dim 0 of f32[3, 2] has 3 classes, fewer than 4"]),
    ("head", {"mode": "grow", "classes": "target"}, ["f32[3, 2]"], ["f32[2, 2]"], ["3 classes, more than 2"]),
    ("resize_vocab", {"size": 4, "new": "mean"}, ["i64[3, 2]"], None, ["i64[3, 2]", "mean"]),
    ("merge_lora", {"alpha": 1}, ["f32[6, 4]", "f32[2, 5]", "f32[6, 2]"], None, ["lora_a f32[2, 5]", "[2, 4] would"]),
    ("fold_bn", {"eps": 0}, ["f32[6, 4]", "f32[6]", "f32[6]", "f32[6]", "f32[4]"], None, ["bn_running_var f32[4]"]),
    ("bake_weight_norm", {}, ["f32[6]", "f32[6, 4]"], None, ["g f32[6]", "[6, 1] would"]),
    ("bake_spectral_norm", {}, ["f32[6, 4]", "f32[6]", "f32[6]"], None, ["weight_v f32[6]", "[4] would"]),
    ("fit", {}, ["f32[2, 3]"], ["f32[3, 2]"], ["f32[2, 3]", "[3, 2]", "permute"]),
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


def test_each_op_on_tensors_stands_in_the_table_of_shapes() -> None:
    assert {name for name, *_ in PLANNED} == {name for name, op in OPS.items() if not hasattr(op, "edits")}


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
    bodies: dict[str, Any] = {"prefixes": ("a",), "prefix": "a", "pairs": {"a": "b"}, "patterns": ("a",)}
    op: NameOp = OPS[name](**{word: body for word, body in bodies.items() if word in OPS[name].__dataclass_fields__})
    assert op.edits([], ["a"]) == []
