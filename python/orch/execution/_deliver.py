"""Delivery: every subscriber gets every event, in order, before the run returns.

Events are built once, into one log that all readers share; each subscriber has a task of its own with a cursor on
it, so that a slow one holds up nobody but, when it is ten thousand events behind, the run. What all have read is
forgotten. A handler that raises is reported once, and detached after ten errors. Readers are shielded: the events
of a cancelled run are delivered too, within the grace that the run allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import attrs
from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from orch.event import Event, EventBus, Subscription, subscriptions
from orch.execution._failure import foreign
from orch.execution._run import Run
from orch.execution._trace import Decoder

__all__ = ("Delivery",)

CAPACITY = 10_000  # events that a subscriber may be behind before the run waits for it
MOST_ERRORS = 10  # after so many a subscriber gets nothing more
_BATCH = 256  # events handed to a handler that never waits, before others get their turn and old events are forgotten

_logger = logging.getLogger("orch")


@attrs.define(eq=False)
class _Reader:
    subscription: Subscription
    cursor: int
    bus: EventBus | None = None
    errors: int = 0
    scope: CancelScope = attrs.field(factory=lambda: CancelScope(shield=True))

    def wants(self, event: Event) -> bool:
        gone = self.bus is not None and self.subscription not in self.bus.subscriptions
        return not gone and self.errors < MOST_ERRORS and self.subscription.accepts(event)


class Delivery:
    """The log of one run and its readers. `publish` is called by whoever has something new, and never waits."""

    def __init__(
        self,
        run: Run,
        subscribers: Iterable[object],
        group: TaskGroup,
        on_error: Callable[[Exception], object] | None,
    ) -> None:
        everybody = list(subscribers)
        self._run = run
        self._decoder = Decoder(run)
        self._buses: dict[EventBus, tuple[Subscription, ...]] = {}
        self._group = group
        self._on_error = on_error
        self._log: list[Event] = [self._decoder.begin()]
        self._forgotten = 0
        self._readers: list[_Reader] = []
        self._more, self._less = Signal(), Signal()
        self._closed = False
        for each in subscriptions(each for each in everybody if not isinstance(each, EventBus)):
            self._start(_Reader(each, 0))
        self._buses.update((each, ()) for each in everybody if isinstance(each, EventBus))
        self._listen(0)

    # -- the side of the run ---------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Put what has happened into the log and wake the readers."""
        new = self._decoder.advance()
        if new:
            self._listen(self._end)
            self._append(new)

    async def room(self) -> None:
        """Wait until no reader is further behind than its capacity."""
        while self._slowest() + CAPACITY < self._end:
            self._run.crowded = True
            await self._progress()
        self._run.crowded = False

    def close(self) -> None:
        """Add the last events; readers end when they have delivered them."""
        self.publish()
        self._closed = True
        self._append([self._decoder.end()])

    async def caught_up(self) -> None:
        """Wait until every reader has ended."""
        while self._readers:
            await self._progress()

    def hurry(self, grace: float) -> None:
        """Let readers end, at the latest, after so many seconds."""
        for reader in self._readers:
            reader.scope.deadline = current_time() + grace

    async def _progress(self) -> None:
        self._less = Signal()
        await self._less.wait()

    def _slowest(self) -> int:
        return min((reader.cursor for reader in self._readers), default=self._end)

    @property
    def _end(self) -> int:
        return self._forgotten + len(self._log)

    def _append(self, events: list[Event]) -> None:
        self._log += events
        self._more.set()
        self._more = Signal()

    def _listen(self, cursor: int) -> None:
        """Follow the buses: who has come since gets what happens from now on."""
        for bus, known in self._buses.items():
            now = bus.subscriptions
            if now is not known:
                self._buses[bus] = now
                for each in now:
                    if each not in known:
                        self._start(_Reader(each, cursor, bus))

    def _start(self, reader: _Reader) -> None:
        self._readers.append(reader)
        self._group.start_soon(self._read, reader)

    # -- the side of the subscribers -------------------------------------------------------------------------------

    async def _read(self, reader: _Reader) -> None:
        try:
            with reader.scope:
                while not self._closed or reader.cursor < self._end:
                    if reader.cursor == self._end:
                        await self._more.wait()
                    while reader.cursor < self._end:
                        await self._hand(reader, self._log[reader.cursor - self._forgotten])
                        reader.cursor += 1
                        if reader.cursor % _BATCH == 0:
                            self._forget()
                            await checkpoint()
                    self._less.set()
        finally:
            self._readers.remove(reader)
            self._less.set()

    async def _hand(self, reader: _Reader, event: Event) -> None:
        if not reader.wants(event):
            return
        try:
            outcome = reader.subscription.handler(event)
            if hasattr(type(outcome), "__await__"):
                await outcome  # type: ignore[misc] # it has just been seen to be awaitable
        except self._run.cancelled_class as error:
            if reader.scope.cancel_called or reader.scope.deadline <= current_time():
                raise
            self._failed(reader, foreign(error))
        except Exception as error:  # noqa: BLE001 (a watcher cannot hurt the run)
            self._failed(reader, error)

    def _failed(self, reader: _Reader, error: Exception) -> None:
        reader.errors += 1
        handler = reader.subscription.handler
        if reader.errors == 1:
            _logger.error("subscriber %r raised; the run goes on", handler, exc_info=error)
        elif reader.errors == MOST_ERRORS:
            _logger.error("subscriber %r is detached after %d errors", handler, MOST_ERRORS)
        if self._on_error is not None:
            self._on_error(error)

    def _forget(self) -> None:
        read = self._slowest() - self._forgotten
        del self._log[:read]
        self._forgotten += read
        self._less.set()
