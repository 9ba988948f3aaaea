"""Caches: what steps gave, kept by what they are and what they were given. A runner takes one as `cache=`.

`orch.abc.Cache` says what makes a cache; nothing need inherit from these.
"""

from orch.caches._disk import DiskCache
from orch.caches._explain import Explanation
from orch.caches._memory import MemoryCache

__all__ = ("DiskCache", "Explanation", "MemoryCache")
