"""The envelope of an entry on disk: nothing in it is read before all of it is known to be ours.

    magic(4) version(1) codec(1) flags(2) key id(8) name(32) created(8) lasting(8) epoch(4) length(8) payload tag(32)

Numbers are big-endian, times in milliseconds. `name` says under which key the entry was put, so that none can take the
place of another. The tag is a keyed BLAKE2b hash of all before it, under a key of this version and codec. The payload
is what the entry is about, as JSON, after its length (4), and then the value. Flags and epoch are zero.
"""

import json
from typing import Any, NamedTuple

from orch._keys import blake2b

__all__ = ("LARGEST", "Entry", "Envelope", "Refused")

_MAGIC, _VERSION = b"orch", 1
_HEAD, _TAG = 76, 32
LARGEST = 1 << 31  # bytes of an entry


class Refused(Exception):  # noqa: N818 (a judgement; it never leaves the package)
    """What is there is no entry for who asks; `quiet` if that is as it should be."""

    def __init__(self, reason: str, *, quiet: bool = False) -> None:
        super().__init__(reason)
        self.quiet = quiet


class Entry(NamedTuple):
    """What an entry says."""

    about: Any
    """What `Key.about` was, and the task; None for keys of another making."""
    data: bytes
    """The value, as the codec wrote it."""


class Envelope:
    """Seals and opens entries of one key and codec."""

    def __init__(self, key: bytes, codec: int, name: str) -> None:
        from hmac import compare_digest  # noqa: PLC0415 (loaded by who needs it)

        self._is_same = compare_digest
        self._key = blake2b(f"orch cache {_VERSION} {codec} {name}".encode(), key=key, digest_size=32).digest()
        self._id = blake2b(b"orch cache key id", key=key, digest_size=8).digest()
        self._start = _MAGIC + bytes((_VERSION, codec, 0, 0)) + self._id

    def seal(self, name: bytes, entry: Entry, created: int, lasting: int) -> bytes:
        """Return the bytes of an entry that lasts so many milliseconds, or with 0 for ever."""
        about = b"" if entry.about is None else json.dumps(entry.about).encode()
        size = 4 + len(about) + len(entry.data)
        times = created.to_bytes(8) + lasting.to_bytes(8) + bytes(4)
        body = b"".join((self._start, name, times, size.to_bytes(8), len(about).to_bytes(4), about, entry.data))
        return body + self._tag(body)

    def open(self, name: bytes | None, sealed: bytes, now: int, most: int) -> Entry:
        """Return what an entry says that was put under this name; `Refused` says why there is none."""
        self._check(sealed)
        if not self._is_same(self._tag(memoryview(sealed)[:-_TAG]), sealed[-_TAG:]):
            raise Refused("it was changed, or is not from here")
        if name is not None and sealed[16:48] != name:
            raise Refused("it is the entry of another key")
        created, lasting = int.from_bytes(sealed[48:56]), int.from_bytes(sealed[56:64])
        ends = min((each for each in (lasting, most) if each), default=0)
        if ends and not 0 <= now - created < ends:
            raise Refused("it is too old", quiet=True)
        start = _HEAD + 4 + int.from_bytes(sealed[_HEAD : _HEAD + 4])
        about = sealed[_HEAD + 4 : start]
        return Entry(json.loads(about) if about else None, sealed[start:-_TAG])

    def _check(self, sealed: bytes) -> None:
        """Say what is wrong with an entry as far as it can be seen before the tag is worked out."""
        if len(sealed) < _HEAD + 4 + _TAG or sealed[:4] != _MAGIC:
            raise Refused("it is no entry of a cache, or only the beginning of one")
        if sealed[4] != _VERSION:
            raise Refused(f"its version is {sealed[4]}, expected {_VERSION}")
        if sealed[5] != self._start[5]:
            raise Refused("it was written with another codec")
        if sealed[8:16] != self._id:
            raise Refused("it was written with another key")
        if int.from_bytes(sealed[68:76]) != len(sealed) - _HEAD - _TAG:
            raise Refused("it is not as long as it says")

    def _tag(self, body: bytes | memoryview) -> bytes:
        return blake2b(body, key=self._key, digest_size=_TAG).digest()
