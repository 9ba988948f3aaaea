"""Checks 51 to 59: attempts that failed are repeated, and how long that takes."""

import random
import threading
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    AsyncRunner,
    CircuitBreaker,
    CircuitOpenError,
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
from orch.event import TaskEvent
from orch.testing import fails, slow
from tests.execution.resilient import (
    KINDS,
    by_path,
    failing,
    forever,
    of_kind,
    runner_of,
    settle,
    states,
    story,
    ticks,
    virtual,
)

AT_ONCE = Retry(3, delay=0)


class Flaky:
    """Fails by one error after another, then gives a value; keeps when it was called."""

    def __init__(self, *errors: BaseException, value: Any = "value") -> None:
        self.errors = list(errors)
        self.value = value
        self.calls: list[float] = []

    def task(self, kind: str = "coroutine", name: str = "flaky", **options: Any) -> Task[..., Any]:
        return Task(of_kind(kind, self), name=name, thread=False if kind == "in place" else None, **options)

    def __call__(self) -> Any:
        self.calls.append(0.0 if threading.current_thread() is not threading.main_thread() else anyio.current_time())
        if len(self.calls) <= len(self.errors):
            raise self.errors[len(self.calls) - 1]
        return self.value


def retrying(result: orch.RunResult, path: str) -> list[tuple[int, BaseException | None, float | None]]:
    """Attempt, error and delay of each attempt that was to be followed by another."""
    events = by_path(result.trace)[path]
    return [(event.attempt, event.error, event.delay) for event in events if event.state is State.RETRYING]


def gaps(calls: list[float]) -> list[float]:
    return [round(later - earlier, 9) for earlier, later in pairwise(calls)]


# -- 51, 52: attempts and events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_check_51_a_task_that_succeeds_on_its_second_call(kind: str) -> None:
    error, after = ValueError("first"), list[str]()
    flaky = Flaky(error)

    async def dependent(flaky: str) -> None:
        after.append(flaky)

    result = await settle(Graph(flaky.task(kind, retry=AT_ONCE), dependent))
    assert len(flaky.calls) == 2
    assert after == ["value"]
    assert story(result, "flaky") == ["running", "retrying", "running", "succeeded"]
    assert retrying(result, "flaky") == [(1, error, 0.0)]
    assert [event.attempt for event in by_path(result.trace)["flaky"]] == [1, 1, 2, 2]
    record = result.tasks["flaky"]
    assert (record.state, record.attempts, record.value, record.error) == (State.SUCCEEDED, 2, "value", None)
    assert (result.state, result.errors) == (State.SUCCEEDED, ())


@pytest.mark.parametrize("kind", KINDS)
async def test_check_52_a_task_that_never_succeeds(kind: str) -> None:
    errors = [ValueError(k) for k in range(4)]
    flaky = Flaky(*errors)
    result = await settle(Sequence(flaky.task(kind, retry=AT_ONCE), Task(forever, name="next")))
    assert len(flaky.calls) == 3
    assert story(result, "flaky") == ["running", "retrying", "running", "retrying", "running", "failed"]
    assert retrying(result, "flaky") == [(1, errors[0], 0.0), (2, errors[1], 0.0)]
    assert result.errors == (errors[2],)
    assert result.errors[0] is errors[2]
    assert result.tasks["flaky"].error is errors[2]
    skipped, failed = by_path(result.trace)["next"][0], by_path(result.trace)["flaky"][-1]
    assert (skipped.state, skipped.seq > failed.seq) == (State.SKIPPED, True)


async def test_check_52_each_error_has_a_note_that_names_its_attempt() -> None:
    errors = [ValueError(k) for k in range(3)]
    await settle(Flaky(*errors).task(retry=AT_ONCE))
    notes = [error.__notes__ for error in errors]
    assert notes == [[f"in task 'flaky', attempt {k}"] for k in (1, 2, 3)]


async def test_check_52_an_error_object_raised_again_and_again_is_not_chained_to_itself() -> None:
    """F5: no growth of `__context__`."""
    error = ValueError()
    task = failing(error, retry=Retry(50, delay=0))
    result = await settle(task)
    assert result.errors == (error,)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert len(error.__notes__) == 50


async def test_check_52_errors_of_earlier_attempts_are_not_the_context_of_later_ones() -> None:
    errors = [ValueError(k) for k in range(10)]
    await settle(Flaky(*errors).task(retry=Retry(10, delay=0)))
    assert [error.__context__ for error in errors] == [None] * 10


