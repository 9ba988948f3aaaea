"""Text about things that users gave: bounded, and made without trusting them."""

import reprlib

REPR_LIMIT, MESSAGE_LIMIT = 200, 1_000  # the most characters that `brief` and `describe` give

_short = reprlib.Repr()  # it looks at a few items only: a list of a million costs what a list of ten does
_short.maxstring = _short.maxother = _short.maxlong = REPR_LIMIT
_short.maxlevel = 3
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = 10


def brief(value: object) -> str:
    """The `repr` of `value`, cut, whatever its `__repr__` does."""
    try:
        return cut(_short.repr(value), REPR_LIMIT)
    except Exception:  # noqa: BLE001 (a broken __repr__ must not hide the event that carries the value)
        return f"<unprintable {type(value).__name__}>"


def describe(error: BaseException) -> str:
    """`Type: message` of an error, cut, whatever its `__str__` does."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 (as above)
        message = "<unprintable>"
    return cut(": ".join(filter(None, (type(error).__name__, message))), MESSAGE_LIMIT)


def cut(text: str, limit: int) -> str:
    """`text`, or its beginning and an ellipsis: at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
