"""Compensation: what a group has done is undone, step by step, before anybody outside hears how the group ended.

It begins when everything in the group has ended, so nothing is undone while something is still done. It is shielded
from cancellation and has a deadline; one compensation that fails does not keep the others from being made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast

from anyio import CancelScope, current_time, move_on_after, sleep

from orch.context import Context
from orch.definition import Group, Resource, Task
from orch.errors import CompensationError, TaskTimeoutError
from orch.event import CompensationEvent, State
from orch.execution._attempt import limited, protected, timed
from orch.execution._cached import forget
from orch.execution._failure import annotate, foreign, is_cancelled, unwrapped
from orch.execution._job import Job
from orch.execution._lane import alone
from orch.execution._run import Run
from orch.execution._threaded import in_thread
from orch.plan import Undo
from orch.policies import UNKNOWN, FailureStrategy, underlying

__all__ = ("compensate", "due")

E = TypeVar("E", bound=BaseException)


def due(run: Run, scope: int, worst: State) -> list[int]:
    """Return the steps of a group that are to be undone now that all in it have ended, in that order."""
    row = run.plan.draft.scopes[scope]
    group = cast("Group", row.group)  # a lone task is not guarded
    chosen = scope in run.undoing or group.on_failure is FailureStrategy.COMPENSATE
    if worst is State.SUCCEEDED or not chosen:
        return []
    having = [node for node in range(row.start, row.end) if node in run.trails and node not in run.undone]
    return in_reverse(_done(run, node) for node in having if run.plan.rules[node].undo is not None)


class _Done(NamedTuple):
    """A step that has a compensation: how it ended, and as which of all."""

    node: int
    succeeded: bool
    unknown: bool
    end: int


def _done(run: Run, node: int) -> _Done:
    trail, state = run.trails[node], State.from_code(run.schedule.state(node))
    unknown = trail.is_unknown and run.plan.draft.task(node).compensate_unknown
    return _Done(node, state is State.SUCCEEDED, unknown, trail.end)


def in_reverse(steps: Iterable[_Done]) -> list[int]:
    """Return those that succeeded, or of which nobody knows what they did, the last one first. Pure."""
    found = [step for step in steps if step.succeeded or step.unknown]
    return [step.node for step in sorted(found, key=attrgetter("end"), reverse=True)]


async def compensate(run: Run, scope: int, nodes: list[int]) -> None:
    """Undo the steps one after another, then let the group settle."""
    cause, errors, left = None if run.cancelled else run.blame(scope), list[Exception](), list(nodes)
    run.undone.update(nodes)
    box = CancelScope(shield=True, deadline=current_time() + run.options.compensation_timeout)
    run.boxes.add(box)
    try:
        with box:
            await _quiet(run, scope)
            while left:
                errors += await _undone(run, left[0], cause)
                del left[0]
        errors += [_failed(run, node, _too_late(run, node)) for node in left]
    except Exception:
        run.break_off()
        raise
    finally:
        run.boxes.discard(box)
        if errors:
            path = run.plan.draft.scope_path(scope) or run.plan.workflow.name
            what = f"{len(errors)} of {len(nodes)} compensations of {path!r} failed"
            failure = CompensationError(what, errors)
            failure.__cause__ = cause
            run.record(("compensation", scope), failure)
        run.schedule.settle(scope)
        run.leave()


async def _quiet(run: Run, scope: int) -> None:
    """Wait for bodies in threads that have outlived their steps, as long as the run's grace says."""
    row = run.plan.draft.scopes[scope]
    with move_on_after(run.options.grace):
        for ended in [ended for node, (_, ended) in run.outlasting.items() if row.start <= node < row.end]:
            await ended.wait()


