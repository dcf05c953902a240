from collections import OrderedDict
from types import MappingProxyType

import numpy
import pytest
import torch
from torch import nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model import StateDictReader, header_of_module, header_of_state_dict
from ckpt_surgeon.spec import DTYPES, Opaque, TensorSpec


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("mask", torch.ones(2), persistent=False)


class Versioned(nn.Module):
    def get_extra_state(self) -> dict[str, int]:
        return {"step": 3}

    def set_extra_state(self, state: object) -> None:
        pass


def test_a_modules_header_lists_its_state_dict_in_torchs_order() -> None:
    module = Tied()
    header = header_of_module(module)
    assert list(header) == list(module.state_dict())
    assert header.entries["embed.weight"] == TensorSpec.of("float32", 5, 3)
    assert header.entries["norm.num_batches_tracked"] == TensorSpec.of("int64")
    assert header.format == "model"


def test_kinds_tell_parameters_from_buffers() -> None:
    kinds = header_of_module(Tied()).kinds
    assert [key for key, kind in kinds.items() if kind == "buffer"] == [
        f"norm.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")
    ]
    assert [key for key, kind in kinds.items() if kind == "parameter"] == ["embed.weight", "norm.weight", "norm.bias", "head.weight"]


def test_a_buffer_which_is_not_persistent_is_left_out() -> None:
    assert "mask" not in header_of_module(Tied())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tied_parameters_are_aliases_on_every_device(device: str) -> None:
    with torch.device(device):
        header = header_of_module(Tied())
    assert header.aliases == {"head.weight": "embed.weight"}


def test_overlapping_views_are_independent_tensors() -> None:
    base = torch.arange(12.0)
    views = {"all": base, "half": base[:6], "rows": base.view(3, 4), "t": base.view(3, 4).t(), "same": base.view(3, 4), "late": base[6:]}
    assert header_of_state_dict(views).aliases == {"same": "rows"}


def test_a_conjugate_is_not_tied_to_what_it_conjugates() -> None:
    base = torch.tensor([1 + 2j])
    reader = StateDictReader({"z": base, "z_conj": base.conj()})
    assert reader.header.aliases == {}
    assert reader.read("z_conj").tolist() == [1 - 2j]
    assert not reader.read("z_conj").is_conj()


def test_metadata_comes_with_the_header_without_the_flags_of_a_load() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2))
    state = module.state_dict()
    module.load_state_dict(state, assign=True)
    metadata = header_of_state_dict(state).torch_metadata
    assert metadata == {"": {"version": 1}, "0": {"version": 2}}
    assert header_of_module(module).torch_metadata == metadata
    assert header_of_state_dict(dict(state)).torch_metadata == {}


def test_extra_state_is_opaque_and_readable() -> None:
    reader = StateDictReader.of_module(nn.Sequential(Versioned()))
    assert reader.header.entries == {"0._extra_state": Opaque("dict")}
    assert reader.read_opaque("0._extra_state") == {"step": 3}


class Subclass(torch.Tensor):
    pass


