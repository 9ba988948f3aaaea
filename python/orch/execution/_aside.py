"""Something that goes on beside its caller, in a task of its own, between `start` and `join`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from anyio import create_task_group
from anyio.abc import TaskGroup

__all__ = ("Aside",)


class Aside:
    """One task beside the caller's; it is to catch what it raises itself."""

    _group: TaskGroup

    async def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin; from now on the caller must get to `join`."""
        self._group = await create_task_group().__aenter__()
        self._group.start_soon(work)

    async def join(self) -> None:
        """Wait for its end."""
        await self._group.__aexit__(None, None, None)  # whatever the caller raises, it is not to come out in a group