@pytest.mark.parametrize("strategy", ["abort", "continue", "compensate"])
async def test_check_52_no_strategy_is_asked_before_the_attempts_are_used_up(strategy: Any) -> None:
    flaky = Flaky(ValueError(), ValueError())
    group = Parallel(flaky.task(retry=AT_ONCE), Task(ticks, name="other"), on_failure=strategy)
    result = await settle(group)
    assert set(states(result).values()) == {"succeeded"}


async def test_check_52_many_attempts_at_once_leave_others_room() -> None:
    """A thousand attempts without delay do not keep the loop."""
    flaky, turns = Flaky(*[ValueError()] * 999), 0

    async def other() -> None:
        nonlocal turns
        while len(flaky.calls) < 1000:
            turns += 1
            await checkpoint()

    result = await settle(Parallel(flaky.task(retry=Retry(1000, delay=0)), other))
    assert result.tasks["flaky"].attempts == 1000
    assert turns > 1


async def test_check_52_a_single_attempt_is_like_no_retry() -> None:
    flaky = Flaky(ValueError())
    result = await settle(flaky.task(retry=Retry(1)))
    assert story(result, "flaky") == ["running", "failed"]


async def test_check_52_tasks_in_nested_groups_and_in_a_second_run_count_their_own_attempts() -> None:
    flaky = fails(2)
    inner = Parallel(Task(flaky, name="x", retry=AT_ONCE), Task(fails(1), name="y", retry=AT_ONCE))
    workflow = Sequence(inner, Sequence(Task(fails(2), name="z", retry=AT_ONCE)))
    result = await settle(workflow)
    assert [record.attempts for record in result.tasks.values()] == [3, 2, 3]
    result = await settle(workflow)
    assert [record.attempts for record in result.tasks.values()] == [1, 1, 1]


# -- 53: delays --------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize(
    "options, waits",
    [
        ({"delay": 2}, [2, 2, 2, 2]),
        ({"delay": 2, "backoff": "fixed"}, [2, 2, 2, 2]),
        ({"delay": 2, "backoff": "linear"}, [2, 4, 6, 8]),
        ({"delay": 2, "backoff": "exponential"}, [2, 4, 8, 16]),
        ({"delay": 2, "backoff": "exponential", "max_delay": 5}, [2, 4, 5, 5]),
        ({"delay": 10, "max_delay": 3}, [3, 3, 3, 3]),
        ({"delay": 0, "backoff": "exponential"}, [0, 0, 0, 0]),
        ({"delay": 0.25, "backoff": "linear"}, [0.25, 0.5, 0.75, 1]),
    ],
)
@pytest.mark.parametrize("kind", ["coroutine", "suspended", "in place"])
async def test_check_53_the_waits_are_those_of_the_policy(kind: str, options: Any, waits: list[float]) -> None:
    flaky = Flaky(*[ValueError()] * 4)
    result = await settle(flaky.task(kind, retry=Retry(5, **options)))
    assert gaps(flaky.calls) == waits
    assert [delay for _, _, delay in retrying(result, "flaky")] == waits
    assert result.duration == sum(waits)


@virtual
async def test_check_53_attempt_eleven_hundred_waits_the_longest_delay() -> None:
    flaky = Flaky(*[ValueError()] * 1100)
    result = await settle(flaky.task(retry=Retry(1101, delay=1, backoff="exponential", max_delay=60)))
    assert result.tasks["flaky"].attempts == 1101
    assert max(gaps(flaky.calls)) == 60


@virtual
async def test_check_53_jitter_comes_from_the_runner_and_is_reproducible() -> None:
    """F13."""

    async def waits(seed: int) -> list[float]:
        flaky = Flaky(*[ValueError()] * 20)
        retry = Retry(21, delay=10, jitter=0.5, max_delay=12)
        runner = runner_of(rng=random.Random(seed))
        result = await settle(flaky.task(retry=retry), runner=runner)
        assert gaps(flaky.calls) == [round(delay or 0, 9) for _, _, delay in retrying(result, "flaky")]
        return gaps(flaky.calls)

    first, second, other = await waits(1), await waits(1), await waits(2)
    assert first == second != other
    assert all(5 <= each <= 12 for each in first)
    assert len(set(first)) > 5
    assert 12 in first


