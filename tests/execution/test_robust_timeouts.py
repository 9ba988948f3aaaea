"""Threads with policies, deadlines within deadlines, single steps that are stopped, and what is left behind."""

import gc
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, CircuitBreaker, Context, Graph, Parallel, Retry, Sequence, State, Task, TaskTimeoutError
from orch.event import Event, TaskEvent
from orch.testing import fails, slow
from tests.execution.resilient import (
    by_path,
    failing,
    forever,
    runner_of,
    settle,
    states,
    story,
    ticks,
    virtual,
)
from tests.execution.robust import Gate, recorded, until

pytestmark = pytest.mark.timeout(30)
SOON = 0.01
POLICIES: list[dict[str, Any]] = [
    {"timeout": 60},
    {"retry": Retry(2, delay=0)},
    {"breaker": CircuitBreaker()},
    {"compensate": lambda: None},
]
with_policies = pytest.mark.parametrize("options", POLICIES, ids=lambda options: next(iter(options)))


# -- threads -----------------------------------------------------------------------------------------------------------


@with_policies
async def test_a_plain_function_with_policies_runs_in_a_worker_thread_of_the_run(options: dict[str, Any]) -> None:
    """Check 11."""
    seen: list[Any] = []

    def work(n: int, context: Context[Any]) -> int:
        seen.append((threading.current_thread().name, threading.current_thread().daemon, context.task))
        return n + 1

    result = await settle(Sequence(Task(work, **options)), Context(None), n=1)
    ((name, is_daemon, task),) = seen
    assert (name.startswith("orch-worker-"), is_daemon, task) == (True, True, "work")
    assert result.value == [2]


@with_policies
async def test_it_sees_the_callers_context_variables_and_keeps_its_own(options: dict[str, Any]) -> None:
    """T6, check 14."""
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    seen: list[str] = []

    def work() -> None:
        seen.append(variable.get())
        variable.set("a thread's")

    variable.set("caller's")
    await settle(Sequence(*[Task(work, name=f"s{k}", **options) for k in range(3)]))
    assert seen == ["caller's"] * 3
    assert variable.get() == "caller's"


@with_policies
async def test_it_may_await_on_the_loop(options: dict[str, Any]) -> None:
    async def on_loop() -> str:
        await checkpoint()
        return threading.current_thread().name

    def work() -> Any:
        return anyio.from_thread.run(on_loop), anyio.from_thread.run_sync(threading.get_ident)

    result = await settle(Task(work, **options))
    assert result.value == (threading.current_thread().name, threading.get_ident())


@with_policies
async def test_what_it_returns_to_be_awaited_is_awaited_on_the_loop(options: dict[str, Any]) -> None:
    """Check 13."""

    async def on_loop() -> int:
        await checkpoint()
        return threading.get_ident()

    def work() -> Any:
        return on_loop()

    result = await settle(Task(work, **options))
    assert result.value == threading.get_ident()


async def test_policies_of_a_few_do_not_hold_up_plain_functions_without() -> None:
    gate = Gate()
    with gate:

        def quick() -> int:
            return 1

        async def opens() -> None:
            gate.open()

        steps = Sequence(*[Task(quick, name=f"q{k}") for k in range(50)], opens)
        result = await settle(Parallel(Task(gate, name="gate", timeout=20), steps))
    assert result.state is State.SUCCEEDED


@pytest.mark.parametrize("threads", [1, 2, 5])
async def test_threads_with_and_without_policies_share_the_threads_of_the_run(threads: int) -> None:
    """T2."""
    lock, active, peaks = threading.Lock(), [0], [0]

    def work() -> None:
        with lock:
            active[0] += 1
            peaks.append(active[0])
        time.sleep(0.001)
        with lock:
            active[0] -= 1

    def task(k: int) -> Task[..., Any]:
        made: list[dict[str, Any]] = [{}, {"timeout": 60}, {"retry": Retry(2)}, {"limiter": anyio.Semaphore(3)}]
        return Task(work, name=f"s{k}", **made[k % 4])

    result = await settle(Parallel(*map(task, range(60))), runner=AsyncRunner(threads=threads))
    assert result.state is State.SUCCEEDED
    assert max(peaks) <= threads


async def test_hundreds_of_threads_over_time_do_not_pile_up() -> None:
    """T2: thirty calls over their timeouts, a limit of two: there are never three at a time."""
    lock, active, peaks = threading.Lock(), [0], [0]

    def late() -> None:
        with lock:
            active[0] += 1
            peaks.append(active[0])
        time.sleep(0.01)
        with lock:
            active[0] -= 1

    tasks = [Task(late, name=f"s{k}", timeout=0.001) for k in range(30)]
    result = await settle(Parallel(*tasks, limit=2, on_failure="continue"))
    assert max(peaks) <= 2
    assert not result.abandoned
    assert set(states(result).values()) <= {"failed", "succeeded"}


