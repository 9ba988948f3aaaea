"""The examples of `orch.testing` run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import orch.testing

MODULES = ["orch.testing", *(f"orch.testing.{found.name}" for found in pkgutil.iter_modules(orch.testing.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0
