"""Packages whose names are imported on use."""

import importlib
import types

import pytest

PACKAGES = ["comparison", "model", "ops", "planning", "rules"]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_which_a_package_promises_is_there(name: str) -> None:
    package = importlib.import_module(f"ckpt_surgeon.{name}")
    found = {word: getattr(package, word) for word in package.__all__}
    assert not [word for word, value in found.items() if isinstance(value, types.ModuleType)]
    assert all(getattr(package, word) is value for word, value in found.items())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_which_is_not_promised_is_an_attribute_error(name: str) -> None:
    package = importlib.import_module(f"ckpt_surgeon.{name}")
    with pytest.raises(AttributeError, match=f"module 'ckpt_surgeon.{name}' has no attribute 'no_such_name'"):
        _ = package.no_such_name