async def test_a_thread_that_asks_learns_that_its_time_is_over() -> None:
    """T14: it ends early, and what it raises then is nobody's failure."""
    ended: list[str] = []
    entered = threading.Event()

    def asks() -> None:
        entered.set()
        try:
            for _ in range(2000):
                anyio.from_thread.check_cancelled()
                time.sleep(0.001)
        finally:
            ended.append("early")

    begin = time.monotonic()
    result = await settle(Parallel(Task(asks, timeout=0.03), on_failure="continue"))
    assert time.monotonic() - begin < 1.5
    assert ended == ["early"]
    assert [type(error) for error in result.errors] == [TaskTimeoutError]
    assert not result.abandoned


async def test_a_thread_that_asks_learns_that_its_run_is_cancelled() -> None:
    """T14."""
    ended: list[str] = []
    scope = anyio.CancelScope()

    def asks() -> None:
        anyio.from_thread.run_sync(scope.cancel)
        try:
            for _ in range(2000):
                anyio.from_thread.check_cancelled()
                time.sleep(0.001)
        finally:
            ended.append("early")

    begin, heard = time.monotonic(), list[Event]()
    with scope:
        await AsyncRunner(subscribers=[heard.append]).run(Task(asks, timeout=60, retry=Retry(3, delay=0)))
    assert time.monotonic() - begin < 1.5
    assert ended == ["early"]
    assert [event.state.value for event in by_path(heard)["asks"]] == ["running", "cancelled"]


async def test_a_job_that_nobody_has_begun_when_its_step_is_stopped_never_begins() -> None:
    gate, ran = Gate(), list[int]()
    with gate:

        async def stops() -> None:
            await until(lambda: gate.entered)
            raise ValueError

        waits = Task(lambda: ran.append(1), name="waits", timeout=60)
        group = Parallel(waits, stops, name="group")
        first = Task(gate, name="gate", timeout=20)

        async def opens() -> None:
            gate.open()

        workflow = Parallel(first, Sequence(Task(ticks, name="later"), group, opens, on_failure="continue"))
        result = await settle(workflow, runner=AsyncRunner(threads=1))
    assert ran == []
    assert result.tasks["sequence/group/waits"].state is State.CANCELLED


async def test_a_thread_that_ends_in_the_moment_of_its_timeout_has_one_outcome() -> None:
    """C5 with real threads, a hundred times."""
    for k in range(60):

        def work(k: int = k) -> str:
            time.sleep(0.001 + (k % 10) * 0.0001)
            return "value"

        result = await settle(Task(work, timeout=0.0015, retry=Retry(2, delay=0)))
        record = result.tasks["work"]
        assert (record.state is State.SUCCEEDED) == (record.value == "value")
        assert not result.abandoned


# -- deadlines ---------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("seed", range(30))
async def test_of_nested_deadlines_the_first_one_counts(seed: int) -> None:
    """C6: any nest of groups; the end is that of the shortest, and it is the one that is named."""
    limits = [1 + (seed * 31 + k * 17) % 23 for k in range(5)]
    workflow: Any = Task(forever, name="s", timeout=limits[0])
    for k, limit in enumerate(limits[1:]):
        workflow = [Sequence, Parallel, Graph][(seed + k) % 3](workflow, name=f"g{k}", timeout=limit)
    result = await settle(Sequence(workflow, name="root"))
    assert result.duration == min(limits)
    first = result.errors[0]
    assert isinstance(first, TaskTimeoutError)
    assert first.timeout == min(limits)


@virtual
async def test_a_deadline_of_a_group_in_a_group_that_compensates_and_one_around_it() -> None:
    inner = Sequence(Task(slow(3), name="a", compensate=slow(1)), Task(forever, name="b"), timeout=5, name="inner",
                     on_failure="compensate")  # fmt: skip
    outer = Sequence(inner, Task(slow(1), name="c"), timeout=6, name="outer", on_failure="continue")
    result = await settle(Sequence(outer, on_failure="continue"))
    assert [error.task for error in result.errors if isinstance(error, TaskTimeoutError)] in (
        ["outer/inner"], ["outer/inner", "outer"],
    )  # fmt: skip
    assert states(result)["outer/inner/a"] == "compensated"


@virtual
async def test_thousands_of_deadlines_at_different_times() -> None:
    tasks = [Task(forever, name=f"s{k}", timeout=1 + (k * 7919) % 1000) for k in range(1000)]
    result = await settle(Parallel(*tasks, on_failure="continue"))
    assert result.duration == 1000
    ends = [event for event in result.trace if isinstance(event, TaskEvent) and event.state is State.FAILED]
    times = [(event.time - result.trace[0].time).total_seconds() for event in ends]
    assert times == sorted(times) == [float(k) for k in range(1, 1001)]


