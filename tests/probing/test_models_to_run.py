"""The two models of a probe: copied or built, on the CPU in float32, with the weights of SOURCE where they belong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from probed_models import Chain, Mixer, saved, trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import ModelError, SurgeryError
from ckpt_surgeon.probing import Probe
from ckpt_surgeon.probing.inputs import inputs_of
from ckpt_surgeon.probing.models import Models, models_of


def models(source: Any, target: Any = None, source_model: Any = None) -> Models:
    return models_of(source, target or Chain("x"), source_model, surgeon.inspect(source), {}, 0)


def prefixed(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


class TestModules:
    def test_are_copied(self) -> None:
        source, target = trained(Chain("a")), Chain("x")
        found = models(source, target)
        assert found.source is not source
        assert found.target is not target
        with torch.no_grad():
            found.source.a.weight.zero_()
        assert source.a.weight.any()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_of_other_dtypes_become_float32_and_the_givens_stay(self, dtype: torch.dtype) -> None:
        source = trained(Chain("a")).to(dtype)
        found = models(source)
        assert found.source.a.weight.dtype == torch.float32
        assert source.a.weight.dtype == dtype

    def test_are_in_evaluation_mode_whatever_the_givens_are(self) -> None:
        source = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
        found = models(source)
        assert not any(part.training for part in found.source.modules())
        assert all(part.training for part in source.modules())

    def test_whole_numbers_stay_whole(self) -> None:
        found = models(nn.BatchNorm1d(4))
        assert found.source.num_batches_tracked.dtype == torch.int64

    def test_bear_their_own_names(self) -> None:
        assert models(trained(Chain("ab"))).names == {key: key for key in ("a.weight", "a.bias", "b.weight", "b.bias")}

    def test_which_cannot_be_copied_are_named(self) -> None:
        source = trained(Chain("a"))
        source.kept = source.a.weight * 2  # as a forward which keeps its activations leaves it
        with pytest.raises(ModelError, match="Chain: it cannot be copied: RuntimeError") as error:
            models(source)
        assert "pkg.module:factory" in error.value.hint

    def test_on_the_meta_device_are_refused_even_in_part(self) -> None:
        target = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8, device="meta"))
        with pytest.raises(ModelError, match="on the meta device, and cannot run"):
            models(trained(Chain("a")), target)


class TestCheckpoints:
    @pytest.mark.parametrize("prefix", ["", "module.", "state.model."])
    def test_give_the_source_s_model_its_weights(self, prefix: str) -> None:
        weights = trained(Chain("ab")).state_dict()
        found = models(prefixed(weights, prefix), source_model=Chain("ab"))
        assert all(torch.equal(value, weights[key]) for key, value in found.source.state_dict().items())
        assert found.names == {key: prefix + key for key in weights}

    def test_may_hold_more_than_the_model(self) -> None:
        weights = trained(Chain("abc")).state_dict()
        found = models(weights, source_model=Chain("ab"))
        assert set(found.names) == {key for key in weights if key[0] != "c"}

    def test_of_two_prefixes_the_one_is_taken_which_has_it_all(self) -> None:
        student, teacher = trained(Chain("ab")).state_dict(), trained(Chain("ab"), 2).state_dict()
        weights = prefixed({key: value for key, value in student.items() if key[0] == "a"}, "student.") | prefixed(teacher, "teacher.")
        assert set(models(weights, source_model=Chain("ab")).names.values()) == set(prefixed(teacher, "teacher."))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_of_other_dtypes_are_loaded(self, dtype: torch.dtype) -> None:
        weights = {key: value.to(dtype) for key, value in trained(Chain("a")).state_dict().items()}
        found = models(weights, source_model=Chain("a"))
        assert torch.equal(found.source.a.weight, weights["a.weight"].float())

    def test_without_a_count_of_batches_are_whole(self) -> None:
        weights = {key: value for key, value in trained(nn.BatchNorm2d(4)).state_dict().items() if key != "num_batches_tracked"}
        assert "num_batches_tracked" not in models(weights, source_model=nn.BatchNorm2d(4)).names

    def test_do_not_change_the_model_which_is_given(self) -> None:
        model = Chain("a")
        before = model.a.weight.clone()
        models(trained(Chain("a")).state_dict(), source_model=model)
        assert torch.equal(model.a.weight, before)

    @pytest.mark.parametrize("form", ["pt", "safetensors", "shards"])
    def test_are_read_from_files(self, form: str, tmp_path: Path) -> None:
        weights = trained(Chain("ab")).state_dict()
        found = models(saved(weights, tmp_path / f"model.{form}"), source_model=Chain("ab"))
        assert all(torch.equal(value, weights[key]) for key, value in found.source.state_dict().items())

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (Chain("abc"), "SOURCE does not fit Chain: c.bias"),
            (Mixer("a", "b"), "SOURCE does not fit Mixer: head"),
            (nn.Sequential(nn.Linear(8, 4)), "SOURCE does not fit Sequential: 0.bias"),
        ],
    )
    def test_of_another_model_are_refused_with_what_it_lacks(self, model: nn.Module, message: str) -> None:
        with pytest.raises(ModelError, match="SOURCE does not fit") as error:
            models(trained(Chain("ab")).state_dict(), source_model=model)
        assert message.rpartition(" ")[0] in str(error.value)
        assert message.rpartition(" ")[2] in str(error.value)
        assert "below one prefix" in error.value.hint

    def test_of_another_shape_are_refused(self) -> None:
        weights = trained(Chain("a")).state_dict() | {"a.weight": torch.zeros(8, 9)}
        with pytest.raises(ModelError, match=r"SOURCE does not fit Chain: a\.weight"):
            models(weights, source_model=Chain("a"))

    @pytest.mark.parametrize("source_model", [{}, 3, "model.pt", surgeon.inspect(Chain("a"))])
    def test_need_a_model_which_is_one(self, source_model: Any) -> None:
        with pytest.raises(ModelError, match="the source's model is no model"):
            models(trained(Chain("a")).state_dict(), source_model=source_model)


class TestInputs:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_are_in_the_dtype_of_the_models(self, dtype: torch.dtype) -> None:
        x = torch.randn(2, 8).to(dtype)
        assert inputs_of(x, 0).args[0].dtype == torch.float32
        assert inputs_of({"x": x}, 0).kwargs["x"].dtype == torch.float32
        assert inputs_of([(x, [x])], 0).args[0][1][0].dtype == torch.float32

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
    def test_of_ids_and_masks_stay_what_they_are(self, dtype: torch.dtype) -> None:
        ids = torch.ones(2, 4).to(dtype)
        assert inputs_of((ids,), 0).args[0] is ids

    def test_drawn_are_float32_whatever_torch_s_default(self) -> None:
        torch.set_default_dtype(torch.float64)
        try:
            (x,) = inputs_of("2x8", 0).args
        finally:
            torch.set_default_dtype(torch.float32)
        assert x.dtype == torch.float32
        assert torch.equal(x, inputs_of("2x8", 0).args[0])

    @pytest.mark.parametrize("text", ["9" * 5000, "1x" + "9" * 30])
    def test_of_absurd_sizes_are_refused(self, text: str) -> None:
        with pytest.raises(ModelError, match="is no input"):
            inputs_of(text, 0)

    def test_are_drawn_without_a_trace_in_the_caller_s_random_numbers(self) -> None:
        state = torch.get_rng_state()
        inputs_of("2x8", 5)
        inputs_of(lambda: torch.randn(3), 5)
        assert torch.equal(torch.get_rng_state(), state)

    def test_of_a_function_which_fails_leave_the_random_numbers_as_they_were(self) -> None:
        state = torch.get_rng_state()
        with pytest.raises(ZeroDivisionError):
            inputs_of(lambda: torch.randn(3) + 1 / 0, 5)
        assert torch.equal(torch.get_rng_state(), state)


class TestAProbe:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"most": 0}, "a probe's most is 0"),
            ({"most": -1}, "a probe's most is -1"),
            ({"most": 1 << 30}, "a probe's most is"),
            ({"most": "64"}, "a probe's most is '64'"),
            ({"most": True}, "a probe's most is True"),
            ({"seed": -1}, "a probe's seed is -1"),
            ({"seed": 1 << 63}, "a probe's seed is"),
            ({"seed": None}, "a probe's seed is None"),
            ({"seed": 1.5}, "a probe's seed is 1.5"),
        ],
    )
    def test_with_numbers_which_are_none_is_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(SurgeryError, match="whole numbers from") as error:
            Probe("2x8", **options)
        assert message in str(error.value)

    @pytest.mark.parametrize("options", [{"most": 1}, {"seed": 0}, {"seed": (1 << 63) - 1}])
    def test_with_the_least_and_the_largest_runs(self, options: dict[str, int]) -> None:
        found = surgeon.suggestion(trained(Chain("a")), Chain("a"), probe=Probe("2x8", **options))
        assert found.remarks
