"""Checks 44 to 50: a group that fails undoes what it has done."""

import functools
import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    UNKNOWN,
    AsyncRunner,
    CompensationError,
    Context,
    FailureStrategy,
    Graph,
    Parallel,
    Retry,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
    WorkflowError,
)
from orch.event import CompensationEvent, TaskEvent
from orch.testing import fails, slow
from tests.execution.resilient import (
    KINDS,
    Diary,
    by_path,
    failing,
    forever,
    logged,
    runner_of,
    settle,
    states,
    story,
    ticks,
    virtual,
)

COMPENSATE = FailureStrategy.COMPENSATE


def kept(seen: list[Any]) -> Any:
    """A compensation that keeps the value it is given."""

    async def undo(value: Any) -> None:
        seen.append(value)

    return undo


# -- 44: in a sequence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["compensate", COMPENSATE], ids=["text", "member"])
@pytest.mark.parametrize("kind", KINDS)
async def test_check_44_what_succeeded_is_undone_in_reverse_the_failed_step_is_not(kind: str, strategy: Any) -> None:
    diary, error = Diary(), ValueError("c")
    steps = [diary.step("a", kind), diary.step("b", kind), diary.step("c", kind, error=error), diary.step("d", kind)]
    result = await settle(Sequence(*steps, on_failure=strategy))

    assert diary.lines == ["a", "b", "c", "undo b", "undo a"]
    assert states(result) == {"a": "compensated", "b": "compensated", "c": "failed", "d": "skipped"}
    assert (result.state, result.errors) == (State.FAILED, (error,))
    assert result.tasks["d"].reason == "aborted"
    assert result.tasks["a"].compensation_error is None
    assert story(result, "a") == ["running", "succeeded", "compensated"]


async def test_check_44_a_run_that_compensated_failed_and_says_why() -> None:
    diary, error = Diary(), ValueError("b")
    workflow = Sequence(diary.step("a"), diary.step("b", error=error), on_failure="compensate")
    with pytest.raises(WorkflowError) as caught:
        await orch.run(workflow)
    assert caught.value.exceptions == (error,)
    assert caught.value.result.tasks["a"].state is State.COMPENSATED
    assert caught.value.result.groups[""].state is State.FAILED


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
async def test_check_44_a_success_undoes_nothing(kind: Any) -> None:
    diary = Diary()
    result = await settle(kind(diary.step("a"), diary.step("b"), on_failure="compensate"))
    assert result.state is State.SUCCEEDED
    assert sorted(diary.lines) == ["a", "b"]


@pytest.mark.parametrize("strategy", ["abort", "continue"])
async def test_check_44_other_strategies_undo_nothing(strategy: str) -> None:
    diary = Diary()
    result = await settle(Sequence(diary.step("a"), diary.step("b", error=ValueError()), on_failure=strategy))
    assert states(result) == {"a": "succeeded", "b": "failed"}
    assert diary.lines == ["a", "b"]


async def test_check_44_a_step_without_compensation_stays_succeeded() -> None:
    diary = Diary()
    steps = [diary.step("a"), diary.step("b", compensate=None), diary.step("c"), diary.step("d", error=ValueError())]
    result = await settle(Sequence(*steps, on_failure="compensate"))
    assert list(states(result).values()) == ["compensated", "succeeded", "compensated", "failed"]
    assert diary.lines[4:] == ["undo c", "undo a"]


async def test_check_44_the_value_of_a_compensated_task_stays_on_record() -> None:
    diary = Diary()
    workflow = Sequence(diary.step("a"), diary.step("b", error=ValueError()), on_failure="compensate")
    result = await settle(workflow)
    record = result.tasks["a"]
    assert (record.state, record.value, record.attempts) == (State.COMPENSATED, "A", 1)
    assert record.finished == by_path(result.trace)["a"][1].time


async def test_check_44_nothing_is_undone_while_a_sibling_still_runs() -> None:
    """S7: the first compensation comes after the last forward attempt has ended, its cleanup included."""
    diary = Diary()

    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ticks()
            diary.write("cleaned up")

    async def fails() -> None:
        await ticks()
        raise ValueError

    result = await settle(Parallel(diary.step("a"), careful, fails, on_failure="compensate"))
    assert diary.lines == ["a", "cleaned up", "undo a"]
    ends = [event.seq for event in result.trace if isinstance(event, TaskEvent) and event.state is State.CANCELLED]
    assert by_path(result.trace)["a"][-1].seq > ends[0]


