"""The body of an interrupt: make the question, then have a handler answer it, or leave it open.

In both cases the step is PAUSED and has no slot. What waits for a handler is the lane of the step. For an answer from
outside no lane waits; the step ends when it comes. A step can only fail while it is RUNNING, so one whose handler
failed is lined up once more, to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from anyio.lowlevel import checkpoint_if_cancelled

from orch.definition import check_answer
from orch.definition._signature import signature_of
from orch.execution._job import Job
from orch.execution._retry import Settled
from orch.execution._run import Run
from orch.execution._threaded import in_thread
from orch.execution._values import arguments

__all__ = ("interrupt",)


async def interrupt(run: Run, node: int) -> Any:
    """Ask, and return what the handler answers; without one, leave the step PAUSED."""
    if node in run.refused:
        raise run.refused[node]
    question = run.kept[node] if node in run.kept else await _made(run, node)
    await checkpoint_if_cancelled()  # who was stopped meanwhile asks nothing
    run.trails[node].is_unknown = False  # whatever comes now
    run.pause(node, question)
    if node not in run.handlers:
        raise Settled
    run.spread()  # its slot is free
    try:
        answer = await _called(run, node, run.handlers[node], question)
        check_answer(run.plan.path(node), question, run.interrupt_at(node).type, answer)
    except Exception as error:  # noqa: BLE001 (whatever it is, the step fails with it)
        await checkpoint_if_cancelled()
        run.refused = {**run.refused, node: error}
        run.trails[node].attempt -= 1
        run.schedule.resume(node)
        raise Settled from None
    return answer


async def _made(run: Run, node: int) -> Any:
    """Make the question: a plain function in a thread, as any step."""
    task = run.interrupt_at(node)
    call = partial(cast("Callable[..., Any]", run.plan.calls[node]), *arguments(run, node))
    if task.thread is False:
        return call()
    return await _called(run, node, call, is_async=task.signature.is_async)


async def _called(run: Run, node: int, fn: Callable[..., Any], *args: Any, is_async: bool | None = None) -> Any:
    if signature_of(fn).is_async if is_async is None else is_async:
        return await fn(*args)
    job = Job(partial(fn, *args))
    try:
        return await in_thread(run, node, None, job, reserved=True)  # it may wait for a person, and nobody for it
    finally:
        if job.is_lasting:
            job.is_dropped = True
            run.abandoned.append(node)
