"""What only the target has stays new, however well something free in the source would fit: never mapped with confidence."""

from collections.abc import Sequence

import pytest
from headers import answers, batch_norm, header, layers, questions, resnet18, vit

from ckpt_surgeon.mapping.matching import match

Shapes = dict[str, tuple[int, ...]]


def _blocks(extra: dict[str, Sequence[int]], names: Sequence[str] = (), prefix: str = "blocks") -> Shapes:
    """A vision transformer's blocks with more layers in each of them."""
    return vit(prefix=prefix, names=names, extra={name: tuple(shape) for name, shape in extra.items()})


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{key}": shape for key, shape in shapes.items()}


def _lora(rank: int, *places: str) -> Shapes:
    """Pairs of small matrices beside layers of width 64."""
    made: Shapes = {}
    for i in range(4):
        for place in places:
            made |= {f"blocks.{i}.{place}.lora_A.weight": (rank, 64), f"blocks.{i}.{place}.lora_B.weight": (64, rank)}
    return made


# What the body is, what only the source has beside it, what only the target has.
BODY, CONV = vit(), resnet18()
EXTRAS: dict[str, tuple[Shapes, Shapes, Shapes]] = {
    "a second classifier": (CONV, layers("", {"fc_places": (365, 512)}), layers("", {"scene": (365, 512)})),
    "a second classifier of the first one's size": (CONV, {}, layers("", {"aux": (1000, 512)})),
    "a classifier for distillation": (BODY, {}, layers("", {"head_dist": (10, 64)})),
    "a projection head": (
        CONV,
        layers("predictor.", {"0": (128, 512), "2": (512, 128)}),
        layers("projector.", {"0": (128, 512), "2": (512, 128)}),
    ),
    "a deep projection head": (
        CONV,
        layers("rot.", {"a": (512, 512), "b": (4, 512)}),
        layers("mlp_head.", {"0": (512, 512), "1": (512, 512), "2": (4, 512)}),
    ),
    "a segmentation head": (
        CONV,
        layers("dec.", {"c1": (256, 512, 3, 3), "c2": (19, 256, 1, 1)}),
        layers("aux_classifier.", {"0": (256, 512, 3, 3), "4": (19, 256, 1, 1)}),
    ),
    "low-rank pairs": (BODY, {}, _lora(8, "attn.qkv", "attn.proj")),
    "low-rank pairs, and free matrices of their shapes": (BODY, layers("old.", {"a": (8, 64), "b": (64, 8)}), _lora(8, "attn.proj")),
    "adapters in each block": (
        BODY,
        layers("bottleneck.", {"in": (16, 64), "out": (64, 16)}),
        {k: s for k, s in _blocks({"adapter.down": (16, 64), "adapter.up": (64, 16)}).items() if "adapter" in k},
    ),
    "norms of the same width in each block": (
        BODY,
        layers("", {"ln_old": (64,)}),
        {k: s for k, s in _blocks({"post_norm": (64,)}).items() if "post_norm" in k},
    ),
    "a norm of the same width at the end": (BODY, layers("", {"pre_logits_ln": (64,)}), layers("", {"fc_norm": (64,)})),
    "prompt tokens": (BODY, {"distill.tokens": (1, 10, 64)}, {"prompt_embeddings": (1, 10, 64)}),
    "register tokens": (BODY, {"dist.extra": (1, 4, 64)}, {"register_tokens": (1, 4, 64)}),
    "a mask token": (BODY, {"dist_token": (1, 1, 64)}, {"mask_token": (1, 1, 64)}),
    "a queue of the other's width": (CONV, {"bank": (128, 4096)}, {"queue": (128, 4096), "queue_ptr": (1,)}),
    "a memory of negatives": (CONV, {"memory.slots": (4096, 128)}, {"negatives": (4096, 128)}),
    "centers of a loss": (CONV, {"loss.centers": (1000, 512)}, {"prototypes.weight": (1000, 512)}),
    "a momentum encoder in the target": (CONV, {}, _under("encoder_m", {k: s for k, s in CONV.items() if "fc" not in k})),
    "an average in the target": (BODY, {}, _under("ema", BODY)),
    "a second tower": (
        _under("visual", BODY),
        _under("audio", {"mel.weight": (49408, 64), **layers("", {"proj": (64, 64)})}),
        _under("text", {"token_embedding.weight": (49408, 64), **layers("", {"out": (64, 64)})}),
    ),
    "a temperature": (BODY, {"loss.margin": ()}, {"logit_scale": ()}),
    "a decoder in the target": (
        BODY,
        layers("probe.", {"0": (64, 64)}),
        {f"decoder.{k}": s for k, s in vit(2).items() if k.startswith("blocks")},
    ),
    "batch norms where the source has none free": (CONV, {}, batch_norm("neck.bn", 512)),
    "batch norms which the source has elsewhere": (CONV, batch_norm("jigsaw.1", 512), batch_norm("neck.norm", 512)),
    "a positional table for another modality": (BODY, {"audio_pos": (1, 77, 64)}, {"text_pos_embed": (1, 77, 64)}),
}


