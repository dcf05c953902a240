"""Checksums are zlib's, whoever computes them."""

import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon import checksums
from ckpt_surgeon.checksums import crc32

LARGE = checksums._WORTH_IMPORTING


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def computed_by(request, monkeypatch):
    """Once by isal, and once as if it were not installed."""
    remembered = checksums._quickest
    remembered.cache_clear()
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    else:
        pytest.importorskip("isal")
    yield request.param
    remembered.cache_clear()


@pytest.mark.parametrize("nbytes", [0, 1, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("crc", [0, 1, 2**32 - 1])
def test_it_is_that_of_zlib(nbytes, kind, crc):
    data = bytes(i % 251 for i in range(nbytes))
    assert crc32(kind(data), crc) == zlib.crc32(data, crc)


@given(st.lists(st.sampled_from([0, 1, 1000, LARGE, LARGE + 7]), max_size=4))
def test_pieces_of_any_size_come_to_the_sum_of_the_whole(sizes):
    crc = 0
    for i, size in enumerate(sizes):
        crc = crc32(bytes([i]) * size, crc)
    assert crc == zlib.crc32(b"".join(bytes([i]) * size for i, size in enumerate(sizes)))


def test_isal_is_used_for_large_data_where_it_is_installed(computed_by, monkeypatch):
    assert (checksums._quickest() is zlib.crc32) == (computed_by == "zlib")
    monkeypatch.setattr(checksums, "_quickest", lambda: lambda data, crc: 7)
    assert (crc32(bytes(LARGE)), crc32(bytes(LARGE - 1))) == (7, zlib.crc32(bytes(LARGE - 1)))
