"""The hot path: a lane takes the next ready step and awaits it in place.

Not one task per step. While a step is suspended and others are ready, spare lanes are started; so a chain of a
million steps uses one task, ten thousand steps that sleep use ten thousand, and a step that never suspends costs no
task switch.

Every body runs in its own copy of the context variables. For that a lane drives coroutines itself, through one
generator (`_body`) that it sends into with `Context.run`: what a coroutine yields to the event loop is passed on
unchanged, as is what the loop sends or throws back (`_drive`). A coroutine that ends inside `yield from` raises no
StopIteration, which would cost as much as everything else here. `_body` is the one place where code of the user is
awaited.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, cast

from orch.execution._attempt import attempt
from orch.execution._failure import bare
from orch.execution._protected import exposed
from orch.execution._retry import Settled
from orch.execution._run import BREATHE, IDLE, Lane, Run
from orch.execution._values import arguments
from orch.plan import IN_PLACE, RULES

__all__ = ("Begun", "alone", "awaited", "work")

Body = Generator[Any, Any, None]
Begun = tuple[int, Coroutine[Any, Any, Any], Context]  # a step, what is left of it to await, and in which context

_CLOSING = object()  # in place of an outcome: the event loop throws the coroutine away
_DONE, _FAILED = object(), object()  # what `_body` yields when a coroutine has ended; all else is for the event loop


@types.coroutine
def _body(outcome: list[Any]) -> Body:
    """Await one coroutine after another, each sent in when the one before has ended; `outcome` says how."""
    signal: object = _DONE
    while True:
        coroutine = yield signal
        try:
            outcome[0] = yield from coroutine
            signal = _DONE
        except BaseException as error:
            if outcome[0] is _CLOSING:
                raise
            outcome[0] = error
            signal = _FAILED


exposed(_body)


@types.coroutine
def _drive(body: Body, outcome: list[Any], context: Context, pending: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that wants to yield `pending` to the event loop, until it has ended; return the signal."""
    while pending is not _DONE and pending is not _FAILED:
        try:
            answer = yield pending
        except GeneratorExit:
            outcome[0] = _CLOSING
            context.run(body.close)
            raise
        except BaseException as error:  # noqa: BLE001 (all of it belongs to the coroutine)
            pending = context.run(body.throw, error)
        else:
            pending = context.run(body.send, answer)
    return pending


async def work(run: Run, lane: Lane, begun: Begun | None = None) -> None:
    """Take steps until none is ready, after the one that has begun. A cancelled lane ends; the host passes that on."""
    try:
        if begun is None:
            await run.room()
        await _walk(run, lane, begun)
    except run.cancelled_class:
        run.check(lane)
        raise
    except BaseException:  # of the engine itself: a mistake, or Ctrl-C where trio raises it
        run.break_off()
        raise
    finally:
        run.leave()


async def _walk(run: Run, lane: Lane, begun: Begun | None) -> None:  # noqa: C901 (the loop that everything waits for)
    values, calls, slots, kinds = run.values, run.plan.calls, run.plan.wiring.slots, run.plan.kinds
    take, done_take = run.schedule.take, run.schedule.done_take
    outcome = lane.outcome
    body = cast("Body", _body(outcome))
    send = body.send
    send(None)
    if begun is not None:
        step, coroutine, context = begun
        signal = context.run(send, coroutine)
        if not await _slowly(run, lane, step, signal, _drive(body, outcome, context, signal)):
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
                coroutine = attempt(run, step, lane) if kinds[step] & RULES else _special(run, step)
            else:
                coroutine = calls[step](*[values[slot] for slot in slots[step]])  # type: ignore[misc] # no join is taken
        except Exception as error:  # noqa: BLE001 (its signature lied; that is the step's failure)
            outcome[0], signal = error, _FAILED
        else:
            signal = context.run(send, coroutine)
        if signal is _DONE:
            values[step] = outcome[0]
            step = done_take(step)
        elif await _slowly(run, lane, step, signal, _drive(body, outcome, context, signal)):
            step = take()
        else:
            return


async def _slowly(run: Run, lane: Lane, step: int, signal: object, rest: Awaitable[Any]) -> bool:
    """See a step to its end that is suspended or has failed; False if the lane must end because it was stopped."""
    if signal is not _FAILED:
        try:
            run.enter(step, lane)
        except BaseException as error:  # noqa: BLE001 (of the engine; whoever is suspended must be ended by the loop)
            run.give_up(bare(BaseExceptionGroup("", [error])))
        signal = await rest
        run.exit(step)
    value, lane.outcome[0] = lane.outcome[0], None
    if signal is _DONE:  # what came first counts: here the result, below the cancellation
        run.values[step] = value
        run.schedule.done(step)
        run.react()
        run.check(lane)
    else:
        run.check(lane)
        if value.__class__ is not Settled and run.failed(step, value, lane):
            return False  # raised on, ten thousand tracebacks would be alive at a time, and the garbage collector busy
    await run.room()
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
    value = run.plan.calls[step](*arguments(run, step))  # type: ignore[misc] # no join is taken
    return await value if not run.plan.kinds[step] & IN_PLACE or hasattr(type(value), "__await__") else value


async def alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await a coroutine that is no step as a step is awaited: in a copy of the context variables, and in `_body`."""
    outcome: list[Any] = [None]
    body, context = cast("Body", _body(outcome)), copy_context()
    body.send(None)
    signal = await _drive(body, outcome, context, context.run(body.send, coroutine))
    if signal is _FAILED:
        raise outcome[0]
    return outcome[0]


async def awaited(value: Awaitable[Any]) -> Any:
    """Make a coroutine of anything that can be awaited."""
    return await value
