"""What the comparison says of any two tensors is what exact arithmetic says of them, however they are cut."""

from math import inf

import pytest
import torch
from exact_twin import distance_of
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.comparison import Distance
from ckpt_surgeon.distance.streams import Stream
from ckpt_surgeon.distance.tally import Tally
from ckpt_surgeon.spec import DTYPES

NAMES = [name for name, dtype in DTYPES.items() if not dtype.is_packed]
PACKED = [name for name, dtype in DTYPES.items() if dtype.is_packed and hasattr(torch, name)]
# Sums of some forty terms are rounded, those of a cosine may cancel out.
ROUNDING = 1e-12


def distance(a: Tensor, b: Tensor) -> Distance:
    """What `diff` says of two tensors; no difference where it says that they are equal."""
    found = surgeon.diff({"w": a}, {"w": b}, values=True).values
    assert (len(found.equal), len(found.different), found.skipped) in ((1, 0, {}), (0, 1, {}))
    return found.different.get("w", Distance(a.numel(), 0))


def near(found: float | None, wanted: float | None, absolute: float = 0.0) -> None:
    assert found == (None if wanted is None else pytest.approx(wanted, rel=ROUNDING, abs=absolute))


def agrees(found: Distance, wanted: Distance) -> None:
    assert (found.elements, found.differing) == (wanted.elements, wanted.differing)
    if not found.differing:
        return
    assert found.nan == wanted.nan
    for figure in ("max_abs", "relative_l2", "cosine"):
        near(getattr(found, figure), getattr(wanted, figure), absolute=ROUNDING if figure == "cosine" else 0.0)


def tensor_of(data: bytes, dtype: str) -> Tensor:
    values = torch.tensor(list(data), dtype=torch.uint8)
    return (values % 2 if dtype == "bool" else values).view(getattr(torch, dtype))


@st.composite
def raw_tensors(draw: st.DrawFn, dtype: str, count: int) -> Tensor:
    """Any bits: NaN of every kind, infinities, subnormal numbers, both zeros, the largest integers."""
    size = count * DTYPES[dtype].itemsize
    return tensor_of(draw(st.binary(min_size=size, max_size=size)), dtype)


