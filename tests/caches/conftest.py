"""A cache of each kind, for tests of what all have to do."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orch import DiskCache, MemoryCache

KEY = bytes(range(32))


class Codes:
    """A codec of a user: numbers and texts only."""

    name = "codes"

    def encode(self, value: Any, /) -> bytes:
        return repr(value).encode()

    def decode(self, data: bytes, /) -> Any:
        text = data.decode()
        return None if text == "None" else text[1:-1] if text.startswith("'") else int(text)


@pytest.fixture
def disk(tmp_path: Path) -> Callable[..., DiskCache]:
    """Make caches on disk, in a directory of their own unless one is given, with a key that no user has."""
    numbers = itertools.count()

    def make(directory: Path | None = None, *, key: bytes = KEY, **options: Any) -> DiskCache:
        return DiskCache(directory or tmp_path / f"cache{next(numbers)}", key=key, **options)

    return make


@pytest.fixture(params=["memory", "json", "pickle"])
def cache(request: pytest.FixtureRequest, disk: Callable[..., DiskCache]) -> MemoryCache | DiskCache:
    """A cache of each kind that keeps nearly everything."""
    return MemoryCache() if request.param == "memory" else disk(codec=request.param)