# -- 54: which errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, options, attempts",
    [
        (KeyError(), {"retry_on": KeyError}, 3),
        (KeyError(), {"retry_on": LookupError}, 3),
        (KeyError(), {"retry_on": (OSError, LookupError)}, 3),
        (KeyError(), {"retry_on": OSError}, 1),
        (KeyError(), {"retry_on": ()}, 1),
        (KeyError(), {"give_up_on": LookupError}, 1),
        (KeyError(), {"retry_on": KeyError, "give_up_on": KeyError}, 1),
        (IndexError(), {"retry_on": LookupError, "give_up_on": KeyError}, 3),
        (ExceptionGroup("", [KeyError(), OSError()]), {}, 3),
        (ExceptionGroup("", [KeyError(), OSError()]), {"retry_on": KeyError}, 1),
        (ExceptionGroup("", [KeyError(), ExceptionGroup("", [KeyError()])]), {"retry_on": KeyError}, 3),
        (ExceptionGroup("", [KeyError(), OSError()]), {"give_up_on": OSError}, 1),
    ],
    ids=str,
)
async def test_check_54_give_up_on_wins_and_of_groups_every_error_counts(
    error: Exception, options: Any, attempts: int
) -> None:
    """F8: the group is preserved."""
    result = await settle(failing(error, retry=Retry(3, delay=0, **options)))
    assert result.tasks["fails"].attempts == attempts
    assert result.errors[0] is error


@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration(2)], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
async def test_check_54_a_stop_iteration_is_tried_again_as_what_it_is(kind: str, error: Exception) -> None:
    """F9."""
    flaky = Flaky(error, error)
    result = await settle(flaky.task(kind, retry=Retry(2, delay=0, retry_on=(StopIteration, StopAsyncIteration))))
    assert result.tasks["flaky"].attempts == 2
    assert type(result.errors[0]) is type(error)


async def test_check_54_what_is_thrown_before_the_body_runs_counts_as_well() -> None:
    """A call that the function refuses is its failure like another."""

    class Lying:
        __name__ = "lying"
        calls = 0

        def __call__(self, *args: Any) -> Any:
            self.calls += 1
            raise TypeError("no")

    lying = Lying()
    result = await settle(Task(lying, thread=False, retry=AT_ONCE))
    assert (lying.calls, result.tasks["lying"].attempts) == (3, 3)


# -- 55: what is never tried again -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit], ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", KINDS)
async def test_check_55_what_is_no_exception_is_never_tried_again(kind: str, error: type[BaseException]) -> None:
    """F6, F7."""
    flaky = Flaky(error(), ValueError())
    with pytest.raises(error):
        await orch.run(Sequence(flaky.task(kind, retry=AT_ONCE), forever))
    assert len(flaky.calls) == 1


@pytest.mark.parametrize("bad", [KeyboardInterrupt, BaseException, "x", 1, object], ids=str)
def test_check_55_a_policy_takes_classes_of_exceptions_only(bad: Any) -> None:
    """F6."""
    for field in ("retry_on", "give_up_on"):
        with pytest.raises((TypeError, ValueError), match=field):
            Retry(**cast("Any", {field: (bad,)}))


async def test_check_55_a_cancelled_run_makes_no_other_attempt() -> None:
    calls = 0

    async def waits() -> None:
        nonlocal calls
        calls += 1
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel, scope)
            await orch.run(Task(waits, retry=AT_ONCE))
    assert scope.cancelled_caught
    assert calls == 1


@pytest.mark.parametrize("ending", ["raises", "cancelled"])
async def test_check_55_a_step_of_an_aborted_group_makes_no_other_attempt(ending: str) -> None:
    calls = 0

    async def waits() -> None:
        nonlocal calls
        calls += 1
        try:
            await anyio.sleep_forever()
        finally:
            if ending == "raises":
                raise KeyError

    async def bad() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    result = await settle(Parallel(Task(waits, retry=AT_ONCE), bad))
    assert calls == 1
    assert states(result)["waits"] == ("failed" if ending == "raises" else "cancelled")


