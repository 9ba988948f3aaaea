"""A run that is looked at while it goes on, and told to end, whole or in part: `AsyncRunner.iter`."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, Event, Graph, Parallel, Retry, Sequence, State, Task, WorkflowError
from orch.event import RunEvent, TaskEvent
from orch.testing import slow
from tests.execution.resilient import (
    KINDS,
    Diary,
    by_path,
    check,
    failing,
    forever,
    frame,
    of_kind,
    runner_of,
    states,
    ticks,
    virtual,
)

pytestmark = pytest.mark.timeout(30)


def whole(events: list[Event], workflow: Any, result: orch.RunResult) -> None:
    """What the reader got is the record, and the record holds."""
    frame(events, result.run_id)
    assert [(event.seq, type(event), event.path) for event in events] == [
        (event.seq, type(event), event.path) for event in result.trace
    ]
    check(result, orch.plan.compile(workflow))


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_events_come_in_order_and_the_result_is_there_after_the_loop(kind: str) -> None:
    """Check 100, in part."""
    steps = [Task(of_kind(kind, lambda: 1), name=name, thread=False if kind == "in place" else None) for name in "abc"]
    workflow = Sequence(*steps)
    events: list[Event] = []
    with anyio.fail_after(10):
        async with AsyncRunner().iter(workflow) as run:
            async for event in run:
                events.append(event)  # noqa: PERF401 (it is the loop that is tested)
            result = run.result
    assert result.value == [1, 1, 1]
    assert run.run_id == result.run_id
    whole(events, workflow, result)


async def test_events_come_while_the_run_goes_on() -> None:
    go = anyio.Event()

    async def waits() -> str:
        await go.wait()
        return "went"

    with anyio.fail_after(10):
        async with AsyncRunner().iter(Sequence(ticks, waits)) as run:
            async for event in run:
                if event.path == "waits" and isinstance(event, TaskEvent) and event.state is State.RUNNING:
                    with pytest.raises(RuntimeError, match="not over"):
                        _ = run.result
                    go.set()
    assert run.result.value[1] == "went"


async def test_the_result_is_awaited_without_reading() -> None:
    """Check 100: never a deadlock, however many events nobody reads."""
    workflow = Parallel([Task(ticks, name="s")] * 8_000)
    with anyio.fail_after(20):
        async with AsyncRunner().iter(workflow) as run:
            result = await run.wait()
    assert result.state is State.SUCCEEDED
    assert run.result is result


async def test_a_reader_that_is_slow_slows_the_run_and_misses_nothing() -> None:
    workflow = Sequence([Task(checkpoint, name="s")] * 8_000)
    read = 0
    with anyio.fail_after(20):
        async with AsyncRunner().iter(workflow) as run:
            async for event in run:
                read += 1
                assert event.seq == read
                if read % 2_000 == 0:
                    await ticks()
    assert read == 16_002


async def test_reading_may_stop_and_the_run_be_awaited() -> None:
    with anyio.fail_after(10):
        async with AsyncRunner().iter(Sequence([Task(ticks, name="s")] * 100)) as run:
            async for _ in run:
                break
            result = await run.wait()
    assert result.state is State.SUCCEEDED


async def test_two_runs_at_the_same_time_each_have_their_own_events() -> None:
    """Check 77."""

    async def read(name: str) -> None:
        async with AsyncRunner().iter(Sequence(ticks, ticks, name=name)) as run:
            async for event in run:
                seen.setdefault(name, set()).add(event.run_id)

    seen: dict[str, set[str]] = {}
    async with anyio.create_task_group() as group:
        for name in ("first", "second"):
            group.start_soon(read, name)
    assert len(seen["first"]) == len(seen["second"]) == 1
    assert seen["first"] != seen["second"]


async def test_a_failed_run_raises_when_the_block_is_left() -> None:
    error = ValueError()
    events: list[Event] = []
    run = AsyncRunner().iter(Sequence(failing(error), forever))
    with pytest.raises(WorkflowError) as caught:
        async with run:
            events += [event async for event in run]
    assert caught.value.exceptions == (error,)
    assert run.result.state is State.FAILED
    assert isinstance(events[-1], RunEvent)


async def test_a_failed_run_does_not_raise_if_it_is_not_to() -> None:
    async with AsyncRunner().iter(failing(ValueError()), raise_on_failure=False) as run:
        result = await run.wait()
    assert result.state is State.FAILED


async def test_an_error_of_the_block_is_not_hidden_by_that_of_the_run() -> None:
    async def raises() -> None:
        async with AsyncRunner().iter(failing(ValueError())) as run:
            await run.wait()
            raise LookupError

    with pytest.raises(LookupError):
        await raises()


@pytest.mark.parametrize("bad", [{"inputs": {"unknown": 1}}, {"select": 1}, {"run_id": ""}], ids=str)
async def test_what_is_wrong_is_said_before_anything_runs(bad: dict[str, Any]) -> None:
    diary = Diary()
    with pytest.raises((TypeError, ValueError)):
        async with AsyncRunner().iter(diary.step("a"), **bad):
            pass
    assert not diary.lines


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_of_a_step_surfaces_bare_from_the_block(error: type[BaseException]) -> None:
    """F7."""
    with pytest.raises(error):
        async with AsyncRunner().iter(Parallel(failing(error()), forever)) as run:
            await run.wait()


# -- leaving early -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at once", "reading", "by an error", "while it is undone"])
async def test_leaving_early_cancels_and_settles_the_run(when: str) -> None:
    """Check 100."""
    diary, undoing = Diary(), anyio.Event()

    async def undo() -> None:
        undoing.set()
        await ticks()
        diary.write("undone")

    last = failing(ValueError()) if when == "while it is undone" else forever
    workflow = Sequence(diary.step("a", compensate=undo), last, on_failure="compensate")

    async def leaves(run: Any) -> None:
        if when == "while it is undone":
            await undoing.wait()
        elif when != "at once":
            async for event in run:
                if event.path == "forever":
                    break
            if when == "by an error":
                raise LookupError

    run = AsyncRunner().iter(workflow, raise_on_failure=False)
    with anyio.fail_after(10):
        try:
            async with run:
                await leaves(run)
        except LookupError:
            assert when == "by an error"
    result = run.result
    assert result.state in ({State.FAILED, State.CANCELLED} if when == "while it is undone" else {State.CANCELLED})
    check(result, orch.plan.compile(workflow))
    assert diary.lines in ([], ["a", "undone"])
    assert when == "at once" or diary.lines


async def test_a_cancellation_around_the_block_goes_on_to_the_caller() -> None:
    """Check 64."""
    run = AsyncRunner().iter(Parallel(forever, Task(forever, name="b")))
    with anyio.fail_after(10):
        with anyio.CancelScope() as scope:
            async with run:
                async for event in run:
                    if event.path == "b":
                        scope.cancel()
        assert scope.cancelled_caught
    assert run.result.state is State.CANCELLED


# -- cancelling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_cancel_ends_the_run_and_says_whether_there_was_something_to_end(kind: str) -> None:
    """C14."""
    go = threading.Event()
    step = forever if kind == "coroutine" else Task(go.wait, 10, name="forever")
    workflow = Sequence(step, Task(ticks, name="next"))
    events: list[Event] = []
    answers: list[bool] = []
    with anyio.fail_after(10):
        async with AsyncRunner(grace=1).iter(workflow) as run:
            async for event in run:
                events.append(event)
                if event.path == "forever" and not answers:
                    answers += [run.cancel(), run.cancel()]
                    go.set()
            answers.append(run.cancel())
    assert answers == [True, False, False]
    assert run.result.state is State.CANCELLED
    assert states(run.result)["next"] == "cancelled"
    whole(events, workflow, run.result)


async def test_cancel_from_another_thread() -> None:
    """C14: it needs no knowledge of the loop."""
    with anyio.fail_after(10):
        async with AsyncRunner().iter(Sequence(forever)) as run:
            first = await anyio.to_thread.run_sync(run.cancel)
            result = await run.wait()
            second = await anyio.to_thread.run_sync(run.cancel)
    assert (first, second, result.state) == (True, False, State.CANCELLED)


async def test_cancel_from_a_step_of_the_run_itself() -> None:
    runs: list[Any] = []

    async def cancels() -> None:
        runs[0].cancel()
        await checkpoint()

    with anyio.fail_after(10):
        async with AsyncRunner().iter(Parallel(forever, cancels)) as run:
            runs.append(run)
            result = await run.wait()
    assert states(result) == {"forever": "cancelled", "cancels": "cancelled"}


async def test_cancel_undoes_what_a_compensating_group_did() -> None:
    diary = Diary()
    with anyio.fail_after(10):
        async with AsyncRunner().iter(Sequence(diary.step("a"), forever, on_failure="compensate")) as run:
            async for event in run:
                if event.path == "forever":
                    run.cancel()
    assert diary.lines == ["a", "undo a"]
    assert run.result.state is State.CANCELLED


@pytest.mark.parametrize("turns", range(8))
async def test_cancel_when_the_last_step_ends_has_one_outcome(turns: int) -> None:
    """C2."""
    async with AsyncRunner().iter(Task(ticks, 3, name="s")) as run:
        await ticks(turns)
        cancelled = run.cancel()
        result = await run.wait()
    assert result.state is (State.CANCELLED if cancelled else State.SUCCEEDED) or result.state is State.SUCCEEDED
    assert cancelled or result.state is State.SUCCEEDED


# -- one step ----------------------------------------------------------------------------------------------------------


PHASES = ["body", "between attempts", "at its limiter", "timed", "not begun", "thread"]


@pytest.mark.parametrize("phase", PHASES)
async def test_one_step_is_stopped_and_only_what_needs_it_is_skipped(phase: str) -> None:
    """C15."""
    go, entered, gate, limiter = anyio.Event(), threading.Event(), threading.Event(), anyio.Semaphore(1)
    made: dict[str, dict[str, Any]] = {
        "between attempts": {"retry": Retry(3, delay=600)},
        "at its limiter": {"limiter": limiter},
        "timed": {"timeout": 600},
        "not begun": {"deps": ["other"]},
    }
    if phase == "at its limiter":
        await limiter.acquire()

    async def step() -> None:
        if phase == "between attempts":
            raise ValueError
        await anyio.sleep_forever()

    async def other() -> str:
        await go.wait()
        return "untouched"

    def in_thread() -> None:
        entered.set()
        gate.wait(10)

    body: Callable[..., Any] = in_thread if phase == "thread" else step
    needs = Sequence(Task(ticks, name="inner"), name="needs")
    graph = Graph(
        Task(body, name="step", **made.get(phase, {})), other, Task(ticks, name="after", deps=["step"]), needs
    )
    with anyio.fail_after(10):
        async with AsyncRunner(grace=0).iter(graph) as run:
            await anyio.wait_all_tasks_blocked()
            if phase == "thread":
                await anyio.to_thread.run_sync(entered.wait, 10)
            answers = [run.cancel("step"), run.cancel("step")]
            go.set()
            result = await run.wait()
    gate.set()
    assert answers[0]
    assert not answers[1]
    assert states(result) == {
        "step": "cancelled",
        "other": "succeeded",
        "after": "skipped",
        "needs/inner": "succeeded",
    }
    assert result.tasks["step"].reason == "requested"
    assert (result.tasks["after"].reason, result.tasks["after"].cause) == ("upstream_cancelled", "step")
    assert result.state is not State.SUCCEEDED
    assert limiter.value == (0 if phase == "at its limiter" else 1)


async def test_a_step_is_named_by_its_path_or_by_a_name_that_is_unique() -> None:
    workflow = Parallel(Sequence(Task(forever, name="a"), name="g"), Sequence(Task(forever, name="a"), name="h"),
                        Task(forever, name="b"))  # fmt: skip
    with anyio.fail_after(10):
        async with AsyncRunner().iter(workflow) as run:
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(KeyError, match="2 steps are called 'a'"):
                run.cancel("a")
            with pytest.raises(KeyError, match="no step is called 'g/b'"):
                run.cancel("g/b")
            assert run.cancel("g/a")
            assert run.cancel("b")
            await anyio.wait_all_tasks_blocked()
            assert run.cancel("h/a")
            result = await run.wait()
    assert set(states(result).values()) == {"cancelled"}


async def test_a_step_that_has_ended_cannot_be_cancelled() -> None:
    async with AsyncRunner().iter(Sequence(Task(ticks, name="a"), Task(forever, name="b"))) as run:
        async for event in run:
            if event.path == "b":
                break
        assert not run.cancel("a")
    assert states(run.result) == {"a": "succeeded", "b": "cancelled"}


async def test_a_cancelled_step_in_a_group_that_compensates_has_the_group_undone() -> None:
    diary = Diary()
    with anyio.fail_after(10):
        async with AsyncRunner().iter(Sequence(diary.step("a"), forever, on_failure="compensate")) as run:
            async for event in run:
                if event.path == "forever" and isinstance(event, TaskEvent) and event.state is State.RUNNING:
                    run.cancel("forever")
    assert diary.lines == ["a", "undo a"]


@virtual
async def test_in_virtual_time_a_run_is_looked_at_as_well() -> None:
    times: list[float] = []
    async with runner_of().iter(Sequence(slow(10), slow(20))) as run:
        async for _ in run:
            times.append(anyio.current_time())  # noqa: PERF401 (as above)
    assert times == [0, 0, 10, 10, 30, 30]
    assert run.result.duration == 30


@virtual
@pytest.mark.parametrize("half", range(14))
async def test_cancelled_at_any_time(half: int) -> None:
    """The whole run, or one step of it, whatever it is in."""
    for step in (None, "a", "b", "c"):
        diary = Diary()
        workflow = Sequence(
            Task(slow(1), name="a", retry=Retry(2, delay=1), compensate=slow(1)),
            Parallel(Task(forever, name="b", timeout=2), diary.step("d"), on_failure="continue", name="p"),
            Task(slow(1), name="c"),
            on_failure="compensate",
        )
        async with runner_of().iter(workflow, raise_on_failure=False) as run:
            await anyio.sleep(half / 2)
            run.cancel(step)
            result = await run.wait()
        check(result, orch.plan.compile(workflow))
        assert all(events[-1].state.is_final for events in by_path(list(result.trace)).values())
