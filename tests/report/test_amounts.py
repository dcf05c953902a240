"""Amounts in words: bytes, elements, shares; sentences on one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.report.amounts import byte_text, count_text, keys_text, share_text
from ckpt_surgeon.report.prose import one_line


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (37632, "37.6 kB"),
        (999_999, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (5 * 10**9, "5.0 GB"),
        (2**63, "9.2 EB"),
        (10**30, "1000000000000.0 EB"),
    ],
)
def test_bytes_are_said_in_powers_of_1000(nbytes, text):
    assert byte_text(nbytes) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (512, "512"), (25_557_032, "25.5 M")])
def test_elements_bear_no_unit(count, text):
    assert count_text(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 keys"), (1, "1 key"), (320, "320 keys")])
def test_one_key_is_not_several(count, text):
    assert keys_text(count) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (0.00001, "<0.1 %"), (0.5, "50.0 %"), (0.9999, "99.9 %"), (319 / 320, "99.6 %"), (1, "100.0 %")],
)
def test_a_share_is_rounded_down(share, text):
    assert share_text(share) == text


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_only_the_whole_reads_100_and_only_nothing_reads_0(part, whole):
    share = min(part, whole) / whole
    assert (share_text(share) == "100.0 %") == (share == 1)
    assert (share_text(share) == "0.0 %") == (share == 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        (r"a\nb stays as it was escaped", r"a\nb stays as it was escaped"),
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("x" * 2000, "x" * 997 + "..."),
    ],
)
def test_prose_is_one_printable_line(text, shown):
    assert one_line(text) == shown


@given(st.text())
def test_any_prose_is_one_printable_line(text):
    shown = one_line(text)
    assert shown.isprintable() or not shown
    assert len(shown) <= 1000