async def test_check_44_a_thread_that_still_runs_is_waited_for() -> None:
    diary, go = Diary(), threading.Event()

    def in_thread() -> None:
        assert go.wait(10)
        diary.write("thread")

    async def fails() -> None:
        raise ValueError

    def release(event: Any) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            go.set()

    steps = [diary.step("a"), Parallel(Task(in_thread, compensate=diary.undo("thread")), fails)]
    result = await settle(Sequence(*steps, on_failure="compensate"), subscribers=[release])
    assert diary.lines == ["a", "thread", "undo thread", "undo a"]
    assert states(result)["parallel/in_thread"] == "compensated"


# -- 45: in any shape --------------------------------------------------------------------------------------------------


async def test_check_45_branches_are_undone_in_reverse_order_of_their_ends() -> None:
    diary = Diary()
    turns = {name: anyio.Event() for name in "abcd"}

    def branch(name: str, before: str | None) -> Task[..., Any]:
        async def act() -> str:
            if before:
                await turns[before].wait()
            diary.write(name)
            turns[name].set()
            return name

        return Task(act, name=name, compensate=diary.undo(name))

    async def fails() -> None:
        await turns["b"].wait()
        await ticks()
        raise ValueError

    steps = [branch("a", "d"), branch("b", "a"), branch("c", None), branch("d", "c")]
    result = await settle(Parallel(*steps, fails, on_failure="compensate"))
    ends = [event.path for event in result.trace if getattr(event, "state", None) is State.SUCCEEDED]
    assert ends == ["c", "d", "a", "b"]
    assert diary.lines == ["c", "d", "a", "b", "undo b", "undo a", "undo d", "undo c"]


async def test_check_45_the_children_of_a_failed_composite_are_undone_too() -> None:
    diary = Diary()
    inner = Sequence(diary.step("b"), Parallel(diary.step("c"), diary.step("d"), name="p"), failing(ValueError()),
                     name="inner", on_failure="abort")  # fmt: skip
    result = await settle(Sequence(diary.step("a"), inner, diary.step("z"), on_failure="compensate"))

    assert states(result) == {
        "a": "compensated",
        "inner/b": "compensated",
        "inner/p/c": "compensated",
        "inner/p/d": "compensated",
        "inner/fails": "failed",
        "z": "skipped",
    }
    assert diary.lines[4:] == ["undo d", "undo c", "undo b", "undo a"]


async def test_check_45_of_a_composite_that_succeeded_every_leaf_is_undone() -> None:
    diary = Diary()
    done = Graph(diary.step("x"), diary.step("y", deps=["x"]), name="done")
    result = await settle(Sequence(done, failing(ValueError()), on_failure="compensate"))
    assert diary.lines == ["x", "y", "undo y", "undo x"]
    assert result.groups["done"].state in {State.SUCCEEDED, State.COMPENSATED}


@virtual
async def test_check_45_in_a_graph_what_depends_is_undone_before_what_it_depends_on() -> None:
    """S1: for every edge of a random graph."""
    diary = Diary()
    tasks = []
    for k in range(40):
        deps = [f"t{(k * 7 + j * 13) % k}" for j in range(k % 4)] if k else []
        tasks.append(diary.step(f"t{k}", ["coroutine", "suspended", "in place"][k % 3], deps=sorted(set(deps))))
    last = Task(failing(ValueError()).fn, name="last", deps=[f"t{k}" for k in range(40)])
    result = await settle(Graph(*tasks, last, on_failure="compensate"))
    assert list(states(result).values()) == ["compensated"] * 40 + ["failed"]
    ends = [event.path for event in result.trace if getattr(event, "state", None) is State.SUCCEEDED]
    assert diary.lines[40:] == [f"undo {path}" for path in reversed(ends)]


@pytest.mark.parametrize("failures", [1, 2, 5])
async def test_check_45_several_failures_undo_everything_once(failures: int) -> None:
    diary = Diary()

    def bad(k: int) -> Task[..., Any]:
        async def fails() -> None:
            await anyio.wait_all_tasks_blocked()
            raise ValueError(k)

        return Task(fails, name=f"bad{k}")

    steps = [*(diary.step(f"s{k}") for k in range(5)), *map(bad, range(failures)), forever]
    result = await settle(Parallel(*steps, on_failure="compensate"))
    assert sorted(diary.lines) == sorted([f"s{k}" for k in range(5)] + [f"undo s{k}" for k in range(5)])
    assert [state for path, state in states(result).items() if path[0] == "s"] == ["compensated"] * 5


