"""Tools of the tests of `iter`: a run that is checked when its block is left, and steps that wait to be let go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

import orch
from orch import AsyncRunner, Event, RunResult, State
from orch.plan import Plan
from orch.runners._iter import GraphRun
from tests.execution.resilient import by_path, check_causality, check_errors, check_record, check_task, frame

PATIENCE = 10


@asynccontextmanager
async def iterated(
    workflow: Any, *given: Any, runner: AsyncRunner | None = None, **options: Any
) -> AsyncIterator[GraphRun]:
    """Begin a run, and check all that holds of every run when the block is left; a failed one raises only if asked."""
    options.setdefault("raise_on_failure", False)
    with anyio.fail_after(PATIENCE):
        async with (runner or AsyncRunner()).iter(workflow, *given, **options) as run:
            yield run
    check(run.result, orch.plan.compile(workflow))


def check(result: RunResult, plan: Plan) -> None:
    """Check the record of a settled run, which may have been cancelled with failures in it."""
    frame(result.trace, result.run_id)
    known = by_path(result.trace)
    assert set(known) == set(result.tasks) == set(plan.order())
    for path, events in known.items():
        check_task(events)
        check_record(result, path, events)
    check_causality(plan, result.trace)
    if result.state is not State.CANCELLED:
        check_errors(result)


async def events_of(run: GraphRun) -> list[Event]:
    """Read a run to its end."""
    return [event async for event in run]


async def until(run: GraphRun, path: str, state: str) -> list[Event]:
    """Read until a task is in a state, and return what was read."""
    seen = list[Event]()
    async for event in run:
        seen.append(event)
        if event.path == path and getattr(event, "state", None) is State(state):
            return seen
    raise AssertionError(f"{path} was never {state}: {seen}")


class Stand:
    """A step that stands still until it is let go or cancelled, and counts both."""

    def __init__(self, name: str = "stand") -> None:
        self.__name__ = name
        self.entered = anyio.Event()
        self.let_go = anyio.Event()
        self.starts = self.ends = 0

    async def __call__(self) -> str:
        self.starts += 1
        self.entered.set()
        try:
            await self.let_go.wait()
        finally:
            self.ends += 1
        return self.__name__