class LabelledParameter(nn.Parameter):
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.eye(2).to_sparse(), "sparse_coo tensor float32"),
        (torch.eye(2, dtype=torch.float16).to_sparse(), "sparse_coo tensor float16"),
        (torch.ones(2).as_subclass(Subclass), "Subclass tensor float32"),
        (nn.Parameter(torch.ones(2).as_subclass(Subclass)), "Subclass tensor float32"),
        (numpy.ones(2), "ndarray"),
        (3, "int"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_plain_tensor_is_opaque_and_comes_back_as_it_is(value: object, words: str) -> None:
    reader = StateDictReader({"w": torch.ones(1), "odd": value})
    assert reader.header.entries["odd"] == Opaque(words)
    assert reader.read_opaque("odd") is value


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_quantized_and_nested_tensors_are_opaque() -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    entries = header_of_state_dict({"q": quantized, "n": nested}).entries
    assert all(isinstance(entry, Opaque) for entry in entries.values())
    assert "nested" in str(entries["n"])


def test_a_parameter_is_a_plain_tensor_whatever_its_class_is_called() -> None:
    header = header_of_state_dict({"p": LabelledParameter(torch.ones(2)), "t": torch.ones(3)})
    assert header.entries == {"p": TensorSpec.of("float32", 2), "t": TensorSpec.of("float32", 3)}
    assert header.kinds == {"p": "parameter"}


@pytest.mark.parametrize("name", [name for name in DTYPES if hasattr(torch, name) and not name.startswith("bits")])
def test_each_dtype_of_torch_is_described_and_read_back(name: str) -> None:
    tensor = torch.zeros(4, dtype=torch.uint8).view(torch.uint8) if name == "uint8" else _filled(getattr(torch, name))
    reader = StateDictReader({"w": tensor})
    assert reader.header.entries["w"] == TensorSpec.of(name, *tensor.shape)
    assert reader.read("w").dtype == tensor.dtype


def _filled(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(16, dtype=torch.uint8).repeat(2).view(2, 16).view(dtype)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).view(2, 3).t(),
        torch.arange(6.0)[::2],
        torch.ones(1).expand(4),
        torch.ones(()),
        torch.empty(0, 3),
        torch.ones(2, requires_grad=True) * 2,
    ],
    ids=["transposed", "strided", "expanded", "scalar", "empty", "result of a graph"],
)
def test_a_read_tensor_is_contiguous_and_private(tensor: torch.Tensor) -> None:
    found = StateDictReader({"w": tensor}).read("w")
    assert torch.equal(found, tensor)
    assert found.is_contiguous()
    assert not found.requires_grad
    found += 1
    assert found.numel() == 0 or not torch.equal(found, tensor)


def test_a_tied_key_is_readable_and_nothing_has_a_span() -> None:
    with StateDictReader.of_module(Tied()) as reader:
        assert torch.equal(reader.read("head.weight"), reader.read("embed.weight"))
        assert reader.span("head.weight") is None


def test_a_tensor_on_meta_has_a_header_and_cannot_be_read() -> None:
    reader = StateDictReader({"w": torch.ones(2, device="meta")})
    assert reader.header.entries["w"] == TensorSpec.of("float32", 2)
    with pytest.raises(ModelError, match="w: it is on the meta device"):
        reader.read("w")


def test_a_lazy_module_is_refused_until_its_shapes_are_known() -> None:
    module = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    with pytest.raises(ModelError, match="shape is unknown") as caught:
        header_of_module(module)
    assert [problem.where for problem in caught.value.problems][:2] == ["0.weight", "0.bias"]
    module(torch.ones(2, 4))
    assert header_of_module(module).entries["0.weight"] == TensorSpec.of("float32", 3, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([("w", torch.ones(1))], "expected a state_dict, found list"),
        ({1: torch.ones(1)}, r"keys are text, found 1 \(int\)"),
        ({"state_dict": {"w": torch.ones(1)}, "epoch": 3}, "one level deeper, in 'state_dict'"),
    ],
)
def test_what_is_no_state_dict_is_refused(given: object, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        StateDictReader(given)  # type: ignore[arg-type]


def test_any_mapping_serves_as_a_state_dict() -> None:
    for given in ({}, OrderedDict(w=torch.ones(1)), MappingProxyType({"w": torch.ones(1)})):
        assert len(header_of_state_dict(given)) == len(given)


def test_a_module_whose_keys_are_no_text_is_a_model_error() -> None:
    class Numbered(nn.Module):
        def state_dict(self, *_, **__):
            return {3: torch.ones(2)}

    for ask in (header_of_module, StateDictReader.of_module):
        with pytest.raises(ModelError, match="keys are text, found 3"):
            ask(Numbered())


def test_a_state_dict_hook_which_fails_is_a_model_error() -> None:
    module = nn.Linear(1, 1)
    module.register_state_dict_pre_hook(lambda *_: 1 / 0)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"Linear.state_dict\(\) failed: ZeroDivisionError"):
        header_of_module(module)
