"""How values are written into entries on disk, and read again once an entry is known to be ours."""

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from orch._codec import read_value, write_value
from orch.abc import Codec

__all__ = ("Written", "codec_of")


class Written(NamedTuple):
    """A codec: its number and name in an envelope, and its two ways."""

    number: int
    name: str
    encode: Callable[[Any, Any], bytes]
    """Takes a value and the annotation of what the function returns."""
    decode: Callable[[bytes, Any], Any]


def codec_of(codec: Codec | str) -> Written:
    """Return the codec of this name, or one of the user's."""
    if codec == "json":
        return Written(1, "", write_value, read_value)
    if codec == "pickle":
        return Written(2, "", lambda value, _: pickle.dumps(value, 5), lambda data, _: pickle.loads(data))  # noqa: S301 (the user has asked for it, and the envelope is his)
    own: Any = codec
    return Written(3, own.name, lambda value, _: bytes(own.encode(value)), lambda data, _: own.decode(data))
