"""The key of the caches of a user: 32 random bytes in a file of his own, made when they are first needed."""

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from orch.errors import CacheError

__all__ = ("secret",)

_SIZE = 32


def secret() -> bytes:
    """Return the key of this user; CacheError if it cannot be read or made, or if others can read it."""
    path = _folder() / "orch" / "cache.key"
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as error:
        cure = "give the cache a key=, 32 bytes or more that only you know"
        raise CacheError(f"the key of your caches, {path}, cannot be read or made: {error}; {cure}") from error


def _folder() -> Path:
    """Return where this user's programs keep what they have to know."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(given) if Path(given).is_absolute() else Path.home() / ".config"


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        known = os.fstat(descriptor)
        key = os.read(descriptor, _SIZE + 1) if stat.S_ISREG(known.st_mode) else b""
    finally:
        os.close(descriptor)
    if hasattr(os, "getuid") and (known.st_uid != os.getuid() or known.st_mode & 0o077):
        cure = f"it may have been seen: remove it, and with it what is in your caches, or chmod 600 {path}"
        raise CacheError(f"the key of your caches, {path}, can be read by others or is not yours; {cure}")
    if len(key) != _SIZE:
        raise CacheError(f"the key of your caches, {path}, is not {_SIZE} bytes long: remove it, a new one is made")
    return key


def _make(path: Path) -> None:
    """Make the file, unless somebody else has by now: it is there with all of its bytes, or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        try:
            os.write(descriptor, secrets.token_bytes(_SIZE))
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
