"""Runs that are ended at odd moments: before they begin, by a step on itself, while a step cleans up, after the end."""

import threading
from typing import Any
from unittest import mock

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import (
    AsyncRunner,
    CircuitBreaker,
    Context,
    Event,
    FailureStrategy,
    Parallel,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
)
from orch.event import LogEvent, TaskEvent
from orch.runners._iter import GraphRun
from tests.execution.resilient import states
from tests.runners.iterated import Stand, events_of, iterated, until


async def one() -> int:
    return 1


async def fails() -> None:
    raise ValueError("no")


def plain() -> str:
    return "plain"


def undo(value: object) -> None: ...


class Picky:
    """A strategy of one's own."""

    def on_failure(self, event: TaskEvent, group: object) -> FailureStrategy:
        return FailureStrategy.ABORT


GUARDED: dict[str, Any] = {
    "compensate": lambda *steps: Sequence(*steps, on_failure="compensate"),
    "own strategy": lambda *steps: Sequence(*steps, on_failure=Picky()),
    "breaker": lambda *steps: Sequence(*steps, breaker=CircuitBreaker()),
    "timeout": lambda *steps: Sequence(*steps, timeout=60),
    "nested": lambda *steps: Sequence(Parallel(*steps, breaker=CircuitBreaker()), plain, on_failure="compensate"),
}
guarded = pytest.mark.parametrize("how", GUARDED)


# -- before the beginning ----------------------------------------------------------------------------------------------


@guarded
@pytest.mark.parametrize("moment", ["before the block", "in the block"])
async def test_a_run_of_guarded_groups_is_cancelled_before_it_begins(how: str, moment: str) -> None:
    stand = Stand()
    run = AsyncRunner().iter(GUARDED[how](Task(stand, compensate=undo), one))
    if moment == "before the block":
        assert run.cancel()
    with anyio.fail_after(5):
        async with run:
            assert run.cancel() is (moment == "in the block")
            assert (await run.wait()).state is State.CANCELLED
    assert stand.starts == 0
    assert set(states(run.result).values()) == {"cancelled"}


@guarded
async def test_one_step_is_cancelled_before_the_run_begins_and_the_others_run(how: str) -> None:
    stand = Stand()
    async with iterated(GUARDED[how](Task(stand, compensate=undo), one)) as run:
        assert run.cancel("stand")
        assert not run.cancel("stand")
        await run.wait()
    found = {path.rpartition("/")[2]: state for path, state in states(run.result).items()}
    assert (stand.starts, found["stand"], found["one"]) == (0, "cancelled", "succeeded")


@guarded
async def test_leaving_at_once_settles_guarded_groups(how: str) -> None:
    async with iterated(GUARDED[how](Task(one, compensate=undo), one)) as run:
        pass
    assert run.result.state is State.CANCELLED


# -- by a step, on itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", ["loop", "threads"])
@pytest.mark.parametrize("target", ["itself", "the run"])
async def test_a_step_cancels_itself_before_it_has_ever_waited(others: str, target: str) -> None:
    box = list[GraphRun]()

    async def selfish() -> str:
        assert box[0].cancel(*["selfish"] * (target == "itself"))
        await anyio.sleep(5)
        return "went on"

    async with iterated(Parallel(selfish, plain if others == "threads" else one)) as run:
        box.append(run)
        await run.wait()
    assert states(run.result)["selfish"] == "cancelled"
    assert run.result.tasks["selfish"].reason == ("requested" if target == "itself" else "cancelled")
    assert run.result.duration is not None
    assert run.result.duration < 4


@pytest.mark.parametrize("others", ["loop", "threads"])
async def test_it_may_clean_up_for_longer_than_the_grace(others: str) -> None:
    """The grace is for threads: a step on the loop is waited for, however long it takes, and is not abandoned."""
    box, cleaned = list[GraphRun](), list[bool]()

    async def selfish() -> None:
        box[0].cancel()
        try:
            await anyio.sleep(5)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)
            cleaned.append(True)

    workflow = Parallel(selfish, plain if others == "threads" else one)
    async with iterated(workflow, runner=AsyncRunner(grace=0.02)) as run:
        box.append(run)
        await run.wait()
    assert cleaned == [True]
    assert run.result.state is State.CANCELLED
    assert states(run.result)["selfish"] == "cancelled"
    assert run.result.abandoned == ()