async def test_check_55_a_foreign_cancellation_is_a_failure_like_others() -> None:
    """C10: what something inside the step raised although nobody cancelled it."""
    calls = 0

    async def odd() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            with anyio.CancelScope() as scope:
                scope.cancel()
                try:
                    await checkpoint()
                except anyio.get_cancelled_exc_class() as cancelled:
                    kept.append(cancelled)
            raise kept[0]
        return "second"

    kept: list[BaseException] = []
    result = await settle(Task(odd, retry=AT_ONCE))
    assert (calls, result.value) == (2, "second")


async def _cancel(scope: anyio.CancelScope) -> None:
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


# -- 56: slots while waiting -------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("where", ["group", "runner", "limiter", "outer group"])
async def test_check_56_a_waiting_step_holds_no_slot(where: str) -> None:
    flaky, order = Flaky(ValueError()), list[tuple[str, float]]()
    limiter = anyio.CapacityLimiter(1) if where == "limiter" else None

    def other(name: str) -> Task[..., Any]:
        async def work() -> None:
            order.append((name, anyio.current_time()))
            await anyio.sleep(1)

        return Task(work, name=name, limiter=limiter)

    first = flaky.task(retry=Retry(3, delay=10), limiter=limiter)
    group: Any = Parallel(first, other("a"), other("b"), limit=1 if where == "group" else None)
    if where == "outer group":
        group = Sequence(group, limit=1)
    result = await settle(group, runner=runner_of(limit=1 if where == "runner" else None))
    assert sorted(order) == [("a", order[0][1]), ("b", order[1][1])] or len(order) == 2
    assert {at for _, at in order} == {0, 1}
    assert flaky.calls[-1] == 10
    assert result.duration == 10


@virtual
async def test_check_56_a_step_whose_wait_is_over_queues_for_the_slot_like_others() -> None:
    flaky = Flaky(ValueError())
    long = Task(slow(30), name="long")
    result = await settle(Parallel(flaky.task(retry=Retry(2, delay=5)), long, limit=1))
    assert flaky.calls == [0, 30]
    assert retrying(result, "flaky")[0][2] == 5


@virtual
async def test_check_56_a_retry_is_no_new_start_for_an_own_limit_only() -> None:
    """With a limit of 2 and ten flaky steps never more than two bodies are active."""
    active = peak = 0

    def make(k: int) -> Task[..., Any]:
        calls = 0

        async def work() -> None:
            nonlocal active, peak, calls
            active += 1
            peak = max(peak, active)
            try:
                await anyio.sleep(1)
                calls += 1
                if calls < 3:
                    raise ValueError
            finally:
                active -= 1

        return Task(work, name=f"w{k}", retry=Retry(3, delay=0.5))

    result = await settle(Parallel(*map(make, range(10)), limit=2))
    assert peak == 2
    assert {record.attempts for record in result.tasks.values()} == {3}


# -- 57: a deadline for the series -------------------------------------------------------------------------------------


@virtual
async def test_check_57_no_wait_crosses_the_deadline() -> None:
    errors = [ValueError(k) for k in range(10)]
    flaky = Flaky(*errors)
    result = await settle(flaky.task(retry=Retry(10, delay=4, deadline=10)))
    assert flaky.calls == [0, 4, 8]
    assert result.duration == 8
    assert result.errors == (errors[2],)


@virtual
async def test_check_57_the_time_of_the_attempts_counts_and_the_one_before_the_first_does_not() -> None:
    calls: list[float] = []

    async def work() -> None:
        calls.append(anyio.current_time())
        await anyio.sleep(3)
        raise ValueError

    task = Task(work, retry=Retry(10, delay=1, deadline=10))
    result = await settle(Sequence(slow(100), task))
    assert calls == [100, 104, 108]
    assert result.duration == 111


# -- 58: RetryAfter ----------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("seconds", [0, 30, 1000])
async def test_check_58_exactly_the_time_asked_for_is_waited(seconds: float) -> None:
    """Neither the longest delay nor jitter has a say."""
    flaky = Flaky(RetryAfter(seconds))
    result = await settle(flaky.task(retry=Retry(2, delay=5, max_delay=60, jitter=1)))
    assert flaky.calls == [0, seconds]
    assert [delay for _, _, delay in retrying(result, "flaky")] == [seconds]


def asking(seconds: float, cause: Exception | None) -> Callable[[], Any]:
    async def asks() -> None:
        raise RetryAfter(seconds) from cause

    return asks


