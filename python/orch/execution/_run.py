"""
All that one run knows, and what it decides: no awaits, no task group here.

`Run` is the meeting place of lanes, worker threads and delivery. Truth about states lies in the core's `Schedule`;
values and errors lie beside it, by node. A lane that learns something tells the run, the run tells the schedule and
then reacts: it stops lanes, starts spare ones, wakes the desk.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from anyio import current_effective_deadline, get_cancelled_exc_class
from anyio.lowlevel import checkpoint

from orch._core import Schedule
from orch.definition import Group
from orch.event import Event, State, TaskEvent
from orch.execution._failure import decide
from orch.execution._outcome import annotate, foreign, natively_cancelled, unwrapped
from orch.execution._trace import Decoder
from orch.policies import FailureStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from orch.context import Context
    from orch.execution._deliver import Delivery
    from orch.execution._threads import Threads
    from orch.plan import Plan

__all__ = ("BREATHE", "IDLE", "LOOP", "REACT", "RUNNING", "THREAD", "Lane", "Run")

LOOP, THREAD = 0, 1
RUNNING = State.RUNNING.code
IDLE, REACT, BREATHE = Schedule.IDLE, Schedule.REACT, Schedule.BREATHE

_logger = logging.getLogger("orch")


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


class Lane:
    """One task that takes steps and awaits them in place; `stop` ends the step it is in, and with it the lane."""

    __slots__ = ("_handle", "host", "stopped")

    def __init__(self, handle: _Cancellable | None = None, *, host: bool = False) -> None:
        self._handle = handle
        self.host = host
        self.stopped = False

    def attach(self, handle: _Cancellable) -> None:
        """Take the handle of the task, once it is known."""
        self._handle = handle

    def stop(self) -> None:
        """Cancel the step this lane is in; harmless when repeated."""
        self.stopped = True
        if self._handle is not None:
            self._handle.cancel()


class Run:
    """The state of one run. Attributes that lanes read in their loop are plain lists, indexed by node."""

    __slots__ = (
        "_burst",
        "_lock",
        "abandoned",
        "calls",
        "cancelled_class",
        "collected",
        "context",
        "context_vars",
        "delivery",
        "ended",
        "errors",
        "interruption",
        "kinds",
        "lanes",
        "notes",
        "plan",
        "released",
        "run_id",
        "schedule",
        "slots",
        "spawn",
        "started",
        "starting",
        "stop_all",
        "threads",
        "values",
    )

    def __init__(
        self, plan: Plan, values: list[Any], *, run_id: str, started: datetime, context: Context[Any] | None, limit: int
    ) -> None:
        self.plan = plan
        self.schedule = Schedule(plan.layout, limit=limit)
        self.values = values
        self.calls: list[Any] = plan.calls
        self.slots = plan.wiring.slots
        self.kinds = plan.kinds
        self.run_id = run_id
        self.started = started
        self.ended = 0
        self.context_vars = contextvars.copy_context()
        self.cancelled_class = get_cancelled_exc_class()
        self.errors: dict[int, BaseException] = {}
        self.notes: list[tuple[str, str]] = []
        self.released: set[int] = set()
        self.collected: set[int] = set()
        self.abandoned: list[int] = []
        self.lanes: dict[int, Lane] = {}
        self.interruption: BaseException | None = None
        self.starting = 0
        self._burst = 1
        self.threads: Threads | None = None
        self.delivery: Delivery | None = None
        self.spawn: Callable[[], object] = _nothing
        self.stop_all: Callable[[], object] = _nothing
        self._lock = threading.Lock()
        self.context = None if context is None else self._bind(context)

    # -- what lanes and threads report -----------------------------------------------------------------------------

    def failed(self, node: int, error: BaseException, lane: Lane) -> bool:
        """
        Record how a step's body ended other than with a value, and react.

        Returns:
            True if the lane must let the exception pass: it is a cancellation that somebody asked for.

        """
        if isinstance(error, self.cancelled_class):
            if lane.stopped or self._cancelled_from_outside(lane):
                if not lane.stopped:
                    self.cancel()
                self.schedule.cancel(node)
                return True
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
        if self.interruption is None:
            self.interruption = error
        self.errors[node] = error
        self.cancel()
        self.schedule.cancel(node)
        self.stop_all()

    def cancel(self) -> None:
        """Record that the run is cancelled: nothing new starts, what is pending is CANCELLED. Later calls do nothing."""
        for node in self.schedule.cancel_all():
            if node not in self.lanes:
                self._stop_thread(node)

    def react(self) -> None:
        """Let the strategies of the groups answer every failure nobody has answered, and forget released values."""
        while True:
            failed, released = self.schedule.drain()
            if not failed and not released:
                return
            for node in released:
                self.values[node] = None
                self.released.add(node)
            for node in failed:
                self._react(node)

    # -- decisions -------------------------------------------------------------------------------------------------

    def _react(self, node: int) -> None:
        scope = self.plan.draft.scope_of[node]
        group = self.plan.draft.scopes[scope].group
        if not isinstance(group, Group):
            return
        if self._strategy(group, node) is FailureStrategy.ABORT:
            for running in self.schedule.abort(scope, node):
                self._stop(running)

    def _strategy(self, group: Group, node: int) -> FailureStrategy:
        """Ask the group's strategy; one that fails itself is reported, and the group aborts."""
        try:
            return decide(group.on_failure, group, lambda: self._failure_event(node))
        except Exception as error:
            _logger.exception("the failure strategy of group %r failed; it aborts", group.name)
            annotate(error, f"in the failure strategy of group {group.name!r}")
            self.errors.setdefault(~node, error)
            return FailureStrategy.ABORT

    def _failure_event(self, node: int) -> TaskEvent:
        """Return the failure as an event; of a group, for which there are no events, one in its name."""
        path, name, time = self.plan.path(node), self.plan.name(node), self.time(self.schedule.now())
        attempts = 0 if node in self.plan.draft.joins else 1
        return TaskEvent(
            self.run_id, len(self.schedule) + 1, time, path, name, State.FAILED, attempts, error=self.errors.get(node)
        )

    def _stop(self, node: int) -> None:
        lane = self.lanes.get(node)
        if lane is not None:
            lane.stop()
        else:
            self._stop_thread(node)

    def _stop_thread(self, node: int) -> None:
        if self.threads is not None:
            self.threads.stop(node)

    def _cancelled_from_outside(self, lane: Lane) -> bool:
        """Say whether somebody cancelled the run: a scope around it, or (asyncio) the task that called it."""
        if current_effective_deadline() == float("-inf"):
            return True
        return lane.host and natively_cancelled()

    # -- facts -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the run, as the core has it."""
        return State.from_code(self.schedule.outcome())

    def time(self, nanoseconds: int) -> datetime:
        """Return the time so long after the start."""
        return self.started + timedelta(microseconds=nanoseconds / 1000)

    def errors_in_order(self) -> tuple[BaseException, ...]:
        """Return what the steps raised, in order of time."""
        return tuple(self.errors.values())

    def log(self, node: int, level: str, message: str) -> None:
        """Put what a step says through its context into the journal; from any thread."""
        with self._lock:  # the k-th note of the journal is the k-th here
            self.notes.append((level, message))
            self.schedule.note(node)

    def _bind(self, context: Context[Any]) -> Context[Any]:
        """Give every step that asks for the Context its view."""
        bound = context._bind(self.run_id, self._trace, self._completed)  # noqa: SLF001 (made for this caller)
        for slot, node, _ in self.plan.wiring.contexts:
            view = bound._view(partial(self.plan.path, node), 1, partial(self.log, node))  # noqa: SLF001 (as above)
            self.values[slot] = view
        return bound

    def _trace(self) -> list[Event]:
        decoder = Decoder(self)
        return [decoder.begin(), *decoder.advance()]

    def _completed(self) -> list[str]:
        return [self.plan.path(node) for node, code, *_ in self.schedule.journal() if code == State.SUCCEEDED.code]

    # -- lanes -----------------------------------------------------------------------------------------------------

    def spread(self) -> None:
        """
        Start spare lanes and threads while steps are ready and nobody is there to take them.

        Their number doubles from call to call, so that ten thousand steps that sleep are all asleep after a few
        ticks.
        """
        if self.threads is not None:
            self.threads.grow()
        waiting = self.schedule.ready(LOOP) - self.starting
        if waiting <= 0:
            self._burst = 1
            return
        for _ in range(min(waiting, self._burst)):
            self.starting += 1
            self.spawn()
        self._burst *= 2

    def enter(self, node: int, lane: Lane) -> None:
        """A step has given control to the event loop: others may be taken up, and it can be stopped."""
        self.lanes[node] = lane
        self.spread()
        self.publish()

    def exit(self, node: int) -> None:
        """The event loop has given control back, and the step has ended."""
        del self.lanes[node]
        self.schedule.breathe()

    def leave(self) -> None:
        """A lane ends: somebody else takes what is ready, and if that was the last step, the desk is told."""
        self.spread()
        self.publish()
        if self.threads is not None and not self.schedule.is_active():
            self.threads.notice()

    def publish(self) -> None:
        """Let the subscribers, if there are any, have what has happened."""
        if self.delivery is not None:
            self.delivery.publish()

    async def breathe(self) -> None:
        """Between two steps, about every millisecond: nobody may be left behind."""
        if self.threads is not None:
            self.threads.grow()
        if self.delivery is not None:
            self.delivery.publish()
            await self.delivery.room()
        await checkpoint()
        self.schedule.breathe()


def _nothing() -> None:
    """Stand in for what the engine has not connected yet."""