async def _undone(run: Run, node: int, cause: Exception | None) -> list[Exception]:
    """Make one compensation; return what went wrong with it, if anything did."""
    known = State.from_code(run.schedule.state(node)) is State.SUCCEEDED
    try:
        await _tried(run, node, cause, run.trails[node].value if known else UNKNOWN)
    except run.cancelled_class as error:
        if is_cancelled():
            raise
        return [_failed(run, node, foreign(error))]
    except Exception as error:  # noqa: BLE001 (the others have to be made nevertheless)
        return [_failed(run, node, underlying(unwrapped(error)))]
    except BaseException as error:  # noqa: BLE001 (KeyboardInterrupt and its like: so do they)
        run.give_up(error)
        _failed(run, node, error)
        return []
    if known:
        run.schedule.compensate(node)
    else:
        run.log(node, "info", "compensated, although nobody knows what it did")
    run.publish()
    return []


def _failed(run: Run, node: int, error: E) -> E:
    annotate(error, f"in the compensation of task {run.plan.path(node)!r}")
    run.note(CompensationEvent, run.plan.path(node), run.plan.name(node), error)
    return error


def _too_late(run: Run, node: int) -> TaskTimeoutError:
    return TaskTimeoutError(f"the compensation of {run.plan.path(node)}", run.options.compensation_timeout)


async def _tried(run: Run, node: int, cause: Exception | None, value: object) -> None:
    """Call the compensation, as often as its own policy says."""
    task, path, began = _undo(run, node).task, run.plan.path(node), run.clock()
    attempt = 0
    await forget(run, node)
    while True:
        attempt += 1
        try:
            call = await _prepared(run, node, cause, value, attempt)
            job = Job(call) if task.signature.kind != "coroutine" and task.thread is not False else None
            body = partial(_call, run, node, task, call, job)
            await limited(task.limiter, partial(protected, run, path, task.breaker, body), job)
        except Exception as error:
            elapsed = run.clock() - began
            delay = task.retry.next_delay(attempt, error, run.options.rng, elapsed) if task.retry else None
            if delay is None or node in run.abandoned:
                raise
            await sleep(delay)
        else:
            return


def _undo(run: Run, node: int) -> Undo:
    return cast("Undo", run.plan.rules[node].undo)  # only steps that have one are due


async def _prepared(run: Run, node: int, cause: Exception | None, value: object, attempt: int) -> Callable[[], Any]:
    """Return the call with all its arguments, after what it uses beyond the task has been opened."""
    undo, opened = _undo(run, node), dict[Resource[Any], Any]()
    if node in run.restored:
        await _reopen(run, node, attempt)
    for each in undo.resources:
        opened[each] = await run.use(each, again=attempt > 1)
    context = None if run.context is None else _view(run, node, run.context, attempt)
    args, kwargs = undo.arguments(run.trails[node].arguments, value, cause, context, opened)
    return partial(undo.task.fn, *args, **kwargs)


async def _reopen(run: Run, node: int, attempt: int) -> None:
    """Open what a step had used in the run that this one goes on with."""
    slots, known = run.plan.wiring.slots[node], run.trails[node].arguments
    for slot, resource in run.plan.rules[node].resources:
        known[slots.index(slot)] = await run.use(resource, again=attempt > 1)


def _view(run: Run, node: int, context: Context[Any], attempt: int) -> Context[Any]:
    return context._view(partial(run.plan.path, node), attempt, partial(run.log, node))  # noqa: SLF001 (made for this)


async def _call(run: Run, node: int, task: Task[..., Any], call: Any, job: Job | None) -> None:
    """Call it once, where it belongs: in a thread, or on the loop."""
    if job is not None:
        await _in_thread(run, node, task.timeout, job)
    else:
        await timed(run, node, task.timeout, lambda: alone(_awaited(call)))


async def _in_thread(run: Run, node: int, seconds: float | None, job: Job) -> None:
    """Have a thread make it; when its time is over, wait for the thread before anything else is done."""
    try:
        await alone(in_thread(run, node, seconds, job, reserved=True))  # which may await what the function returns
    finally:
        if job.is_lasting:
            job.is_dropped = True
            with CancelScope(shield=True, deadline=current_time() + run.options.grace):
                await job.ended.wait()
        if job.is_lasting:
            run.abandoned.append(node)


async def _awaited(call: Any) -> None:
    value = call()
    if hasattr(type(value), "__await__"):
        await value
