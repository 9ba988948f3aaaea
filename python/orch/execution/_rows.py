"""The items of a map, drawn one after another from whatever can be iterated. Pure, and never ahead of who asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import product
from typing import Any

from orch.definition import Map

__all__ = ("check_rows", "rows")

Row = tuple[Any, ...]
_TEXTS = str | bytes | bytearray
_END = object()


def check_rows(task: Map, inputs: Mapping[str, Any]) -> None:
    """Refuse before the run what can be seen to be wrong without drawing an item; errors are those of `rows`."""
    given = [(name, inputs[name]) for name in task.over if name in inputs]
    for name, value in given:
        _check_text(task, name, value)
        if not isinstance(value, Iterable) and not hasattr(type(value), "__getitem__"):
            raise _no_items(task, name, value)
    if task.mode == "zip" and len(given) == len(task.over) > 1:
        _check_sizes(task, [value for _, value in given])


def rows(task: Map, given: Sequence[Any]) -> Iterator[Row]:
    """Return the items of a map: for each a tuple with a value for every input that it goes over.

    TypeError: something cannot be iterated, or could not be a second time. ValueError: zip needs equally many.
    """
    for name, value in zip(task.over, given, strict=True):
        _check(task, name, value)
    if len(given) == 1:
        return zip(given[0])
    return _products(given) if task.mode == "product" else _zipped(task, given)


def _check(task: Map, name: str, value: Any) -> None:
    _check_text(task, name, value)
    try:
        iterator = iter(value)
    except TypeError:
        raise _no_items(task, name, value) from None
    if iterator is value and task.retry is not None:
        what, cure = f"{_what(task, name)} is a {type(value).__name__}", "give a list, or take away retry="
        raise TypeError(f"{what}, which would be empty for a second attempt: {cure}")


def _what(task: Map, name: str) -> str:
    return f"map {task.name!r}: {name!r}"


def _check_text(task: Map, name: str, value: Any) -> None:
    if isinstance(value, _TEXTS):
        found, cure = type(value).__name__, "write [value], or list(value) for its parts"
        raise TypeError(f"{_what(task, name)} takes the items to go over, found a {found}: {cure}")


def _no_items(task: Map, name: str, value: Any) -> TypeError:
    found = f"{type(value).__name__} ({value!r:.100})"
    return TypeError(f"{_what(task, name)} takes something that can be iterated, found {found}")


def _check_sizes(task: Map, given: Sequence[Any]) -> list[int | None]:
    """Return how many items each has, as far as they say it; these have to be equally many."""
    sizes = [len(value) if isinstance(value, Sized) else None for value in given]
    if len({size for size in sizes if size is not None}) > 1:
        raise _unequal(task, sizes)
    return sizes


def _zipped(task: Map, given: Sequence[Any]) -> Iterator[Row]:
    sizes = _check_sizes(task, given)
    return zip(*given, strict=False) if None not in sizes else _checked(task, given, sizes)


def _checked(task: Map, given: Sequence[Any], sizes: Sequence[int | None]) -> Iterator[Row]:
    """Zip what does not say how long it is."""
    iterators, count = [iter(value) for value in given], 0
    while True:
        row = tuple(next(each, _END) for each in iterators)
        if any(item is _END for item in row):
            if not all(item is _END for item in row):
                ended = [count if item is _END else size for item, size in zip(row, sizes, strict=True)]
                raise _unequal(task, ended, count + 1)
            return
        yield row
        count += 1


def _unequal(task: Map, sizes: Iterable[int | None], least: int = 0) -> ValueError:
    found = (
        f"{f'at least {least}' if size is None else size} for {name!r}"
        for name, size in zip(task.over, sizes, strict=True)
    )
    return ValueError(f"map {task.name!r}: zip takes one item of each at a time, found {' and '.join(found)}; {_CURE}")


_CURE = 'give equally many, or write mode="product" for all combinations'


def _products(given: Sequence[Iterable[Any]]) -> Iterator[Row]:
    """Yield all combinations; only the first may be endless, for the others are gone through again and again."""
    first, *rest = given
    others = [tuple(each) for each in rest]
    if all(others):
        for item in first:
            for more in product(*others):
                yield (item, *more)