@st.composite
def tame_tensors(draw: st.DrawFn, dtype: str, count: int) -> Tensor:
    """Small numbers, of which many are equal in another dtype."""
    values = draw(st.lists(st.sampled_from([0, 1, 2, 3, 1, 0]), min_size=count, max_size=count))
    return torch.tensor(values, dtype=torch.float32).to(getattr(torch, dtype))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two tensors of equal shape and any dtypes; often the second is the first but for a few elements."""
    first = draw(st.sampled_from(NAMES))
    second = draw(st.one_of(st.just(first), st.sampled_from(NAMES)))
    count = draw(st.integers(1, 20))
    tensors = draw(st.sampled_from([raw_tensors, tame_tensors]))
    a, b = draw(tensors(first, count)), draw(tensors(second, count))
    if first == second and draw(st.booleans()):
        keeps = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        size = a.itemsize
        rows = torch.tensor(keeps)[:, None]
        b = torch.where(rows, a.view(torch.uint8).view(-1, size), b.view(torch.uint8).view(-1, size)).reshape(-1).view(a.dtype)
    return a, b


@given(pairs())
def test_any_two_tensors_are_as_far_apart_as_exact_arithmetic_says(pair):
    a, b = pair
    agrees(distance(a, b), distance_of(a, b))


@given(pairs(), st.data())
def test_a_tensor_cut_anywhere_between_elements_comes_to_the_same(pair, data):
    a, b = pair
    names = [str(tensor.dtype).removeprefix("torch.") for tensor in pair]
    tally, start = Tally(DTYPES[names[0]], DTYPES[names[1]]), 0
    words = [tensor.view(torch.uint8).numpy().tobytes() for tensor in pair]
    while start < len(a):
        end = data.draw(st.integers(start + 1, len(a)))
        tally.add(*(word[start * tensor.itemsize : end * tensor.itemsize] for word, tensor in zip(words, pair, strict=True)))
        start = end
    agrees(tally.distance, distance_of(a, b))


@given(st.data())
def test_a_tensor_equals_itself_bit_for_bit_whatever_its_bits(data):
    name = data.draw(st.sampled_from(NAMES))
    tensor = data.draw(raw_tensors(name, data.draw(st.integers(0, 9))))
    assert surgeon.diff({"w": tensor}, {"w": tensor.clone()}, values=True).is_equal


@pytest.mark.parametrize("name", PACKED)
def test_packed_types_have_bits_only(name):
    a, b = (torch.tensor(values, dtype=torch.uint8).repeat(2).view(getattr(torch, name)) for values in ([1, 2, 3, 4], [1, 2, 3, 5]))
    count = a.numel()
    assert distance(a, a) == Distance(count, 0)
    assert distance(a, b) == Distance(count, 2)
    found = surgeon.diff({"w": a}, {"w": torch.zeros(a.shape)}, values=True).values
    assert found.skipped == {"w": f"{DTYPES[name]} and f32 have no values in common"}


PARTS = st.lists(st.binary(max_size=30), max_size=6)


@given(PARTS, st.integers(1, 9))
def test_a_stream_is_cut_into_equal_pieces_whatever_its_parts(parts, nbytes):
    pieces = list(Stream([memoryview(part) for part in parts]).pieces(nbytes))
    assert b"".join(pieces) == b"".join(parts)
    assert [len(piece) for piece in pieces[:-1]] == [nbytes] * (len(pieces) - 1)
    assert not pieces or 0 < len(pieces[-1]) <= nbytes


BIG = {
    "squares beyond float64": ([1e200, 2e200], [1e200, 1e200], (1e200, 2**-0.5, 3 / 10**0.5)),
    "squares below float64": ([1e-200, 2e-200], [1e-200, 1e-200], (1e-200, 2**-0.5, 3 / 10**0.5)),
    "the smallest there are": ([5e-324, 0.0], [5e-324, 5e-324], (5e-324, 2**-0.5, 2**-0.5)),
    "a ratio beyond float64": ([1e300], [1e-300], (1e300, inf, 1.0)),
    "a difference beyond float64": ([1.5e308], [-1.5e308], (inf, inf, None)),
    "nothing to compare with": ([1.0, 0.0], [0.0, 0.0], (1.0, inf, None)),
    "two kinds of nothing": ([0.0], [-0.0], (0.0, 0.0, None)),
    "opposite": ([1.0, 2.0], [-1.0, -2.0], (4.0, 2.0, -1.0)),
    "at right angles": ([1.0, 0.0], [0.0, 1.0], (1.0, 2**0.5, 0.0)),
}


@pytest.mark.parametrize(("a", "b", "wanted"), BIG.values(), ids=BIG)
def test_no_number_is_too_large_or_too_small(a, b, wanted):
    found = distance(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    for figure, value in zip((found.max_abs, found.relative_l2, found.cosine), wanted, strict=True):
        near(figure, value)


def test_integers_beyond_float64_are_told_apart():
    a, b = torch.tensor([2**62 + 1, 5]), torch.tensor([2**62, 5])
    assert (distance(a, b).differing, distance(a, b).max_abs) == (1, 1.0)
    assert distance(a, b.double()).differing == 1
    assert distance(b, b.double()).differing == 0
    top = torch.tensor([2**64 - 1], dtype=torch.uint64)
    assert distance(top, torch.tensor([2**64 - 2], dtype=torch.uint64)).max_abs == 1.0
    assert distance(top, torch.tensor([-1])).max_abs == 2.0**64


ODD = {
    "a NaN is left out and counted": ([float("nan"), 1.0], [0.0, 2.0], Distance(2, 2, (1, 0), 1.0, 0.5, 1.0)),
    "NaN at the same place is equal": ([float("nan"), 1.0], [float("nan"), 2.0], Distance(2, 1, (1, 1), 1.0, 0.5, 1.0)),
    "all NaN": ([float("nan")], [1.0], Distance(1, 1, (1, 0))),
    "an infinity against a number": ([inf, 1.0], [3.0, 2.0], Distance(2, 2, (0, 0), inf, inf, None)),
    "opposite infinities": ([inf], [-inf], Distance(1, 1, (0, 0), inf, inf, None)),
    "equal infinities are left out": ([inf, 1.0], [inf, 2.0], Distance(2, 1, (0, 0), 1.0, 0.5, 1.0)),
}


@pytest.mark.parametrize(("a", "b", "wanted"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_what_is_no_number_is_counted_and_left_out(a, b, wanted, dtype):
    assert distance(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)) == wanted


def test_nan_of_two_dtypes_are_one_value():
    a = torch.tensor([float("nan"), float("nan"), 1.0, 1.0])
    b = torch.tensor([float("nan"), 1.0, float("nan"), 1.0], dtype=torch.bfloat16)
    assert distance(a, b) == Distance(4, 2, (2, 2), 0.0, 0.0, 1.0)


def test_a_long_tensor_keeps_its_digits():
    torch.manual_seed(0)
    a = torch.randn(300_001)
    b = a + 1e-6 * torch.randn(300_001)
    found = distance(a, b)
    gap = a.double() - b.double()
    assert found.differing == int((a != b).sum())
    assert found.max_abs == float(gap.abs().max())
    assert found.relative_l2 == pytest.approx(float(gap.norm() / b.double().norm()), rel=1e-12)
    assert found.cosine == pytest.approx(float(torch.dot(a.double(), b.double()) / (a.double().norm() * b.double().norm())), rel=1e-12)


@pytest.mark.parametrize("place", [0, 16_383, 16_384, 65_535, 65_536, 149_999])
def test_a_lone_difference_is_found_at_the_edges_of_pieces(place):
    a = torch.ones(150_000)
    b = a.clone()
    b[place] = 3.0
    assert (distance(a, b).differing, distance(a, b).max_abs) == (1, 2.0)
