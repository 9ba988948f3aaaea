"""Text about things that users gave: bounded, and made without trusting them."""

import reprlib
import sys
from collections.abc import Callable

REPR_LIMIT, MESSAGE_LIMIT = 200, 1_000  # the most characters that `brief` and `describe` give

_short = reprlib.Repr()  # it looks at a few items only: a list of a million costs what a list of ten does
_short.maxstring = _short.maxother = _short.maxlong = REPR_LIMIT
_short.maxlevel = 3
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = 10

_whole = reprlib.Repr()  # it leaves things out, but cuts none: half a secret is not recognised
_whole.maxstring = _whole.maxother = _whole.maxlong = sys.maxsize
_whole.maxlevel = _short.maxlevel
_whole.maxdict = _whole.maxlist = _whole.maxtuple = _whole.maxset = _whole.maxfrozenset = _short.maxlist


def brief(value: object, sanitize: Callable[[str], str] | None = None) -> str:
    """The `repr` of `value`, made safe and then cut, whatever its `__repr__` does."""
    try:
        text = _short.repr(value) if sanitize is None else sanitize(_whole.repr(value))
        return cut(text, REPR_LIMIT)
    except Exception:  # noqa: BLE001 (a broken __repr__ must not hide the event that carries the value)
        return f"<unprintable {type(value).__name__}>"


def describe(error: BaseException, sanitize: Callable[[str], str] | None = None) -> str:
    """`Type: message` of an error, the message made safe, then cut, whatever its `__str__` does."""
    try:
        message = str(error)
        message = sanitize(message) if sanitize is not None and message else message
    except Exception:  # noqa: BLE001 (as above)
        message = "<unprintable>"
    return cut(": ".join(filter(None, (type(error).__name__, message))), MESSAGE_LIMIT)


def cut(text: str, limit: int) -> str:
    """`text`, or its beginning and an ellipsis: at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
