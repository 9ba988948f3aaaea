"""One attempt of a step that has policies: limiter, then breaker, then timeout, then the body.

A lane awaits an attempt like any other coroutine and knows nothing of policies; what follows from a failed one, another
attempt or the end of the step, `Run.fail` decides.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, cast

from anyio import CancelScope, CapacityLimiter, Lock, Semaphore, WouldBlock, current_time
from anyio.lowlevel import checkpoint_if_cancelled

from orch.errors import TaskTimeoutError
from orch.execution._cached import keep, looked_up
from orch.execution._chunks import Feed
from orch.execution._failure import without_cancellation
from orch.execution._forms import FORMS
from orch.execution._guards import enter
from orch.execution._job import Job
from orch.execution._retry import Settled, Trail
from orch.execution._run import Lane, Run
from orch.execution._threaded import in_thread
from orch.execution._trace import rebind
from orch.execution._values import arguments
from orch.plan import IN_PLACE, Key, Rules
from orch.policies import CircuitBreaker, Limiter, RateLimit

__all__ = ("attempt", "limited", "protected", "timed")

Body = Callable[[], Awaitable[Any]]
_IMMEDIATE = (CapacityLimiter, Semaphore, Lock, RateLimit)  # whose `acquire_nowait` raises anyio.WouldBlock
_logger = logging.getLogger("orch")


def attempt(run: Run, step: int, lane: Lane) -> Coroutine[Any, Any, Any]:
    """Make one attempt, and return what the body gives; or what a cache has, instead of the first one."""
    rules, shelf = run.plan.rules[step], run.shelf
    if rules.identity is not None and shelf is not None and step not in run.trails:
        return looked_up(run, shelf, step, rules.identity, partial(_attempt, run, step, rules, lane))
    return _attempt(run, step, rules, lane)


async def _attempt(run: Run, step: int, rules: Rules, lane: Lane, key: Key | None = None) -> Any:
    trail = run.trails.get(step)
    if trail is None:
        trail = run.trails[step] = Trail(1, run.clock() if rules.retry is not None else 0.0, key=key)
    else:
        trail.attempt += 1
        rebind(run, step, trail.attempt)
    if rules.guard is not None:
        enter(run, rules.guard)
    for slot, resource in rules.resources:
        run.values[slot] = await run.use(resource, again=trail.attempt > 1)
    if rules.undo is not None:
        trail.arguments = arguments(run, step)
    plain = _Plain(run, step, rules, trail, lane) if rules.plain else None
    body = plain or partial(_admitted, run, step, rules, trail, lane)
    try:
        value = await limited(rules.limiter, body, plain.job if plain is not None else None)
    finally:
        trail.end = next(run.ends)
    if rules.undo is not None:
        trail.value = value
    if trail.key is not None and trail.attempt > 1 and run.shelf is not None:
        await keep(run, run.shelf, step, trail.key, value)
    return value


async def _admitted(run: Run, step: int, rules: Rules, trail: Trail, lane: Lane) -> Any:
    if rules.breaker is None:
        return await _timed(run, step, rules, trail, lane)
    return await protected(run, run.plan.path(step), rules.breaker, partial(_timed, run, step, rules, trail, lane))


async def _timed(run: Run, step: int, rules: Rules, trail: Trail, lane: Lane) -> Any:
    """Await the body for as long as the timeout says, by a timer that stops the lane: a scope would cost ten times it.

    TaskTimeoutError then. A value that comes nevertheless is taken.
    """
    seconds = rules.timeout
    if seconds is None:
        return await _body(run, step, trail)
    trail.is_late = False
    deadline = current_time() + seconds
    timer = run.at(deadline, partial(_expire, run, step, trail, lane))
    try:
        value = await _body(run, step, trail)
    except BaseException as error:
        if trail.is_late and isinstance(without_cancellation(error, run.cancelled_class), run.cancelled_class):
            raise TaskTimeoutError(run.plan.path(step), seconds) from None
        raise
    finally:
        run.drop(timer)
    if trail.is_late or current_time() > deadline:  # a body that blocks the event loop blocks the timer, too
        run.log(step, "warning", f"returned a value after its timeout of {seconds:g} s")
    return value


def _expire(run: Run, step: int, trail: Trail, lane: Lane) -> None:
    if not (lane.stopped or run.left):  # else somebody was earlier
        trail.is_late = True
        lane.stop(expired=True)
        run.look_after((step,))


async def _body(run: Run, step: int, trail: Trail) -> Any:
    trail.is_unknown, before = True, trail.is_unknown
    form = run.plan.rules[step].form
    try:
        value = await _call(run, step) if form is None else await FORMS[form](run, step)
    except Exception:
        trail.is_unknown = before
        raise
    trail.is_unknown = before
    return value


async def _call(run: Run, step: int) -> Any:
    value = run.plan.calls[step](*arguments(run, step))  # type: ignore[misc] # no join is taken
    if not run.plan.kinds[step] & IN_PLACE or hasattr(type(value), "__await__"):
        value = await value
    return value


# -- policies, one by one ----------------------------------------------------------------------------------------------


async def limited(limiter: Limiter | None, body: Body, job: Job | None = None) -> Any:
    """Await the body while holding the limiter, which is taken without waiting if that can be done.

    What the job of a body has not let go when it is given up, the limiter gets back when its thread ends.
    """
    if limiter is None:
        return await body()
    release = await _acquire(limiter, job)
    try:
        return await body()
    finally:
        if job is None or not job.is_lasting or _is_bound(limiter):
            await _released(release)
        else:
            job.on_end.append(release)


def _is_bound(limiter: Limiter) -> bool:
    """Say whether it only takes it back from the task that has it, or from one that awaits."""
    return isinstance(limiter, Lock) or iscoroutinefunction(limiter.release)


async def _released(release: Callable[[], object]) -> None:
    outcome = release()
    if outcome is not None and hasattr(type(outcome), "__await__"):
        with CancelScope(shield=True):
            await outcome  # type: ignore[misc] # it has just been seen to be awaitable


async def _acquire(limiter: Any, job: Job | None) -> Callable[[], object]:
    """Take the limiter, and return how to give it back: also from another task, if it may be a thread that ends."""
    acquire, release = limiter.acquire, cast("Callable[[], object]", limiter.release)
    if job is not None and isinstance(limiter, CapacityLimiter):
        acquire, release = partial(limiter.acquire_on_behalf_of, job), partial(limiter.release_on_behalf_of, job)
    elif isinstance(limiter, _IMMEDIATE):
        with suppress(WouldBlock):
            limiter.acquire_nowait()
            return release
    taken = acquire()
    if not hasattr(type(taken), "__await__"):
        await _released(release)
        found = f"{type(limiter).__name__}.acquire() gave {taken!r:.100}: make it `async def acquire`"
        raise TypeError(f"limiter: expected an acquire() that is awaited, found that {found}")
    await taken
    try:
        await checkpoint_if_cancelled()  # who was stopped while it was handed over must not begin
    except BaseException:
        await _released(release)
        raise
    return release


async def protected(run: Run, path: str, breaker: CircuitBreaker | None, body: Body) -> Any:
    """Await the body as a call that a breaker admits and counts; CircuitOpenError if it does not."""
    if breaker is None:
        return await body()
    permit = breaker.admit(run.clock())
    run.circuit(path, breaker.name, permit.change)
    try:
        value = await body()
    except Exception as error:
        run.circuit(path, breaker.name, breaker.failed(permit, error, run.clock()))
        raise
    except BaseException:
        run.circuit(path, breaker.name, breaker.abandoned(permit))
        raise
    run.circuit(path, breaker.name, breaker.succeeded(permit))
    return value


async def timed(run: Run, node: int, seconds: float | None, body: Body) -> Any:
    """Await the body for so many seconds; TaskTimeoutError then. A value that comes nevertheless is taken."""
    if seconds is None:
        return await body()
    with CancelScope(deadline=current_time() + seconds) as scope:
        value = await body()
        if scope.cancel_called:
            run.log(node, "warning", f"returned a value after its timeout of {seconds:g} s")
        return value
    raise TaskTimeoutError(run.plan.path(node), seconds)


# -- plain functions ---------------------------------------------------------------------------------------------------


class _Plain:
    """An attempt whose body is a job for a thread.

    Where the timeout is over before the body is, the step fails, but keeps its slots and its limiter until the body has
    ended, and no other attempt begins before.
    """

    def __init__(self, run: Run, step: int, rules: Rules, trail: Trail, lane: Lane) -> None:
        self._of = run, step, rules, trail, lane
        call = cast("Callable[..., Any]", run.plan.calls[step])  # no join is taken
        body = partial(call, *arguments(run, step))
        feed = Feed(run, step, body) if rules.form == "stream" else None
        self.job = Job(body if feed is None else feed)
        if feed is not None:
            self.job.on_tell = feed.stop

    async def __call__(self) -> Any:
        run, step, rules, trail, _ = self._of
        body = partial(in_thread, run, step, rules.timeout, self.job)
        try:
            return await protected(run, run.plan.path(step), rules.breaker, body)
        except TaskTimeoutError as error:
            if self.job.is_lasting:
                await self._outlast(error)
                raise Settled from None
            raise
        except run.cancelled_class:
            if self.job.is_lasting:
                self.job.is_dropped = True
                self.job.on_end.append(run.held(step))
                run.abandoned.append(step)
            raise
        finally:
            trail.is_unknown = trail.is_unknown or self.job.is_lasting

    async def _outlast(self, error: TaskTimeoutError) -> None:
        """Put the failure on record at once, then wait for the end of the body, or of the run and its grace."""
        run, step, _, trail, lane = self._of
        trail.is_unknown = self.job.is_dropped = True
        trail.end = next(run.ends)  # for its group, which may settle thereby
        run.schedule.hold(step)
        run.lanes.pop(step, None)
        with CancelScope(shield=True) as scope:
            run.outlasting[step] = scope, self.job.ended
            run.fail(step, error, final=run.is_final(lane))
            run.leave()
            await self.job.ended.wait()
        del run.outlasting[step]
        if self.job.is_lasting:
            run.abandoned.append(step)
        else:
            if not isinstance(self.job.error, run.cancelled_class):  # else it has ended because it was told to
                _logger.warning("task %r ended after its timeout; what it gave is dropped", run.plan.path(step))
            run.schedule.let_go(step)
            if trail.is_due:
                run.requeue(step)
        run.notice()
