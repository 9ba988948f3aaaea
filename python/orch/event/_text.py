"""Text about things that users gave: bounded, on one line, and made without trusting them."""

from __future__ import annotations

import reprlib

REPR_LIMIT = 200
"""The most characters `brief` gives."""

MESSAGE_LIMIT = 1_000
"""The most characters of an error's message that `describe` gives."""


# It looks at a few items only, so that a list of a million costs what a list of ten does.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = REPR_LIMIT
_short.maxlevel = 3
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = 10


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
