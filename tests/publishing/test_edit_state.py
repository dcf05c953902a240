"""What an edit may look like, and how far one has come by the bytes which stand there."""

import pytest

from ckpt_surgeon.formats.edit import Change, Edit
from ckpt_surgeon.publishing.edit_state import state_of

SAME = Edit((Change(2, b"old", b"new"),), 10, 10)
GROWING = Edit((Change(0, b"A", b"B"), Change(8, b"xy", b"XYZW")), 10, 12)
SHRINKING = Edit((Change(6, b"abcd", b"AB"),), 10, 8)


@pytest.mark.parametrize("edit", [SAME, GROWING, SHRINKING, Edit((), 10, 10), Edit((Change(0, b"", b"abc"),), 0, 3)])
def test_an_edit_of_these_changes_is_sound(edit):
    assert edit.new_nbytes - edit.old_nbytes == sum(len(each.new) - len(each.old) for each in edit.changes)


@pytest.mark.parametrize(
    ("changes", "old_nbytes", "new_nbytes"),
    [
        ([Change(-1, b"a", b"b")], 10, 10),  # before the start
        ([Change(4, b"a", b"b"), Change(2, b"a", b"b")], 10, 10),  # out of order
        ([Change(2, b"abc", b"def"), Change(4, b"a", b"b")], 10, 10),  # one into another
        ([Change(2, b"abc", b"de")], 10, 9),  # what follows would move
        ([Change(2, b"abc", b"defg"), Change(9, b"a", b"")], 10, 10),
        ([Change(8, b"abc", b"def")], 10, 10),  # beyond the end
        ([Change(8, b"ab", b"abc")], 10, 10),  # not of the new size
        ([Change(2, b"abc", b"def")], 10, 11),
        ([Change(7, b"abc", b"ab"), Change(10, b"", b"z")], 10, 10),  # cut, and then goes on
    ],
)
def test_an_edit_of_these_changes_is_none(changes, old_nbytes, new_nbytes):
    with pytest.raises(ValueError, match="change"):
        Edit(tuple(changes), old_nbytes, new_nbytes)


def test_an_edit_is_empty_when_no_byte_changes():
    assert Edit((Change(1, b"a", b"a"),), 3, 3).is_empty
    assert not SAME.is_empty


@pytest.mark.parametrize(
    ("edit", "nbytes", "found", "state"),
    [
        (SAME, 10, [b"old"], "old"),
        (SAME, 10, [b"new"], "new"),
        (SAME, 10, [b"nld"], "between"),
        (SAME, 10, [b"oew"], "between"),
        (SAME, 10, [b"olx"], "foreign"),
        (SAME, 11, [b"old"], "foreign"),
        (SAME, 9, [b"new"], "foreign"),
        (GROWING, 10, [b"A", b"xy"], "old"),
        (GROWING, 12, [b"B", b"XYZW"], "new"),
        (GROWING, 10, [b"B", b"xy"], "between"),
        (GROWING, 11, [b"A", b"xyZ"], "between"),
        (GROWING, 12, [b"A", b"xy\0W"], "between"),  # what lay beyond the old end was lost
        (GROWING, 12, [b"A", b"\0yZW"], "foreign"),  # but nothing before it
        (GROWING, 12, [b"A", b"xyZq"], "foreign"),
        (GROWING, 12, [b"C", b"XYZW"], "foreign"),
        (GROWING, 13, [b"B", b"XYZW"], "foreign"),
        (GROWING, 9, [b"A", b"x"], "foreign"),
        (SHRINKING, 10, [b"abcd"], "old"),
        (SHRINKING, 8, [b"AB"], "new"),
        (SHRINKING, 10, [b"ABcd"], "between"),
        (SHRINKING, 9, [b"aBc"], "between"),
        (SHRINKING, 10, [b"AB\0\0"], "foreign"),
        (SHRINKING, 7, [b"A"], "foreign"),
    ],
)
def test_the_state_of_a_file_in_the_midst_of_an_edit(edit, nbytes, found, state):
    assert state_of(edit, nbytes, found) == state


def test_a_single_foreign_byte_in_a_large_change_is_seen():
    old, new = bytes(20_000), b"\1" * 20_000
    edit = Edit((Change(0, old, new),), 20_000, 20_000)
    mixed = bytearray(new[:9000] + old[9000:])
    assert state_of(edit, 20_000, [bytes(mixed)]) == "between"
    mixed[15_000] = 2
    assert state_of(edit, 20_000, [bytes(mixed)]) == "foreign"
