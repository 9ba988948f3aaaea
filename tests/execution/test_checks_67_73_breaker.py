"""Checks 67 to 73: circuit breakers around tasks and around groups, in runs."""

import contextlib
import pickle
import threading
from typing import Any

import anyio
import pytest

import orch
from orch import (
    AsyncRunner,
    CircuitBreaker,
    CircuitOpenError,
    Graph,
    Parallel,
    Retry,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
    WorkflowError,
)
from orch.event import CircuitEvent, Event
from orch.testing import slow
from tests.execution.resilient import (
    KINDS,
    circuits,
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


class Service:
    """What a breaker protects: it is down or up, and counts its calls."""

    def __init__(self, breaker: CircuitBreaker, kind: str = "coroutine", *, down: bool = True) -> None:
        self.calls = 0
        self.down = down
        self.error = ValueError("down")
        fn = of_kind(kind, self._act)
        self.task = Task(fn, name="call", breaker=breaker, thread=False if kind == "in place" else None)

    def _act(self) -> str:
        self.calls += 1
        if self.down:
            raise self.error
        return "up"


# -- 67, 68: open ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_check_67_the_second_of_two_failures_raises_its_own_error_and_opens(kind: str) -> None:
    breaker = CircuitBreaker("payments", fail_max=2)
    service = Service(breaker, kind)
    first, second = await settle(service.task), await settle(service.task)
    assert first.errors == second.errors == (service.error,)
    assert circuits(first) == []
    assert circuits(second) == [("call", "payments", "closed", "open")]
    assert (breaker.state, breaker.failures) == ("open", 2)


@pytest.mark.parametrize("kind", KINDS)
async def test_check_68_an_open_one_fails_the_task_at_once_without_a_call(kind: str) -> None:
    breaker = CircuitBreaker("payments", fail_max=1, reset_timeout=60)
    service = Service(breaker, kind)
    await settle(service.task)
    result = await settle(Sequence(service.task, Task(forever, name="next")))
    assert service.calls == 1
    (error,) = result.errors
    assert isinstance(error, CircuitOpenError)
    assert (error.breaker, 59 < error.retry_after <= 60) == ("payments", True)
    assert states(result) == {"call": "failed", "next": "skipped"}
    assert story(result, "call") == ["running", "failed"]
    assert circuits(result) == []


async def test_check_68_the_error_reaches_the_caller_and_says_what_to_do() -> None:
    breaker = CircuitBreaker("payments", fail_max=1)
    service = Service(breaker)
    await settle(service.task)
    with pytest.raises(WorkflowError) as caught:
        await orch.run(service.task)
    assert "circuit breaker 'payments' is open" in str(caught.value.exceptions[0])


async def test_check_68_reset_closes_it() -> None:
    breaker = CircuitBreaker(fail_max=1)
    service = Service(breaker)
    await settle(service.task)
    breaker.reset()
    service.down = False
    assert (await settle(service.task)).value == "up"


# -- 69: half open -----------------------------------------------------------------------------------------------------


@virtual
async def test_check_69_after_the_timeout_one_call_decides() -> None:
    breaker = CircuitBreaker("b", fail_max=2, reset_timeout=60)
    service = Service(breaker)
    await settle(service.task)
    await settle(service.task)
    await anyio.sleep(59)
    assert isinstance((await settle(service.task)).errors[0], CircuitOpenError)
    await anyio.sleep(1)

    failed = await settle(service.task)  # the probe fails: open, and the time begins anew
    assert failed.errors == (service.error,)
    assert circuits(failed) == [("call", "b", "open", "half_open"), ("call", "b", "half_open", "open")]
    await anyio.sleep(59)
    assert isinstance((await settle(service.task)).errors[0], CircuitOpenError)
    await anyio.sleep(1)

    service.down = False
    well = await settle(service.task)
    assert circuits(well) == [("call", "b", "open", "half_open"), ("call", "b", "half_open", "closed")]
    assert (breaker.state, breaker.failures, service.calls) == ("closed", 0, 4)


@virtual
async def test_check_69_events_come_between_those_of_the_attempt() -> None:
    breaker = CircuitBreaker("b", fail_max=1, reset_timeout=60)
    service = Service(breaker)
    first = await settle(service.task)
    assert [type(event).__name__ for event in first.trace] == [
        "RunEvent", "TaskEvent", "CircuitEvent", "TaskEvent", "RunEvent",
    ]  # fmt: skip


# -- 70: one probe -----------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("calls", [5, 1000])
async def test_check_70_of_many_calls_at_once_one_probes(calls: int) -> None:
    """F14."""
    breaker = CircuitBreaker(fail_max=1, reset_timeout=60)
    with pytest.raises(WorkflowError):
        await runner_of().run(Service(breaker).task)
    await anyio.sleep(60)
    started = 0

    async def probe() -> None:
        nonlocal started
        started += 1
        await anyio.sleep(1)

    tasks = [Task(probe, name=f"p{k}", breaker=breaker) for k in range(calls)]
    result = await settle(Parallel(*tasks, on_failure="continue"))
    assert started == 1
    assert len(result.errors) == calls - 1
    assert all(isinstance(error, CircuitOpenError) and error.retry_after == 0.0 for error in result.errors)
    assert breaker.state == "closed"


@pytest.mark.parametrize("kind", KINDS)
async def test_check_70_five_runs_at_once(kind: str) -> None:
    breaker = CircuitBreaker(fail_max=1, reset_timeout=0.000001)
    await settle(Service(breaker).task)
    gate, started, entered = anyio.Event(), list[int](), threading.Event()

    async def probe() -> None:
        started.append(1)
        await gate.wait()

    def in_thread() -> None:
        started.append(1)
        entered.wait(10)

    task = Task(in_thread if kind == "thread" else probe, name="probe", breaker=breaker)
    results: list[orch.RunResult] = []

    async def one() -> None:
        results.append(await AsyncRunner().run(task, raise_on_failure=False))
        if len(results) == 4:
            gate.set()
            entered.set()

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)
    assert len(started) == 1
    assert sorted(result.state.value for result in results) == ["failed"] * 4 + ["succeeded"]
    assert breaker.state == "closed"


