"""Delivery: every subscriber gets every event, in order, before the run returns.

Events are built once, into one log that all readers share. Each subscriber (a bus is one) has a task with a cursor
on it, so a slow one holds up nobody but, when it is ten thousand events behind, the run. What all have read is
forgotten. A handler that raises is reported once and left out after ten errors. Readers are shielded: a cancelled
run is told to its end, too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import attrs
from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from orch.event import Event, EventBus, Subscription, subscriptions
from orch.execution._failure import foreign
from orch.execution._run import Run
from orch.execution._stream import Stream
from orch.execution._trace import Decoder

__all__ = ("Delivery",)

CAPACITY = 10_000  # events that a subscriber may be behind before the run waits for it
MOST_ERRORS = 10  # after so many a handler gets nothing more
_BATCH = 256  # events handed to handlers that never wait, before others get their turn and old events are forgotten

_logger = logging.getLogger("orch")


@attrs.define(eq=False)
class _Reader:
    handlers: Callable[[], tuple[Subscription, ...]]  # those of a bus come and go
    cursor: int = 0
    scope: CancelScope = attrs.field(factory=lambda: CancelScope(shield=True))
    errors: Counter[Subscription] = attrs.field(factory=Counter)
    since: dict[Subscription, int] = attrs.field(factory=dict[Subscription, int])  # their first event; none yet: later


class Delivery:
    """The log of one run and its readers. `publish` is called by whoever has something new, and never waits."""

    def __init__(self, run: Run, group: TaskGroup, stream: Stream | None, *, strict: bool) -> None:
        self._run = run
        self._stream = stream
        self._decoder = Decoder(run)
        self._log: list[Event] = [self._decoder.begin()]
        self._forgotten = 0
        self._more, self._less = Signal(), Signal()
        self._closed = self._held = False
        self._group = group
        self._strict = strict
        self._readers: list[_Reader] = []
        if stream is not None:
            stream.open(self._fetched)

    def start(self, subscriber: object) -> None:
        """Give a subscriber its reader."""

        def handlers() -> tuple[Subscription, ...]:
            return subscriber.subscriptions if isinstance(subscriber, EventBus) else fixed

        fixed = () if isinstance(subscriber, EventBus) else tuple(subscriptions([subscriber]))
        self._readers.append(_Reader(handlers, since=dict.fromkeys(handlers(), 0)))
        self._group.start_soon(self._read, self._readers[-1])

    def publish(self) -> None:
        """Put what has happened into the log and wake the readers."""
        if self._readers:
            self._append(self._decoder.advance())
        if self._stream is not None:
            self._stream.wake()

    async def room(self) -> None:
        """Wait until no reader is further behind than its capacity."""
        while self.crowded():
            await self._less.wait()

    def crowded(self) -> bool:
        """Say whether a reader is too far behind; from any thread."""
        stream, end = self._stream, len(self._run.schedule) - CAPACITY
        self._held = bool(self._readers and self._slowest() < end) or (stream is not None and stream.read < end)
        return self._held

    def close(self) -> None:
        """Add the last events; readers end when they have delivered them."""
        self.publish()
        self._closed = True
        self._append([self._decoder.end()])
        if self._stream is not None:
            self._stream.close()

    async def caught_up(self) -> None:
        """Wait until every reader has ended."""
        while self._readers:
            await self._less.wait()

    def hurry(self, grace: float) -> None:
        """Let readers end, at the latest, after so many seconds."""
        for reader in self._readers:
            reader.scope.deadline = current_time() + grace

    @property
    def _end(self) -> int:
        return self._forgotten + len(self._log)

    def _slowest(self) -> int:
        return min((reader.cursor for reader in self._readers), default=self._end)

    def _fetched(self) -> None:
        if self._held:
            self._freed()

    def _append(self, events: list[Event]) -> None:
        if not events:
            return
        for reader in self._readers:
            for each in reader.handlers():
                reader.since.setdefault(each, self._end)
        self._log += events
        self._more.set()
        self._more = Signal()

    def _freed(self) -> None:
        """Tell who waits for readers, of whom threads need to be told by the desk."""
        self._less.set()
        self._less = Signal()
        if self._held and not self.crowded():
            self._run.notice()

    async def _read(self, reader: _Reader) -> None:
        try:
            with reader.scope:
                while not self._closed or reader.cursor < self._end:
                    if reader.cursor == self._end:
                        await self._more.wait()
                    await self._catch_up(reader)
        finally:
            self._readers.remove(reader)
            self._freed()

    async def _catch_up(self, reader: _Reader) -> None:
        while reader.cursor < self._end:
            event = self._log[reader.cursor - self._forgotten]
            for each in reader.handlers():
                due = reader.cursor >= reader.since.get(each, self._end)
                if due and reader.errors.get(each, 0) < MOST_ERRORS and each.accepts(event):
                    await self._hand(reader, each, event)
            reader.cursor += 1
            if reader.cursor % _BATCH == 0:
                read = self._slowest() - self._forgotten
                del self._log[:read]
                self._forgotten += read
                self._freed()
                await checkpoint()
        self._freed()

    async def _hand(self, reader: _Reader, to: Subscription, event: Event) -> None:
        try:
            outcome = to.handler(event)
            if outcome is not None and hasattr(type(outcome), "__await__"):
                await outcome  # type: ignore[misc] # it has just been seen to be awaitable
        except self._run.cancelled_class as error:
            if reader.scope.cancel_called or reader.scope.deadline <= current_time():
                raise
            self._failed(reader, to, foreign(error))
        except Exception as error:  # noqa: BLE001 (a watcher cannot hurt the run)
            self._failed(reader, to, error)
        except (KeyboardInterrupt, SystemExit) as error:
            self._run.give_up(error)

    def _failed(self, reader: _Reader, to: Subscription, error: Exception) -> None:
        reader.errors[to] += 1
        if reader.errors[to] == 1:
            _logger.error("subscriber %r raised; the run goes on", to.handler, exc_info=error)
        elif reader.errors[to] == MOST_ERRORS:
            _logger.error("subscriber %r is detached after %d errors", to.handler, MOST_ERRORS)
        if self._strict:
            self._run.give_up(error)
