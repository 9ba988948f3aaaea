"""A folder of entries: files of one user, written whole or not at all, of a bounded size together.

Names are what the caller makes of hexadecimal digits. A file that is not one, a link, or anything else in the place of
one is `Refused`, and `remove` puts it out of the way.
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from orch.caches._envelope import LARGEST, Refused
from orch.errors import CacheError

__all__ = ("Folder",)

_SUFFIX, _TEMPORARY = ".entry", ".part-"
_STALE = 3600.0  # seconds after which what somebody has begun to write is given up
_ROOM = 0.9  # of the bytes that there may be: how many are left when there were too many
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NOT_OURS = {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM}  # a link, a directory, a socket


class Folder:
    """Reads, writes and forgets entries; from any thread, and beside other processes."""

    def __init__(self, path: str | os.PathLike[str], most: int) -> None:
        self.path = _checked(Path(path))
        self._most = most
        self._size: int | None = None  # of all entries together, as far as known here
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes:
        """Return an entry, and note that it was used; FileNotFoundError if there is none."""
        try:
            descriptor = os.open(self._place(name), _READ | _BINARY)
        except OSError as error:
            if error.errno in _NOT_OURS:
                raise Refused(f"it cannot be opened: {error.strerror}") from error
            raise
        try:
            known = os.fstat(descriptor)
            if not stat.S_ISREG(known.st_mode) or known.st_size > LARGEST:
                raise Refused("it is no file, or too large")
            return _all(descriptor, known.st_size)
        finally:
            os.close(descriptor)

    def touch(self, name: str) -> None:
        """Note that an entry was used."""
        with suppress(OSError):
            os.utime(self._place(name))

    def write(self, name: str, data: bytes) -> None:
        """Put an entry in its place, as a whole; OSError if that is not possible."""
        if len(data) > min(self._most, LARGEST):
            raise CacheError(f"a value of {len(data)} bytes is too large for a cache of {self._most}")
        temporary = self.path / f"{_TEMPORARY}{token_hex(12)}"
        descriptor = os.open(temporary, _WRITE | _BINARY, 0o600)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
            self._put(temporary, name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        self._make_room(len(data))

    def _put(self, temporary: Path, name: str) -> None:
        try:
            temporary.replace(self._place(name))
        except (IsADirectoryError, PermissionError):  # what stands there is no file
            self.remove(name)
            temporary.replace(self._place(name))

    def remove(self, name: str) -> None:
        """Put what stands in the place of an entry out of the way."""
        place = Path(self._place(name))
        try:
            place.unlink(missing_ok=True)
        except OSError:  # a directory, say
            with suppress(OSError):
                place.rename(self.path / f".refused-{token_hex(12)}")

    def has(self, name: str) -> bool:
        """Say whether anything stands in the place of an entry."""
        return os.path.lexists(self._place(name))

    def names(self, start: str = "") -> Iterator[str]:
        """Yield the names of entries that begin so."""
        with os.scandir(self.path) as files:
            for each in files:
                if each.name.startswith(start) and each.name.endswith(_SUFFIX):
                    yield each.name.removesuffix(_SUFFIX)

    def _place(self, name: str) -> str:
        return f"{self.path}{os.sep}{name}{_SUFFIX}"

    # -- how much there is -----------------------------------------------------------------------------------------

    def _make_room(self, size: int) -> None:
        """Take note that there is more, and throw out what was not used longest if that is too much."""
        with self._lock:
            if self._size is not None:
                self._size += size
            if self._size is None or self._size > self._most:
                self._size = self._swept()

    def _swept(self) -> int:
        """Return the size of all entries once there are not too many; what was left half written goes, too."""
        found = sorted(self._found())
        size, room = sum(each for _, each, _ in found), self._most
        for _, each, name in found if size > room else ():
            if size <= room * _ROOM:
                break
            with suppress(OSError):
                Path(self._place(name)).unlink()
            size -= each
        return size

    def _found(self) -> Iterator[tuple[float, int, str]]:
        """Yield when each entry was used, its size, and its name."""
        with os.scandir(self.path) as files:
            for each in files:
                with suppress(OSError):
                    known = each.stat(follow_symlinks=False)
                    if each.name.endswith(_SUFFIX):
                        yield known.st_mtime, known.st_size, each.name.removesuffix(_SUFFIX)
                    elif each.name.startswith(_TEMPORARY) and known.st_mtime < time.time() - _STALE:
                        Path(each.path).unlink()


def _all(descriptor: int, size: int) -> bytes:
    """Read a file to its end, which may be earlier or later than it was."""
    data = os.read(descriptor, size + 1)
    while len(data) < size and (more := os.read(descriptor, size)):
        data += more
    return data


def _checked(path: Path) -> Path:
    """Make the directory, for this user alone; CacheError if it is somebody else's, or others may write into it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path.resolve(strict=True)
        known = path.stat()
    except OSError as error:
        raise CacheError(f"the directory {path} of a cache cannot be used: {error}") from error
    if hasattr(os, "getuid") and (known.st_uid != os.getuid() or known.st_mode & 0o022):
        found = f"mode {stat.S_IMODE(known.st_mode):o}, user {known.st_uid}"
        cure = f"take another one, or chmod 700 {path} if it is yours"
        raise CacheError(f"others may write into the directory {path} of a cache ({found}): {cure}")
    return path
