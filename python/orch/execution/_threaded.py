"""A job in a worker thread, awaited on the loop: with a time, which begins with it, and to be given up."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from anyio import CancelScope, current_time

from orch.errors import TaskTimeoutError
from orch.execution._job import Job
from orch.execution._run import Run

__all__ = ("in_thread",)


async def in_thread(run: Run, node: int, seconds: float | None, job: Job, *, reserved: bool = False) -> Any:
    """Have a thread do the job, and return what it gives; its time begins when the thread does.

    Nobody can stop a thread. If this is cancelled, the job has as long to end as the run's grace says; if its time is
    over, it goes on by itself.
    """
    scope = CancelScope()
    if seconds is not None:
        job.on_begin = partial(_set_deadline, scope, seconds)
    try:
        with scope:
            run.hand_over(job, reserved=reserved)
            await job.ended.wait()
    except run.cancelled_class:  # by somebody else, whatever the time is
        if not job.withdraw():
            _tell(run, job)
            with CancelScope(shield=True, deadline=current_time() + run.options.grace):
                await job.ended.wait()
        if not job.ended.is_set():
            raise
    if job.ended.is_set():
        now = current_time() + (math.inf if seconds is None else seconds)  # the news of the beginning may come later
        return await _given(run, node, seconds, min(scope.deadline, now), job.result())
    _tell(run, job)
    raise TaskTimeoutError(run.plan.path(node), seconds or 0.0)


def _tell(run: Run, job: Job) -> None:
    """Tell a job that it is to end."""
    run.tell(job)
    job.on_tell()


async def _given(run: Run, node: int, seconds: float | None, deadline: float, value: Any) -> Any:
    """Await what a plain function returned, if that is to be awaited, in what is left of its time."""
    if not hasattr(type(value), "__await__"):
        return value
    with CancelScope(deadline=deadline):
        return await value
    raise TaskTimeoutError(run.plan.path(node), seconds or 0.0)


def _set_deadline(scope: CancelScope, seconds: float) -> None:
    scope.deadline = current_time() + seconds
