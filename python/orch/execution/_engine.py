"""One run: the only page that opens a task group.

The host (the task that called) only waits; lanes are its children. No step runs in the task of the caller, so what
cancels the one is none of the other's doing. Exceptions of users never pass through the group: a lane records them.
What does pass is cancellation, and KeyboardInterrupt where the event loop raises it in the engine's own code; that
surfaces bare. Whether the run succeeded is asked of the core, never read off the way the group ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import CancelScope, create_task_group
from anyio import Event as Signal
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from orch.errors import InternalError
from orch.event import State
from orch.execution._deliver import Delivery
from orch.execution._desk import Desk
from orch.execution._failure import bare, is_cancelled
from orch.execution._guards import leave
from orch.execution._lane import Begun, work
from orch.execution._overdue import watch
from orch.execution._protected import protect, protected
from orch.execution._resources import Resources
from orch.execution._run import Lane, Run
from orch.execution._stream import Stream
from orch.execution._threads import Threads
from orch.execution._undo import compensate, due
from orch.execution._wires import no_use

__all__ = ("execute",)


async def execute(run: Run, stream: Stream | None = None) -> None:
    """Carry a run out, until every step is settled and every subscriber has the last event.

    Raises:
        BaseException: A cancellation from outside, or KeyboardInterrupt and its like, bare; with strict subscribers
            what the first of them raised. Never an error of a step.
    """
    protect()
    run.execute = execute
    try:
        await (_watched(run, stream) if run.options.subscribers or stream is not None else _conduct(run))
    finally:
        run.disconnect()
    if run.interruption is not None:
        raise run.interruption
    if run.schedule.is_active() and run.state is not State.PAUSED:
        raise InternalError(f"run {run.run_id!r} ended with unsettled steps")
    if run.state is State.CANCELLED:  # trio leaves a task group as if nothing had been
        await checkpoint_if_cancelled()


async def _watched(run: Run, stream: Stream | None) -> None:
    """Conduct a run with subscribers; wait for these as long as they take, unless run or wait is cancelled."""
    try:
        async with create_task_group() as readers:
            delivery = Delivery(run, readers, stream, strict=run.options.strict_subscribers)
            for each in run.options.subscribers:
                delivery.start(each)
            run.publish, run.room, run.crowded, run.watched = delivery.publish, delivery.room, delivery.crowded, True
            run.hint, run.unread = delivery.hint, delivery.unread
            try:
                try:
                    await _conduct(run)
                finally:
                    delivery.close()
                if run.interruption is not None:
                    delivery.hurry(run.options.grace)
                await delivery.caught_up()
            except BaseException:
                delivery.hurry(run.options.grace)
                raise
    except BaseExceptionGroup as failures:
        run.give_up(bare(failures))


async def _conduct(run: Run) -> None:
    try:
        async with create_task_group() as group:
            run.spawn = lambda: _start(run, group, _spare)
            run.close = partial(_close, run, group)
            run.stop_all = group.cancel_scope.cancel
            run.look_after = partial(watch, run)
            settled = Signal()
            try:
                await _host(run, group, settled)
            except BaseException:
                run.left = run.connected = True
                run.look_after(run.lanes)
                stopped = (lane.stopped for lane in run.lanes.values())
                if run.plan.threaded or all(stopped):  # else a step says who was first
                    run.cancel()
                run.notice()
                if run.plan.guarded:
                    await _undone(run, group, settled)
                raise
    except BaseExceptionGroup as failures:
        run.give_up(bare(failures))
    finally:
        run.react()  # a thread may have ended the run with a failure
        with run.lock:
            run.is_over, run.ended = True, run.schedule.now()


async def _undone(run: Run, group: TaskGroup, settled: Signal) -> None:
    """Wait for compensations; trio interrupts whoever waits here, and then they are given up."""
    group.cancel_scope.cancel()
    run.react()
    with CancelScope(shield=True):
        try:
            if run.schedule.is_active():
                await settled.wait()
        except KeyboardInterrupt:
            for box in run.boxes:
                box.cancel()


async def _host(run: Run, group: TaskGroup, settled: Signal) -> None:
    await checkpoint()  # who was cancelled before it begins starts nothing
    if run.plan.threaded or run.plan.rules or run.plan.guarded:
        desk = Desk(run)
        if run.has_threads:
            desk.leaving = Threads(run, desk, lambda begun: _start(run, group, work, begun)).leaving
        group.start_soon(_attend, desk, settled)
        if run.use is no_use:  # else it is inside a step of another
            run.use = Resources(run, group.start_soon, settled).get
    else:
        run.notice = lambda: None if run.schedule.is_active() else settled.set()
        run.later = partial(_late_desk, run, group, settled)
    run.connected = True
    run.react()  # it may have been cancelled before it began
    run.spread()
    if run.schedule.is_active():
        await settled.wait()


async def _attend(desk: Desk, settled: Signal) -> None:
    try:
        await desk.attend(settled)
    finally:
        settled.set()  # should it fail, nobody is to wait for it


def _late_desk(run: Run, group: TaskGroup, settled: Signal, delay: float, do: Callable[[], object]) -> object:
    """Open the desk of a run that had nothing for it to do until now."""
    desk = Desk(run)
    run.context_vars.copy().run(group.start_soon, _attend, desk, settled)
    return desk.later(delay, do)


def _start(run: Run, group: TaskGroup, lane_of: Callable[..., Any], *args: Begun) -> Lane:
    """Start a lane; whoever happens to do so, its context variables are those of the run."""
    lane = Lane()
    lane.handle = run.context_vars.copy().run(group.start_soon, lane_of, run, lane, *args)
    return lane


async def _spare(run: Run, lane: Lane) -> None:
    run.starting -= 1
    run.schedule.breathe()  # a new task: the event loop had its turn
    if is_cancelled():
        run.cancel()
    await work(run, lane)


def _close(run: Run, group: TaskGroup, scope: int, worst: State) -> None:
    """Let a guarded group settle: at once, or once it is undone."""
    leave(run, scope, worst)
    nodes = due(run, scope, worst)
    if nodes:
        run.context_vars.copy().run(group.start_soon, compensate, run, scope, nodes)
    else:
        run.schedule.settle(scope)


for _task in (execute, _attend, _spare, work, compensate):
    protected(_task)
