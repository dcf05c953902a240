"""head and resize_vocab: what transformers and a new layer do; and end to end: files of labels, tied weights, random numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from op_samples import bytes_of
from torch.distributions import MultivariateNormal, constraints

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.heads import AdaptHead
from ckpt_surgeon.ops.vocabulary import ResizeVocab
from ckpt_surgeon.rules import as_rules, parse_rules, read_rules
from ckpt_surgeon.rules.digest import digest_of


def noise(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def applied(op: Any, tensor: torch.Tensor) -> torch.Tensor:
    (result,) = op.apply((tensor,))
    assert isinstance(result, torch.Tensor)
    return result


def transformers_embeddings(old: torch.Tensor, added: int, seed: int) -> torch.Tensor:
    """`_init_added_embeddings_weights_with_mean` of transformers 5.24, which draws from torch's own generator."""
    weight = old.to(torch.float32)
    mean = torch.mean(weight, dim=0)
    centered = weight - mean
    covariance = centered.T @ centered / len(old)
    if not constraints.positive_definite.check(1e-9 * covariance).all():
        return mean[None, :].repeat(added, 1).to(old.dtype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MultivariateNormal(mean, covariance_matrix=1e-9 * covariance).sample((added,)).to(old.dtype)


def transformers_bias(old: torch.Tensor, added: int, seed: int) -> torch.Tensor:
    """`_init_added_lm_head_bias_with_mean` of transformers 5.24."""
    mean, deviation = torch.mean(old, dim=0, dtype=torch.float32), torch.std(old, dim=0).to(torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return old.new_empty(added).normal_(mean=mean.item(), std=1e-9 * deviation.item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("tokens", "features"), [(40, 8), (300, 64)])
def test_new_tokens_are_drawn_as_transformers_draws_them(tokens: int, features: int, dtype: torch.dtype) -> None:
    """Largest difference: 0, in float32, float16 and bfloat16; transformers 5.24 itself gives the same bits."""
    old = noise(tokens, features, dtype=dtype)
    resized = applied(ResizeVocab(tokens + 5, "normal", seed=7), old)
    assert torch.equal(resized[:tokens], old)
    assert torch.equal(resized[tokens:], transformers_embeddings(old, 5, 7))


def test_new_rows_which_are_drawn_differ_from_each_other() -> None:
    drawn = applied(ResizeVocab(50, "normal", seed=7), noise(40, 8))[40:]
    assert len({tuple(row) for row in drawn.tolist()}) == 10
    assert torch.allclose(drawn, noise(40, 8).mean(0), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_bias_is_drawn_as_transformers_draws_it(dtype: torch.dtype) -> None:
    """Largest difference: one step of float32."""
    old = noise(40, dtype=dtype)
    resized = applied(ResizeVocab(45, "normal", seed=7), old)
    assert torch.allclose(resized[40:].float(), transformers_bias(old, 5, 7).float(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(6, 8), (8, 8), (1, 3), (1,)])
def test_too_few_rows_have_no_normal_of_their_own_but_a_mean(shape: tuple[int, ...]) -> None:
    old = noise(*shape)
    assert torch.equal(applied(ResizeVocab(12, "normal"), old), applied(ResizeVocab(12, "mean"), old))
    assert applied(ResizeVocab(12, "normal"), old).isfinite().all()


@pytest.mark.parametrize("new", ["zero", "mean", "normal"])
def test_random_numbers_neither_depend_on_torchs_state_nor_change_it(new: Any) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = applied(ResizeVocab(45, new, seed=3), noise(40, 8))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(applied(ResizeVocab(45, new, seed=3), noise(40, 8)), first)
    other = applied(ResizeVocab(45, new, seed=4), noise(40, 8))
    assert torch.equal(other, first) == (new != "normal")


def test_a_mean_is_not_added_up_in_half_precision() -> None:
    old = torch.full((4000, 2), 60.0, dtype=torch.float16)
    assert applied(ResizeVocab(4001, "mean"), old)[-1].tolist() == [60.0, 60.0], "in float16 the sum would be infinite"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.float8_e4m3fn], ids=str)
def test_kept_rows_stay_bit_for_bit_whatever_they_hold(dtype: torch.dtype) -> None:
    raw = torch.randint(0, 256, (5 * 3 * torch.empty(0, dtype=dtype).element_size(),), dtype=torch.uint8)
    old = raw.view(dtype).reshape(5, 3)
    assert bytes_of(applied(ResizeVocab(9), old)[:5]) == bytes_of(old)
    shuffled = applied(AdaptHead("map", rows=(4, None, 0)), old)
    assert [bytes_of(shuffled[i]) for i in (0, 2)] == [bytes_of(old[i]) for i in (4, 0)]


def test_padding_alone_keeps_the_number_of_tokens_rounded_up() -> None:
    assert [len(applied(ResizeVocab(pad_to_multiple_of=8), noise(size))) for size in (7, 8, 9)] == [8, 8, 16]


def tied_model() -> dict[str, torch.Tensor]:
    embedding = noise(10, 4)
    return {"embed.weight": embedding, "lm_head.weight": embedding, "norm.weight": noise(4)}


RESIZE = {"resize_vocab": {"match": ["embed.weight", "lm_head.weight"], "size": 12, "new": "normal", "seed": 5}}


def test_tied_weights_which_one_rule_resizes_stay_tied(tmp_path: Path) -> None:
    torch.save(tied_model(), tmp_path / "tied.pt")
    plan = surgeon.plan(tmp_path / "tied.pt", [RESIZE])
    assert plan.ties == {"lm_head.weight": "embed.weight"}
    surgeon.write(plan, tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert found["lm_head.weight"].data_ptr() == found["embed.weight"].data_ptr()
    assert torch.equal(found["embed.weight"], applied(ResizeVocab(12, "normal", seed=5), tied_model()["embed.weight"]))


def test_tied_weights_of_which_a_rule_resizes_one_are_tied_no_more(tmp_path: Path) -> None:
    torch.save(tied_model(), tmp_path / "tied.pt")
    plan = surgeon.plan(tmp_path / "tied.pt", [{"resize_vocab": {"match": "embed.weight", "size": 12}}])
    assert plan.ties == {}
    assert [plan.recipes[key].spec.shape[0] for key in ("embed.weight", "lm_head.weight")] == [12, 10]  # type: ignore[union-attr]


def test_a_head_whose_rows_change_places_is_changed_though_its_shape_stays() -> None:
    state = {"fc.weight": noise(3, 2), "fc.bias": noise(3)}
    result = surgeon.remap(state, [{"head": {"match": "fc.*", "mode": "slice", "rows": [2, 0, 1]}}])
    assert torch.equal(result["fc.weight"], state["fc.weight"][[2, 0, 1]])
    assert torch.equal(result["fc.bias"], state["fc.bias"][[2, 0, 1]])


def test_a_head_whose_rows_keep_their_places_is_left_alone() -> None:
    plan = surgeon.plan({"fc.weight": noise(3, 2)}, [{"head": {"match": "fc.*", "mode": "slice", "rows": [0, 1, 2]}}])
    assert plan.outcome.exact == ("fc.weight",)


def test_a_detectors_blocks_of_anchors_answer_for_the_same_classes() -> None:
    anchors, old, new = 3, 4, (2, None, 0)
    weight, image = noise(anchors * old, 5, 1, 1), noise(1, 5, 6, 6, seed=1)
    mapped = applied(AdaptHead("map", rows=new, anchors=anchors), weight)
    before = torch.nn.functional.conv2d(image, weight).reshape(anchors, old, 6, 6)
    after = torch.nn.functional.conv2d(image, mapped).reshape(anchors, len(new), 6, 6)
    assert torch.allclose(after[:, 0], before[:, 2])
    assert torch.allclose(after[:, 2], before[:, 0])
    assert not after[:, 1].any()


def test_each_anchor_has_the_mean_of_its_own_rows_and_draws_of_its_own() -> None:
    weight = torch.cat([noise(20, 3), 5 + noise(20, 3)])
    grown = applied(AdaptHead("grow", classes=22, anchors=2, unmapped="normal"), weight).reshape(2, 22, 3)
    assert torch.allclose(grown[0, 20:], weight[:20].mean(0), atol=1e-3)
    assert torch.allclose(grown[1, 20:], weight[20:].mean(0), atol=1e-3)
    assert not torch.allclose(grown[0, 20:] - weight[:20].mean(0), grown[1, 20:] - weight[20:].mean(0), atol=1e-7)


LABELLED = "version: 1\nrules:\n  - head: {match: fc.*, mode: map, source_labels: old.txt, target_labels: new/labels.txt}\n"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    (tmp_path / "old.txt").write_bytes("\ufefftench, Tinca tinca\nchat é\ncow\n".encode())
    (tmp_path / "new" / "labels.txt").write_bytes("cow\r\nfox\r\n  chat é\r\n\r\n".encode())
    (tmp_path / "rules.yaml").write_text(LABELLED, encoding="utf-8")
    return tmp_path


def test_files_of_labels_are_found_beside_the_rules_and_become_row_numbers(labelled: Path) -> None:
    (rule,) = read_rules(labelled / "rules.yaml").rules
    assert rule.op == AdaptHead("map", rows=(2, None, 1), classes=3, source_classes=3)
    assert "labels" not in str(rule.op.parameters())
    state = {"fc.weight": noise(3, 2), "fc.bias": noise(3)}
    result = surgeon.remap(state, labelled / "rules.yaml")
    assert torch.equal(result["fc.bias"], torch.tensor([state["fc.bias"][2], 0.0, state["fc.bias"][1]]))


def test_the_digest_tells_what_the_labels_mean_not_what_their_file_is_called(labelled: Path) -> None:
    (labelled / "same.txt").write_bytes((labelled / "old.txt").read_bytes())
    (labelled / "same.yaml").write_text(LABELLED.replace("old.txt", "same.txt"), encoding="utf-8")
    inline = {"source_labels": ["tench, Tinca tinca", "chat é", "cow"], "target_labels": ["cow", "fox", "chat é"]}
    documents = [read_rules(labelled / "rules.yaml"), read_rules(labelled / "same.yaml")]
    documents.append(as_rules([{"head": {"match": "fc.*", "mode": "map", **inline}}]))
    assert len({digest_of(rules.rules[0].op) for rules in documents}) == 1


WRONG_FILES = [
    (b"", ["source_labels is an empty list"]),
    (b"a\n\nb\n", ["line 2", "empty"]),
    (b"a\nb\na\n", ["'a' twice: number 0 and 2"]),
    (b"a\n\xff\n", ["byte 2", "no UTF-8"]),
    (b"a" * 1_000_001, ["1000001 bytes", "at most 1000000"]),
    (b"x\ny\n", ["no label in common"]),
]


@pytest.mark.parametrize(("content", "says"), WRONG_FILES, ids=[says[0] for _, says in WRONG_FILES])
def test_a_wrong_file_of_labels_is_refused_at_its_place_in_the_rules(labelled: Path, content: bytes, says: list[str]) -> None:
    (labelled / "old.txt").write_bytes(content)
    with pytest.raises(RulesError) as caught:
        read_rules(labelled / "rules.yaml")
    assert [word for word in says if word not in str(caught.value)] == []
    assert all(":3:" in problem.where for problem in caught.value.problems)


@pytest.mark.parametrize("name", ["missing.txt", "new"])
def test_labels_which_are_no_file_are_refused(labelled: Path, name: str) -> None:
    text = LABELLED.replace("old.txt", name)
    with pytest.raises(RulesError, match=f"source_labels: .*{name}"):
        parse_rules(text, "rules.yaml", str(labelled))


def test_a_file_as_long_as_is_allowed_with_a_label_twice_is_refused_in_no_time(labelled: Path) -> None:
    lines = [str(i) for i in range(120_000)]
    (labelled / "old.txt").write_text("\n".join([*lines, "7"]))
    (labelled / "new" / "labels.txt").write_text("\n".join(lines))
    with pytest.raises(RulesError, match="'7' twice"):
        read_rules(labelled / "rules.yaml")


def test_an_op_made_in_python_reads_no_file() -> None:
    with pytest.raises(RulesError, match="a list of labels is wanted"):
        AdaptHead("map", source_labels="old.txt", target_labels=("a",))