async def test_check_58_when_attempts_are_used_up_the_task_fails_by_the_underlying_error() -> None:
    error = OSError("busy")
    result = await settle(Task(asking(0, error), retry=Retry(2)))
    assert result.tasks["asks"].attempts == 2
    assert result.errors == (error,)
    assert "in task 'asks', attempt 2" in error.__notes__


async def test_check_58_it_is_eligible_by_its_cause() -> None:
    error = OSError("busy")
    result = await settle(Task(asking(0, error), retry=Retry(3, retry_on=KeyError)))
    assert (result.tasks["asks"].attempts, result.errors) == (1, (error,))
    result = await settle(Task(asking(0, error), retry=Retry(3, retry_on=OSError)))
    assert result.tasks["asks"].attempts == 3


async def test_check_58_without_a_policy_the_task_fails_by_the_underlying_error() -> None:
    error = OSError("busy")
    result = await settle(Sequence(Task(asking(60, error)), Task(forever, name="next")))
    assert result.errors == (error,)


async def test_check_58_without_a_cause_the_task_fails_by_the_request_itself() -> None:
    result = await settle(Task(asking(0, None), retry=Retry(2)))
    assert [type(error) for error in result.errors] == [RetryAfter]


@virtual
async def test_check_58_it_does_not_cross_the_deadline_either() -> None:
    error = OSError()
    result = await settle(Task(asking(30, error), retry=Retry(5, deadline=50)))
    assert (result.tasks["asks"].attempts, result.duration, result.errors) == (2, 30, (error,))


# -- 59: arguments -----------------------------------------------------------------------------------------------------


async def test_check_59_every_attempt_gets_the_same_arguments() -> None:
    seen: list[Any] = []
    given = [1, 2]

    async def make() -> list[int]:
        return given

    async def work(piped: list[int], make: Any, x: int, context: Context[Any], *, bound: str, default: int = 9) -> None:
        seen.append((piped, make, x, context.data, context.attempt, context.task, bound, default))
        if len(seen) < 3:
            raise ValueError

    workflow = Sequence(make, Task(work, retry=AT_ONCE, bound="b"))
    data = {"shared": True}
    await settle(workflow, Context(data), x=5)
    assert seen == [(given, given, 5, data, attempt, "work", "b", 9) for attempt in (1, 2, 3)]
    assert all(piped is given for piped, *_ in seen)


async def test_check_59_values_that_are_not_kept_are_there_for_every_attempt() -> None:
    seen: list[Any] = []

    async def make() -> list[int]:
        return [1]

    async def work(make: list[int]) -> None:
        seen.append(make)
        if len(seen) < 3:
            raise ValueError

    result = await settle(Graph(Task(make, retain=False), Task(work, retry=AT_ONCE)))
    assert seen == [[1]] * 3
    assert result.tasks["make"].value is None


async def test_check_59_the_value_of_a_group_is_there_for_every_attempt() -> None:
    seen: list[Any] = []

    async def work(values: list[Any]) -> None:
        seen.append(values)
        if len(seen) < 3:
            raise ValueError

    async def one() -> int:
        return 1

    await settle(Sequence(Parallel(one, one), Task(work, retry=AT_ONCE)))
    assert seen == [[1, 1]] * 3


async def test_check_59_attempts_do_not_see_what_others_set_in_context_variables() -> None:
    variable = ContextVar("variable", default="caller's")
    seen: list[str] = []

    async def work() -> None:
        seen.append(variable.get())
        variable.set("mine")
        await checkpoint()
        if len(seen) < 3:
            raise ValueError

    await settle(Sequence(Task(work, retry=AT_ONCE), Task(work, name="again")))
    assert seen == ["caller's"] * 4


# -- with other policies -----------------------------------------------------------------------------------------------


async def test_an_open_breaker_ends_the_retries_with_the_last_error_as_cause() -> None:
    """F17, decision 16: nothing is waited for."""
    errors = [ValueError(k) for k in range(5)]
    flaky, breaker = Flaky(*errors), CircuitBreaker("b", fail_max=2, reset_timeout=1000)
    result = await settle(flaky.task(retry=Retry(5, delay=60), breaker=breaker).evolve(retry=Retry(5, delay=0)))
    assert len(flaky.calls) == 2
    (error,) = result.errors
    assert isinstance(error, CircuitOpenError)
    assert error.breaker == "b"
    assert 0 < error.retry_after <= 1000
    assert error.__cause__ is errors[1]