# -- 46: once per execution, in this run -------------------------------------------------------------------------------


async def test_check_46_the_same_task_twice_is_undone_twice() -> None:
    diary = Diary()
    task = diary.step("a")
    result = await settle(Sequence(task, task, failing(ValueError()), on_failure="compensate"))
    assert diary.lines == ["a", "a", "undo a", "undo a"]
    assert states(result) == {"a": "compensated", "a#2": "compensated", "fails": "failed"}


async def test_check_46_another_run_of_the_same_definition_and_context_is_not_touched() -> None:
    seen: list[tuple[str | None, int]] = []

    async def act(n: int, context: Context[Any]) -> int:
        context.data.append(n)
        return n

    async def undo(value: int, context: Context[Any]) -> None:
        seen.append((context.run_id, value))

    async def may_fail(n: int) -> None:
        if n:
            raise ValueError

    workflow = Sequence(Task(act, compensate=undo), Task(may_fail), on_failure="compensate")
    context: Context[Any] = Context([])
    await settle(workflow, context, n=0, run_id="first")
    assert not seen
    await settle(workflow, context, n=1, run_id="second")
    await settle(workflow, context, n=2, run_id="third")
    assert seen == [("second", 1), ("third", 2)]
    assert context.data == [0, 1, 2]


async def test_check_46_runs_at_the_same_time_undo_their_own() -> None:
    undone: list[int] = []

    async def act(n: int) -> int:
        await ticks(n)
        return n

    async def undo(value: int) -> None:
        await ticks(7 - value)
        undone.append(value)

    async def may_fail(n: int) -> None:
        if n % 2:
            raise ValueError

    workflow = Sequence(Task(act, compensate=undo), Task(may_fail), on_failure="compensate")
    async with anyio.create_task_group() as group:
        for n in range(6):
            group.start_soon(functools.partial(orch.run, workflow, n=n, raise_on_failure=False))
    assert sorted(undone) == [1, 3, 5]


async def test_check_46_an_attempt_that_failed_before_one_that_succeeded_is_not_undone_extra() -> None:
    diary = Diary()
    flaky = Task(fails(2, then="ok"), name="flaky", retry=Retry(3, delay=0), compensate=diary.undo("flaky"))
    result = await settle(Sequence(flaky, failing(ValueError()), on_failure="compensate"))
    assert diary.lines == ["undo flaky"]
    assert result.tasks["flaky"].attempts == 3


# -- 47: compensations that fail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", ["abc", "a", "b", "c", "ac"])
async def test_check_47_one_that_raises_does_not_keep_the_others_from_being_made(bad: str, kind: str) -> None:
    """S3, at each position."""
    diary, original = Diary(), ValueError("original")
    errors = {name: KeyError(name) for name in bad}
    steps = [diary.step(name, compensate=diary.undo(name, kind, errors.get(name))) for name in "abc"]
    result = await settle(Sequence(*steps, failing(original), diary.step("never"), on_failure="compensate"))

    assert diary.lines == ["a", "b", "c", "undo c", "undo b", "undo a"]
    for name in "abc":
        record = result.tasks[name]
        assert record.state is (State.SUCCEEDED if name in bad else State.COMPENSATED)
        assert record.compensation_error is errors.get(name)
    first, second = result.errors
    assert first is original
    assert isinstance(second, CompensationError)
    assert list(second.exceptions) == [errors[name] for name in sorted(bad, reverse=True)]
    assert second.__cause__ is original
    told = [(event.path, event.error) for event in result.trace if isinstance(event, CompensationEvent)]
    assert told == [(name, errors[name]) for name in sorted(bad, reverse=True)]
    assert states(result)["never"] == "skipped"


async def test_check_47_the_errors_name_their_tasks_and_the_raised_error_has_both() -> None:
    diary = Diary()
    steps = [diary.step("a", compensate=diary.undo("a", error=KeyError(1))), failing(ValueError("original"))]
    with pytest.raises(WorkflowError) as caught:
        await orch.run(Sequence(*steps, name="order", on_failure="compensate"))
    original, broken = caught.value.exceptions
    assert isinstance(original, ValueError)
    assert isinstance(broken, CompensationError)
    assert str(broken).startswith("1 of 1 compensations of 'order' failed")
    assert "in the compensation of task 'a'" in broken.exceptions[0].__notes__


