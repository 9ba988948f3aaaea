"""
The hot path: a lane takes the next ready step and awaits it in place.

Not one task per step. While a step is suspended and others are ready, spare lanes are started; so a chain of a million
steps uses one task, and ten thousand steps that sleep use ten thousand. A step that never suspends costs no task switch.

Every body runs in its own copy of the context variables. For that a lane drives coroutines itself, through one generator
(`_body`) that it sends into with `Context.run`: what a coroutine yields to the event loop is passed on unchanged, as is
what the loop sends or throws back (`_drive`). A coroutine that ends inside `yield from` raises no StopIteration, which
would cost as much as everything else here. `_body` is the one place where code of the user is awaited.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

from orch.execution._run import BREATHE, IDLE, Lane, Run
from orch.execution._values import collect
from orch.plan import COLLECT, IN_PLACE

__all__ = ("arguments", "awaited", "work")

Body = Generator[Any, Any, None]

_DONE, _FAILED = object(), object()
"""What `_body` yields when a coroutine has ended, with a value or an exception; anything else is for the event loop."""


@types.coroutine
def _body(outcome: list[Any]) -> Body:
    """Run one coroutine after another, each sent in when the one before has ended; how it ended is left in `outcome`."""
    signal: object = _DONE
    while True:
        coroutine = yield signal
        try:
            outcome[0] = yield from coroutine
            signal = _DONE
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is the outcome of the step)
            outcome[0] = error
            signal = _FAILED


@types.coroutine
def _drive(body: Body, context: Context, pending: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that wants to yield `pending` to the event loop, until it has ended; return the signal."""
    while pending is not _DONE and pending is not _FAILED:
        try:
            answer = yield pending
        except GeneratorExit:
            context.run(body.close)
            raise
        except BaseException as error:  # noqa: BLE001 (all of it belongs to the coroutine)
            pending = context.run(body.throw, error)
        else:
            pending = context.run(body.send, answer)
    return pending


async def work(run: Run, lane: Lane, first: tuple[int, Coroutine[Any, Any, Any], Context] | None = None) -> None:
    """
    Take steps until none is ready. Cancellation passes through, after it is recorded.

    Args:
        run: the run.
        lane: this lane.
        first: a step that runs already, what is left of it to await, and in which context.

    """
    try:
        await _walk(run, lane, first)
    except run.cancelled_class:
        if not lane.stopped:
            run.cancel()
        raise
    finally:
        run.leave()


async def _walk(run: Run, lane: Lane, first: tuple[int, Coroutine[Any, Any, Any], Context] | None) -> None:
    schedule, values = run.schedule, run.values
    calls, slots, kinds = run.calls, run.slots, run.kinds
    take, done_take = schedule.take, schedule.done_take
    outcome: list[Any] = [None]
    body = _body(outcome)
    send = body.send
    send(None)
    if first is not None:
        step, coroutine, context = first
        if not await _slowly(run, lane, step, outcome, body, context, context.run(send, coroutine)):
            return
    step = take()
    while True:
        if step < 0:
            if step == IDLE:
                return
            step = await _attend(run, step)
            continue
        context = copy_context()
        try:
            if kinds[step]:
                coroutine = _special(run, step)
            else:
                coroutine = calls[step](*[values[slot] for slot in slots[step]])
        except Exception as error:  # noqa: BLE001 (its signature lied; that is the step's failure)
            outcome[0], signal = error, _FAILED
        else:
            signal = context.run(send, coroutine)
        if signal is _DONE:
            values[step] = outcome[0]
            step = done_take(step)
        elif await _slowly(run, lane, step, outcome, body, context, signal):
            step = take()
        else:
            return


async def _slowly(
    run: Run, lane: Lane, step: int, outcome: list[Any], body: Body, context: Context, signal: object
) -> bool:
    """See a step to its end that has suspended or failed; False if the lane must end because it was stopped."""
    if signal is not _FAILED:
        run.enter(step, lane)
        signal = await _drive(body, context, signal)
        run.exit(step)
    value, outcome[0] = outcome[0], None
    if signal is _DONE:
        run.values[step] = value
        run.schedule.done(step)
        run.react()
    elif run.failed(step, value, lane):
        raise value
    return not lane.stopped


async def _attend(run: Run, code: int) -> int:
    """Do what the schedule asks for between two steps: answer failures, or let others run; then take a step."""
    if code == BREATHE:
        await run.breathe()
    else:
        run.react()
    return run.schedule.take()


async def _special(run: Run, step: int) -> Any:
    """Run a step that is not simply a coroutine function called with what lies in its slots."""
    value = run.calls[step](*arguments(run, step))
    return await value if not run.kinds[step] & IN_PLACE or hasattr(type(value), "__await__") else value


def arguments(run: Run, step: int) -> list[Any]:
    """Return the arguments of a step, after the values of groups that it reads are put together."""
    if run.kinds[step] & COLLECT:
        collect(run.plan, run.values, run.plan.wiring.collects[step], run.collected)
    return [run.values[slot] for slot in run.slots[step]]


async def awaited(value: Awaitable[Any]) -> Any:
    """Make a coroutine of anything that can be awaited."""
    return await value