@virtual
async def test_an_open_breaker_ends_the_retries_without_a_pointless_wait() -> None:
    errors = [ValueError(k) for k in range(5)]
    flaky, breaker = Flaky(*errors), CircuitBreaker("b", fail_max=2, reset_timeout=1000)
    result = await settle(flaky.task(retry=Retry(5, delay=60), breaker=breaker))
    assert flaky.calls == [0, 60]
    assert result.duration == 60
    (error,) = result.errors
    assert isinstance(error, CircuitOpenError)
    assert error.__cause__ is errors[1]


@virtual
async def test_retries_that_come_after_the_reset_timeout_go_through() -> None:
    flaky, breaker = Flaky(ValueError(), ValueError()), CircuitBreaker(fail_max=1, reset_timeout=50)
    result = await settle(flaky.task(retry=Retry(5, delay=60), breaker=breaker))
    assert flaky.calls == [0, 60, 120]
    assert result.state is State.SUCCEEDED
    assert breaker.state == "closed"


@virtual
async def test_a_policy_that_names_the_open_breaker_waits_for_it() -> None:
    flaky, breaker = Flaky(ValueError(), ValueError()), CircuitBreaker(fail_max=2, reset_timeout=100)
    retry = Retry(10, delay=30, retry_on=(ValueError, CircuitOpenError))
    result = await settle(flaky.task(retry=retry, breaker=breaker))
    assert flaky.calls == [0, 30, 150]
    assert result.tasks["flaky"].attempts == 6
    assert result.state is State.SUCCEEDED


@virtual
async def test_an_attempt_over_its_timeout_is_tried_again() -> None:
    """C4."""
    calls: list[float] = []

    async def work() -> str:
        calls.append(anyio.current_time())
        if len(calls) < 3:
            await anyio.sleep(100)
        return "in time"

    result = await settle(Task(work, retry=Retry(3, delay=1), timeout=10))
    assert calls == [0, 11, 22]
    assert result.value == "in time"
    errors = [error for _, error, _ in retrying(result, "work")]
    assert all(isinstance(error, TaskTimeoutError) and error.timeout == 10 for error in errors)


@virtual
async def test_a_timeout_is_not_tried_again_if_the_policy_gives_up_on_it() -> None:
    result = await settle(Task(forever, retry=Retry(3, give_up_on=TimeoutError), timeout=10))
    assert result.tasks["forever"].attempts == 1


@virtual
async def test_the_limiter_is_taken_anew_for_each_attempt() -> None:
    limiter = orch.RateLimit(1, per=7)
    flaky = Flaky(ValueError(), ValueError())
    await settle(flaky.task(retry=Retry(3, delay=1), limiter=limiter))
    assert flaky.calls == [0, 7, 14]


@virtual
async def test_waiting_steps_wake_in_order_of_their_times() -> None:
    order: list[int] = []

    def make(k: int) -> Task[..., Any]:
        calls = 0

        async def work() -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ValueError
            order.append(k)

        return Task(work, name=f"w{k}", retry=Retry(2, delay=(k * 37) % 100 + 1, max_delay=100))

    await settle(Parallel(*map(make, range(100))))
    assert order == sorted(range(100), key=lambda k: (k * 37) % 100)


@virtual
async def test_a_thousand_steps_wait_at_the_same_time() -> None:
    class Once:
        def __init__(self) -> None:
            self.calls = 0

        async def __call__(self) -> None:
            self.calls += 1
            if self.calls == 1:
                raise ValueError

    steps = [Task(Once(), name=f"s{k}", retry=Retry(2, delay=10)) for k in range(1_000)]
    result = await runner_of().run(Parallel(*steps))
    assert result.duration == 10
    assert {record.attempts for record in result.tasks.values()} == {2}


async def test_a_subscriber_sees_that_a_task_waits_while_it_waits() -> None:
    heard: list[str] = []
    seen = anyio.Event()

    def listen(event: Any) -> None:
        if isinstance(event, TaskEvent) and event.path == "flaky":
            heard.append(event.state.value)
            if event.state is State.RETRYING:
                seen.set()

    flaky = Flaky(ValueError()).task(retry=Retry(2, delay=60))

    async def leave() -> None:
        await seen.wait()
        raise KeyError

    await settle(Parallel(flaky, leave), runner=AsyncRunner(subscribers=[listen]))
    assert heard == ["running", "retrying", "cancelled"]
