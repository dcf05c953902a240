"""What names and shapes settle: other names, other trees, other numbers, fused and stacked tensors, other layouts."""

import pytest
from headers import Shapes, answers, calls, header, layers, renamed, resnet18, vit

from ckpt_surgeon.mapping.links import Change, Link, Mapping
from ckpt_surgeon.mapping.matching import match

TIMM_TO_OTHERS = {
    "a prefix": {"blocks": "module.backbone.blocks", "norm.": "module.backbone.norm."},
    "other words": {"blocks": "encoder.layers", "norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "intermediate.dense"},
    "short words": {"blocks": "h", "norm1": "ln_1", "norm2": "ln_2", "attn.proj": "attn.c_proj", "mlp.fc": "ffn.lin", "qkv": "in_proj"},
}


@pytest.mark.parametrize("sort", [False, True], ids=["natural", "sorted"])
@pytest.mark.parametrize("name", TIMM_TO_OTHERS)
def test_names_change_and_every_key_is_found(name: str, sort: bool) -> None:
    source = vit()
    target, names = renamed(source, TIMM_TO_OTHERS[name])
    given = dict(sorted(source.items())) if sort else source
    assert answers(match(header(given), header(target))) == {new: (key,) for key, new in names.items()}


def test_stages_meet_one_running_index() -> None:
    depths = (2, 3, 2)
    target, source, index = {}, {}, 0
    for stage, depth in enumerate(depths):
        for block in range(depth):
            size = 16 << stage
            target |= layers(f"stages.{stage}.blocks.{block}.", {"conv": (size, size, 3, 3), "norm": (size,)})
            source |= layers(f"blocks.{index}.", {"conv": (size, size, 3, 3), "norm": (size,)})
            index += 1
    assert answers(match(header(source), header(target))) == {key: (other,) for key, other in zip(target, source, strict=True)}


def test_numbers_fall_where_shapes_say_so() -> None:
    sizes = (64, 32, 16, 8)
    target = {f"up_blocks.{i}.conv.weight": (size, size, 3, 3) for i, size in enumerate(sizes)}
    target |= {f"up_blocks.{i}.norm.weight": (size,) for i, size in enumerate(sizes)}
    source = {key.replace(f"up_blocks.{i}", f"up.{3 - i}"): shape for key, shape in target.items() for i in range(4) if f".{i}." in key}
    found = answers(match(header(source), header(target)))
    assert found["up_blocks.0.conv.weight"] == ("up.3.conv.weight",)
    assert len(found) == len(target)


def test_wrapped_layers_lose_their_wrapper() -> None:
    target = resnet18()
    source, names = renamed(target, {".conv1.": ".conv1.net."})
    assert answers(match(header(source), header(target))) == {key: (new,) for key, new in names.items()}


def test_a_head_for_other_classes_is_left_alone() -> None:
    target = resnet18() | layers("", {"fc": (10, 512)})
    mapping = match(header(resnet18()), header(target))
    assert mapping.missing == mapping.unused == ("fc.weight", "fc.bias")


def _change(source: dict[str, tuple[int, ...]], target: dict[str, tuple[int, ...]], key: str) -> Link:
    mapping = match(header(source), header(target))
    return next(link for family in mapping.families for link in family.links if key in link.targets)


OPS = {
    "other channels": ((64, 3, 7, 7), (64, 10, 7, 7), Change("adapt_in_channels", (("mode", "mean"), ("in_channels", 10)))),
    "one channel": ((64, 3, 7, 7), (64, 1, 7, 7), Change("adapt_in_channels", (("mode", "sum"), ("in_channels", 1)))),
    "a dim of time": ((64, 3, 7, 7), (64, 3, 5, 7, 7), Change("inflate", (("mode", "mean"), ("time", 5)))),
    "a kernel last": ((7, 7, 3, 64), (64, 3, 7, 7), Change("permute", (("dims", (3, 2, 0, 1)),))),
    "a kernel first": ((64, 3, 7, 7), (7, 7, 3, 64), Change("permute", (("dims", (2, 3, 1, 0)),))),
}


@pytest.mark.parametrize("name", OPS)
def test_the_first_layer_takes_the_op_which_its_shapes_ask_for(name: str) -> None:
    before, after, change = OPS[name]
    body = {f"layer.{i}.conv.weight": (64, 64, 3, 3) for i in range(3)}
    link = _change({"conv1.weight": before, **body}, {"conv1.weight": after, **body}, "conv1.weight")
    assert link == Link(("conv1.weight",), ("conv1.weight",), change)


def test_linear_layers_meet_1x1_convolutions_and_bare_parameters() -> None:
    source = {"cls": (64,), **layers("attn.", {"q": (64, 64, 1, 1), "k": (64, 64, 1, 1), "v": (64, 64, 1, 1)})}
    target = {"cls": (1, 1, 64), **layers("attn.", {"q": (64, 64), "k": (64, 64), "v": (64, 64)})}
    found = answers(match(header(source), header(target)))
    assert found == {key: (key,) for key in target}
    assert _change(source, target, "attn.q.weight").change == Change("reshape", (("shape", (64, 64)),))


def test_square_matrices_lie_as_all_others_of_their_kind() -> None:
    names = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    source = {key: shape[::-1] if len(shape) == 2 and "c_" in key else shape for key, shape in vit(names=names, prefix="h").items()}
    assert _change(source, vit(), "blocks.0.attn.proj.weight").change == Change("transpose")
    assert _change(source, vit(), "blocks.3.mlp.fc1.weight").change == Change("transpose")


@pytest.mark.parametrize("sort", [False, True], ids=["natural", "sorted"])
def test_queries_keys_and_values_are_split_and_laid_together(sort: bool) -> None:
    fused = layers("attn.", {"in_proj": (192, 64), "out_proj": (64, 64)})
    apart = layers("self_attn.", {"k_proj": (64, 64), "v_proj": (64, 64), "q_proj": (64, 64), "out_proj": (64, 64)})
    given = [dict(sorted(side.items())) if sort else side for side in (fused, apart)]
    parts = tuple(f"self_attn.{x}_proj.weight" for x in "qkv")
    split = _change(given[0], apart, parts[0])
    assert split == Link(("attn.in_proj.weight",), parts, Change("split", (("dim", 0), ("sizes", (64, 64, 64)))))
    joined = _change(given[1], fused, "attn.in_proj.weight")
    assert joined == Link(parts, ("attn.in_proj.weight",), Change("concat", (("dim", 0),)))


def test_experts_are_stacked_gate_before_up_and_unstacked_again() -> None:
    apart = {f"experts.{e}.w{n}.weight": ((96, 64), (64, 96), (96, 64))[n - 1] for e in range(4) for n in (1, 2, 3)}
    whole = {"experts.gate_up_proj": (4, 192, 64), "experts.down_proj": (4, 64, 96)}
    down = _change(apart, whole, "experts.down_proj")
    assert down == Link(tuple(f"experts.{e}.w2.weight" for e in range(4)), ("experts.down_proj",), Change("stack"))
    both = _change(apart, whole, "experts.gate_up_proj")
    assert both.change == Change("stack")
    assert _change(apart, whole, both.sources[2]) == Link(
        ("experts.2.w1.weight", "experts.2.w3.weight"), (both.sources[2],), Change("concat", (("dim", 0),))
    )
    assert _change(whole, apart, "experts.3.w2.weight").change == Change("unstack")


def test_families_are_places_and_hold_all_their_repetitions() -> None:
    target, _ = renamed(vit(12), TIMM_TO_OTHERS["short words"])
    mapping = match(header(vit(12)), header(target))
    norms = next(family for family in mapping.families if "h.0.ln_1.weight" in family.links[0].targets)
    assert len(norms.links) == 24
    assert len(mapping.families) == 10
    assert all(0 <= family.confidence <= 1 and family.why for family in mapping.families)


def test_a_mapping_is_the_same_twice() -> None:
    target, _ = renamed(vit(), TIMM_TO_OTHERS["other words"])
    assert match(header(vit()), header(target)) == match(header(vit()), header(target))


def experts_of(depth: int, experts: int) -> Shapes:
    """A decoder of experts: three matrices each."""
    source: Shapes = {"embed.weight": (1000, 64)}
    for i in range(depth):
        source |= {f"layers.{i}.attention.w{x}.weight": (64, 64) for x in "vo"}
        source |= {f"layers.{i}.{name}.weight": (64,) for name in ("attention_norm", "ffn_norm")}
        for e in range(experts):
            shapes = ((96, 64), (64, 96), (96, 64))
            source |= {f"layers.{i}.feed_forward.experts.{e}.w{n}.weight": shape for n, shape in enumerate(shapes, 1)}
    return source


EXPERTS = {
    "layers.": "model.blocks.",
    "attention.w": "attn.",
    "feed_forward": "mlp",
    "w1": "gate_proj",
    "w2": "down_proj",
    "w3": "up_proj",
}


@pytest.mark.parametrize(("few", "many"), [((10, 16), (40, 16)), ((5, 40), (5, 160))], ids=["layers", "experts"])
def test_four_times_as_many_keys_are_four_times_the_work(few: tuple[int, int], many: tuple[int, int]) -> None:
    work = []
    for depth, experts in (few, many):
        source = experts_of(depth, experts)
        target, names = renamed(source, EXPERTS)
        pair = header(source), header(target)
        found: list[Mapping] = []
        work.append(calls(lambda pair=pair, found=found: found.append(match(*pair))))
        assert answers(found[0]) == {new: (key,) for key, new in names.items()}
    assert work[1] < 5 * work[0]