# -- 71: a probe without outcome ---------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("how", ["run cancelled", "sibling failed", "group timeout", "interrupt"])
async def test_check_71_a_cancelled_probe_leaves_its_place_to_the_next(how: str) -> None:
    """F15."""
    breaker = CircuitBreaker("b", fail_max=1, reset_timeout=60)
    service = Service(breaker)
    await settle(service.task)
    await anyio.sleep(60)
    hangs = Task(forever, name="hangs", breaker=breaker)

    async def bad() -> None:
        await anyio.sleep(1)
        raise KeyboardInterrupt if how == "interrupt" else ValueError

    if how == "run cancelled":
        with anyio.move_on_after(1):
            await runner_of().run(hangs)
    elif how == "interrupt":
        with contextlib.suppress(KeyboardInterrupt):
            await runner_of().run(Parallel(hangs, bad))
    else:
        await settle(Parallel(hangs, bad) if how == "sibling failed" else Parallel(hangs, timeout=1))
    assert (breaker.state, breaker.failures) == ("half_open", 1)

    service.down = False
    result = await settle(service.task)
    assert result.state is State.SUCCEEDED
    assert circuits(result) == [("call", "b", "half_open", "closed")]


@virtual
async def test_check_71_a_probe_over_its_own_timeout_has_failed() -> None:
    breaker = CircuitBreaker(fail_max=1, reset_timeout=60)
    await settle(Service(breaker).task)
    await anyio.sleep(60)
    result = await settle(Task(forever, breaker=breaker, timeout=5))
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert breaker.state == "open"
    await anyio.sleep(59)
    assert isinstance((await settle(Service(breaker).task)).errors[0], CircuitOpenError)


async def test_check_71_a_cancelled_call_of_a_closed_one_counts_as_nothing() -> None:
    breaker = CircuitBreaker(fail_max=2)
    service = Service(breaker)
    await settle(service.task)

    async def bad() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    await settle(Parallel(Task(forever, breaker=breaker), bad))
    assert breaker.failures == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_check_71_an_interrupt_counts_as_nothing(error: type[BaseException]) -> None:
    breaker = CircuitBreaker(fail_max=1)
    with pytest.raises(error):
        await orch.run(failing(error(), breaker=breaker))
    assert (breaker.state, breaker.failures) == ("closed", 0)


@virtual
async def test_check_71_a_result_of_an_earlier_era_counts_as_nothing() -> None:
    """F16."""
    breaker = CircuitBreaker(fail_max=1, reset_timeout=10)

    async def late(seconds: float, error: Exception | None) -> None:
        await anyio.sleep(seconds)
        if error:
            raise error

    def call(name: str, seconds: float, error: Exception | None) -> Task[..., Any]:
        return Task(late, seconds, error, name=name, breaker=breaker)

    old = [call("well", 5, None), call("badly", 6, ValueError()), call("first", 1, ValueError())]
    result = await settle(Parallel(*old, on_failure="continue"))
    assert breaker.state == "open"
    assert circuits(result) == [("first", None, "closed", "open")]
    await anyio.sleep(5.5)  # eleven and a half after it opened: the late failure did not begin it anew
    assert (await settle(call("probe", 1, None))).state is State.SUCCEEDED


