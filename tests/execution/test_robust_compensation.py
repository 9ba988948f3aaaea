"""Compensation when everything around it goes wrong as well: deadlines, failures, interrupts, threads, subscribers."""

import threading
import time
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    AsyncRunner,
    CompensationError,
    Context,
    Graph,
    Parallel,
    Retry,
    RetryAfter,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
)
from orch.event import CompensationEvent, Event, RunEvent, TaskEvent
from orch.testing import fails, slow
from tests.execution.resilient import (
    KINDS,
    Diary,
    by_path,
    failing,
    of_kind,
    runner_of,
    settle,
    states,
    ticks,
    virtual,
)

pytestmark = pytest.mark.timeout(30)


def compensated(*steps: Any, **options: Any) -> Sequence:
    return Sequence(*steps, on_failure="compensate", **options)


# -- deadlines ---------------------------------------------------------------------------------------------------------


@virtual
async def test_the_timeout_of_a_group_does_not_run_out_while_it_is_undone() -> None:
    """It had its failure within its time; how long it is undone is another matter."""
    group = compensated(Task(slow(1), name="a", compensate=slow(10)), failing(ValueError()), timeout=5)
    result = await settle(group)
    assert [type(error) for error in result.errors] == [ValueError]
    assert (states(result)["a"], result.duration) == ("compensated", 11)


@virtual
async def test_the_timeout_of_an_outer_group_does_not_cut_off_what_an_inner_one_undoes() -> None:
    inner = compensated(Task(slow(1), name="a", compensate=slow(10)), failing(ValueError()), name="inner")
    outer = compensated(Task(slow(1), name="x", compensate=slow(2)), inner, Task(slow(1), name="z"), timeout=5)
    result = await settle(outer)
    assert states(result) == {
        "x": "compensated",
        "inner/a": "compensated",
        "inner/fails": "failed",
        "z": "skipped",
    }
    assert result.duration == 14
    assert isinstance(result.errors[0], ValueError)


@virtual
async def test_every_group_has_the_whole_time_for_its_compensations() -> None:
    inner = compensated(Task(slow(1), name="a", compensate=slow(8)), failing(ValueError()), name="inner")
    outer = compensated(Task(slow(1), name="x", compensate=slow(8)), inner)
    result = await settle(outer, runner=runner_of(compensation_timeout=10))
    assert states(result) == {"x": "compensated", "inner/a": "compensated", "inner/fails": "failed"}


@virtual
@pytest.mark.parametrize("box", [float("inf"), 1e9])
async def test_there_may_be_no_limit_of_time(box: Any) -> None:
    group = compensated(Task(slow(1), name="a", compensate=slow(1000)), failing(ValueError()))
    result = await settle(group, runner=runner_of(compensation_timeout=box))
    assert states(result)["a"] == "compensated"


@pytest.mark.parametrize("bad", [0, -1, float("nan"), "1", True], ids=repr)
def test_the_time_for_compensations_is_a_positive_number(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="compensation_timeout"):
        AsyncRunner(compensation_timeout=bad)


@virtual
async def test_the_cleanup_of_a_compensation_that_is_cut_off_is_waited_for() -> None:
    ended: list[float] = []

    async def hangs() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            ended.append(anyio.current_time())

    group = compensated(Task(slow(1), name="a", compensate=hangs), failing(ValueError()))
    result = await settle(group, runner=runner_of(compensation_timeout=5))
    assert ended == [9]
    assert isinstance(result.tasks["a"].compensation_error, TaskTimeoutError)


# -- failures ----------------------------------------------------------------------------------------------------------


@virtual
async def test_a_compensation_is_tried_as_often_as_its_policy_says() -> None:
    """S3."""
    undo = fails(2)
    a = Task(slow(1), name="a", compensate=Task(undo, name="undo", retry=Retry(3, delay=5)))
    result = await settle(compensated(a, failing(ValueError())))
    assert (undo.calls, states(result)["a"], result.duration) == (3, "compensated", 11)


@virtual
async def test_a_compensation_may_ask_for_time() -> None:
    error = OSError()

    async def undo() -> None:
        raise RetryAfter(7) from error

    a = Task(slow(1), name="a", compensate=Task(undo, retry=Retry(3)))
    result = await settle(compensated(a, failing(ValueError())))
    assert result.duration == 15
    assert result.tasks["a"].compensation_error is error


@virtual
async def test_a_compensation_has_no_more_attempts_than_its_box_has_time() -> None:
    undo = fails(100)
    a = Task(slow(1), name="a", compensate=Task(undo, name="undo", retry=Retry(100, delay=5)))
    result = await settle(compensated(a, failing(ValueError())), runner=runner_of(compensation_timeout=12))
    assert undo.calls == 3
    assert isinstance(result.tasks["a"].compensation_error, TaskTimeoutError)


