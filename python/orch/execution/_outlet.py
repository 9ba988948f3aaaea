"""Where the items of a map go that nobody keeps: to one reader, for whom the map waits."""

from __future__ import annotations

from collections import deque

from anyio import Event as Signal

from orch.event import State
from orch.execution._items import Parts
from orch.execution._relay import Ends, item_state
from orch.execution._run import Run
from orch.result import RunResult

__all__ = ("Outlet",)

_TOLD = State.SUCCEEDED, State.FAILED


class Outlet:
    """Hands out the results of items as they end. The next tile begins when those of the one before are fetched."""

    def __init__(self) -> None:
        self._ready: deque[tuple[Parts, int]] = deque()
        self._news, self._fetched = Signal(), Signal()
        self._parts: Parts | None = None
        self._ends: Ends
        self._is_lifted = False
        self.failed: int | None = None  # the number of the first item that failed

    def open(self, tile: Run) -> None:
        """A tile begins: from now on look what has ended in it."""
        self._parts = Parts(tile)
        self._ends = Ends(tile)
        publish = tile.publish

        def told() -> None:
            publish()
            self._look()

        tile.publish, tile.watched = told, True

    async def emptied(self) -> None:
        """The tile is over: wait until everything was fetched."""
        self._look()
        while self._ready and not self._is_lifted:
            await self._fetched.wait()
        self._parts = None

    def lift(self) -> None:
        """Nobody fetches any more."""
        self._is_lifted = True
        self._ready.clear()
        self._tell_fetched()

    def wake(self) -> None:
        """Let the reader look again."""
        self._news.set()

    async def more(self) -> None:
        """Wait until there may be something to fetch."""
        await self._news.wait()
        self._news = Signal()

    def fetch(self) -> tuple[int, RunResult] | None:
        """Return the next item that has ended: its number and its result."""
        if not self._ready:
            return None
        parts, item = self._ready.popleft()
        if not self._ready:
            self._tell_fetched()
        return parts.plan.first + item, parts.result(item)

    def _tell_fetched(self) -> None:
        self._fetched.set()
        self._fetched = Signal()

    def _look(self) -> None:
        parts = self._parts
        if parts is None:
            return
        parts.update()
        for item in self._ends.advance()[1]:
            state = item_state(parts.tile, item)
            if state is State.FAILED and self.failed is None:
                self.failed = parts.plan.first + item
            if state in _TOLD:
                self._ready.append((parts, item))
        if self._ready:
            self.wake()