# -- 72: what counts ---------------------------------------------------------------------------------------------------


async def test_check_72_only_failures_in_a_row_count() -> None:
    breaker = CircuitBreaker(fail_max=2)
    service = Service(breaker)
    for down in (True, False, True, False, True):
        service.down = down
        await settle(service.task)
    assert (breaker.state, breaker.failures) == ("closed", 1)
    await settle(service.task)
    assert breaker.state == "open"


async def test_check_72_every_attempt_is_a_call() -> None:
    breaker = CircuitBreaker(fail_max=10)
    await settle(failing(ValueError(), breaker=breaker, retry=Retry(4, delay=0)))
    assert breaker.failures == 4


async def test_check_72_errors_to_ignore_count_as_nothing() -> None:
    breaker = CircuitBreaker(fail_max=2, ignore=KeyError)
    await settle(failing(ValueError(), breaker=breaker))
    await settle(failing(KeyError(), breaker=breaker))
    assert breaker.failures == 1
    await settle(failing(ValueError(), breaker=breaker))
    assert breaker.state == "open"


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
@pytest.mark.parametrize("strategy", ["abort", "continue", "compensate"])
async def test_check_72_a_group_is_one_call_however_many_of_its_steps_fail(kind: Any, strategy: Any) -> None:
    breaker = CircuitBreaker("g", fail_max=2)
    steps = [failing(ValueError(k), f"f{k}") for k in range(3)]
    group = kind(*steps, name="group", breaker=breaker, on_failure=strategy)
    await settle(group)
    assert breaker.failures == 1
    result = await settle(Sequence(group))
    assert circuits(result) == [("group", "g", "closed", "open")]


async def test_check_72_a_group_that_succeeds_is_one_success() -> None:
    breaker = CircuitBreaker(fail_max=2)
    good = Parallel(Task(ticks, name="a"), Sequence(Task(ticks, name="b")), breaker=breaker)
    bad = Sequence(Task(ticks, name="c"), failing(ValueError()), breaker=breaker)
    for group in (bad, good, bad):
        await settle(group)
    assert (breaker.state, breaker.failures) == ("closed", 1)


async def test_check_72_a_group_behind_an_open_breaker_calls_nothing() -> None:
    breaker, ran = CircuitBreaker("g", fail_max=1), list[str]()

    async def runs() -> None:
        ran.append("body")

    def work(name: str) -> Task[..., Any]:
        return Task(runs, name=name)

    await settle(Sequence(failing(ValueError()), breaker=breaker))
    guarded = Sequence(work("a"), Parallel(work("b"), work("c")), name="group", breaker=breaker)
    result = await settle(Sequence(work("before"), guarded, work("after"), on_failure="continue"))
    assert ran == ["body", "body"]
    assert [type(error) for error in result.errors] == [CircuitOpenError]
    assert list(states(result).values()) == ["succeeded", "failed", "skipped", "skipped", "succeeded"]
    assert {record.reason for record in result.tasks.values() if record.state is State.SKIPPED} == {"aborted"}
    assert breaker.state == "open"


@pytest.mark.parametrize("strategy", ["abort", "continue", "compensate"])
async def test_check_72_a_parallel_group_behind_an_open_breaker_fails_once(strategy: Any) -> None:
    breaker, ran = CircuitBreaker("g", fail_max=1), list[str]()

    async def runs() -> None:
        ran.append("body")

    await settle(Sequence(failing(ValueError()), breaker=breaker))
    steps = [Task(runs, name=f"s{k}") for k in range(5)]
    result = await settle(Parallel(*steps, breaker=breaker, on_failure=strategy))
    assert not ran
    assert sorted(states(result).values()) == ["failed"] + ["skipped"] * 4
    assert len(result.errors) == 1


@virtual
async def test_check_72_nothing_in_a_group_that_was_refused_is_tried_again() -> None:
    breaker = CircuitBreaker("g", fail_max=1, reset_timeout=10)
    await settle(Sequence(failing(ValueError()), breaker=breaker))
    task = Task(ticks, name="t", retry=Retry(5, delay=20, retry_on=CircuitOpenError))
    result = await settle(Sequence(task, breaker=breaker))
    assert (result.duration, result.tasks["t"].attempts) == (0, 1)
    assert [type(error) for error in result.errors] == [CircuitOpenError]


