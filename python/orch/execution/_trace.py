"""The events of a run, decoded from the core's journal when somebody reads them.

The journal holds integers: node, state, reason, cause, time. A `Decoder` turns a stretch of it into events, in
order and without gaps. A subscriber's stream and `result.trace` come out of the same decoder.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from threading import get_ident
from typing import Any

from orch.context import Context
from orch.event import STATES, Event, RunEvent, State, TaskEvent
from orch.event._discreet import discreet
from orch.execution._record import Reader, Relayed
from orch.execution._run import Run
from orch.plan import NONE

__all__ = ("NOTE", "Decoder", "bind", "lend", "rebind")

_RUNNING, _RETRYING, _SUCCEEDED = State.RUNNING.code, State.RETRYING.code, State.SUCCEEDED.code
_STOPPED, _PAUSED, NOTE = State.CANCELLED.code, State.PAUSED.code, 15
_ENDS = State.FAILED.code, _STOPPED
_CANCELLED = "cancelled", None
_REASONS = (None, "upstream_failed", "aborted", "upstream_cancelled")


class Decoder:
    """Reads the journal of one run from its beginning; each call goes on where the last one stopped."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tasks, self._paths = run.plan.draft.tasks, run.plan.paths
        self.seq = self._position = self.notes = 0  # how many events there were, entries were read, notes among them
        self._attempts: dict[int, int] = {}
        self._paused = set[int]()  # steps that go on with the attempt they were in
        self._nanoseconds, self._time = 0, run.started
        self._readers: dict[Relayed, Reader] = {}  # of runs inside steps
        self._shown = run.started  # when the event before was

    def begin(self) -> RunEvent:
        """Return the first event of the run."""
        return self._run_event(State.RUNNING, self._run.started, None)

    def advance(self, most: int | None = None, stop: int | None = None) -> list[Event]:
        """Return what the journal holds beyond what was read already: at most so much, up to a position."""
        ends = [end for end in (None if most is None else self._position + most, stop) if end is not None]
        entries = self._run.schedule.journal(self._position, min(ends, default=None))
        self._position += len(entries)
        events = [self._event(*entry) for entry in entries]
        clean = self._run.options.sanitize
        return events if clean is None else [discreet(event, clean) for event in events]

    def end(self) -> RunEvent:
        """Return the last event of a settled run."""
        run = self._run
        return self._run_event(run.state, run.time(run.ended), next(iter(run.errors.values()), None))

    @property
    def time(self) -> datetime:
        """When the latest event was."""
        return self._time

    def event(self, seq: int, *entry: int) -> Event:
        """Return an entry as an event that has this number."""
        self.seq = seq - 1
        return self._event(*entry)

    def _run_event(self, state: State, time: datetime, error: BaseException | None) -> RunEvent:
        self.seq += 1
        plan = self._run.plan
        said = RunEvent(self._run.run_id, self.seq, time, "", state, plan.workflow.name, error, len(plan))
        return discreet(said, self._run.options.sanitize)

    def _event(self, node: int, code: int, reason: int, cause: int, nanoseconds: int) -> Event:
        self.seq += 1
        run = self._run
        if code == NOTE:
            return self._noted(nanoseconds)
        if nanoseconds != self._nanoseconds:  # a lane ends a step and takes the next at one moment
            self._nanoseconds, self._time = nanoseconds, run.time(nanoseconds)
        self._shown, attempt = self._time, self._attempts.get(node, 0)
        if code == _RUNNING and node not in self._paused:
            self._attempts[node] = attempt = attempt + 1
        name = self._tasks[node].name  # type: ignore[union-attr] # joins leave no entries
        said = run.run_id, self.seq, self._time, self._paths[node], name, STATES[code], attempt
        if code == _RUNNING:
            return TaskEvent(*said)
        if code == _SUCCEEDED:
            is_restored = node in run.restored
            unrun: tuple[Any, ...] = (None, None, None, None, not is_restored, is_restored)
            return TaskEvent(*said, run.values[node], *(() if attempt else unrun))
        if code == _PAUSED:
            self._paused.add(node)
        return TaskEvent(*said, None, *self._failure(node, code, attempt), *self._blame(node, code, reason, cause))

    def _noted(self, nanoseconds: int) -> Event:
        self.notes += 1
        kind, path, facts = self._run.notes[self.notes - 1]
        if not isinstance(kind, type):
            return self._relayed(kind)
        self._nanoseconds, self._time = nanoseconds, self._run.time(nanoseconds)
        self._shown = self._time
        return kind(self._run.run_id, self.seq, self._time, path, *facts)

    def _relayed(self, inner: Relayed) -> Event:
        reader = self._readers.get(inner)
        if reader is None:
            reader = self._readers[inner] = inner.reader()
        event = reader.next(self.seq)
        if self._run.watched and event.time < self._shown:  # what was told before it came after it
            object.__setattr__(event, "time", self._shown)  # nobody else has seen it yet
        self._shown = event.time
        if reader.is_done:
            del self._readers[inner]
        return event

    def _failure(self, node: int, code: int, attempt: int) -> tuple[BaseException | None, float | None]:
        """Return error and delay of what has just changed its state."""
        if code == _RETRYING:
            return self._run.trails[node].failures[attempt - 1]
        return self._run.errors.get(node) if code in _ENDS else None, None

    def _blame(self, node: int, code: int, reason: int, cause: int) -> tuple[str | None, str | None]:
        """Return why, and because of whom, something was skipped or cancelled."""
        if code == _STOPPED:
            return self._run.reasons.get(node, _CANCELLED)
        return _REASONS[reason], self._run.plan.path(cause) if cause != NONE else "" if reason else None


def bind(run: Run, context: Context[Any]) -> None:
    """Make the context that of the run, and give every step that asks for it its view."""

    def trace() -> list[Event]:
        for inner in tuple(run.relays) if get_ident() == run.thread else ():
            inner.pump()
        decoder = Decoder(run)
        return [decoder.begin(), *decoder.advance()]

    def completed() -> list[str]:
        return [run.plan.path(node) for node, code, *_ in run.schedule.journal() if code == State.SUCCEEDED.code]

    run.context = context._bind(run.run_id, trace, completed)  # noqa: SLF001 (made for this caller)
    for slot, node, _ in run.plan.wiring.contexts:
        view = run.context._view(partial(run.plan.path, node), 1, partial(run.log, node))  # noqa: SLF001 (as above)
        run.values[slot] = view


def lend(run: Run, inner: Run) -> None:
    """Give the steps of a run inside a step the context of the run around."""
    inner.context = run.context
    for slot, node, _ in inner.plan.wiring.contexts if run.context is not None else ():
        view = run.context._view(partial(inner.plan.path, node), 1, partial(inner.log, node))  # type: ignore[union-attr] # noqa: SLF001 (as above)
        inner.values[slot] = view


def rebind(run: Run, node: int, attempt: int) -> None:
    """Give a step that is called again views that know which attempt it is."""
    for slot, owner, _ in run.plan.wiring.contexts:
        if owner == node and run.values[slot] is not None:
            run.values[slot] = run.values[slot]._view(  # noqa: SLF001 (as above)
                partial(run.plan.path, node), attempt, partial(run.log, node)
            )
