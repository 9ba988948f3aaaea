"""
One run: the only page that opens a task group.

The host (the task that called) is itself the first lane; more lanes are children. Exceptions of users never pass
through the
group: a lane records them. What does pass is cancellation, and KeyboardInterrupt where the event loop raises it in
the engine's own code; that surfaces bare. Whether the run succeeded is asked of the core, never read off the way
the group ended.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from anyio import CancelScope, create_task_group, current_time, move_on_at
from anyio import Event as Signal

from orch.errors import InternalError
from orch.execution._deliver import Delivery
from orch.execution._lane import work
from orch.execution._run import RUNNING, Lane, Run
from orch.execution._threads import Threads
from orch.execution._trace import Decoder

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup

__all__ = ("Options", "execute")


@attrs.frozen
class Options:
    """How a run is carried out, as far as a runner decides it."""

    subscribers: tuple[Callable[[Any], object], ...] = ()
    threads: int = 40
    """The most worker threads."""
    grace: float = 5.0
    """Seconds that a cancelled run waits for threads and subscribers."""
    strict_subscribers: bool = False
    """Whether a subscriber that raises ends the run."""


async def execute(run: Run, options: Options) -> None:
    """
    Carry a run out, until every step is settled and every subscriber has the last event.

    Raises:
        BaseException: a cancellation from outside, or KeyboardInterrupt and its like, bare. Never an error of a
            step.

    """
    if options.subscribers:
        await _delivered(run, options)
    else:
        await _conduct(run, options)


async def _delivered(run: Run, options: Options) -> None:
    """Carry the run out with a task for each subscriber around it."""
    failures: list[Exception] = []

    def give_up(error: Exception) -> None:
        failures.append(error)
        run.cancel()
        run.stop_all()

    on_error = give_up if options.strict_subscribers else None
    async with create_task_group() as readers:
        run.delivery = Delivery(Decoder(run), options.subscribers, readers, on_error)
        try:
            await _conduct(run, options)
        except BaseException:
            run.delivery.close(options.grace)
            raise
        run.delivery.close(float("inf"))
    if failures:
        raise failures[0]


async def _conduct(run: Run, options: Options) -> None:
    try:
        async with create_task_group() as group:
            _connect(run, group)
            if run.plan.threaded:
                await _with_threads(run, group, options)
            else:
                await _host(run)
    except BaseExceptionGroup as failures:
        run.interruption = run.interruption or _bare(failures)
    finally:
        run.ended = run.schedule.now()
    if run.interruption is not None:
        raise run.interruption
    if run.schedule.is_active():
        raise InternalError(f"run {run.run_id!r} ended with unsettled steps")


def _connect(run: Run, group: TaskGroup) -> None:
    def spawn() -> None:
        lane = Lane()
        lane.attach(run.context_vars.copy().run(group.start_soon, _spare, run, lane))

    run.spawn = spawn
    run.stop_all = group.cancel_scope.cancel


async def _host(run: Run) -> None:
    with CancelScope() as scope:
        await work(run, Lane(scope, host=True))


async def _spare(run: Run, lane: Lane) -> None:
    run.starting -= 1
    await work(run, lane)


def _bare(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception that matters of those the engine's own tasks ended with."""
    grave, _ = failures.split(lambda each: not isinstance(each, Exception))
    found: BaseException = grave or failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, Exception):
        internal = InternalError(f"the engine itself failed: {found!r}")
        internal.__cause__ = failures
        return internal
    return found


# -- worker threads ----------------------------------------------------------------------------------------------------


async def _with_threads(run: Run, group: TaskGroup, options: Options) -> None:
    threads = run.threads = Threads(run, options.threads)
    threads.adopt = partial(_adopt, run, group)
    settled = Signal()
    group.start_soon(_desk, run, threads, options.grace, settled)
    try:
        await _host(run)
        await settled.wait()
    except run.cancelled_class:
        run.cancel()
        threads.notice()
        raise


def _adopt(run: Run, group: TaskGroup, step: int, rest: Coroutine[Any, Any, Any], context: contextvars.Context) -> None:
    """Start a lane that awaits what a plain function returned in its thread, as the end of that step."""
    lane = Lane()
    lane.attach(group.start_soon(work, run, lane, (step, rest, context)))


async def _desk(run: Run, threads: Threads, grace: float, settled: Signal) -> None:
    """Do on the loop what threads have asked for, until the run is settled; shielded, for threads cannot be cancelled."""
    given_up: float = float("inf")
    with CancelScope(shield=True):
        while run.schedule.is_active():
            with move_on_at(given_up):
                await threads.news.wait()
            threads.news = Signal()
            if threads.stopping and given_up == float("inf"):
                given_up = current_time() + grace
            if current_time() >= given_up:
                _abandon(run, threads)
                given_up = float("inf")
            while threads.messages:
                threads.messages.popleft()()
            run.react()
            run.spread()
            run.publish()
        threads.close()
        settled.set()


def _abandon(run: Run, threads: Threads) -> None:
    """The grace is over: the run goes on without the steps that will not end."""
    for node in threads.stopping:
        if run.schedule.state(node) == RUNNING:
            threads.abandon(node)
    threads.stopping.clear()
