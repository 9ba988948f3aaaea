"""All that one run knows, and what it decides: no task group here, and nothing of a user is awaited.

`Run` is the meeting place of lanes, worker threads and delivery. The truth about states lies in the core's
`Schedule`; values and errors lie beside it, by node. Who learns something tells the run, the run tells the schedule
and reacts: it stops steps, starts spare lanes, wakes whoever has to know.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

import attrs
from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint

from orch._core import Schedule
from orch.context import Context
from orch.definition import Group
from orch.event import State, TaskEvent
from orch.execution._failure import annotate, decide, foreign, is_cancelled, is_foreign, unwrapped, without_cancellation
from orch.plan import Plan
from orch.policies import FailureStrategy

__all__ = ("BREATHE", "IDLE", "LOOP", "REACT", "THREAD", "Lane", "Options", "Run")

LOOP, THREAD = 0, 1
IDLE, REACT, BREATHE = Schedule.IDLE, Schedule.REACT, Schedule.BREATHE

_logger = logging.getLogger("orch")


@attrs.frozen
class Options:
    """How a run is carried out, as far as a runner decides it."""

    subscribers: tuple[Callable[[Any], object], ...] = ()
    threads: int = 40  # at most so many workers
    grace: float = 5.0  # seconds that a cancelled run waits for threads and subscribers
    strict_subscribers: bool = False  # whether a subscriber that raises ends the run


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


class Lane:
    """One task that takes steps and awaits them in place; `stop` ends the step it is in, and with it the lane."""

    __slots__ = ("handle", "stopped")

    def __init__(self) -> None:
        self.handle: _Cancellable | None = None
        self.stopped = False

    def stop(self) -> None:
        """Cancel the step this lane is in; harmless when repeated."""
        self.stopped = True
        if self.handle is not None:
            self.handle.cancel()


def _nothing(*_: object) -> None:
    """Stand in for what the engine has not connected, because this run does not need it."""


async def _no_wait() -> None: ...


class Run:
    """The state of one run. What lanes read in their loop are plain lists, indexed by node."""

    def __init__(self, plan: Plan, values: list[Any], run_id: str, started: datetime, limit: int) -> None:
        self.plan = plan
        self.values = values
        self.run_id = run_id
        self.started = started
        self.ended = 0  # nanoseconds after the start
        self.context: Context[Any] | None = None
        self.schedule = Schedule(plan.layout, limit=limit)
        self.context_vars = contextvars.copy_context()
        self.cancelled_class = get_cancelled_exc_class()
        self.errors: dict[int, BaseException] = {}  # in order of time
        self.notes: list[tuple[str, str]] = []
        self.released: set[int] = set()
        self.collected: set[int] = set()  # groups whose value is put together
        self.abandoned: list[int] = []
        self.lanes: dict[int, Lane] = {}  # by the step they are suspended in
        self.interruption: BaseException | None = None
        self.watched = self._cancelled = False  # whether there are subscribers
        self.starting, self._burst = 0, 1
        self._lock = threading.Lock()
        self.disconnect()

    def disconnect(self) -> None:
        """Be without an engine, as before and after the run: what a result keeps is no tasks, threads or event loop."""
        self.lanes.clear()
        self.spawn: Callable[[], object] = _nothing  # start one spare lane
        self.stop_all: Callable[[], object] = _nothing  # cancel every lane
        self.grow: Callable[[], object] = _nothing  # have worker threads take what is ready for them
        self.stop_thread: Callable[[int], object] = _nothing  # ask for the end of a step in a thread
        self.notice: Callable[[], object] = _nothing  # tell the desk that something may have changed
        self.publish: Callable[[], object] = _nothing  # let subscribers have what has happened
        self.room: Callable[[], Awaitable[None]] = _no_wait  # wait for subscribers that are too far behind
        self.crowded: Callable[[], object] = _nothing  # whether there are such: threads take nothing new then

    @property
    def state(self) -> State:
        """The state of the run, as the core has it."""
        return State.from_code(self.schedule.outcome())

    def time(self, nanoseconds: int) -> datetime:
        """Return the time so long after the start."""
        return self.started + timedelta(microseconds=nanoseconds / 1000)

    def log(self, node: int, level: str, message: str) -> None:
        """Put what a step says through its context into the journal; from any thread."""
        with self._lock:  # the k-th note of the journal is the k-th here
            self.notes.append((level, message))
            self.schedule.note(node)

    # -- how steps end ---------------------------------------------------------------------------------------------

    def failed(self, node: int, error: BaseException, lane: Lane) -> bool:
        """Record how a step's body ended other than with a value, and react.

        Returns:
            True if the lane must let the exception pass: it is a cancellation that somebody asked for.
        """
        error = without_cancellation(error, self.cancelled_class)
        if isinstance(error, self.cancelled_class):
            if lane.stopped or is_cancelled():
                if not lane.stopped:
                    self.cancel()
                self.schedule.cancel(node)
                return True
            error = foreign(error)
        elif is_foreign(error):
            error = foreign(error)
        if isinstance(error, Exception):
            self.fail(node, error)
            self.react()
        else:
            self.interrupt(node, error)
        return False

    def fail(self, node: int, error: Exception) -> None:
        """Record the failure of a step, from any thread; whoever is on the loop must `react` to it."""
        error = unwrapped(error)
        annotate(error, f"in task {self.plan.path(node)!r}, attempt 1")
        self.errors[node] = error
        self.schedule.fail(node)

    def interrupt(self, node: int, error: BaseException) -> None:
        """Let KeyboardInterrupt, SystemExit and their like end the whole run; they surface bare when it is settled."""
        self.errors[node] = error
        self.give_up(error)
        self.schedule.cancel(node)

    def give_up(self, error: BaseException) -> None:
        """Cancel everything and let the error surface when the run is settled; the first one wins."""
        if self.interruption is None:
            self.interruption = error
        self.cancel()
        self.stop_all()

    def cancel(self) -> None:
        """Record that the run is cancelled: nothing new starts, the pending is CANCELLED. Later calls do nothing."""
        if self._cancelled:
            return  # ten thousand lanes say so, and each answer names all that still run
        self._cancelled = True
        for node in self.schedule.cancel_all():
            if node not in self.lanes:
                self.stop_thread(node)

    def react(self) -> None:
        """Let the strategies of the groups answer every failure nobody has answered, and forget released values."""
        while True:
            failed, released = self.schedule.drain()
            if not failed and not released:
                return
            self.released.update(released)
            for node in released:
                self.values[node] = None
            for node in failed:
                self._answer(node)

    def _answer(self, node: int) -> None:
        scope = self.plan.draft.scope_of[node]
        group = self.plan.draft.scopes[scope].group
        if isinstance(group, Group) and self._strategy(group, node) is FailureStrategy.ABORT:
            for running in self.schedule.abort(scope, node):
                if running in self.lanes:
                    self.lanes[running].stop()
                else:
                    self.stop_thread(running)

    def _strategy(self, group: Group, node: int) -> FailureStrategy:
        """Ask the group's strategy; one that fails itself is among the errors of the run, and the group aborts."""
        try:
            return decide(group.on_failure, group, lambda: self._failure(node))
        except Exception as error:
            _logger.exception("the failure strategy of group %r failed; it aborts", group.name)
            annotate(error, f"in the failure strategy of group {group.name!r}")
            self.errors.setdefault(~node, error)
            return FailureStrategy.ABORT

    def _failure(self, node: int) -> TaskEvent:
        """Return the failure as an event; of a group, for which the trace has none, one in its name."""
        path, name, time = self.plan.path(node), self.plan.name(node), self.time(self.schedule.now())
        attempt = int(node not in self.plan.draft.joins)
        return TaskEvent(
            self.run_id, len(self.schedule) + 1, time, path, name, State.FAILED, attempt, error=self.errors.get(node)
        )

    # -- lanes -----------------------------------------------------------------------------------------------------

    def enter(self, node: int, lane: Lane) -> None:
        """A step has given control to the event loop: others may be taken up, and it can be stopped."""
        self.lanes[node] = lane
        self.spread()
        self.publish()

    def exit(self, node: int) -> None:
        """The step has ended, after the event loop had control."""
        del self.lanes[node]
        self.schedule.breathe()

    def check(self, lane: Lane) -> None:
        """Take note of a cancellation from outside, whatever the step has made of it."""
        if not lane.stopped and is_cancelled():
            self.cancel()

    def spread(self) -> None:
        """Start spare lanes and threads while steps are ready and nobody is there to take them.

        The number of lanes doubles from call to call: ten thousand steps that sleep are all asleep after a few
        ticks.
        """
        self.grow()
        waiting = self.schedule.ready(LOOP) - self.starting
        if waiting <= 0:
            self._burst = 1
            return
        for _ in range(min(waiting, self._burst)):
            self.starting += 1
            self.spawn()
        self._burst *= 2

    def leave(self) -> None:
        """A lane ends: somebody else takes what is ready, and if that was the last step, the desk is told."""
        self.react()  # a step that was cancelled may have settled a group
        self.spread()
        self.publish()
        if not self.schedule.is_active():
            self.notice()

    async def breathe(self) -> None:
        """Between two steps, about every millisecond: nobody may be left behind."""
        self.grow()
        self.publish()
        await self.room()
        await checkpoint()
        self.schedule.breathe()
