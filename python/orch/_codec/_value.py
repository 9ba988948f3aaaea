"""A single value as JSON text, for whoever keeps values one by one."""

import json
from typing import Any

from orch._codec._document import written
from orch._codec._hints import alternatives
from orch._codec._limits import fail
from orch._codec._read import Reader
from orch._codec._text import check_size, parse
from orch.errors import CodecError

__all__ = ("read_value", "write_value")

_PART = "value"


def write_value(value: Any, hint: Any = Any) -> bytes:
    """Write a value that would be read as it is, by a reader with the same hint; CodecError if there is none."""
    text = json.dumps(written(_PART, value, alternatives(hint, Any)), allow_nan=False)
    check_size(text)
    return text.encode()


def read_value(data: bytes, hint: Any = Any) -> Any:
    """Read a value; the hint names the classes that there may be in it, and does not limit what else there is.

    What has been written here is expected: `data` without markers is what JSON has, and is not looked at twice.
    """
    try:
        if b'"!' not in data:
            return json.loads(data.decode())
        return Reader(_PART).read(parse(data.decode()), alternatives(hint, Any))
    except (RecursionError, ValueError) as error:
        if isinstance(error, CodecError):
            raise
        raise fail(_PART, None, "it is too deep, or no JSON") from error