@virtual
async def test_check_47_a_compensation_has_a_retry_and_a_timeout_of_its_own() -> None:
    calls: list[float] = []

    async def undo() -> None:
        calls.append(anyio.current_time())
        if len(calls) == 1:
            raise ValueError
        if len(calls) == 2:
            await anyio.sleep(100)

    task = Task(undo, retry=Retry(3, delay=5, retry_on=(ValueError, TimeoutError)), timeout=2)
    a = Task(slow(1), name="a", compensate=task)
    result = await settle(Sequence(a, failing(KeyError()), on_failure="compensate"))
    assert calls == [1, 6, 13]
    assert states(result)["a"] == "compensated"


@virtual
async def test_check_47_one_that_hangs_is_cut_off_and_the_next_is_not_made_behind_the_deadline() -> None:
    """S4."""
    diary = Diary()

    async def hangs() -> None:
        diary.write("hangs")
        await anyio.sleep_forever()

    steps = [diary.step("a"), diary.step("b", compensate=hangs), diary.step("c"), failing(ValueError())]
    runner = runner_of(compensation_timeout=30)
    result = await settle(Sequence(*steps, on_failure="compensate"), runner=runner)
    assert diary.lines == ["a", "b", "c", "undo c", "hangs"]
    assert result.duration == 30
    assert states(result) == {"a": "succeeded", "b": "succeeded", "c": "compensated", "fails": "failed"}
    broken = result.errors[1]
    assert isinstance(broken, CompensationError)
    assert all(isinstance(each, TaskTimeoutError) for each in broken.exceptions)
    assert isinstance(result.tasks["a"].compensation_error, TaskTimeoutError)
    assert isinstance(result.tasks["b"].compensation_error, TaskTimeoutError)


@virtual
async def test_check_47_a_timeout_of_one_compensation_leaves_time_for_the_others() -> None:
    diary = Diary()
    hangs = Task(forever, name="hangs", timeout=3)
    steps = [diary.step("a"), diary.step("b", compensate=hangs), failing(ValueError())]
    result = await settle(Sequence(*steps, on_failure="compensate"))
    assert states(result) == {"a": "compensated", "b": "succeeded", "fails": "failed"}
    assert result.duration == 3


# -- 48: kinds of compensations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("undo_kind", KINDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_check_48_any_kind_of_compensation_for_any_kind_of_task(kind: str, undo_kind: str) -> None:
    diary = Diary()
    step = diary.step("a", kind, compensate=diary.undo("a", undo_kind))
    result = await settle(Sequence(step, failing(ValueError()), on_failure="compensate"))
    assert diary.lines == ["a", "undo a"]
    assert states(result)["a"] == "compensated"


async def test_check_48_a_plain_one_does_not_run_on_the_loop_and_sees_the_callers_context() -> None:
    threads: list[str] = []

    def act() -> None:
        threads.append(threading.current_thread().name)

    await settle(Sequence(Task(act, compensate=act), failing(ValueError()), on_failure="compensate"))
    assert [name.startswith("orch-worker") for name in threads] == [True, True]


async def test_check_48_a_plain_one_that_returns_an_awaitable_is_awaited() -> None:
    diary = Diary()

    async def later() -> None:
        await checkpoint()
        diary.write("later")

    for thread in (None, False):
        undo = Task(lambda: later(), name="undo", thread=thread)  # noqa: PLW0108
        await settle(Sequence(diary.step("a", compensate=undo), failing(ValueError()), on_failure="compensate"))
    assert diary.lines == ["a", "later"] * 2


async def test_check_48_it_asks_for_what_it_needs_by_name() -> None:
    seen: list[Any] = []
    error = ValueError("why")

    async def reserve(room: int, *, nights: int = 2) -> str:
        return f"{room} for {nights}"

    def by_name(value: str, error: Exception, room: int, nights: int, context: Context[Any]) -> None:
        seen.append((value, error, room, nights, context.data, context.task))

    def one_left(booking: str) -> None:
        seen.append(booking)

    async def bound(value: str, reason: str) -> None:
        seen.append((value, reason))

    for undo in (by_name, one_left, Task(bound, reason="mistake"), lambda: seen.append("nothing")):
        workflow = Sequence(Task(reserve, compensate=undo), failing(error), on_failure="compensate")
        await settle(workflow, Context("data"), room=7)
    assert seen == [
        ("7 for 2", error, 7, 2, "data", "reserve"),
        "7 for 2",
        ("7 for 2", "mistake"),
        "nothing",
    ]


