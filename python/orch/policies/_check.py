"""What policies ask of the values they are given: numbers in range, times in seconds, classes of errors, names."""

import math
import sys
from collections.abc import Collection
from datetime import timedelta
from types import NoneType
from typing import Any, Literal, overload

from orch.errors import expect

__all__ = ("Kinds", "Seconds", "count", "kinds", "seconds", "share", "text")

Seconds = float | timedelta
"""A time: a number of seconds, or a `timedelta`."""
Kinds = type[Exception] | Collection[type[Exception]]
"""Classes of errors: one, or several."""

_KINDS = "a class of Exception, or several"
_LONGEST_NAME = 1000


@overload
def seconds(field: str, value: Seconds, *, zero: bool = False, none: Literal[False]) -> float: ...
@overload
def seconds(field: str, value: Seconds | None, *, zero: bool = False, none: bool = True) -> float | None: ...
def seconds(field: str, value: Seconds | None, *, zero: bool = False, none: bool = True) -> float | None:
    """Read a time: a positive number of seconds, or a `timedelta`.

    >>> seconds("timeout", timedelta(minutes=1)), seconds("timeout", float("inf"))
    (60.0, None)
    >>> seconds("timeout", 0)
    Traceback (most recent call last):
    ValueError: timeout: expected more than 0 seconds, found 0

    Args:
        field: What the time is called, for the error.
        value: What a user gave.
        zero: Whether 0 is a time, too.
        none: Whether there may be no limit: None, or an infinite time, which comes back as None.

    Raises:
        TypeError: It is neither a number nor a `timedelta`; a bool is no number.
        ValueError: It is NaN, negative, 0 or infinite where that cannot be.
    """
    expect(field, value, int, float, timedelta, *([NoneType] if none else []))
    if value is None:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else _float(value)
    if none and number == math.inf:
        return None
    if not (0 <= number < math.inf) or (number == 0 and not zero):  # NaN is nowhere
        least = "at least 0 seconds" if zero else "more than 0 seconds"
        raise ValueError(f"{field}: expected {least}{'' if none else ', finite'}, found {number:g}")
    return number


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an int beyond all floats
        return math.inf if number > 0 else -math.inf


def count(field: str, value: int) -> int:
    """Read a whole number from 1 on, as far as a machine counts."""
    expect(field, value, int, least=1)
    if value > sys.maxsize:
        raise ValueError(f"{field}: expected at most {sys.maxsize}, found one of {value.bit_length()} bits")
    return int(value)


def share(field: str, value: float) -> float:
    """Read a number from 0 to 1."""
    expect(field, value, int, float)
    if not 0 <= value <= 1:
        raise ValueError(f"{field}: expected a number from 0 to 1, found {_float(value):g}")
    return float(value)


def kinds(field: str, value: Kinds) -> tuple[type[Exception], ...]:
    """Read classes of errors: one or several, each an `Exception`; others, such as a cancellation, are never handled.

    >>> kinds("retry_on", OSError), kinds("retry_on", [OSError, KeyError])
    ((<class 'OSError'>,), (<class 'OSError'>, <class 'KeyError'>))
    """
    given: Any = (value,) if isinstance(value, type) else value
    if not isinstance(given, tuple | list | set | frozenset):
        raise TypeError(f"{field}: expected {_KINDS}, found {type(value).__name__} ({value!r:.100})")
    for each in given:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise ValueError(f"{field}: expected {_KINDS}, found {each!r:.100}")  # noqa: TRY004  (in a tuple)
    return tuple(given)


def text(field: str, value: str | None) -> str | None:
    """Read a name: None, or a text of 1 to 1 000 characters without NUL."""
    expect(field, value, str, NoneType)
    if value is not None and (not value or len(value) > _LONGEST_NAME or "\0" in value):
        found = "NUL in it" if "\0" in value else f"{len(value)} characters"
        raise ValueError(f"{field}: expected a text of 1 to {_LONGEST_NAME} characters without NUL, found {found}")
    return value if value is None else str.__str__(value)
