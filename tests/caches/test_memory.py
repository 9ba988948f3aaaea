"""`MemoryCache`: how much it keeps, and of what it needs no copy."""

import copy
import enum
from typing import Any

import pytest

from orch import CacheError, DiskCache, MemoryCache


class Color(enum.Enum):
    RED = 1


def test_the_one_not_used_longest_goes_first() -> None:
    cache = MemoryCache(max_items=2)
    cache.set("a", 1)
    cache.set("b", 2)
    cache.get("a")
    cache.set("c", 3)
    assert [cache.get(key)[0] for key in "abc"] == [True, False, True]
    assert repr(cache) == "<MemoryCache of 2 values, at most 2>"


def test_without_a_bound_it_keeps_all() -> None:
    cache = MemoryCache(max_items=None)
    for k in range(20_000):
        cache.set(str(k), k)
    assert len(cache) == 20_000


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_bound_is_a_positive_number(wrong: int) -> None:
    with pytest.raises(ValueError, match="max_items"):
        MemoryCache(max_items=wrong)


@pytest.mark.parametrize("wrong", [True, 1.5, "2"])
def test_a_bound_is_a_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="max_items"):
        MemoryCache(max_items=wrong)


@pytest.mark.parametrize("value", ["text", (1, "two", None), frozenset({1}), Color.RED, len, int], ids=repr)
def test_what_nobody_can_change_is_not_copied(value: object) -> None:
    cache = MemoryCache()
    cache.set("key", value)
    assert cache.get("key")[1] is value


def test_what_can_only_be_copied_is() -> None:
    class Local:
        def __init__(self) -> None:
            self.rows = [1]

    cache, value = MemoryCache(), Local()
    cache.set("key", value)
    value.rows.append(2)
    first, second = cache.get("key")[1], cache.get("key")[1]
    assert type(first) is Local
    assert first.rows == second.rows == [1]
    assert first is not second


def test_what_can_be_pickled_but_not_read_again_is_no_entry() -> None:
    class Broken:
        def __reduce__(self) -> Any:
            return int, ("no number",)

        def __deepcopy__(self, memo: object) -> Any:
            raise copy.Error("not this one")

    with pytest.raises(CacheError, match="Broken: Error: not this one"):
        MemoryCache().set("key", Broken())


def test_a_misspelt_option_is_told_with_what_was_meant() -> None:
    wrong: Any = {"max_item": 3, "max_byte": 3}
    with pytest.raises(TypeError, match="MemoryCache has no option 'max_item'; did you mean 'max_items'"):
        MemoryCache(**wrong)
    with pytest.raises(TypeError, match="DiskCache has no option 'max_item'"):
        DiskCache("folder", **wrong)
