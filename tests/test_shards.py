"""The cut into shards, and sizes as users write them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.shards import cut, cut_header, parse_size, shard_name
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

GB = 1000**3


@pytest.mark.parametrize(
    ("sizes", "limit", "counts"),
    [
        ([], 10, []),
        ([10], 10, [1]),
        ([11], 10, [1]),
        ([5, 5, 5], 10, [2, 1]),
        ([5, 6, 5], 10, [1, 1, 1]),
        ([3, 3, 3, 9, 1], 6, [2, 1, 1, 1]),
        ([1, 99, 1, 1], 10, [1, 1, 2]),
        ([99, 99], 10, [1, 1]),
        ([0, 0, 0], 1, [3]),
        ([10, 0, 0, 1], 10, [3, 1]),
        ([4, 4], 10**18, [2]),
    ],
)
def test_a_cut_is_greedy_and_keeps_the_order(sizes, limit, counts):
    assert cut(sizes, limit) == counts


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_a_shard_exceeds_the_limit_only_when_it_holds_one_item_alone(sizes, limit):
    counts = cut(sizes, limit)
    assert sum(counts) == len(sizes)
    start = 0
    for count in counts:
        part = sizes[start : start + count]
        assert sum(part) <= limit or [size for size in part if size] == [max(part)]
        start += count


@given(st.lists(st.integers(1, 50), min_size=2), st.integers(1, 60))
def test_two_neighboring_shards_would_not_fit_into_one(sizes, limit):
    counts, start = cut(sizes, limit), 0
    for count, following in pairwise(counts):
        assert sum(sizes[start : start + count + following]) > limit
        start += count


def test_names_count_from_one_and_tell_how_many_there_are():
    assert [shard_name(i, 2) for i in (1, 2)] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert shard_name(7, 123456, stem="pytorch_model", suffix=".bin") == "pytorch_model-00007-of-123456.bin"


def header(**sizes: int) -> Header:
    return Header(
        {key: TensorSpec.of("uint8", size) for key, size in sizes.items()}, metadata={"a": "b"}, torch_metadata={"": {"version": 1}}
    )


def test_each_key_is_mapped_to_the_shard_which_holds_it():
    parts = cut_header(header(a=4, b=4, c=4), 8)
    assert [shard.name for shard in parts.shards] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert [list(shard.header.entries) for shard in parts.shards] == [["a", "b"], ["c"]]
    assert parts.weight_map == {key: shard.name for shard in parts.shards for key in shard.header.entries}
    assert parts.total_size == 12


def test_a_tied_key_stands_in_no_shard_and_is_counted_once():
    whole = Header({"a": TensorSpec.of("uint8", 4), "b": TensorSpec.of("uint8", 4), "c": TensorSpec.of("uint8", 4)}, aliases={"b": "a"})
    parts = cut_header(whole, 4)
    assert list(parts.weight_map) == ["a", "c"]
    assert parts.total_size == 8


def test_what_belongs_to_the_whole_is_in_no_shard():
    (shard,) = cut_header(header(a=4), 8).shards
    assert (shard.header.metadata, shard.header.torch_metadata, shard.header.aliases) == ({}, {}, {})


def test_an_opaque_entry_keeps_its_place_and_weighs_nothing():
    whole = Header({"a": TensorSpec.of("uint8", 4), "x": Opaque("a thing"), "b": TensorSpec.of("uint8", 4)})
    assert [list(shard.header.entries) for shard in cut_header(whole, 4).shards] == [["a", "x"], ["b"]]


def test_a_header_without_tensors_is_one_empty_shard():
    parts = cut_header(Header({}), 8)
    assert [shard.name for shard in parts.shards] == ["model-00001-of-00001.safetensors"]
    assert parts.weight_map == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12", 12),
        ("12B", 12),
        ("5GB", 5 * GB),
        ("5gb", 5 * GB),
        ("5 GB", 5 * GB),
        ("5G", 5 * GB),
        ("500MB", 500_000_000),
        ("2GiB", 2 * 1024**3),
        ("2gi", 2 * 1024**3),
        ("1.5GB", 1_500_000_000),
        ("0.1KiB", 102),
        ("1TB", 1000 * GB),
        (" 3kb ", 3000),
    ],
)
def test_a_size_is_read_as_written(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "0.0001", "5 parsecs", "1e9", "5GBB", ".5GB", "5..0GB", "٥GB", "1_000", "9" * 19])
def test_what_is_no_size_is_refused_with_the_forms_which_are(text):
    with pytest.raises(SurgeryError, match="no size") as caught:
        parse_size(text)
    assert "2GiB" in caught.value.hint
