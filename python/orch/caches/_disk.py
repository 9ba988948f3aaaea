"""`DiskCache`: beyond the process, in files that nobody else can have written."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from types import NoneType
from typing import Any

from anyio.lowlevel import current_token

from orch._keys import blake2b
from orch.abc import Codec
from orch.caches._envelope import Entry, Envelope, Refused
from orch.caches._explain import About, Explanation, explain
from orch.definition import Task
from orch.errors import CacheError, CodecError, expect, spelled
from orch.execution import Flights
from orch.plan import Key
from orch.policies import Seconds, seconds

__all__ = ("DiskCache",)

_LEAST_KEY, _MOST_KEY = 32, 64  # bytes
_logger = logging.getLogger("orch")


class DiskCache:
    """Keeps what steps gave in a directory, for other runs and processes of the same user.

    Every entry is one file that is authenticated with a key; what anybody else has written, or changed, is not even
    looked into: it is a miss, and a warning. Values are written as JSON and come back as they were, value and type, or
    are not kept; instances of a class need the class in the annotation of what the task returns.

    Args:
        directory: Where; made if it is not there. It must be this user's, and writable for nobody else.
        max_bytes: How much it keeps; what was not used longest goes first.
        ttl: Seconds (or a timedelta) that a value is good for; None: for ever.
        codec: "json"; "pickle", which takes nearly everything, and whose entries can do anything when they are read, so
            it needs a `key` of its own; or an `orch.abc.Codec`.
        key: 32 to 64 bytes that entries are authenticated with. None: those in the user's configuration folder
            (`orch/cache.key`), made when they are first needed.

    Raises:
        CacheError: The directory or the key cannot be used, or not safely. In an event loop, which files would hold up,
            they are looked at when they are first needed; then runs warn of that, and go on.
    """

    blocks = True  # it is asked in a thread

    @spelled()
    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        ttl: Seconds | None = None,
        codec: Codec | str = "json",
        key: bytes | None = None,
    ) -> None:
        expect("directory", directory, str, os.PathLike)
        expect("max_bytes", max_bytes, int, least=1)
        expect("key", key, bytes, NoneType)
        lasting = None if ttl is None else seconds("ttl", ttl)
        _check_codec(codec, key)
        if key is not None and not _LEAST_KEY <= len(key) <= _MOST_KEY:
            raise ValueError(
                f"key: expected {_LEAST_KEY} to {_MOST_KEY} bytes, found {len(key)}: secrets.token_bytes(32)"
            )
        self._given = directory, max_bytes, key, codec
        self._lasting = 0 if lasting is None else max(1, round(lasting * 1000))
        self._shown = codec if isinstance(codec, str) else codec.name
        self.flights = Flights()
        if not _is_in_loop():
            _ = self._opened

    @cached_property
    def _opened(self) -> tuple[Any, Envelope, Any]:
        from orch.caches import _codecs, _folder, _secret  # noqa: PLC0415 (loaded by who needs it)

        directory, max_bytes, key, codec = self._given
        written, folder = _codecs.codec_of(codec), _folder.Folder(directory, max_bytes)
        return folder, Envelope(_secret.secret() if key is None else key, *written[:2]), written

    @property
    def _folder(self) -> Any:
        return self._opened[0]

    @property
    def _envelope(self) -> Envelope:
        return self._opened[1]

    @property
    def _codec(self) -> Any:
        return self._opened[2]

    def get(self, key: str, /) -> tuple[bool, Any]:
        """Return whether there is a value, and the value. Whatever is wrong with what is there: it is a miss."""
        name, digest = _name(key)
        try:
            sealed = self._folder.read(name)
            entry = self._envelope.open(digest, sealed, _now(), self._lasting)
            value = self._decoded(entry.data, key)
        except FileNotFoundError:
            return False, None
        except OSError as error:
            _say(key, f"found nothing, as {self._folder.path} cannot be read: {error}")
            return False, None
        except Refused as refused:
            self._folder.remove(name)
            if not refused.quiet:
                _say(key, f"found an entry in {self._folder.path} that was refused: {refused}")
            return False, None
        self._folder.touch(name)
        return True, value

    def _decoded(self, data: bytes, key: str) -> Any:
        try:
            return self._codec.decode(data, _returns(key))
        except Exception as error:  # its class may be another by now
            raise Refused(f"it cannot be read: {type(error).__name__}: {error!s:.200}") from error

    def set(self, key: str, value: Any, /) -> None:
        """Keep a value; CacheError if it, or the directory, does not allow that."""
        name, digest = _name(key)
        try:
            data = self._codec.encode(value, _returns(key))
        except Exception as error:
            cure = (
                "name its classes in the annotation of what the task returns" if isinstance(error, CodecError) else ""
            )
            raise CacheError(f"a value cannot be written: {error!s:.500}{cure and f'; {cure}'}") from error
        about = [key.task, [[part, each.hex()] for part, each in key.about]] if isinstance(key, Key) else None
        try:
            self._folder.write(name, self._envelope.seal(digest, Entry(about, data), _now(), self._lasting))
        except OSError as error:
            raise CacheError(f"nothing can be written into {self._folder.path}: {error.strerror}") from error

    def discard(self, key: str, /) -> None:
        """Remove a value, if it is there; CacheError if that cannot be done."""
        name = _name(key)[0]
        self._folder.remove(name)
        if self._folder.has(name):
            raise CacheError(f"an entry cannot be removed from {self._folder.path}: is it writable?")

    def clear(self) -> None:
        """Remove all entries."""
        for name in list(self._folder.names()):
            self._folder.remove(name)

    def explain(self, task: Task[..., Any] | Callable[..., Any], inputs: Mapping[str, Any]) -> Explanation:
        """Say whether a call of a task with these inputs would be found, and if not, what is different."""
        return explain(task, inputs, lambda key: self.get(key)[0], self._known)

    def _known(self, task: str) -> Iterator[About]:
        for name in self._folder.names(_prefix(task)):
            with suppress(OSError, Refused):
                about = self._envelope.open(None, self._folder.read(name), _now(), self._lasting).about
                if about is not None and about[0] == task:
                    yield [(part, bytes.fromhex(each)) for part, each in about[1]]

    def __repr__(self) -> str:
        return f"<DiskCache {os.fspath(self._given[0])!r}, {self._shown}>"


def _is_in_loop() -> bool:
    try:
        current_token()
    except RuntimeError:  # NoEventLoopError, or what a loop says that is not running just now
        return False
    return True


def _check_codec(codec: Any, key: object) -> None:
    if isinstance(codec, str):
        if codec not in {"json", "pickle"}:
            raise ValueError(f"codec: expected 'json', 'pickle' or an orch.abc.Codec, found {codec!r:.100}")
        if codec == "pickle" and key is None:
            cure = "what is read can do anything, so give a key= that nobody else knows"
            raise ValueError(f"codec: expected a key with codec='pickle', found none: {cure}")
    elif not all(callable(getattr(codec, each, None)) for each in ("encode", "decode")) or not hasattr(codec, "name"):
        found = f"{type(codec).__name__} ({codec!r:.100})"
        raise TypeError(
            f"codec: expected 'json', 'pickle', or an object with name, encode() and decode(); found {found}"
        )


def _name(key: str) -> tuple[str, bytes]:
    """Return what the file of an entry is called, and what its envelope says for that."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    return f"{_prefix(key.task if isinstance(key, Key) else '')}{digest.hex()}", digest


def _prefix(task: str) -> str:
    return f"{blake2b(task.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}-"


def _returns(key: str) -> Any:
    return key.returns if isinstance(key, Key) else Any


def _say(key: str, message: str) -> None:
    (key.say if isinstance(key, Key) and key.has_listener else _logger.warning)(message)


def _now() -> int:
    return time.time_ns() // 1_000_000
