"""Delivery: every subscriber gets every event, in order, before the run returns.

Events are built once, into one log that all readers share. Each subscriber (a bus is one) has a task with a cursor
on it, so a slow one holds up nobody but, when it is ten thousand events behind, the run. What all have read is
forgotten. A handler that raises is reported once and left out after ten errors. Readers are shielded: a cancelled
run is told to its end, too. A subscription with `when_full="drop"` has a task and a backlog of its own.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter

import attrs
from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from orch.event import Event, EventBus, Subscription, subscriptions
from orch.execution._backlog import Backlog
from orch.execution._failure import foreign, lament
from orch.execution._run import Run
from orch.execution._stream import Stream
from orch.execution._trace import Decoder

__all__ = ("Delivery",)

CAPACITY = 10_000  # events that a subscriber may be behind before the run waits for it, or leaves some out
MOST_ERRORS = 10  # after so many a handler gets nothing more
_BATCH = 256  # events handed to handlers that never wait, before others get their turn and old events are forgotten

_logger = logging.getLogger("orch")


@attrs.define(eq=False)
class _Reader:
    subscriber: EventBus | tuple[Subscription, ...]
    cursor: int = 0
    backlog: Backlog | None = None  # what it reads in place of the log
    scope: CancelScope = attrs.field(factory=lambda: CancelScope(shield=True))
    errors: Counter[Subscription] = attrs.field(factory=Counter)
    since: dict[Subscription, int] = attrs.field(factory=dict[Subscription, int])  # their first event; none yet: later
    backlogs: dict[Subscription, Backlog] = attrs.field(factory=dict[Subscription, Backlog])  # of handlers of a bus

    def handlers(self) -> tuple[Subscription, ...]:
        """Return those that are there now: those of a bus come and go."""
        return self.subscriber.subscriptions if isinstance(self.subscriber, EventBus) else self.subscriber


class Delivery:
    """The log of one run and its readers. `publish` is called by whoever has something new, and never waits."""

    def __init__(self, run: Run, group: TaskGroup, stream: Stream | None, *, strict: bool) -> None:
        self._run = run
        self._stream = stream
        self._decoder = Decoder(run)
        self._log: list[Event] = [self._decoder.begin()]
        self._forgotten = 0
        self._more, self._less = Signal(), Signal()
        self._closed = self._held = self._hinted = False
        self._group = group
        self._strict = strict
        self._readers: list[_Reader] = []
        if stream is not None:
            stream.open(self._fetched, CAPACITY)

    def start(self, subscriber: object) -> None:
        """Give a subscriber its reader."""
        reader = _Reader(subscriber if isinstance(subscriber, EventBus) else tuple(subscriptions([subscriber])))
        self._seat(reader)
        self._admit(reader, 0)

    def hint(self) -> None:
        """Wake the readers, who put what has happened into the log themselves: cheap to repeat before they come."""
        if not self._hinted:
            self._hinted = True
            self._more.set()
        if self._stream is not None:
            self._stream.wake()

    def publish(self) -> None:
        """Put what has happened into the log and wake the readers."""
        self._hinted = False
        if self._readers:
            self._append(self._decoder.advance())
            if self._run.outdated:
                self._run.let_go()
        if self._stream is not None:
            self._stream.wake()

    async def room(self) -> None:
        """Wait until no reader is further behind than its capacity."""
        while self.crowded():
            await self._less.wait()

    def crowded(self) -> bool:
        """Say whether a reader is too far behind; from any thread."""
        stream, end = self._stream, len(self._run.schedule) - CAPACITY
        readers = self._slowest() if self._readers and end > 0 else end
        self._held = readers < end or (stream is not None and stream.read < end)
        return self._held

    def unread(self) -> float:
        """Return where the notes begin that were not made events for everybody."""
        log = self._decoder.notes if self._readers else math.inf
        return log if self._stream is None else min(log, self._stream.told)

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
        if self._held or self._run.held_up:
            self._freed()

    def _seat(self, reader: _Reader) -> None:
        self._readers.append(reader)
        self._group.start_soon(self._read, reader)

    def _admit(self, reader: _Reader, first: int) -> None:
        """Take note of handlers that are new: they are told what happens from now on."""
        for each in reader.handlers():
            if each.when_full == "block" or not isinstance(reader.subscriber, EventBus):
                reader.since.setdefault(each, first)
            elif each not in reader.backlogs:
                backlog = reader.backlogs[each] = Backlog(reader.subscriber, each, CAPACITY)
                backlog.add(self._log[first - self._forgotten :])
                self._seat(_Reader((), sys.maxsize, backlog))

    def _append(self, events: list[Event]) -> None:
        if not events:
            return
        for reader in tuple(self._readers):
            self._admit(reader, self._end)
        self._log += events
        for reader in self._readers:
            for backlog in reader.backlogs.values():
                backlog.add(events)
        self._more.set()
        self._more = Signal()

    def _freed(self) -> None:
        """Tell who waits for readers, of whom threads need to be told by the desk."""
        self._less.set()
        self._less = Signal()
        if (self._held or self._run.held_up) and not self.crowded():
            self._run.notice()
            for wake in tuple(self._run.held_up):
                wake()

    async def _read(self, reader: _Reader) -> None:
        try:
            with reader.scope:
                while not self._closed or self._is_behind(reader):
                    if not self._is_behind(reader):
                        await self._more.wait()
                    if self._hinted:
                        self.publish()
                    await (self._catch_up(reader) if reader.backlog is None else self._work_off(reader, reader.backlog))
        finally:
            self._readers.remove(reader)
            self._freed()

    def _is_behind(self, reader: _Reader) -> bool:
        return reader.cursor < self._end if reader.backlog is None else bool(reader.backlog)

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

    async def _work_off(self, reader: _Reader, backlog: Backlog) -> None:
        count = 0
        while backlog:
            event = backlog.pop()
            if backlog.is_wanted and reader.errors.get(backlog.to, 0) < MOST_ERRORS:
                await self._hand(reader, backlog.to, event)
            count += 1
            if count % _BATCH == 0:
                await checkpoint()

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
            lament(self._run.options.sanitize, error, "subscriber %r raised; the run goes on", to.handler)
        elif reader.errors[to] == MOST_ERRORS:
            _logger.error("subscriber %r is detached after %d errors", to.handler, MOST_ERRORS)
        if self._strict:
            self._run.give_up(error)