async def test_check_48_it_gets_the_arguments_of_the_call_even_if_their_values_are_let_go() -> None:
    seen: list[Any] = []

    async def make() -> list[int]:
        return [1]

    async def take(make: list[int]) -> str:
        return "taken"

    async def undo(make: list[int], value: str) -> None:
        seen.append((make, value))

    graph = Graph(
        Task(make, retain=False),
        Task(take, compensate=undo, retain=False),
        Task(failing(ValueError()).fn, name="last", deps=["take"]),
        on_failure="compensate",
    )
    await settle(graph)
    assert seen == [([1], "taken")]


async def test_check_48_what_nothing_can_fill_is_refused_before_anything_runs() -> None:
    diary = Diary()

    async def undo(value: str, colour: str) -> None: ...

    with pytest.raises(orch.DefinitionError, match=r"task 'b': nothing fills 'colour' of its compensation 'undo'"):
        await orch.run(Sequence(diary.step("a"), diary.step("b", compensate=undo)))
    assert not diary.lines


async def test_check_48_a_required_context_that_is_missing_is_refused_before_anything_runs() -> None:
    diary = Diary()

    async def undo(context: Context[Any]) -> None: ...

    with pytest.raises(orch.DefinitionError, match="Context"):
        await orch.run(Sequence(diary.step("a"), diary.step("b", compensate=undo)))
    assert not diary.lines


# -- 49: cancellation and timeouts from outside ------------------------------------------------------------------------


async def test_check_49_a_cancelled_caller_gets_its_cancellation_after_the_compensation() -> None:
    """C19."""
    diary, errors, told = Diary(), list[Any](), list[Any]()

    async def undo(error: Any) -> None:
        await ticks()
        errors.append(error)
        diary.write("undo a")

    workflow = Sequence(diary.step("a", compensate=undo), Task(forever, name="b"), on_failure="compensate")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_soon, scope)
            try:
                await AsyncRunner(subscribers=[told.append]).run(workflow)
            except anyio.get_cancelled_exc_class():
                diary.write("cancelled")
                raise
    assert scope.cancelled_caught
    assert diary.lines == ["a", "undo a", "cancelled"]
    assert errors == [None]
    assert [event.state for event in told if event.path == "a"] == [
        State.RUNNING, State.SUCCEEDED, State.COMPENSATED,
    ]  # fmt: skip
    assert told[-1].state is State.CANCELLED


async def _cancel_soon(scope: anyio.CancelScope) -> None:
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


async def test_check_49_a_cancelled_caller_of_a_workflow_that_aborts_undoes_nothing() -> None:
    diary = Diary()
    workflow = Sequence(diary.step("a"), Task(forever, name="b"))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_soon, scope)
            await orch.run(workflow)
    assert scope.cancelled_caught
    assert diary.lines == ["a"]


@virtual
async def test_check_49_under_cancellation_the_compensation_is_boxed_in_time() -> None:
    diary, told = Diary(), list[Any]()

    async def hangs() -> None:
        diary.write("hangs")
        await anyio.sleep_forever()

    workflow = Sequence(diary.step("a", compensate=hangs), Task(forever, name="b"), on_failure="compensate")
    with anyio.move_on_after(1) as scope:
        await runner_of(compensation_timeout=7, subscribers=[told.append]).run(workflow)
    assert scope.cancelled_caught
    assert anyio.current_time() == 8
    assert [type(event.error) for event in told if isinstance(event, CompensationEvent)] == [TaskTimeoutError]
    assert told[-1].state is State.CANCELLED


@virtual
async def test_check_49_over_the_timeout_of_a_group_it_is_undone() -> None:
    diary, errors = Diary(), list[Any]()

    async def undo(error: Any) -> None:
        errors.append(error)
        await anyio.sleep(5)
        diary.write("undo a")

    steps = [diary.step("a", compensate=undo), Task(forever, name="b"), diary.step("c")]
    result = await settle(Sequence(*steps, on_failure="compensate", timeout=3, name="late"))
    assert diary.lines == ["a", "undo a"]
    assert states(result) == {"a": "compensated", "b": "cancelled", "c": "skipped"}
    assert result.tasks["b"].reason == "timed_out"
    (error,) = result.errors
    assert errors == [error]
    assert isinstance(error, TaskTimeoutError)
    assert (result.state, result.duration) == (State.FAILED, 8)


