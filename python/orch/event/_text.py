"""Text about things that users gave: bounded, on one line, and made without trusting them."""

from __future__ import annotations

import reprlib

REPR_LIMIT = 200
"""The most characters `brief` gives."""

MESSAGE_LIMIT = 1_000
"""The most characters of an error's message that `describe` gives."""


def _shortener() -> reprlib.Repr:
    """A `repr` that looks at a few items only, so that a list of a million costs what a list of ten does."""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = shortener.maxlong = REPR_LIMIT
    shortener.maxdict = shortener.maxlist = shortener.maxtuple = shortener.maxset = shortener.maxfrozenset = 10
    return shortener


_short = _shortener()


def brief(value: object) -> str:
    """The `repr` of `value`, at most `REPR_LIMIT` characters, whatever its `__repr__` does."""
    try:
        return cut(_short.repr(value), REPR_LIMIT)
    except Exception:  # noqa: BLE001 a broken __repr__ must not hide the event that carries the value
        return f"<unprintable {type(value).__name__}>"


def describe(error: BaseException) -> str:
    """`Type: message` of an error, cut, whatever its `__str__` does."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 as above
        message = "<unprintable>"
    return cut(f"{name}: {message}" if message else name, MESSAGE_LIMIT)


def cut(text: str, limit: int) -> str:
    """`text`, or its beginning and an ellipsis: at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