@pytest.mark.parametrize("order", ["natural", "sorted"])
@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_new_is_never_taken_from_what_is_free(name: str, order: str) -> None:
    body, free, new = EXTRAS[name]
    source = body | free
    given = dict(sorted(source.items())) if order == "sorted" else source
    found = answers(match(header(given), header(body | new)))
    assert {key: sources for key, sources in found.items() if key in new} == {}
    assert {key: sources for key, sources in found.items() if sources != (key,)} == {}


@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_free_or_new_does_not_hide_the_body(name: str) -> None:
    body, free, new = EXTRAS[name]
    found = answers(match(header(body | free), header(body | new)))
    assert found == {key: (key,) for key in body}


# Where much is renamed, what bears a like name or is a whole part of the same shapes is taken for renamed, too.
RENAMED_TOO = {"a mask token", "a second tower", "a norm of the same width at the end"}


@pytest.mark.parametrize("name", sorted(EXTRAS.keys() - RENAMED_TOO))
def test_in_a_wrapper_and_with_other_names_too(name: str) -> None:
    """The body bears other names on the target's side, so that names alone do not tell what is new."""
    body, free, new = EXTRAS[name]
    names = {key: f"backbone.{key}".replace("blocks", "layers").replace("norm", "ln").replace("mlp.fc", "ffn.lin") for key in body}
    source = _under("module", body | free | {"loss.weights": (3, 5, 7)})
    found = answers(match(header(source), header({names[key]: shape for key, shape in body.items()} | new)))
    truth = {place: (f"module.{key}",) for key, place in names.items()}
    assert {key: sources for key, sources in found.items() if sources != truth.get(key)} == {}


DECOYS: dict[str, tuple[str, str]] = {
    "a momentum encoder": ("encoder_q", "encoder_k"),
    "online and target": ("online_network", "target_network"),
    "student and teacher": ("student", "teacher"),
    "the first and the second": ("branch1", "branch2"),
    "left and right": ("left", "right"),
}


@pytest.mark.parametrize("name", DECOYS)
@pytest.mark.parametrize("order", [False, True])
def test_of_two_which_are_alike_none_is_taken_unasked(name: str, order: bool) -> None:
    sides = DECOYS[name][::-1] if order else DECOYS[name]
    source = {key: shape for side in sides for key, shape in _under(side, BODY).items()}
    mapping = match(header(source), header(BODY))
    assert answers(mapping) == {}
    for family in mapping.families:
        ways = [family.links, *(other.links for other in family.alternatives)]
        assert {way[0].sources[0].split(".")[0] for way in ways} == set(sides)


@pytest.mark.parametrize("name", ["ema", "model_ema", "shadow", "ema_model.module", "swa_model", "averaged"])
@pytest.mark.parametrize("order", [False, True])
def test_an_average_beside_the_model_is_left_alone(name: str, order: bool) -> None:
    parts = [_under("model", BODY), _under(name, BODY)]
    source = {key: shape for part in (parts[::-1] if order else parts) for key, shape in part.items()}
    assert answers(match(header(source), header(BODY))) == {key: (f"model.{key}",) for key in BODY}


def test_an_average_alone_is_the_model() -> None:
    assert answers(match(header(_under("ema", BODY)), header(BODY))) == {key: (f"ema.{key}",) for key in BODY}


def test_a_step_counter_is_no_scalar_of_the_model() -> None:
    source = BODY | {"step": (), "epoch": ()}
    mapping = match(header(source), header(BODY | {"logit_scale": ()}))
    assert "logit_scale" not in answers(mapping)


@pytest.mark.parametrize("state", ["exp_avg", "momentum_buffer"])
def test_the_state_of_an_optimizer_beside_the_weights_is_never_taken_for_them(state: str) -> None:
    source = {f"optimizer.state.{i}.{state}": shape for i, shape in enumerate(BODY.values())}
    mapping = match(header(_under("model", BODY) | source), header(BODY))
    assert {key: sources for key, sources in answers(mapping).items() if sources != (f"model.{key}",)} == {}
    assert answers(mapping).keys() | questions(mapping).keys() | set(mapping.missing) == BODY.keys()