@virtual
async def test_check_49_an_outer_timeout_undoes_inner_groups_that_compensate() -> None:
    diary = Diary()
    inner = Sequence(diary.step("a"), Task(forever, name="b"), on_failure="compensate", name="inner")
    result = await settle(Sequence(diary.step("x"), inner, timeout=3))
    assert states(result) == {"x": "succeeded", "inner/a": "compensated", "inner/b": "cancelled"}
    assert diary.lines == ["x", "a", "undo a"]


async def test_check_49_a_cancellation_during_the_compensation_waits_for_its_end() -> None:
    """S5, C19."""
    diary, scope = Diary(), anyio.CancelScope()

    async def undo() -> None:
        scope.cancel()
        await ticks()
        diary.write("undo b")

    steps = [diary.step("a"), diary.step("b", compensate=undo), failing(ValueError())]
    told: list[Any] = []
    with scope:
        await AsyncRunner(subscribers=[told.append]).run(Sequence(*steps, on_failure="compensate"))
    assert diary.lines == ["a", "b", "undo b", "undo a"]
    assert told[-1].state in {State.FAILED, State.CANCELLED}
    undone = [event.path for event in told if getattr(event, "state", None) is State.COMPENSATED]
    assert undone == ["b", "a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_check_49_an_interrupt_raised_by_a_step_undoes_and_surfaces_bare(error: type[BaseException]) -> None:
    """F7."""
    diary = Diary()

    async def raises() -> None:
        await checkpoint()
        raise error

    for kind in (Sequence, Parallel):
        with pytest.raises(error):
            await orch.run(kind(diary.step("a"), raises, on_failure="compensate"))
    assert diary.lines == ["a", "undo a"] * 2


# -- 50: nested --------------------------------------------------------------------------------------------------------


async def test_check_50_what_the_inner_group_has_undone_the_outer_does_not_undo_again() -> None:
    diary = Diary()
    inner = Sequence(diary.step("b"), failing(ValueError()), on_failure="compensate", name="inner")
    result = await settle(Sequence(diary.step("a"), inner, diary.step("c"), on_failure="compensate"))
    assert diary.lines == ["a", "b", "undo b", "undo a"]
    assert states(result) == {"a": "compensated", "inner/b": "compensated", "inner/fails": "failed", "c": "skipped"}


async def test_check_50_a_compensation_that_failed_in_the_inner_group_is_not_made_again() -> None:
    diary = Diary()
    b = diary.step("b", compensate=diary.undo("b", error=KeyError()))
    inner = Sequence(b, failing(ValueError()), on_failure="compensate", name="inner")
    result = await settle(Sequence(diary.step("a"), inner, on_failure="compensate"))
    assert diary.lines == ["a", "b", "undo b", "undo a"]
    assert states(result) == {"a": "compensated", "inner/b": "succeeded", "inner/fails": "failed"}
    assert [type(error) for error in result.errors] == [ValueError, CompensationError]


async def test_check_50_every_level_undoes_its_own_before_the_one_around_it() -> None:
    """S9, twenty levels."""
    diary = Diary()
    workflow: Any = failing(ValueError())
    for k in range(20):
        workflow = Sequence(diary.step(f"s{k}"), workflow, on_failure="compensate", name=f"g{k}")
    await settle(workflow)
    assert diary.lines == [f"s{k}" for k in reversed(range(20))] + [f"undo s{k}" for k in range(20)]


@pytest.mark.parametrize("outer", ["abort", "continue"])
async def test_check_50_an_inner_group_compensates_and_the_outer_does_what_it_does(outer: Any) -> None:
    diary = Diary()
    inner = Sequence(diary.step("b"), failing(ValueError()), on_failure="compensate", name="inner")
    result = await settle(Sequence(diary.step("a"), inner, diary.step("c"), on_failure=outer))
    assert states(result) == {
        "a": "succeeded",
        "inner/b": "compensated",
        "inner/fails": "failed",
        "c": "succeeded" if outer == "continue" else "skipped",
    }
    assert diary.lines == ["a", "b", "undo b", *(["c"] if outer == "continue" else [])]


async def test_check_50_what_comes_after_a_group_waits_for_its_compensations() -> None:
    diary = Diary()

    async def undo() -> None:
        await ticks()
        diary.write("undo b")

    inner = Sequence(diary.step("b", compensate=undo), failing(ValueError()), on_failure="compensate", name="inner")
    await settle(Sequence(inner, diary.step("c"), on_failure="continue"))
    assert diary.lines == ["b", "undo b", "c"]


@pytest.mark.parametrize("inner", ["abort", "continue", "compensate"])
async def test_check_50_only_the_group_with_the_failure_is_undone(inner: Any) -> None:
    diary = Diary()
    good = Sequence(diary.step("a"), diary.step("b"), on_failure="compensate", name="good")
    bad = Sequence(diary.step("c"), failing(ValueError()), on_failure=inner, name="bad")
    result = await settle(Sequence(good, bad, on_failure="continue"))
    assert states(result)["good/a"] == "succeeded"
    assert states(result)["bad/c"] == ("compensated" if inner == "compensate" else "succeeded")


async def test_check_50_an_inner_group_that_continues_is_undone_by_the_outer_when_it_settles() -> None:
    diary = Diary()
    inner = Parallel(diary.step("b"), failing(ValueError()), diary.step("c"), on_failure="continue", name="inner")
    result = await settle(Sequence(diary.step("a"), inner, on_failure="compensate"))
    assert states(result)["inner/c"] == "compensated"
    assert diary.lines == ["a", "b", "c", "undo c", "undo b", "undo a"]


async def test_check_50_parallel_groups_undo_at_their_own_time() -> None:
    diary, go = Diary(), anyio.Event()

    async def slow_failure() -> None:
        await go.wait()
        raise ValueError

    async def undo() -> None:
        diary.write("undo a")
        go.set()

    first = Sequence(diary.step("a", compensate=undo), failing(ValueError()), on_failure="compensate", name="first")
    second = Sequence(diary.step("b"), slow_failure, on_failure="compensate", name="second")
    result = await settle(Parallel(first, second, on_failure="continue"))
    assert diary.lines[2:] == ["undo a", "undo b"]
    assert set(states(result).values()) == {"compensated", "failed"}


# -- strategies of one's own -------------------------------------------------------------------------------------------


class Choosing:
    """Answers each failure by the class of its error."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.seen: list[str] = []

    def on_failure(self, event: TaskEvent, group: Any) -> FailureStrategy:
        self.seen.append(event.path)
        return FailureStrategy(self.answers[type(event.error).__name__])


@pytest.mark.parametrize("answer", ["abort", "continue", "compensate"])
async def test_a_strategy_object_may_choose_to_compensate(answer: str) -> None:
    diary = Diary()
    strategy = Choosing(ValueError=answer)
    result = await settle(Sequence(diary.step("a"), failing(ValueError()), diary.step("c"), on_failure=strategy))
    expected = {
        "abort": ["succeeded", "failed", "skipped"],
        "continue": ["succeeded", "failed", "succeeded"],
        "compensate": ["compensated", "failed", "skipped"],
    }
    assert list(states(result).values()) == expected[answer]
    assert strategy.seen == ["fails"]


async def test_a_strategy_object_that_compensates_only_for_some_failures() -> None:
    diary = Diary()
    strategy = Choosing(ValueError="continue", KeyError="compensate")
    steps = [
        diary.step("a"),
        failing(ValueError(), "f1"),
        diary.step("b"),
        failing(KeyError(), "f2"),
        diary.step("c"),
    ]
    result = await settle(Sequence(*steps, on_failure=strategy))
    assert list(states(result).values()) == ["compensated", "failed", "compensated", "failed", "skipped"]
    assert diary.lines == ["a", "b", "undo b", "undo a"]


async def test_a_strategy_object_of_an_outer_group_hears_of_the_inner_one_after_its_compensation() -> None:
    diary = Diary()

    class Outer:
        def on_failure(self, event: TaskEvent, group: Any) -> FailureStrategy:
            diary.write(f"asked about {event.path}")
            return FailureStrategy.COMPENSATE

    inner = Sequence(diary.step("b"), failing(ValueError()), on_failure="compensate", name="inner")
    await settle(Sequence(diary.step("a"), inner, on_failure=Outer()))
    assert diary.lines == ["a", "b", "undo b", "asked about inner", "undo a"]


async def test_a_strategy_object_that_is_not_asked_undoes_nothing_when_the_run_is_cancelled() -> None:
    diary = Diary()
    workflow = Sequence(diary.step("a"), Task(forever, name="b"), on_failure=Choosing(ValueError="compensate"))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_soon, scope)
            await orch.run(workflow)
    assert diary.lines == ["a"]


# -- decision 14, S2: outcomes that nobody knows -----------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_step_cancelled_in_its_body_is_undone_only_if_it_says_so(wanted: bool) -> None:
    seen: list[Any] = []
    b = Task(forever, name="b", compensate=kept(seen), compensate_unknown=wanted)

    async def fails() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    result = await settle(Parallel(b, fails, on_failure="compensate"))
    assert seen == ([UNKNOWN] if wanted else [])
    assert states(result)["b"] == "cancelled"
    assert bool(logged(result, "b")) == wanted


@virtual
@pytest.mark.parametrize("wanted", [True, False])
async def test_a_step_over_its_timeout_is_undone_only_if_it_says_so(wanted: bool) -> None:
    seen: list[Any] = []
    b = Task(forever, name="b", timeout=1, compensate=kept(seen), compensate_unknown=wanted)
    result = await settle(Sequence(b, on_failure="compensate"))
    assert seen == ([UNKNOWN] if wanted else [])
    assert states(result) == {"b": "failed"}


async def test_a_step_that_failed_by_itself_is_not_unknown() -> None:
    diary = Diary()
    result = await settle(
        Sequence(diary.step("a", error=ValueError(), compensate_unknown=True), on_failure="compensate")
    )
    assert diary.lines == ["a"]
    assert states(result) == {"a": "failed"}


async def test_a_step_that_never_started_is_not_undone() -> None:
    diary = Diary()
    steps = [failing(ValueError()), diary.step("b", compensate_unknown=True)]
    await settle(Sequence(*steps, on_failure="compensate"))
    limited = Parallel(*steps, on_failure="compensate", limit=1)
    await settle(limited)
    assert not diary.lines


@virtual
async def test_a_step_whose_last_attempt_failed_but_an_earlier_one_was_cut_off_is_unknown() -> None:
    seen: list[Any] = []
    calls = 0

    async def act() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep(100)
        raise ValueError

    task = Task(act, timeout=1, retry=Retry(2, delay=0), compensate=kept(seen), compensate_unknown=True)
    await settle(Sequence(task, on_failure="compensate"))
    assert calls == 2
    assert seen == [UNKNOWN]


@virtual
async def test_a_step_that_was_cut_off_and_then_succeeded_is_undone_once_with_its_value() -> None:
    seen: list[Any] = []
    calls = 0

    async def act() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep(100)
        return "value"

    task = Task(act, timeout=1, retry=Retry(2, delay=0), compensate=kept(seen), compensate_unknown=True)
    result = await settle(Sequence(task, failing(ValueError()), on_failure="compensate"))
    assert seen == ["value"]
    assert states(result)["act"] == "compensated"


@virtual
async def test_a_step_that_waits_for_its_limiter_when_it_is_stopped_did_nothing() -> None:
    seen: list[Any] = []
    limiter = anyio.Semaphore(1)
    holder = Task(forever, name="holder", limiter=limiter)
    waiter = Task(forever, name="waiter", limiter=limiter, compensate=kept(seen), compensate_unknown=True)

    async def fails() -> None:
        await anyio.sleep(1)
        raise ValueError

    await settle(Parallel(holder, waiter, fails, on_failure="compensate"))
    assert not seen


async def test_a_step_cancelled_between_attempts_is_not_unknown() -> None:
    seen: list[Any] = []

    async def flaky() -> None:
        raise KeyError

    async def fails() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    task = Task(flaky, retry=Retry(5, delay=60), compensate=kept(seen), compensate_unknown=True)
    result = await settle(Parallel(task, fails, on_failure="compensate"))
    assert states(result)["flaky"] == "cancelled"
    assert not seen


async def test_a_thread_that_is_abandoned_is_unknown() -> None:
    seen: list[Any] = []
    go, over = threading.Event(), threading.Event()

    def stuck() -> None:
        go.wait(10)
        over.set()

    async def fails() -> None:
        await anyio.sleep(0.01)
        raise ValueError

    task = Task(stuck, compensate=kept(seen), compensate_unknown=True)
    result = await settle(Parallel(task, fails, on_failure="compensate"), runner=AsyncRunner(grace=0))
    go.set()
    await anyio.to_thread.run_sync(over.wait, 10)
    assert seen == [UNKNOWN]
    assert [record.path for record in result.abandoned] == ["stuck"]


def test_unknown_needs_a_compensation() -> None:
    with pytest.raises(ValueError, match="compensate_unknown"):
        Task(forever, compensate_unknown=True)