async def test_what_a_plain_function_returned_is_stopped_by_a_failure_in_the_same_tick() -> None:
    """The lane that is to await it has been started, but had no turn yet."""
    awaited, may_fail = Stand(), anyio.Event()

    def returns() -> Any:
        return awaited()

    async def fails_then() -> None:
        await may_fail.wait()
        raise ValueError("now")

    async with iterated(Parallel(returns, fails_then), runner=AsyncRunner(grace=0.05)) as run:
        await until(run, "returns", "running")
        may_fail.set()
        await run.wait()
    assert run.result.state is State.FAILED
    assert states(run.result) == {"returns": "cancelled", "fails_then": "failed"}
    assert awaited.starts == awaited.ends
    assert run.result.abandoned == ()


# -- who came first ----------------------------------------------------------------------------------------------------


async def careful() -> None:
    """Clean up for longer than the timeout of its group."""
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.15)


@pytest.mark.parametrize("who", ["the run", "the step", "leaving", "a failure outside"])
async def test_a_group_that_is_being_ended_is_not_late_as_well(who: str) -> None:
    """C6: its breaker hears nothing of a timeout that came second."""
    breaker, go = CircuitBreaker(fail_max=1), anyio.Event()

    async def outside() -> None:
        await go.wait()
        if who == "a failure outside":
            raise ValueError("outside")

    inner = Sequence(careful, name="inner", timeout=0.08, breaker=breaker)
    async with iterated(Parallel(inner, outside)) as run:
        await until(run, "inner/careful", "running")
        await anyio.lowlevel.checkpoint()
        if who == "the run":
            run.cancel()
        elif who == "the step":
            run.cancel("careful")
        go.set()
        if who != "leaving":
            await run.wait()
    assert breaker.state == "closed"
    assert run.result.groups["inner"].state is State.CANCELLED
    assert not any(isinstance(error, TaskTimeoutError) for error in run.result.errors)


# -- after the end -----------------------------------------------------------------------------------------------------


async def test_what_an_abandoned_thread_says_after_the_end_is_no_part_of_the_record() -> None:
    go, said, heard = threading.Event(), threading.Event(), list[Event]()

    def lasting(context: Context[Any]) -> None:
        context.log("in time")
        go.wait(10)
        context.log("too late")
        said.set()

    workflow, runner = Parallel(lasting), AsyncRunner(grace=0.02, subscribers=[heard.append])
    try:
        async with iterated(workflow, Context(), runner=runner) as run:
            seen = await until(run, "lasting", "running")
            while len(run._run.schedule) < 2:  # noqa: ASYNC110 (said in a thread)
                await anyio.sleep(0.001)
            run.cancel()
            seen += await events_of(run)
    finally:
        go.set()
    while not said.is_set():  # noqa: ASYNC110 (set in a thread)
        await anyio.sleep(0.001)
    assert [record.path for record in run.result.abandoned] == ["lasting"]
    assert seen == heard == list(run.result.trace)
    assert [event.message for event in seen if isinstance(event, LogEvent)] == ["in time"]


# -- in the middle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_what_steps_say_is_shown_at_once(kind: str) -> None:
    """Not only when something else happens: here nothing does, until the reader has seen it."""
    told, seen_it = anyio.Event(), threading.Event()

    async def loop(context: Context[Any]) -> None:
        context.log("first")
        await anyio.lowlevel.checkpoint()
        context.log("second")
        await told.wait()

    def thread(context: Context[Any]) -> None:
        context.log("first")
        context.log("second")
        assert seen_it.wait(10)

    try:
        async with iterated(loop if kind == "loop" else thread, Context()) as run:
            async for event in run:
                if isinstance(event, LogEvent) and event.message == "second":
                    seen_it.set()
                    told.set()
    finally:
        seen_it.set()
    assert run.result.state is State.SUCCEEDED


# -- when the machine has no more threads ------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [0, 1, 2])
async def test_threads_that_cannot_be_started_hang_nothing(allowed: int) -> None:
    start, left = threading.Thread.start, allowed

    def stingy(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith("orch-worker"):
            left -= 1
            if left < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    ended = list[type[BaseException]]()
    with mock.patch.object(threading.Thread, "start", stingy), anyio.fail_after(5):
        try:
            result = await orch.run(Parallel(*[plain] * 20))
        except orch.errors.InternalError as error:
            ended.append(type(error))
        else:
            assert result.value == ["plain"] * 20
    assert bool(ended) == (allowed == 0)