@virtual
async def test_check_72_a_guarded_group_probes_as_a_whole() -> None:
    breaker, ran = CircuitBreaker("g", fail_max=1, reset_timeout=60), list[float]()

    async def runs() -> None:
        ran.append(anyio.current_time())
        await anyio.sleep(1)

    await settle(Sequence(failing(ValueError()), breaker=breaker))
    await anyio.sleep(60)
    group = Parallel(*[Task(runs, name=f"s{k}") for k in range(3)], name="group", breaker=breaker)
    other = Sequence(slow(0.5), Task(runs, name="t", breaker=breaker), name="other")
    result = await settle(Parallel(group, other, on_failure="continue"))
    assert ran == [60, 60, 60]
    assert states(result)["other/t"] == "failed"
    assert circuits(result) == [("group", "g", "open", "half_open"), ("group", "g", "half_open", "closed")]


@virtual
async def test_check_72_a_guarded_group_over_its_timeout_has_failed() -> None:
    breaker = CircuitBreaker("g", fail_max=1)
    result = await settle(Parallel(forever, name="group", breaker=breaker, timeout=5))
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert breaker.state == "open"


async def test_check_72_a_guarded_group_that_is_cancelled_counts_as_nothing() -> None:
    breaker = CircuitBreaker(fail_max=1)

    async def bad() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    await settle(Parallel(Sequence(forever, name="group", breaker=breaker), bad))
    assert (breaker.state, breaker.failures) == ("closed", 0)


async def test_check_72_a_guarded_group_that_never_begins_is_no_call() -> None:
    breaker = CircuitBreaker(fail_max=1)
    guarded = Sequence(forever, name="group", breaker=breaker)
    await settle(Sequence(failing(ValueError()), guarded))
    assert breaker.failures == 0
    await settle(Sequence(Sequence(name="empty", breaker=breaker)))
    assert breaker.state == "closed"


async def test_check_72_errors_to_ignore_out_of_a_group_count_as_nothing() -> None:
    breaker = CircuitBreaker(fail_max=1, ignore=KeyError)
    await settle(Sequence(failing(KeyError()), breaker=breaker))
    assert breaker.failures == 0


async def test_check_72_nested_guards_are_asked_from_the_outside_in() -> None:
    outer, inner, own = CircuitBreaker("outer", fail_max=1), CircuitBreaker("inner", fail_max=1), CircuitBreaker("own")
    task = failing(ValueError(), breaker=own)
    workflow = Sequence(Sequence(task, name="in", breaker=inner), name="out", breaker=outer)
    result = await settle(Sequence(workflow))
    assert circuits(result) == [("out/in", "inner", "closed", "open"), ("out", "outer", "closed", "open")]
    assert own.failures == 1
    result = await settle(Sequence(workflow))
    (error,) = result.errors
    assert isinstance(error, CircuitOpenError)
    assert error.breaker == "outer"
    assert own.failures == 1


# -- 73: shared --------------------------------------------------------------------------------------------------------


async def test_check_73_one_workflow_opens_it_another_sees_it_open() -> None:
    breaker = CircuitBreaker(fail_max=1)
    first = Sequence(failing(ValueError(), breaker=breaker), name="first")
    second = Graph(Task(ticks, name="other", breaker=breaker), name="second")
    await settle(first)
    result = await settle(second)
    assert isinstance(result.errors[0], CircuitOpenError)


async def test_check_73_two_runs_at_the_same_time() -> None:
    breaker, opened = CircuitBreaker(fail_max=1), anyio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, CircuitEvent) and event.new == "open":
            opened.set()

    results: list[orch.RunResult] = []

    async def waits() -> None:
        await opened.wait()

    async def second() -> None:
        workflow = Sequence(waits, Task(ticks, name="call", breaker=breaker))
        results.append(await settle(workflow))

    async with anyio.create_task_group() as group:
        group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        await settle(failing(ValueError(), breaker=breaker), subscribers=[listen])
    assert states(results[0]) == {"waits": "succeeded", "call": "failed"}


def test_check_73_runs_in_several_threads_share_it() -> None:
    breaker, calls = CircuitBreaker(fail_max=3), list[int]()

    async def down() -> None:
        calls.append(1)
        raise ValueError

    task = Task(down, breaker=breaker)
    threads = [threading.Thread(target=lambda: orch.Runner().run(task, raise_on_failure=False)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert breaker.state == "open"
    before = len(calls)
    assert 3 <= before <= 8
    assert isinstance(orch.Runner().run(task, raise_on_failure=False).errors[0], CircuitOpenError)
    assert len(calls) == before


def test_check_73_a_copy_of_a_workflow_has_a_breaker_of_its_own() -> None:
    breaker = CircuitBreaker("b", fail_max=1)
    task = Task(print, breaker=breaker)
    orch.Runner().run(Task(_down, breaker=breaker), raise_on_failure=False)
    copy = pickle.loads(pickle.dumps(task))
    assert breaker.state == "open"
    assert (copy.breaker.name, copy.breaker.state) == ("b", "closed")


async def _down() -> None:
    raise ValueError
