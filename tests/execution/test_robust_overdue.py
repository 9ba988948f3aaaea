"""Steps that were cancelled and go on: C8. The run waits for them, and says so, once the grace is over."""

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

import orch
from orch import State, Task
from orch.event import Event, LogEvent
from orch.runners import GraphRun
from tests.execution.resilient import settle, virtual
from tests.execution.robust import Gate, immediate, until, within

pytestmark = pytest.mark.timeout(20)
GRACE = 0.02


class Stubborn:
    """A step that swallows its cancellation, again and again, until somebody lets it go."""

    def __init__(self) -> None:
        self.begun, self.end = anyio.Event(), anyio.Event()

    async def __call__(self) -> str:
        self.begun.set()
        while not self.end.is_set():
            with contextlib.suppress(BaseException):  # what nobody should write
                await self.end.wait()
        return "after all"


def warnings(trace: Any) -> list[tuple[str, str]]:
    return [(each.path, each.message) for each in trace if isinstance(each, LogEvent) and each.level == "warning"]


@asynccontextmanager
async def under_way(workflow: Any, stubborn: Stubborn, **options: Any) -> AsyncIterator[tuple[GraphRun, list[Event]]]:
    """A run whose stubborn step has begun; what it is not to outlive is let go in the end."""
    heard: list[Event] = []
    runner = orch.AsyncRunner(grace=GRACE, subscribers=[heard.append])
    with within(10):
        try:
            async with runner.iter(workflow, raise_on_failure=False, **options) as run:
                await stubborn.begun.wait()
                yield run, heard
        finally:
            stubborn.end.set()


async def by_run(run: GraphRun) -> None:
    run.cancel()


async def by_step(run: GraphRun) -> None:
    run.cancel("stubborn")


async def from_afar(run: GraphRun) -> None:
    await anyio.to_thread.run_sync(run.cancel)


@pytest.mark.parametrize("cancel", [by_run, by_step, from_afar])
@pytest.mark.parametrize("policies", [{}, {"timeout": 60}], ids=["without a desk", "with one"])
async def test_whoever_cancels_learns_which_step_goes_on(
    cancel: Callable[[GraphRun], Awaitable[None]], policies: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = Stubborn()
    task = Task(stubborn, name="stubborn", **policies)
    async with under_way(orch.Parallel(task, anyio.sleep_forever, name="both"), stubborn) as (run, heard):
        await cancel(run)
        await until(lambda: warnings(heard))
        run.cancel()
        stubborn.end.set()
        result = await run.wait()
    (said,) = warnings(result.trace)
    assert said[0] == "stubborn"
    assert "has not ended 0.02 s after it was cancelled: let it catch Exception, not BaseException" in said[1]
    assert [record.levelname for record in caplog.records if "waits for 'stubborn'" in record.message] == ["WARNING"]
    assert result.tasks["stubborn"].value == "after all"


@pytest.mark.parametrize("how", ["a sibling", "its timeout", "the timeout of its group"])
async def test_whatever_stops_a_step_that_goes_on_it_is_named(how: str) -> None:
    stubborn = Stubborn()
    task = Task(stubborn, name="stubborn", timeout=0.01 if how == "its timeout" else None)
    neighbours = [Task(immediate_failure, name="fails")] if how == "a sibling" else []
    group = orch.Parallel(task, *neighbours, timeout=0.01 if how == "the timeout of its group" else None)
    async with under_way(group, stubborn) as (run, heard):
        await until(lambda: warnings(heard))
        stubborn.end.set()
        result = await run.wait()
    assert [path for path, what in warnings(result.trace) if "has not ended" in what] == ["stubborn"]


async def immediate_failure() -> None:
    raise LookupError


async def test_a_run_that_its_caller_cancels_says_whom_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    stubborn = Stubborn()

    async def release() -> None:
        await until(lambda: "waits for" in caplog.text)
        stubborn.end.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release)
        with within(10), anyio.CancelScope() as scope:
            step = Task(stubborn, name="stubborn")
            tasks.start_soon(cancel_after, stubborn, scope)
            await orch.AsyncRunner(grace=GRACE).run(orch.Sequence(step, immediate()), raise_on_failure=False)
    assert caplog.text.count("waits for 'stubborn'") == 1


async def cancel_after(stubborn: Stubborn, scope: anyio.CancelScope) -> None:
    await stubborn.begun.wait()
    scope.cancel()


async def test_many_of_them_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    steps = [Stubborn() for _ in range(6)]
    group = orch.Parallel([Task(step, name=f"step {i}") for i, step in enumerate(steps)])
    async with under_way(group, steps[-1]) as (run, heard):
        run.cancel()
        await until(lambda: len(warnings(heard)) == len(steps))
        for step in steps:
            step.end.set()
        await run.wait()
    (message,) = [record.message for record in caplog.records if "waits for" in record.message]
    assert "'step 0', 'step 1', 'step 2' and 3 more" in message


async def test_bodies_in_threads_are_given_up_and_not_warned_about() -> None:
    with Gate() as gate:
        begun = Stubborn()

        async def watches() -> None:
            await until(lambda: gate.entered == 2)
            begun.begun.set()

        plain = [Task(gate, name="plain"), Task(gate, name="timed", timeout=60)]
        async with under_way(orch.Parallel(*plain, watches), begun) as (run, _):
            run.cancel()
            result = await run.wait()
        assert {record.path for record in result.abandoned} == {"plain", "timed"}
        assert warnings(result.trace) == []


# -- in virtual time ---------------------------------------------------------------------------------------------------


async def cleans_up(seconds: float) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)


@virtual
@pytest.mark.parametrize(("seconds", "expected"), [(4.9, []), (5.1, [5.0 + 1.0])])
async def test_it_is_said_when_the_grace_is_over_and_not_of_who_has_ended_by_then(
    seconds: float, expected: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    result = await settle(Task(functools.partial(cleans_up, seconds), name="cleans_up", timeout=1))
    found = [each for each in result.trace if isinstance(each, LogEvent)]
    assert [(each.time - result.trace[0].time).total_seconds() for each in found] == expected
    assert [record.levelno for record in caplog.records if record.name == "orch"] == [logging.WARNING] * len(expected)
    assert result.state is State.FAILED


@virtual
async def test_every_attempt_is_looked_at_for_itself() -> None:
    retry = orch.Retry(3, delay=0)
    result = await settle(Task(functools.partial(cleans_up, 6), name="cleans_up", timeout=1, retry=retry))
    assert len(warnings(result.trace)) == 3


@virtual
async def test_an_endless_grace_is_never_over() -> None:
    runner = orch.AsyncRunner(grace=float("inf"))
    result = await settle(Task(functools.partial(cleans_up, 1e4), name="cleans_up", timeout=1), runner=runner)
    assert warnings(result.trace) == []
