"""Cancellation by asyncio's own means: `Task.cancel`, `timeout`, `wait_for`, groups; and what only looks like one."""

import asyncio
from typing import Any

import anyio
import pytest

import orch
from orch.errors import ForeignCancellationError
from orch.event import State
from tests.execution.robust import (
    Gate,
    foreign_cancellation,
    immediate,
    on_asyncio,
    recorded,
    run_quietly,
    ticks,
    until,
    watched,
    within,
)

pytestmark = [pytest.mark.timeout(20), on_asyncio]
CANCELLED, SUCCEEDED, FAILED = State.CANCELLED, State.SUCCEEDED, State.FAILED


def counted() -> int:
    """How many cancellations the current task has not answered yet."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def sleeper() -> None:
    await asyncio.sleep(60)


async def brief() -> None:
    await asyncio.sleep(0)


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError


# -- Task.cancel -------------------------------------------------------------------------------------------------------


@watched
@pytest.mark.parametrize("lane", ["host", "spare", "both"])
async def test_a_cancelled_task_gets_its_cancellation_back_and_can_answer_it(watched: str, lane: str) -> None:
    steps = {"host": [sleeper, immediate()], "spare": [brief, sleeper], "both": [sleeper] * 3}[lane]
    counts: list[int] = []

    async def caller() -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            await orch.run(orch.Sequence(orch.Parallel(*steps), sleeper), subscribers=story.listeners(watched))
        except asyncio.CancelledError:
            counts.extend([task.cancelling(), task.uncancel()])
        await asyncio.sleep(0)
        return "answered"

    with recorded() as story:
        task = asyncio.create_task(caller())
        await ticks(10)
        task.cancel("by hand")
        assert await task == "answered"
    assert counts == [1, 0]
    assert story.state() is CANCELLED


@watched
async def test_the_task_is_cancelled_if_nobody_answers(watched: str) -> None:
    with recorded() as story:
        task = asyncio.create_task(orch.run(orch.Parallel(sleeper, sleeper), subscribers=story.listeners(watched)))
        await ticks(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()
    assert story.state() is CANCELLED


async def test_a_task_cancelled_before_its_first_step_runs_nothing() -> None:
    ran: list[int] = []

    async def step() -> None:
        ran.append(1)

    task = asyncio.create_task(orch.run(step))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ran == []


async def test_two_cancellations_are_two() -> None:
    async def caller() -> list[int]:
        try:
            await orch.run(orch.Parallel(sleeper, sleeper))
        except asyncio.CancelledError:
            return [counted()]
        return []

    task = asyncio.create_task(caller())
    await ticks(10)
    task.cancel()
    task.cancel()
    assert await task == [2]


async def test_a_second_cancellation_during_the_cleanup_is_not_lost() -> None:
    cleaning: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaning.append("begun")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            cleaning.append("done")

    with recorded() as story:
        task = asyncio.create_task(orch.run(orch.Parallel(immediate(), careful)))
        await ticks(10)
        task.cancel()
        await until(lambda: cleaning)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert story.state() is CANCELLED


@watched
async def test_threads_are_waited_for_after_a_native_cancellation(watched: str) -> None:
    with Gate() as gate, recorded() as story, within(5):
        runner = orch.AsyncRunner(grace=0.05)
        task = asyncio.create_task(runner.run(orch.Sequence(gate, gate), subscribers=story.listeners(watched)))
        await until(lambda: gate.entered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(story.runs[0].abandoned) == 1
    assert story.state() is CANCELLED


@pytest.mark.parametrize("lane", ["host", "spare"])
async def test_a_step_cannot_swallow_the_cancellation_of_the_caller(lane: str) -> None:
    seen: list[str] = []

    async def swallows() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("swallowed")
        return "value"

    async def after() -> None:
        seen.append("after")

    steps = [swallows, immediate()] if lane == "host" else [brief, swallows]
    with recorded() as story:
        task = asyncio.create_task(orch.run(orch.Sequence(orch.Parallel(*steps, name="both"), after)))
        await ticks(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == ["swallowed"]
    assert story.states()["both/swallows"] is SUCCEEDED
    assert story.state() is CANCELLED


async def test_a_cleanup_that_raises_does_not_replace_the_cancellation_of_the_caller() -> None:
    async def messy() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("cleanup")

    with recorded() as story:
        task = asyncio.create_task(orch.run(orch.Sequence(messy, immediate())))
        await ticks(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert story.states()["messy"] is FAILED
    assert story.state() is CANCELLED


async def test_a_cancellation_in_the_tick_in_which_a_group_aborts_is_not_lost() -> None:
    caller: list[asyncio.Task[Any]] = []

    async def fails_and_cancels() -> None:
        await asyncio.sleep(0)
        caller[0].cancel()
        raise ValueError

    group = orch.Parallel(sleeper, fails_and_cancels)
    with recorded() as story:
        caller.append(asyncio.create_task(orch.run(orch.Sequence(group, sleeper, on_failure="continue"))))
        with pytest.raises(asyncio.CancelledError):
            await caller[0]
    assert story.state() is CANCELLED
    assert story.states() == {
        "parallel/sleeper": CANCELLED,
        "parallel/fails_and_cancels": FAILED,
        "sleeper": CANCELLED,
    }


@watched
async def test_a_cancellation_in_the_tick_of_a_timeout_inside_a_step_is_not_lost(watched: str) -> None:
    async def times_out() -> None:
        with anyio.move_on_after(0.001):
            await anyio.sleep(60)
        await anyio.sleep(60)

    async def caller() -> str:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        try:
            await orch.run(orch.Parallel(times_out, times_out), subscribers=story.listeners(watched))
        except asyncio.CancelledError:
            return "cancelled"
        return "lost"

    for _ in range(50):
        with recorded() as story:
            assert await asyncio.create_task(caller()) == "cancelled"
        assert story.state() is CANCELLED


# -- asyncio's scopes around a run -------------------------------------------------------------------------------------


@watched
@pytest.mark.parametrize("steps", [[sleeper, immediate()], [brief, sleeper]], ids=["host", "spare"])
async def test_timeouts_of_asyncio_work_around_a_run(watched: str, steps: list[Any]) -> None:
    with recorded() as story:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await orch.run(orch.Parallel(*steps), subscribers=story.listeners(watched))
        assert counted() == 0
    assert story.state() is CANCELLED
    with recorded() as story:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(orch.run(orch.Parallel(*steps)), 0.01)
        assert counted() == 0
    assert story.state() is CANCELLED


async def test_a_sibling_that_fails_in_a_task_group_of_asyncio_cancels_the_run() -> None:
    with recorded() as story, pytest.raises(ExceptionGroup) as failure:  # noqa: PT012 (the group raises at its end)
        async with asyncio.TaskGroup() as group:
            group.create_task(orch.run(orch.Parallel(sleeper, sleeper)))
            group.create_task(fails())
    assert [type(error) for error in failure.value.exceptions] == [ValueError]
    assert story.state() is CANCELLED


async def test_a_shielded_run_goes_on_when_its_caller_is_cancelled() -> None:
    ready = asyncio.Event()

    async def waits() -> str:
        await ready.wait()
        return "done"

    running = asyncio.ensure_future(orch.run(orch.Parallel(waits, waits)))

    async def caller() -> None:
        await asyncio.shield(running)

    task = asyncio.create_task(caller())
    await ticks(10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ready.set()
    assert (await running).value == ["done", "done"]


# -- what the engine cancels itself does not show ----------------------------------------------------------------------


@watched
@pytest.mark.parametrize("steps", [[sleeper, fails], [fails, sleeper]], ids=["host", "spare"])
async def test_an_abort_leaves_no_cancellation_in_the_task_of_the_caller(watched: str, steps: list[Any]) -> None:
    for _ in range(3):
        with recorded() as story, pytest.raises(orch.WorkflowError):
            await orch.run(orch.Sequence(orch.Parallel(*steps), sleeper), subscribers=story.listeners(watched))
        assert counted() == 0
    async with asyncio.timeout(5):
        await asyncio.sleep(0)


async def test_a_run_in_the_cleanup_of_a_cancelled_task_is_an_ordinary_run() -> None:
    foreign = await foreign_cancellation()

    async def raises_foreign() -> None:
        raise foreign

    async def caller() -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert counted() == 1
            good = await orch.run(orch.Sequence(immediate(1), immediate(2)))
            bad = await run_quietly(orch.Sequence(raises_foreign, immediate(2), on_failure="continue"))
            assert counted() == 1
            return good, bad
        return None

    task = asyncio.create_task(caller())
    await ticks()
    task.cancel()
    good, bad = await task
    assert good.value == [1, 2]
    assert bad.value == [None, 2]
    assert [type(error) for error in bad.errors] == [ForeignCancellationError]


# -- cancellations that are none ---------------------------------------------------------------------------------------


async def test_awaiting_a_task_that_somebody_cancelled_is_a_failure_of_the_step() -> None:
    async def awaits_a_cancelled_task() -> None:
        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        task.cancel()
        await task

    workflow = orch.Parallel(awaits_a_cancelled_task, immediate(1), awaits_a_cancelled_task, on_failure="continue")
    result = await run_quietly(workflow)
    assert result.state is FAILED
    assert result.value == [None, 1, None]
    assert [type(error) for error in result.errors] == [ForeignCancellationError] * 2
    assert counted() == 0


@pytest.mark.parametrize("moment", ["and waits"])
async def test_a_step_that_cancels_the_task_it_runs_in_hurts_nobody_else(moment: str) -> None:
    async def cancels_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if moment == "and waits":
            await asyncio.sleep(60)
        return "returned"

    async def innocent() -> str:
        await asyncio.sleep(0)
        return "innocent"

    with recorded() as story:
        result = await run_quietly(orch.Sequence(cancels_itself, innocent, innocent, on_failure="continue"))
    assert result.value == [None if moment == "and waits" else "returned", "innocent", "innocent"]
    assert story.state() is (FAILED if moment == "and waits" else SUCCEEDED)
    assert counted() == 0


async def test_asyncio_tools_work_inside_steps() -> None:
    async def timeout() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timeout"
        return ""

    async def wait_for() -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        except TimeoutError:
            return "wait_for"
        return ""

    async def group() -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, number)) for number in range(3)]
        return sum(task.result() for task in tasks)

    async def gather() -> list[int]:
        return await asyncio.gather(*(asyncio.sleep(0, number) for number in range(3)))

    async def executor() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 5)

    async def own_task() -> bool:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return asyncio.current_task() is before

    tools = [timeout, wait_for, group, gather, executor, own_task]
    expected = ["timeout", "wait_for", 3, [0, 1, 2], 5, True]
    assert (await orch.run(orch.Sequence(*tools))).value == expected
    assert (await orch.run(orch.Parallel(*tools))).value == expected
    assert counted() == 0


async def test_a_failing_task_group_of_asyncio_is_the_failure_of_its_step_alone() -> None:
    async def group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper())
            group.create_task(fails())

    result = await run_quietly(orch.Parallel(group, immediate(1), on_failure="continue"))
    assert result.value == [None, 1]
    (error,) = result.errors
    assert isinstance(error, ExceptionGroup)
    assert [type(each) for each in error.exceptions] == [ValueError]


async def test_a_step_that_handles_a_failed_group_of_asyncio_leaves_no_trace_on_the_next_step() -> None:
    foreign = await foreign_cancellation()

    async def handles() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await sleeper()
        except* ValueError:
            pass
        return "handled"  # and before Python 3.13 the count of cancellations of the task is one too high

    async def raises_foreign() -> None:
        raise foreign

    result = await run_quietly(orch.Sequence(handles, raises_foreign, immediate(1), on_failure="continue"))
    assert result.value == ["handled", None, 1]
    assert [type(error) for error in result.errors] == [ForeignCancellationError]
