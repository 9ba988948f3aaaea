"""Checks 18 to 26: Sequence and Parallel, their values, their limits, and what a failure does to the others."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Graph, Parallel, Sequence, State, Task, Workflow, WorkflowError
from tests.runners.truth import PATIENCE, of, settle, started, states, told


def giving(value: Any, name: str | None = None) -> Task[..., Any]:
    async def step() -> Any:
        return value

    return Task(step, name=name or f"give {value}")


def failing(error: BaseException, name: str = "fail") -> Task[..., Any]:
    async def step() -> None:
        raise error

    return Task(step, name=name)


async def forever() -> None:
    await anyio.sleep_forever()


class Turns:
    """Lets steps end in an order that the test decides: the step called `k` ends once `k + 1` has."""

    def __init__(self, size: int) -> None:
        self.ended = [anyio.Event() for _ in range(size + 1)]
        self.ended[size].set()

    def step(self, k: int) -> Task[..., Any]:
        async def step() -> int:
            await self.ended[k + 1].wait()
            self.ended[k].set()
            return k

        return Task(step, name=f"s{k}")


class Counter:
    """Counts how many bodies are active at a time; each body stays for some turns of the loop."""

    def __init__(self) -> None:
        self.active = self.most = self.done = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.active += 1
            self.most = max(self.most, self.active)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.active -= 1
            self.done += 1

    def step(self, name: str = "step") -> Task[..., Any]:
        async def step() -> None:
            with self:
                for _ in range(8):  # spares double from tick to tick: by then ten are in
                    await anyio.lowlevel.checkpoint()

        return Task(step, name=name)

    def steps(self, size: int) -> list[Task[..., Any]]:
        return [self.step(f"s{k}") for k in range(size)]


# -- 18 to 22: values and order ----------------------------------------------------------------------------------------


async def test_check_18_steps_run_in_order_and_the_value_is_the_list() -> None:
    result = await settle(Sequence(giving(1, "f"), giving(2, "g"), giving(3, "h")))

    assert result.value == [1, 2, 3]
    assert told(result.trace) == [
        "running", "f running", "f succeeded", "g running", "g succeeded", "h running", "h succeeded", "succeeded",
    ]  # fmt: skip


async def test_check_18_a_sequence_hands_its_last_value_on() -> None:
    async def last(handed: Any) -> Any:
        return handed

    assert (await settle(Sequence(Sequence(giving(1), giving(2)), last))).value == [[1, 2], 2]


async def test_check_18_steps_that_suspend_and_plain_ones_keep_the_order() -> None:
    log: list[str] = []

    async def suspended() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("suspended")

    steps: list[Any] = [suspended, lambda: log.append("thread"), Task(lambda: log.append("place"), thread=False)]
    await settle(Sequence(*(steps * 4)))
    assert log == ["suspended", "thread", "place"] * 4


@pytest.mark.parametrize("kind", ["coroutine", "suspended", "thread", "in place"])
async def test_check_19_behind_a_failed_step_nothing_starts(kind: str) -> None:
    error = ValueError("second")
    ran: list[str] = []

    def plain() -> None:
        raise error

    async def coroutine() -> None:
        if kind == "suspended":
            await anyio.lowlevel.checkpoint()
        raise error

    fn: Any = plain if kind in {"thread", "in place"} else coroutine
    second = Task(fn, name="second", thread=False if kind == "in place" else None)
    third = Task(lambda: ran.append("third"), name="third")
    result = await settle(Sequence(giving(1, "first"), second, third, Parallel(third, name="p")))

    assert states(result) == {"first": "succeeded", "second": "failed", "third": "skipped", "p/third": "skipped"}
    assert [(each.reason, each.cause, each.attempts) for each in list(result.tasks.values())[2:]] == [
        ("aborted", "second", 0)
    ] * 2
    assert (ran, result.errors, result.state) == ([], (error,), State.FAILED)
    assert result.value == [1, None, None, [None]]


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
async def test_check_20_an_empty_group_succeeds_with_an_empty_value(kind: Any) -> None:
    empty: Any = {} if kind is Graph else []
    result = await settle(kind())

    assert (result.state, result.value, dict(result.tasks), result.errors) == (State.SUCCEEDED, empty, {}, ())
    assert told(result.trace) == ["running", "succeeded"]
    assert (await settle(Sequence(kind(), kind()))).value == [empty, empty]
    assert (await settle(Parallel(kind(), Sequence(kind())))).value == [empty, [empty]]
    assert (await settle(Graph(kind(name="k")))).value == {"k": empty}
    assert (await settle(Sequence(kind(), giving(1), kind()))).value == [empty, 1, empty]


async def test_check_21_the_previous_value_goes_where_a_value_is_required() -> None:
    async def required(previous: Any) -> Any:
        return previous

    async def without() -> str:
        return "own"

    async def optional(previous: Any = "default") -> Any:
        return previous

    assert (await settle(Sequence(giving(1), required, without, optional, required))).value == [
        1, 1, "own", "default", "default",
    ]  # fmt: skip


async def test_check_22_the_value_of_a_parallel_is_in_order_of_definition() -> None:
    turns = Turns(4)
    result = await settle(Sequence(giving(1, "first"), Parallel(*(turns.step(k) for k in range(4)), name="p")))

    assert result.value == [1, [0, 1, 2, 3]]
    finished = [each for each in told(result.trace) if each.startswith("p/") and each.endswith("succeeded")]
    assert finished == [f"p/s{k} succeeded" for k in (3, 2, 1, 0)]


async def test_check_22_what_a_parallel_hands_on_is_the_list() -> None:
    async def reads(both: list[int]) -> list[int]:
        return both[::-1]

    turns = Turns(2)
    assert (await settle(Sequence(Parallel(turns.step(0), turns.step(1)), reads))).value == [[0, 1], [1, 0]]


# -- 23 and 24: limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, None])
async def test_check_23_at_most_so_many_bodies_are_active_and_all_finish(limit: int | None) -> None:
    counter = Counter()
    await settle(Parallel(*counter.steps(10), limit=limit))
    assert (counter.most, counter.done) == (limit or 10, 10)

    counter = Counter()
    await settle(Parallel(*counter.steps(10)), runner=AsyncRunner(limit=limit))
    assert (counter.most, counter.done) == (limit or 10, 10)


@pytest.mark.parametrize("kind", [Parallel, Graph])
async def test_check_23_a_limit_holds_in_a_part_of_a_workflow_only(kind: Any) -> None:
    limited, free = Counter(), Counter()
    await settle(Parallel(kind(*limited.steps(10), limit=2), kind(*free.steps(10))))

    assert (limited.most, free.most, limited.done, free.done) == (2, 10, 10, 10)


async def test_check_23_plain_functions_in_threads_are_limited_too() -> None:
    counter = Counter()
    both = threading.Barrier(2)

    def step() -> None:
        with counter:
            both.wait(PATIENCE)

    await settle(Parallel(*[step] * 10, limit=2))
    assert (counter.most, counter.done) == (2, 10)


async def test_check_23_threads_and_coroutines_share_a_limit() -> None:
    counter = Counter()

    def plain() -> None:
        with counter:
            threading.Event().wait(0.001)

    both: list[Any] = [plain, counter.step()]
    await settle(Parallel(*both * 20, limit=2))
    assert counter.done == 40
    assert counter.most <= 2


async def test_check_23_a_suspended_step_keeps_its_slot() -> None:
    gate = anyio.Event()
    entered: list[int] = []

    async def step(x: int) -> None:
        entered.append(x)
        await gate.wait()

    async def watch() -> None:
        await anyio.wait_all_tasks_blocked()
        assert entered == [0, 1]
        gate.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await settle(Parallel(*(Task(step, k) for k in range(5)), limit=2))
    assert entered == [0, 1, 2, 3, 4]


async def test_check_23_ten_thousand_at_once_under_a_limit() -> None:
    counter = Counter()
    result = await settle(Parallel(*counter.steps(2_000), limit=50))

    assert (counter.most, counter.done, result.state) == (50, 2_000, State.SUCCEEDED)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_check_24_an_outer_limit_is_shared_by_all_inside(limit: int) -> None:
    counter = Counter()
    part = Sequence(Parallel(*counter.steps(3)), Graph(*counter.steps(3)), counter.step())
    await settle(Parallel(part, part, Sequence(part), counter.step(), limit=limit))

    assert (counter.most, counter.done) == (limit, 22)


async def test_check_24_the_tightest_of_nested_limits_holds() -> None:
    inner, outer = Counter(), Counter()

    def both(name: str) -> Task[..., Any]:
        async def step() -> None:
            with inner, outer:
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()

        return Task(step, name=name)

    await settle(Parallel(Parallel(*(both(f"i{k}") for k in range(6)), limit=1), *outer.steps(6), limit=3))
    assert (inner.most, inner.done) == (1, 6)
    assert (outer.most, outer.done) == (3, 12)


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
async def test_check_24_no_deadlock_with_limit_1_fifty_deep(kind: Any) -> None:
    counter = Counter()
    step: Workflow = counter.step("innermost")
    for depth in range(50):
        step = kind(counter.step(f"before{depth}"), step, counter.step(f"behind{depth}"), limit=1, name=f"g{depth}")
    await settle(step, runner=AsyncRunner(limit=1))

    assert (counter.most, counter.done) == (1, 101)


async def test_check_24_threads_and_coroutines_deep_inside_share_limit_1() -> None:
    counter = Counter()

    def plain() -> None:
        with counter:
            pass

    step: Workflow = Task(plain)
    for _ in range(20):
        step = Parallel(plain, step, counter.step(), limit=1)
    await settle(step)

    assert (counter.most, counter.done) == (1, 41)


async def test_check_24_a_failure_in_a_limited_group_gives_its_slot_back() -> None:
    counter = Counter()
    bad = Parallel(*(failing(ValueError(k), f"f{k}") for k in range(5)), limit=1, on_failure="continue", name="bad")
    result = await settle(Parallel(bad, *counter.steps(5), limit=1, on_failure="continue"))

    assert (counter.most, counter.done) == (1, 5)
    assert [str(error) for error in result.errors] == list("01234")


async def test_check_24_a_run_limit_and_a_group_limit_hold_together() -> None:
    counter, inside = Counter(), Counter()

    def both(name: str) -> Task[..., Any]:
        async def step() -> None:
            with counter, inside:
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()

        return Task(step, name=name)

    workflow = Parallel(Parallel(*(both(f"i{k}") for k in range(8)), limit=2), *counter.steps(8))
    await settle(workflow, runner=AsyncRunner(limit=5))
    assert (counter.most, inside.most) == (5, 2)


# -- 25: ABORT ---------------------------------------------------------------------------------------------------------


async def test_check_25_siblings_of_a_failed_step_are_cancelled_at_once() -> None:
    error = ValueError("early")
    cleaned: list[str] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("slow")

    async def early() -> None:
        await anyio.wait_all_tasks_blocked()
        raise error

    result = await settle(Parallel(Task(slow, name="a"), early, Task(slow, name="b"), name="p"))

    assert states(result) == {"a": "cancelled", "early": "failed", "b": "cancelled"}
    assert (result.state, result.errors, cleaned) == (State.FAILED, (error,), ["slow", "slow"])
    assert told(result.trace)[4] == "early failed"
    assert set(told(result.trace)[5:7]) == {"a cancelled", "b cancelled"}


async def test_check_25_the_error_is_raised_without_waiting_for_anybody() -> None:
    with anyio.fail_after(PATIENCE), pytest.raises(WorkflowError) as caught:
        await orch.run(Parallel(forever, failing(ValueError("now")), forever))
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_check_25_cleanup_of_a_cancelled_sibling_is_waited_for() -> None:
    log: list[str] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
            log.append("cleaned")

    async def early() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    result = await settle(Parallel(slow, early))
    log.append("returned")
    assert log == ["cleaned", "returned"]
    assert states(result) == {"slow": "cancelled", "early": "failed"}


async def test_check_25_what_a_sibling_raises_while_it_is_cancelled_is_kept() -> None:
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("cleanup")

    async def early() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError("early")

    result = await settle(Parallel(slow, early))
    assert states(result) == {"slow": "failed", "early": "failed"}
    assert [type(error) for error in result.errors] == [ValueError, KeyError]


async def test_check_25_a_sibling_that_ends_normally_while_it_is_cancelled_has_succeeded() -> None:
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await failed.wait()
            await anyio.lowlevel.checkpoint()
        return "done"

    failed = anyio.Event()

    async def early() -> None:
        await anyio.wait_all_tasks_blocked()
        failed.set()
        raise ValueError

    result = await settle(Parallel(stubborn, early))
    assert states(result) == {"stubborn": "succeeded", "early": "failed"}
    assert result["stubborn"] == "done"


async def test_check_25_a_sibling_that_swallows_the_cancellation_has_ended_how_it_ended() -> None:
    async def swallowing() -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001 (it should not, and does)
            return "late"
        raise AssertionError

    async def early() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    result = await settle(Parallel(swallowing, early, forever))
    assert states(result) == {"swallowing": "succeeded", "early": "failed", "forever": "cancelled"}


async def test_check_25_not_started_siblings_are_skipped() -> None:
    result = await settle(Parallel(failing(ValueError()), giving(1, "a"), Sequence(giving(2, "b"), name="s"), limit=1))

    assert states(result) == {"fail": "failed", "a": "skipped", "s/b": "skipped"}
    assert {(each.reason, each.cause) for each in result.tasks.values() if each.reason} == {("aborted", "fail")}


async def test_check_25_the_task_that_called_is_not_cancelled() -> None:
    await settle(Parallel(forever, failing(ValueError()), forever))
    await anyio.lowlevel.checkpoint()
    await settle(Parallel(giving(1), giving(2)))


# -- 26: one type for one or several errors ----------------------------------------------------------------------------


async def raised(workflow: Any) -> WorkflowError:
    with anyio.fail_after(PATIENCE), pytest.raises(WorkflowError) as caught:
        await orch.run(workflow)
    return caught.value


async def test_check_26_one_failure_and_several_raise_the_same_type() -> None:
    errors = [ValueError("a"), KeyError("b"), ValueError("c")]
    names = ["a", "b", "c"]
    one = await raised(Parallel(giving(1), failing(errors[0], "a"), name="one"))
    steps = [failing(error, name) for error, name in zip(errors, names, strict=True)]
    several = await raised(Parallel(*steps, on_failure="continue", name="several"))

    assert type(one) is type(several) is WorkflowError
    assert one.exceptions == (errors[0],)
    assert several.exceptions == tuple(errors)
    assert all(mine is theirs for mine, theirs in zip(errors, several.exceptions, strict=True))
    assert (one.message, several.message) == ("workflow 'one' failed", "workflow 'several' failed")


async def test_check_26_each_error_has_one_note_that_names_task_and_attempt() -> None:
    error = await raised(Sequence(Parallel(failing(ValueError(), "x"), name="p"), name="s"))
    (one,) = error.exceptions

    assert one.__notes__ == ["in task 'p/x', attempt 1"]


async def test_check_26_the_traceback_leads_to_the_step() -> None:
    async def deep() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("here")

    async def step() -> None:
        await deep()

    (error,) = (await raised(step)).exceptions
    functions: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        functions.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert functions[-2:] == ["step", "deep"]


async def test_check_26_the_error_carries_the_result() -> None:
    error = await raised(Sequence(giving(1, "a"), failing(ValueError(), "b"), giving(3, "c")))

    assert error.result.state is State.FAILED
    assert error.result["a"] == 1
    assert error.result.errors == error.exceptions
    assert states(error.result) == {"a": "succeeded", "b": "failed", "c": "skipped"}


async def test_check_26_except_star_picks_among_them_and_keeps_the_result() -> None:
    picked: list[Any] = []
    try:
        await orch.run(Parallel(failing(ValueError(), "v"), failing(KeyError(), "k"), on_failure="continue"))
    except* KeyError as group:
        picked.append(group)
    except* ValueError as group:
        picked.append(group)
    assert [type(group) for group in picked] == [WorkflowError, WorkflowError]
    assert [group.result.state for group in picked] == [State.FAILED] * 2


@pytest.mark.parametrize("strategy", ["abort", "continue"])
async def test_check_26_failures_of_one_moment(strategy: str) -> None:
    """Five steps are let go at once and all raise. Under CONTINUE there are five errors, under ABORT one at least."""
    go = anyio.Event()
    errors = [ValueError(k) for k in range(5)]

    def step(k: int) -> Task[..., Any]:
        async def step() -> None:
            await go.wait()
            raise errors[k]

        return Task(step, name=f"s{k}")

    async with anyio.create_task_group() as group:
        group.start_soon(_when_all_wait, go.set)
        result = await settle(Parallel(*map(step, range(5)), on_failure=strategy))
    failed = [path for path, state in states(result).items() if state == "failed"]
    assert len(result.errors) == len(failed) >= (5 if strategy == "continue" else 1)
    assert set(result.errors) <= set(errors)
    assert set(states(result).values()) <= {"failed", "cancelled"}


async def _when_all_wait(do: Callable[[], object]) -> None:
    await anyio.wait_all_tasks_blocked()
    do()


async def test_check_26_errors_are_in_order_of_time() -> None:
    turns = Turns(3)

    def step(k: int) -> Task[..., Any]:
        body: Any = turns.step(k).fn

        async def step() -> None:
            await body()
            raise ValueError(k)

        return Task(step, name=f"s{k}")

    result = await settle(Parallel(*map(step, range(3)), on_failure="continue"))
    assert [str(error) for error in result.errors] == ["2", "1", "0"]


async def test_check_26_one_exception_object_raised_by_two_steps_counts_for_both() -> None:
    error = ValueError("shared")
    result = await settle(Parallel(failing(error, "a"), failing(error, "b"), on_failure="continue"))

    assert result.errors == (error, error)
    assert error.__notes__ == ["in task 'a', attempt 1", "in task 'b', attempt 1"]
    assert [each.error for each in result.tasks.values()] == [error, error]


async def test_check_26_an_exception_group_of_the_user_stays_one() -> None:
    group = ExceptionGroup("mine", [ValueError(), KeyError()])
    error = await raised(failing(group))

    assert error.exceptions == (group,)


async def test_check_26_a_workflow_within_a_step_raises_its_error_as_any_other() -> None:
    inner = failing(ValueError("inside"), "inner")

    async def step() -> None:
        await orch.run(inner)

    error = await raised(step)
    (one,) = error.exceptions
    assert isinstance(one, WorkflowError)
    assert one.result.name == "inner"
    assert [str(each) for each in one.exceptions] == ["inside"]


async def test_check_26_hostile_exceptions_are_kept_as_they_are() -> None:
    class HostileError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

        __hash__ = None  # type: ignore[assignment]

    error = HostileError()
    with anyio.fail_after(PATIENCE):
        result = await orch.run(failing(error, "step"), raise_on_failure=False)
    assert result.errors[0] is error
    assert result.tasks["step"].error is error
    assert result.report()["tasks"][0]["state"] == "failed"
    assert "step" in result.to_json()


@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration(2), TimeoutError(), MemoryError()], ids=repr)
@pytest.mark.parametrize("kind", ["coroutine", "suspended", "thread", "in place"])
async def test_check_26_exceptions_that_mean_something_to_python_are_the_users(error: Exception, kind: str) -> None:
    async def coroutine() -> None:
        if kind == "suspended":
            await anyio.lowlevel.checkpoint()
        raise error

    def plain() -> None:
        raise error

    fn: Any = plain if kind in {"thread", "in place"} else coroutine
    result = await settle(Parallel(Task(fn, name="step", thread=False if kind == "in place" else None)))
    assert (states(result), result.errors) == ({"step": "failed"}, (error,))


async def test_the_attempt_of_a_failed_step_is_1() -> None:
    result = await settle(failing(ValueError(), "step"))

    assert [event.attempt for event in of(result.trace, "step")] == [1, 1]
    assert started(result.trace) == ["step"]
