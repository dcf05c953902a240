"""What looks like an answer and is none: twins, decoys, extra heads, names without meaning. Rather asked than wrong."""

from dataclasses import replace

import pytest
from headers import answers, batch_norm, doubts, header, layers, questions, renamed, resnet18, scrambled, vit

from ckpt_surgeon.mapping.links import Change
from ckpt_surgeon.mapping.matching import match


def _nothing_wrong(found: dict[str, tuple[str, ...]], truth: dict[str, str]) -> None:
    assert {key: sources for key, sources in found.items() if sources != (truth.get(key),)} == {}


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_names_without_meaning_are_matched_by_structure_or_asked_never_wrong(seed: int, numbers: bool) -> None:
    target = resnet18()
    source, truth = scrambled(target, seed, numbers)
    mapping = match(header(source), header(target))
    found = answers(mapping)
    _nothing_wrong(found, truth)
    assert len(found) >= 98
    assert found.keys() | questions(mapping).keys() == target.keys()


@pytest.mark.parametrize("numbers", [True, False])
def test_where_the_file_is_sorted_too_more_is_asked_and_still_nothing_is_wrong(numbers: bool) -> None:
    target = resnet18()
    source, truth = scrambled(target, 0, numbers)
    mapping = match(header(dict(sorted(source.items()))), header(target))
    _nothing_wrong(answers(mapping), truth)
    assert len(answers(mapping)) + len(questions(mapping)) == len(target)


def test_two_encoders_alike_are_a_question_with_both_as_its_alternatives() -> None:
    body = {key: shape for key, shape in resnet18().items() if not key.startswith("fc")}
    sides = [{f"module.encoder_{side}.{key}": shape for key, shape in body.items()} for side in "qk"]
    mapping = match(header({"module.queue": (128, 65536), **sides[0], **sides[1]}), header(body))
    assert answers(mapping) == {}
    for family in mapping.families:
        named = {link.sources[0].split(".")[1] for link in (*family.links, *family.alternatives[0].links)}
        assert named == {"encoder_q", "encoder_k"}


def test_a_student_and_a_teacher_are_a_question() -> None:
    body = vit()
    source = {f"{side}.{key}": shape for side in ("student", "teacher") for key, shape in body.items()}
    assert answers(match(header(source), header(body))) == {}


@pytest.mark.parametrize("twin", ["ema", "model_ema", "shadow"])
def test_a_running_average_beside_the_model_is_not_the_model(twin: str) -> None:
    body = vit()
    source = {f"{side}.{key}": shape for side in (twin, "net") for key, shape in body.items()}
    assert answers(match(header(source), header(body))) == {key: (f"net.{key}",) for key in body}


EXTRAS = {
    "a head of the same size": ({"aux_head": (1000, 512)}, {"old_head": (1000, 512)}),
    "adapters": ({"adapter.down": (64, 512), "adapter.up": (512, 64)}, {"projector.0": (64, 512), "projector.2": (512, 64)}),
    "a lone projection": ({"mim": (128, 512)}, {"proj_k": (128, 512)}),
    "a decoder": ({"seg.0": (256, 512, 3, 3), "seg.2": (21, 256, 1, 1)}, {"dec.c": (256, 512, 3, 3), "dec.out": (21, 256, 1, 1)}),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_what_only_the_target_has_is_not_taken_from_what_only_the_source_has(name: str) -> None:
    new, left = (layers("", extra) for extra in EXTRAS[name])
    body = resnet18()
    mapping = match(header(body | left), header(body | new))
    assert answers(mapping) == {key: (key,) for key in body}


def test_adapters_in_every_block_are_not_taken_from_other_layers_of_their_shape() -> None:
    target = vit(extra={"adapter.norm": (64,), "adapter.down": (16, 64), "adapter.up": (64, 16)})
    source = vit(extra={"lnx": (64,), "gatez": (16, 64)})
    found = answers(match(header(source), header(target)))
    assert found == {key: (key,) for key in vit()}


def test_queries_keys_and_values_without_names_are_asked() -> None:
    source = {f"b.{i}.{name}.weight": (64, 64) for i in range(4) for name in ("a1", "a2", "a3")}
    target = {f"blk.{i}.{name}.weight": (64, 64) for i in range(4) for name in ("x", "y", "z")}
    mapping = match(header(source), header(target))
    assert answers(mapping) == {}
    assert questions(mapping).keys() == target.keys()


def test_a_lone_square_matrix_which_may_lie_either_way_is_a_doubt() -> None:
    source = {"emb.weight": (100, 64), "text_projection": (64, 64), **layers("", {"fc": (10, 64)})}
    target = {"emb.weight": (100, 64), "text_projection.weight": (64, 64), **layers("", {"fc": (10, 64)})}
    mapping = match(header(source), header(target))
    assert questions(mapping) == {"text_projection.weight": ("text_projection",)}
    assert "transposed" in doubts(mapping)
    (asked,) = (family for family in mapping.families if family.doubt)
    assert asked.alternatives[0].links == (replace(asked.links[0], change=Change("transpose")),)


def test_rows_for_rotary_positions_are_a_doubt_where_names_change_and_none_where_they_stay() -> None:
    old = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj"}
    old |= {"attention.wo": "self_attn.o_proj", "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    source = {"tok_embeddings.weight": (100, 64)}
    for i in range(4):
        source |= {f"layers.{i}.attention.w{x}.weight": (64 if x in "qo" else 16, 64) for x in "qkv"}
        source |= {
            f"layers.{i}.attention.wo.weight": (64, 64),
            f"layers.{i}.attention_norm.weight": (64,),
            f"layers.{i}.ffn_norm.weight": (64,),
        }
    target, names = renamed(source, old | {"tok_embeddings": "embed_tokens"})
    mapping = match(header(source), header(target))
    asked = {key for key in names.values() if "q_proj" in key or "k_proj" in key}
    assert questions(mapping).keys() == asked
    assert answers(mapping) == {new: (key,) for key, new in names.items() if new not in asked}
    assert "rope_permute" in doubts(mapping)
    other = [family.alternatives[0].links[0].change for family in mapping.families if family.doubt]
    assert [change and change.op for change in other] == ["rope_permute", "rope_permute"]
    assert questions(match(header(target), header(target))) == {}


def test_a_packing_head_by_head_is_a_doubt_where_only_one_side_names_it() -> None:
    source = vit(names=("norm1", "attn.query_key_value", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"))
    mapping = match(header(source), header(vit()))
    assert questions(mapping).keys() == {key for key in vit() if ".qkv." in key}
    assert "head by head" in doubts(mapping)


def test_fewer_layers_than_the_source_has_are_a_question() -> None:
    mapping = match(header(vit(12)), header(vit(6)))
    assert {key for key in answers(mapping) if key.startswith("blocks")} == set()
    assert questions(mapping).keys() >= {key for key in vit(6) if key.startswith("blocks")}


def test_norms_which_batches_are_counted_in_need_no_counter_in_the_source() -> None:
    target = {"conv.weight": (8, 3, 3, 3), **batch_norm("bn", 8)}
    source = {key: shape for key, shape in target.items() if "tracked" not in key}
    mapping = match(header(source), header(target))
    assert answers(mapping) == {key: (key,) for key in source}
    assert mapping.missing == ("bn.num_batches_tracked",)