async def test_a_failure_in_a_task_group_of_a_compensation_is_its_failure() -> None:
    diary = Diary()

    async def undo() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(failing(KeyError("inside")).fn)
            await anyio.sleep_forever()

    result = await settle(compensated(diary.step("a"), diary.step("b", compensate=undo), failing(ValueError())))
    assert diary.lines == ["a", "b", "undo a"]
    error = result.tasks["b"].compensation_error
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error.exceptions[0], KeyError)


async def test_a_compensation_may_cancel_scopes_of_its_own() -> None:
    diary = Diary()

    async def undo() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 60)
            await checkpoint()
            group.cancel_scope.cancel()
        diary.write("undo b")

    await settle(compensated(diary.step("a"), diary.step("b", compensate=undo), failing(ValueError())))
    assert diary.lines == ["a", "b", "undo b", "undo a"]


async def test_a_cancellation_that_nobody_asked_for_is_the_failure_of_one_compensation() -> None:
    """C10."""
    diary = Diary()

    async def undo() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await checkpoint()
            except anyio.get_cancelled_exc_class() as cancelled:
                kept.append(cancelled)
        raise kept[0]

    kept: list[BaseException] = []
    result = await settle(compensated(diary.step("a"), diary.step("b", compensate=undo), failing(ValueError())))
    assert diary.lines == ["a", "b", "undo a"]
    assert type(result.tasks["b"].compensation_error).__name__ == "ForeignCancellationError"
    assert result.state is State.FAILED


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration()], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stop_iteration_out_of_a_compensation_stays_what_it_is(kind: str, error: Exception) -> None:
    """F9."""

    def act() -> None:
        raise error

    undo = Task(of_kind(kind, act), name="undo", thread=False if kind == "in place" else None)
    result = await settle(compensated(Task(ticks, name="a", compensate=undo), failing(ValueError())))
    assert type(result.tasks["a"].compensation_error) is type(error)


async def test_a_hundred_compensations_that_all_fail_are_all_made_and_told() -> None:
    diary = Diary()
    steps = [diary.step(f"s{k}", compensate=diary.undo(f"s{k}", error=KeyError(k))) for k in range(100)]
    result = await settle(compensated(*steps, failing(ValueError())))
    error = result.errors[1]
    assert isinstance(error, CompensationError)
    assert [each.args[0] for each in error.exceptions] == list(reversed(range(100)))
    assert sum(isinstance(event, CompensationEvent) for event in result.trace) == 100


# -- what surrounds it -------------------------------------------------------------------------------------------------


async def test_it_sees_the_context_variables_of_the_caller_and_keeps_its_own() -> None:
    """T6."""
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    seen: list[str] = []

    async def undo() -> None:
        seen.append(variable.get())
        variable.set("a compensation's")

    def in_thread() -> None:
        seen.append(variable.get())
        variable.set("a thread's")

    variable.set("caller's")
    steps = [Task(ticks, name=f"s{k}", compensate=each) for k, each in enumerate([undo, in_thread, undo, in_thread])]
    await settle(compensated(*steps, failing(ValueError())))
    assert seen == ["caller's"] * 4
    assert variable.get() == "caller's"


async def test_its_view_of_the_context_logs_in_the_name_of_the_task() -> None:
    async def act() -> None: ...

    async def undo(context: Context[Any]) -> None:
        context.log(f"undoing {context.task}, attempt {context.attempt}")

    group = compensated(Task(act, name="a", compensate=undo), failing(ValueError()), name="g")
    result = await settle(Sequence(group), Context(None))
    lines = [(event.path, event.message) for event in result.trace if isinstance(event, orch.event.LogEvent)]
    assert lines == [("g/a", "undoing g/a, attempt 1")]


async def test_it_may_run_a_workflow_of_its_own() -> None:
    diary = Diary()

    async def undo() -> None:
        inner = compensated(diary.step("inner"), failing(ValueError()), name="repair")
        await orch.run(inner, raise_on_failure=False)

    await settle(compensated(diary.step("a", compensate=undo), failing(ValueError())))
    assert diary.lines == ["a", "inner", "undo inner"]


async def test_a_thread_of_a_compensation_may_await_on_the_loop() -> None:
    diary = Diary()

    async def on_loop() -> None:
        await checkpoint()
        diary.write("on the loop")

    def undo() -> None:
        anyio.from_thread.run(on_loop)

    result = await settle(compensated(diary.step("a", compensate=undo), failing(ValueError())))
    assert diary.lines == ["a", "on the loop"]
    assert states(result)["a"] == "compensated"


