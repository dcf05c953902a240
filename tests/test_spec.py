"""What a tensor is: sizes, dtypes, which type holds which."""

import pytest
import torch

from ckpt_surgeon.spec import DTYPES, Header, Opaque, TensorSpec

STANDARD = [name for name, dtype in DTYPES.items() if not dtype.is_packed and not dtype.is_complex]


def test_every_dtype_has_torchs_name_and_size():
    for name, dtype in DTYPES.items():
        assert getattr(torch, name).itemsize == dtype.itemsize


def test_every_dtype_of_torch_is_known_but_the_quantized_ones():
    names = {str(value).removeprefix("torch.") for value in vars(torch).values() if isinstance(value, torch.dtype)}
    assert names - set(DTYPES) == {"qint8", "quint8", "qint32", "quint4x2", "quint2x4", "bit"} & names


@pytest.mark.parametrize("target", STANDARD)
@pytest.mark.parametrize("source", STANDARD)
def test_a_type_which_holds_another_gives_its_extreme_values_back(source, target):
    if not DTYPES[target].holds(DTYPES[source]):
        return
    values = extremes(getattr(torch, source))
    there = values.to(getattr(torch, target))
    assert torch.equal(there.to(getattr(torch, source)).view(torch.uint8), values.view(torch.uint8))


def extremes(dtype: torch.dtype) -> torch.Tensor:
    if dtype is torch.bool:
        return torch.tensor([True, False])
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        tiny = (
            [info.smallest_normal, info.max]
            if dtype is torch.float8_e8m0fnu
            else [info.min, -info.eps, 0.0, info.tiny, info.max, 1 + info.eps]
        )
        return torch.tensor(tiny, dtype=torch.float64).to(dtype)
    info = torch.iinfo(dtype)
    return torch.tensor([info.min, info.max, info.max // 3], dtype=dtype)


NARROWING = [
    ("float32", "float16"),
    ("float32", "bfloat16"),
    ("float16", "bfloat16"),
    ("bfloat16", "float16"),
    ("float32", "int64"),
    ("int64", "float32"),
    ("int32", "float32"),
    ("complex64", "float64"),
    ("int8", "uint8"),
    ("uint8", "int8"),
    ("float16", "float8_e4m3fn"),
    ("float8_e5m2", "float8_e4m3fn"),
    ("float4_e2m1fn_x2", "float32"),
]


@pytest.mark.parametrize(("source", "target"), NARROWING)
def test_a_type_which_would_lose_values_does_not_hold(source, target):
    assert not DTYPES[target].holds(DTYPES[source])


WIDENING = [("float16", "float32"), ("bfloat16", "float32"), ("int8", "int16"), ("uint8", "int16"), ("bool", "uint8"), ("uint8", "float16")]


@pytest.mark.parametrize(
    ("source", "target"), [*WIDENING, ("float32", "complex64"), ("float8_e5m2", "float16"), ("float8_e8m0fnu", "float32")]
)
def test_a_wider_type_holds(source, target):
    assert DTYPES[target].holds(DTYPES[source])


SPECS = [
    (TensorSpec.of("float32", 64, 3, 7, 7), "f32[64, 3, 7, 7]", 9408, 37632),
    (TensorSpec.of("int64"), "i64[]", 1, 8),
    (TensorSpec.of("bfloat16", 0, 5), "bf16[0, 5]", 0, 0),
    (TensorSpec.of("complex64", 2), "c64[2]", 2, 16),
]


@pytest.mark.parametrize(("spec", "text", "numel", "nbytes"), SPECS)
def test_a_spec_knows_its_size_and_its_text(spec, text, numel, nbytes):
    assert (str(spec), spec.numel, spec.nbytes) == (text, numel, nbytes)


def test_a_header_counts_tied_tensors_once_and_keeps_opaque_entries_apart():
    f = TensorSpec.of("float32", 2, 3)
    header = Header({"a": f, "b": f, "c": Opaque("dict")}, aliases={"b": "a"})
    assert (header.numel, header.nbytes, len(header)) == (6, 24, 3)
    assert (list(header.tensors), list(header.opaque)) == (["a", "b"], ["c"])
    assert (header.canonical("b"), header.canonical("c"), "c" in header, "d" in header) == ("a", "c", True, False)
