"""All that one run knows, and what it decides: no task group here, and nothing of a user is awaited.

`Run` is the meeting place of lanes, worker threads and delivery. The truth about states lies in the core's
`Schedule`; values and errors lie beside it, by node. Who learns something tells the run, the run tells the schedule
and reacts: it stops steps, starts spare lanes, wakes whoever has to know.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from threading import get_ident
from typing import Any, Protocol

from anyio import CancelScope, get_cancelled_exc_class
from anyio import Event as Signal
from anyio.lowlevel import checkpoint

from orch._core import Schedule
from orch.context import Context
from orch.definition import Group
from orch.errors import CircuitOpenError, TaskTimeoutError
from orch.event import LogEvent, State, TaskEvent
from orch.event._discreet import discreet
from orch.execution._clocked import clocked, unclocked
from orch.execution._failure import (
    annotate,
    decide,
    foreign,
    is_cancelled,
    is_foreign,
    lament,
    unwrapped,
    without_cancellation,
)
from orch.execution._options import Options
from orch.execution._questions import Questions
from orch.execution._record import Record
from orch.execution._retry import Trail, next_try
from orch.execution._shelf import Shelf
from orch.execution._wires import Wires
from orch.plan import NONE, Guard, Plan, Rules, caching
from orch.policies import FailureStrategy, Permit, underlying

__all__ = ("BREATHE", "IDLE", "LOOP", "REACT", "THREAD", "Lane", "Run")

LOOP, THREAD = 0, 1
IDLE, REACT, BREATHE = Schedule.IDLE, Schedule.REACT, Schedule.BREATHE

_WAITING = State.RETRYING.code, State.PAUSED.code


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


class Lane:
    """One task that takes steps and awaits them in place; `stop` ends the step it is in, and with it the lane."""

    __slots__ = ("expired", "handle", "is_watched", "outcome", "stopped")

    def __init__(self) -> None:
        self.handle: _Cancellable | None = None
        self.outcome: list[Any] = [None]  # how the step it is in has ended
        self.stopped = False
        self.expired = False  # whether all that has stopped it is the timeout of its step
        self.is_watched = False  # whether it was stopped and somebody will look whether it has ended

    def stop(self, *, expired: bool = False) -> None:
        """Cancel the step this lane is in; harmless when repeated."""
        self.expired = expired and (self.expired or not self.stopped)
        self.stopped = True
        if self.handle is not None:
            self.handle.cancel()


class Run(Wires, Record, Questions):
    """The state of one run. What lanes read in their loop are plain lists, indexed by node."""

    context: Context[Any] | None = None
    interruption: BaseException | None = None  # what ends the run and surfaces when it is settled
    ended = 0  # nanoseconds after the start
    broken = False  # whether the engine itself has failed: nobody is waited for then
    watched = False  # whether there are subscribers
    spoiled = False  # whether something has failed that is no step
    cancelled = False  # on record; `left` is before that: the caller was cancelled, which a step may forestall
    left = False
    starting, _burst = 0, 1

    def __init__(self, plan: Plan, values: list[Any], run_id: str, options: Options) -> None:
        self.shelf = None if options.caching is None else Shelf(options.caching, self, options.grace)
        plan = plan if self.shelf is None else caching(plan)
        Wires.__init__(self)
        Record.__init__(self, plan)
        self.values = values
        self.run_id = run_id
        self.options = options
        self.clock = options.clock.monotonic
        self.started = datetime.fromtimestamp(options.clock.time(), UTC)
        self.schedule = clocked(Schedule(plan.layout, limit=options.limit), options.clock)
        self.context_vars = contextvars.copy_context()
        self.cancelled_class = get_cancelled_exc_class()
        self.trails: dict[int, Trail] = {}  # of steps with policies
        self.outlasting: dict[int, tuple[CancelScope, Signal]] = {}  # steps that are over, while their threads are not
        self.ends = count()  # numbers the ends of attempts
        self.undoing: set[int] = set()  # groups whose own strategy has chosen to compensate
        self.lanes: dict[int, Lane] = {}  # by the step they are suspended in
        self.guards: dict[int, Permit | CircuitOpenError | None] = {}  # groups with timeout or breaker that have begun
        self.undone: set[int] = set()  # steps whose compensation has begun
        self.thread = get_ident()  # that of the event loop
        self._guard()
        for node in plan.cached:
            self.schedule.hush(node)

    def _guard(self) -> None:
        """Have the groups that need it wait, when all in them has ended, for `close`."""
        for scope in self.plan.guarded:
            with suppress(ValueError):  # there is nothing in it
                self.schedule.guard(scope)

    def disconnect(self) -> None:
        """Be without an engine: what a result keeps is no tasks, threads or event loop."""
        super().disconnect()
        self.lanes.clear()
        for node, uses in self.plan.wiring.uses.items():  # nor what has been closed
            for slot, _ in uses:
                self.values[slot] = None
            if node in self.trails:
                self.trails[node].arguments = []
        self.schedule = unclocked(self.schedule)

    @property
    def has_threads(self) -> bool:
        """Whether anything in it may have to be done in a worker thread."""
        keeps = self.shelf is not None and self.shelf.of.blocks and bool(self.plan.cached)
        return self.plan.threaded or keeps or bool(self.handlers)

    @property
    def state(self) -> State:
        """The state of the run: as the core has it, unless what its steps used has failed after them."""
        state = State.from_code(self.schedule.outcome())
        if state is State.RUNNING and self.is_closed:  # all that goes on is bodies that have outlived their steps
            return State.PAUSED
        return State.FAILED if self.spoiled and state is State.SUCCEEDED else state

    def time(self, nanoseconds: int) -> datetime:
        """Return the time so long after the start."""
        return self.started + timedelta(0, 0, nanoseconds // 1000)

    def log(self, node: int, level: str, message: str) -> None:
        """Put what a step says through its context into the journal, and let others hear it; from any thread."""
        clean = self.options.sanitize
        self.note(LogEvent, self.plan.path(node), level, message if clean is None else clean(message))
        if self.watched:
            (self.publish if get_ident() == self.thread else self.wake)()

    # -- how steps end ---------------------------------------------------------------------------------------------

    def failed(self, node: int, error: BaseException, lane: Lane) -> bool:
        """Record how a step's body ended other than with a value, and react.

        Returns:
            True if the lane must end: it is a cancellation that somebody asked for.
        """
        error = without_cancellation(error, self.cancelled_class)
        if isinstance(error, self.cancelled_class):
            self.check(lane)
            if lane.stopped or self.cancelled:
                self._end(node)
                return True
            error = foreign(error)
        elif is_foreign(error):
            error = foreign(error)
        if isinstance(error, Exception):
            self.fail(node, error, final=self.is_final(lane) or node in self.reasons)
            self.react()
        else:
            self.interrupt(node, error)
        return False

    def is_final(self, lane: Lane) -> bool:
        """Say whether a step that fails in this lane is not to be tried again, because somebody wants it to end."""
        return self.cancelled or self.left or (lane.stopped and not lane.expired)

    def fail(self, node: int, error: Exception, *, final: bool = False) -> None:
        """Record that an attempt failed, and with it the step, unless there will be another.

        From any thread, for steps without policies; whoever is on the loop must `react` to it.
        """
        error, trail = unwrapped(error), self.trails.get(node)
        if trail is not None:
            rules = self.plan.rules[node]
            again = self._next_try(rules, trail, error)
            final = final or self._is_refused(rules.guard)
            if isinstance(again, Exception):
                error = again
            elif not final:
                self._retry(node, trail, error, again)
                return
        error = underlying(error)
        self.annotate(error, node)
        with self.lock:  # of two threads that fail, the first in the journal is the first here
            if node in self.errors:  # it has failed already; this is of what was to be done after it
                return
            self.record(node, error)
            try:
                self.schedule.fail(node)
            except ValueError:  # abandoned in this very moment
                del self.errors[node]

    def _is_refused(self, guard: Guard | None) -> bool:
        """Say whether a breaker has refused a group around a step: nothing in it is tried again."""
        begun = next((self.guards[scope] for scope in guard or () if scope in self.guards), None)
        return isinstance(begun, CircuitOpenError)

    def _next_try(self, rules: Rules, trail: Trail, error: Exception) -> float | Exception:
        try:
            return next_try(rules, trail, error, self.options.rng, self.clock())
        except Exception as broken:  # noqa: BLE001 (a policy may be a class of the user's)
            return broken

    def annotate(self, error: BaseException, node: int) -> None:
        """Note in an error which attempt of which task it is from."""
        attempt = self.trails[node].attempt if node in self.trails else 1
        annotate(error, f"in task {self.plan.path(node)!r}, attempt {attempt}")

    def _retry(self, node: int, trail: Trail, error: Exception, delay: float) -> None:
        self.annotate(error, node)
        trail.failures.append((error, delay))
        self.schedule.retry(node)
        trail.is_due = delay == 0
        if trail.is_due:
            self.requeue(node)
        else:
            self.later(delay, partial(self.requeue, node))

    def requeue(self, node: int) -> None:
        """Line a step up for its next attempt, once it has waited and its last body has ended."""
        self.trails[node].is_due = True
        if node not in self.outlasting and self.schedule.state(node) == State.RETRYING.code:
            self.schedule.requeue(node)

    def held(self, node: int) -> Callable[[], object]:
        """Keep the slots of a step that is given up while its body lasts, until what is returned is called."""
        self.schedule.hold(node)
        return partial(self._let_go, node)

    def _let_go(self, node: int) -> None:
        self.schedule.let_go(node)
        self.notice()

    def interrupt(self, node: int, error: BaseException) -> None:
        """Let KeyboardInterrupt, SystemExit and their like end the whole run; they surface bare when it is settled."""
        self.record(node, error)
        self.give_up(error)
        self._end(node)

    def _end(self, node: int) -> None:
        """Cancel a step that is at its end, unless cancelling the run has done so: one whose handler was at work."""
        if not self._is_settled(node):
            self.schedule.cancel(node)

    def break_off(self) -> None:
        """The engine itself has failed, and some step may never end: nobody is to wait for it."""
        self.broken = True
        self.notice()

    def give_up(self, error: BaseException) -> None:
        """Cancel everything and let the error surface when the run is settled; the first one wins."""
        if self.interruption is None:
            self.interruption = error
        self.cancel()
        self.stop_all()

    def cancel(self) -> None:
        """Record that the run is cancelled: nothing new starts, the pending is CANCELLED. Later calls do nothing."""
        if self.cancelled:
            return  # ten thousand lanes say so, and each answer names all that still run
        self.cancelled = True
        self._stop([node for node in self.schedule.cancel_all() if node not in self.lanes], "cancelled", None)
        self.look_after(self.lanes)

    def expire(self, scope: int, timeout: float) -> None:
        """The time of a group is up: it fails, what runs in it is stopped, what has not started is skipped."""
        row, path = self.plan.draft.scopes[scope], self.plan.draft.scope_path(scope)
        if not self.left and not self._is_ending(row.start, row.end):
            running = self.schedule.fail_scope(scope) or ()
            self.record(row.join, TaskTimeoutError(path or row.group.name, timeout))
            self._stop(running, "timed_out", path)

    def collapse(self, error: BaseException) -> None:
        """What steps use is gone: the run fails, what runs is stopped, and what has not started is skipped."""
        if not isinstance(error, Exception):
            self.give_up(error)
            return
        running = None if self.left or self.cancelled else self.schedule.fail_scope(0)
        self.spoil(error)
        self._stop(running or (), "aborted", "")
        self.leave()

    def spoil(self, error: BaseException) -> None:
        """Put an error on record that is not of a step: a run that would have succeeded has failed."""
        if not isinstance(error, Exception):
            self.give_up(error)
        self.spoiled = True
        is_own = not (self.cancelled or self.left or NONE in self.errors) and self.state is not State.PAUSED
        self.record(NONE if is_own else ("resource", len(self.errors)), error)

    def _is_ending(self, start: int, end: int) -> bool:
        """Say whether all that is left of some steps is being stopped already, or nothing is."""
        tasks = (node for node in range(start, end) if node not in self.plan.draft.joins)
        return all(node in self.reasons or self._is_settled(node) for node in tasks)

    def _is_settled(self, node: int) -> bool:
        return State.from_code(self.schedule.state(node)).is_final

    def cancel_step(self, node: int) -> bool:
        """Stop one step, or never start it; False if it has ended or is being stopped. On the loop; `react` to it."""
        if node in self.reasons or self._is_settled(node):
            return False
        self._stop([node], "requested", None)
        return True

    def _stop(self, nodes: Collection[int], reason: str, cause: str | None) -> None:
        for node in nodes:
            self.reasons.setdefault(node, (reason, cause))
            state = self.schedule.state(node)
            if state == State.PENDING.code:
                self.schedule.withdraw(node)
            elif state in _WAITING and node not in self.lanes:  # there a handler is at work
                self.schedule.cancel(node)
            elif node in self.lanes:
                self.lanes[node].stop()
            else:
                self.stop_thread(node)
        self.look_after(nodes)

    def react(self) -> None:
        """Answer what has failed by the strategy of its group, close guarded groups, forget released values."""
        while self.connected:  # else nobody could close a group
            failed, released = self.schedule.drain()
            closing = self.schedule.settling() if self.plan.guarded else ()
            if not failed and not released and not closing:
                return
            self.released.update(released)
            for node in released:
                self.values[node] = None
            if released and self.streams:
                self.let_go(released)
            for node in failed:
                self._answer(node)
            for scope, worst in closing:
                self.close(scope, State.from_code(worst))

    def _answer(self, node: int) -> None:
        scope = self.plan.draft.scope_of[node]
        group = self.plan.draft.scopes[scope].group
        strategy = self._strategy(group, node) if isinstance(group, Group) else FailureStrategy.CONTINUE
        if strategy is FailureStrategy.COMPENSATE:
            self.undoing.add(scope)
        if strategy is not FailureStrategy.CONTINUE:
            running = self.schedule.abort(scope, node)
            self._stop(running, "aborted", self.plan.path(node) if running else None)  # paths of deep groups are long

    def _strategy(self, group: Group, node: int) -> FailureStrategy:
        """Ask the group's strategy; one that fails itself is among the errors of the run, and the group aborts."""
        try:
            return decide(group.on_failure, group, lambda: self._failure(node))
        except Exception as error:  # noqa: BLE001 (the strategy is the user's)
            lament(self.options.sanitize, error, "the failure strategy of group %r failed; it aborts", group.name)
            annotate(error, f"in the failure strategy of group {group.name!r}")
            self.errors.setdefault(("strategy", node), error)
            return FailureStrategy.ABORT

    def _failure(self, node: int) -> TaskEvent:
        """Return the failure as an event; of a group, for which the trace has none, one in its name."""
        path, name, time = self.plan.path(node), self.plan.name(node), self.time(self.schedule.now())
        attempt = self.trails[node].attempt if node in self.trails else int(node not in self.plan.draft.joins)
        facts = self.run_id, len(self.schedule) + 1, time, path, name, State.FAILED, attempt
        return discreet(TaskEvent(*facts, error=self.errors.get(node)), self.options.sanitize)

    # -- lanes -----------------------------------------------------------------------------------------------------

    def enter(self, node: int, lane: Lane) -> None:
        """A step has given control to the event loop: others may be taken up, and it can be stopped."""
        self.lanes[node] = lane
        if node in self.reasons:  # it was to be stopped before there was a lane to stop
            lane.stop()
            self.look_after((node,))
        self.spread()
        self.publish()

    def exit(self, node: int) -> None:
        """The step has ended, after the event loop had its turn."""
        self.lanes.pop(node, None)
        self.schedule.breathe()

    def check(self, lane: Lane) -> None:
        """Take note of a cancellation from outside, whatever the step has made of it."""
        if not lane.stopped and not self.cancelled and is_cancelled():  # to ask is slow, and ten thousand lanes would
            self.cancel()

    def spread(self) -> None:
        """Start spare lanes and threads while steps are ready and nobody is there to take them.

        The number of lanes doubles from call to call: ten thousand steps that sleep are all asleep after a few
        ticks.
        """
        if not self.connected:
            return
        self.grow()
        waiting = self.schedule.ready(LOOP) - self.starting
        if waiting <= 0 or self.crowded():  # who waits for room goes on by himself
            self._burst = 1
            return
        for _ in range(min(waiting, self._burst)):
            self.starting += 1
            self.spawn()
        self._burst *= 2

    def leave(self) -> None:
        """A lane ends: somebody else takes what is ready, and if that was the last step, the desk is told."""
        if not self.connected:
            return
        self.react()  # a step that was cancelled may have settled a group
        self.spread()
        self.publish()
        if not self.schedule.is_active() or (self.asked and not self.is_going):
            self.notice()

    async def breathe(self) -> None:
        """Between two steps, about every millisecond: nobody may be left behind."""
        self.grow()
        self.publish()
        await checkpoint()
        await self.room()  # after it, as others may have filled it
        self.schedule.breathe()