@virtual
async def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    """C21: time() is for showing only."""

    class Jumping:
        def __init__(self) -> None:
            self.calls = 0

        def monotonic(self) -> float:
            return anyio.current_time()

        def time(self) -> float:
            self.calls += 1
            return 1e9 + (3600 if self.calls % 2 else -3600)

    flaky = fails(2)
    steps = [Task(flaky, name="a", retry=Retry(3, delay=4)), Task(forever, name="b", timeout=5)]
    result = await settle(Sequence(*steps), runner=AsyncRunner(clock=Jumping()))
    assert result.duration == 13
    assert anyio.current_time() == 13


# -- one step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["body", "between attempts", "at its limiter", "not begun"])
async def test_one_step_is_stopped_and_what_needs_it_is_skipped(phase: str) -> None:
    """C15: siblings are untouched."""
    go, limiter = anyio.Event(), anyio.Semaphore(1)

    async def step() -> None:
        if phase == "between attempts":
            raise ValueError
        await anyio.sleep_forever()

    async def other() -> str:
        await go.wait()
        return "untouched"

    async def stops() -> None:
        await anyio.wait_all_tasks_blocked()
        (run,) = told.runs
        node = next(node for node in run.plan.nodes if run.plan.path(node) == "step")
        assert run.cancel_step(node)
        run.react()
        run.notice()
        await anyio.wait_all_tasks_blocked()
        assert not run.cancel_step(node)
        go.set()

    options: dict[str, Any] = {"retry": Retry(3, delay=600)} if phase == "between attempts" else {}
    if phase == "at its limiter":
        options["limiter"] = limiter
        await limiter.acquire()
    if phase == "not begun":
        options["deps"] = ["other"]
    graph = Graph(
        Task(step, **options),
        Task(ticks, name="needs", deps=["step"]),
        other,
        stops,
        on_failure="continue",
    )
    with recorded() as told, anyio.fail_after(10):
        result = await orch.run(graph, raise_on_failure=False)
    assert states(result) == {"step": "cancelled", "needs": "skipped", "other": "succeeded", "stops": "succeeded"}
    assert result.tasks["step"].reason == "requested"
    assert (result.tasks["needs"].reason, result.tasks["needs"].cause) == ("upstream_cancelled", "step")
    assert result.tasks["other"].value == "untouched"


# -- what is left ------------------------------------------------------------------------------------------------------


async def test_a_thousand_runs_with_every_policy_leave_nothing_behind() -> None:
    """T15."""
    limiter, breaker, rate = anyio.CapacityLimiter(2), CircuitBreaker(), orch.RateLimit(1000, per=0.0001)
    options: dict[str, Any] = {"retry": Retry(2, delay=0), "timeout": 60, "limiter": limiter, "breaker": breaker}
    workflow = Parallel(
        Task(ticks, name="a", **options),
        Task(lambda: 1, name="b", **options),
        Task(ticks, name="c", limiter=rate),
        failing(ValueError(), retry=Retry(2, delay=0)),
        timeout=60,
        limit=2,
        on_failure="continue",
    )
    before = threading.active_count()
    for _ in range(1000):
        await orch.run(workflow, raise_on_failure=False)
    assert threading.active_count() <= before + 1
    assert (limiter.borrowed_tokens, limiter.statistics().tasks_waiting) == (0, 0)
    assert breaker.state == "closed"


async def test_a_run_that_is_over_keeps_no_values_alive() -> None:
    """Neither timers nor breakers nor limiters remember a run."""

    class Value:
        pass

    async def make() -> Value:
        return Value()

    limiter, breaker = anyio.CapacityLimiter(1), CircuitBreaker()
    options: dict[str, Any] = {"timeout": 600, "limiter": limiter, "breaker": breaker, "compensate": lambda: None}
    result = await orch.run(Sequence(Task(make, **options), timeout=600))
    reference = weakref.ref(result.value[0])
    del result
    gc.collect()
    assert reference() is None


async def test_a_group_deadline_that_never_comes_does_not_hold_up_the_end() -> None:
    begin = time.monotonic()
    await settle(Sequence(Task(ticks, timeout=3600, retry=Retry(3, delay=3600)), timeout=3600))
    assert time.monotonic() - begin < 5


@virtual
async def test_the_end_of_a_run_comes_in_time() -> None:
    """Liveness 1: not later than durations, delays, timeouts and queues add up to."""
    limiter = anyio.CapacityLimiter(1)
    steps = [
        Task(fails(2), name="a", retry=Retry(3, delay=5)),
        Task(forever, name="b", timeout=3, retry=Retry(2, delay=4)),
        *[Task(slow(2), name=f"l{k}", limiter=limiter) for k in range(4)],
    ]
    result = await settle(Parallel(*steps, on_failure="continue"), runner=runner_of())
    assert result.duration == 10
    assert story(result, "b") == ["running", "retrying", "running", "failed"]