async def test_a_strict_subscriber_that_raises_meanwhile_does_not_stop_it() -> None:
    diary = Diary()

    def raises(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.COMPENSATED:
            raise LookupError("subscriber")

    runner = AsyncRunner(strict_subscribers=True, subscribers=[raises])
    with pytest.raises(LookupError):
        await runner.run(compensated(diary.step("a"), diary.step("b"), failing(ValueError())))
    assert diary.lines == ["a", "b", "undo b", "undo a"]


async def test_a_subscriber_that_cancels_the_run_meanwhile_does_not_stop_it() -> None:
    diary, heard, scope = Diary(), list[Event](), anyio.CancelScope()

    def cancels(event: Event) -> None:
        heard.append(event)
        if isinstance(event, TaskEvent) and event.state is State.COMPENSATED:
            scope.cancel()

    with scope:
        workflow = compensated(diary.step("a"), diary.step("b"), failing(ValueError()))
        await AsyncRunner(subscribers=[cancels]).run(workflow)
    assert diary.lines == ["a", "b", "undo b", "undo a"]
    assert isinstance(heard[-1], RunEvent)


async def test_groups_beside_it_go_on_and_are_not_waited_for() -> None:
    order: list[str] = []
    undoing = anyio.Event()

    async def undo() -> None:
        undoing.set()
        await anyio.wait_all_tasks_blocked()
        order.append("undone")

    async def beside() -> None:
        await undoing.wait()
        order.append("beside")

    group = compensated(Task(ticks, name="a", compensate=undo), failing(ValueError()), name="g")
    result = await settle(Parallel(group, beside, on_failure="continue"))
    assert order == ["beside", "undone"]
    assert states(result)["beside"] == "succeeded"


async def test_an_abort_around_it_waits_for_its_end() -> None:
    """What another failure stops around it does not stop it."""
    diary, undoing = Diary(), anyio.Event()

    async def undo() -> None:
        undoing.set()
        await ticks(20)
        diary.write("undo a")

    async def other() -> None:
        await undoing.wait()
        raise KeyError

    group = compensated(diary.step("a", compensate=undo), failing(ValueError()), name="g")
    result = await settle(Parallel(group, other, Task(anyio.sleep_forever, name="z")))
    assert diary.lines == ["a", "undo a"]
    assert states(result) == {"g/a": "compensated", "g/fails": "failed", "other": "failed", "z": "cancelled"}


async def test_a_selected_part_of_a_graph_undoes_what_it_did() -> None:
    diary = Diary()
    graph = Graph(
        diary.step("a"),
        diary.step("b", deps=["a"], error=ValueError()),
        diary.step("c"),
        on_failure="compensate",
    )
    result = await orch.run(graph, select="b", raise_on_failure=False)
    assert diary.lines == ["a", "b", "undo a"]
    assert set(result.tasks) == {"a", "b"}


async def test_a_result_of_several_outputs_is_undone_as_one() -> None:
    seen: list[Any] = []

    async def split() -> tuple[int, int]:
        return 1, 2

    async def undo(value: Any) -> None:
        seen.append(value)

    task = Task(split, output=("x", "y"), compensate=undo)
    await settle(Graph(task, Task(failing(ValueError()).fn, name="last", deps=["x"]), on_failure="compensate"))
    assert seen == [(1, 2)]


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_a_thousand_steps_are_undone_in_order(kind: str) -> None:
    diary = Diary()
    number = 1000 if kind == "coroutine" else 100
    steps = [diary.step(f"s{k}", kind) for k in range(number)]
    result = await settle(compensated(*steps, failing(ValueError())))
    assert diary.lines[number:] == [f"undo s{k}" for k in reversed(range(number))]
    assert result.state is State.FAILED


async def test_undoing_grows_with_the_number_of_steps_only() -> None:
    async def seconds(number: int) -> float:
        workflow = compensated(*[Task(ticks, name="s", compensate=ticks)] * number, failing(ValueError()))
        orch.plan.compile(workflow)
        begin = time.thread_time()
        await orch.run(workflow, raise_on_failure=False)
        return time.thread_time() - begin

    await seconds(100)
    assert await seconds(3000) < 30 * (await seconds(300) + 0.01)


async def test_two_hundred_runs_leave_nothing_behind() -> None:
    """T15: the fixtures look for tasks, threads and files."""
    workflow = compensated(
        Task(ticks, name="a", compensate=lambda: None, retry=Retry(2, delay=0), timeout=60),
        Task(lambda: 1, name="b", compensate=ticks, timeout=60),
        failing(ValueError(), retry=Retry(2, delay=0)),
        timeout=60,
    )
    before = threading.active_count()
    for _ in range(200):
        result = await orch.run(workflow, raise_on_failure=False)
        assert states(result) == {"a": "compensated", "b": "compensated", "fails": "failed"}
    assert threading.active_count() <= before + 1


async def test_events_of_a_group_that_is_undone_come_before_those_of_what_follows_it() -> None:
    diary = Diary()
    inner = compensated(diary.step("a"), failing(ValueError()), name="inner")
    result = await settle(Sequence(inner, diary.step("after"), on_failure="continue"))
    told = by_path(result.trace)
    assert told["inner/a"][-1].seq < told["after"][0].seq


async def test_a_second_attempt_of_a_compensation_does_not_overlap_the_first() -> None:
    """Check 62."""
    diary = Diary()

    def undo() -> None:
        diary.write("begin")
        time.sleep(0.2)
        diary.write("end")

    task = Task(undo, timeout=0.01, retry=Retry(2, delay=0))
    result = await settle(compensated(Task(ticks, name="a", compensate=task), failing(ValueError())))
    assert diary.lines[:3] == ["begin", "end", "begin"]
    assert isinstance(result.tasks["a"].compensation_error, TaskTimeoutError)


async def test_a_thread_of_a_compensation_that_does_not_end_is_abandoned() -> None:
    go = threading.Event()
    group = compensated(Task(ticks, name="a", compensate=Task(go.wait, 10, name="undo")), failing(ValueError()))
    result = await settle(group, runner=AsyncRunner(grace=0.02, compensation_timeout=0.02))
    assert [record.path for record in result.abandoned] == ["a"]
    go.set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_interrupt_out_of_a_compensation_surfaces_bare_after_the_others(
    kind: str, error: type[BaseException]
) -> None:
    """F7."""
    diary = Diary()
    steps = [diary.step("a"), diary.step("b", compensate=diary.undo("b", kind, error())), failing(ValueError())]
    with pytest.raises(error):
        await orch.run(compensated(*steps))
    assert diary.lines == ["a", "b", "undo b", "undo a"]


@pytest.mark.parametrize("where", ["step", "compensation"])
async def test_a_plain_function_with_policies_may_open_an_event_loop_of_its_own(where: str) -> None:
    """T5."""
    ran: list[str] = []

    def opens() -> Any:
        ran.append("opened")
        return orch.Runner().run(Sequence(lambda: 1, ticks)).state

    if where == "step":
        result = await settle(Task(opens, timeout=60, retry=Retry(2, delay=0)), runner=AsyncRunner(threads=1))
        assert result.value is State.SUCCEEDED
    else:
        result = await settle(compensated(Task(ticks, name="a", compensate=opens), failing(ValueError())))
        assert states(result)["a"] == "compensated"
    assert ran == ["opened"]


async def test_a_group_is_not_undone_while_a_body_over_its_timeout_still_runs() -> None:
    """S7: the body of a plain function that nobody could stop is waited for, as long as the grace says."""
    diary = Diary()

    def lasts() -> None:
        time.sleep(0.2)
        diary.write("body ended")

    late = Task(lasts, timeout=0.01, compensate=diary.undo("late"), compensate_unknown=True)
    result = await settle(compensated(diary.step("a"), late))
    assert diary.lines == ["a", "body ended", "undo late", "undo a"]
    assert not result.abandoned


async def test_what_outlasts_the_grace_is_undone_nevertheless() -> None:
    go, diary = threading.Event(), Diary()

    def lasts() -> None:
        go.wait(10)
        diary.write("body ended")

    late = Task(lasts, timeout=0.01, compensate=diary.undo("late"), compensate_unknown=True)
    result = await settle(compensated(diary.step("a"), late), runner=AsyncRunner(grace=0.02))
    go.set()
    assert diary.lines[:3] == ["a", "undo late", "undo a"]
    assert [record.path for record in result.abandoned] == ["lasts"]


async def test_what_a_compensation_over_its_timeout_returns_to_be_awaited_is_closed() -> None:
    """Python would say that it was never awaited, which is an error here."""

    async def rest() -> None: ...

    def late() -> Any:
        time.sleep(0.2)
        return rest()

    group = compensated(Task(ticks, name="a", compensate=Task(late, timeout=0.01)), failing(ValueError()))
    result = await settle(group)
    assert isinstance(result.tasks["a"].compensation_error, TaskTimeoutError)
