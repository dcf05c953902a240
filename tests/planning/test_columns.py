"""A table as columns is the table, and its copy is one of its own."""

import pytest

from ckpt_surgeon.planning.columns import Columns

TABLE = {"a": 1, "b": 2, "c": 3}


def test_it_is_the_table():
    columns = Columns.of(TABLE)
    assert dict(columns) == dict(columns.rows()) == TABLE
    assert list(columns) == list(TABLE)
    assert (len(columns), "b" in columns, "d" in columns, columns["c"], columns.get("d")) == (3, True, False, 3, None)
    assert columns == TABLE


def test_of_columns_it_is_itself():
    columns = Columns.of(TABLE)
    assert Columns.of(columns) is columns


def test_a_copy_can_be_changed_alone():
    columns = Columns.of(TABLE)
    copy = columns.copy()
    copy.names[0], copy.places["z"] = "z", copy.places.pop("a")
    assert dict(copy.rows()) == {"z": 1, "b": 2, "c": 3}
    assert dict(columns.rows()) == TABLE


def test_a_name_which_is_not_there_is_a_key_error():
    with pytest.raises(KeyError):
        Columns.of(TABLE)["d"]
