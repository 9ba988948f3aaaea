"""Limiters shared between tasks, runs and the user's own code: never over-granted or left taken, no deadlock."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, CircuitBreaker, Graph, Parallel, RateLimit, Retry, Sequence, State, Task
from orch.testing import slow
from tests.execution.resilient import (
    KINDS,
    Diary,
    failing,
    forever,
    of_kind,
    runner_of,
    settle,
    states,
    ticks,
    virtual,
)

pytestmark = pytest.mark.timeout(30)


class Own:
    """A limiter of the user's own: one at a time, waiting as it likes."""

    def __init__(self) -> None:
        self.inner = anyio.Semaphore(1)
        self.calls: list[str] = []

    async def acquire(self) -> None:
        await self.inner.acquire()
        self.calls.append("acquire")

    def release(self) -> None:
        self.calls.append("release")
        self.inner.release()


MADE: dict[str, Callable[[], Any]] = {
    "CapacityLimiter": lambda: anyio.CapacityLimiter(1),
    "Semaphore": lambda: anyio.Semaphore(1),
    "fast Semaphore": lambda: anyio.Semaphore(1, fast_acquire=True),
    "Lock": anyio.Lock,
    "own": Own,
}
every_limiter = pytest.mark.parametrize("kind", MADE)


def is_free(limiter: Any) -> bool:
    """Nobody holds it, and nobody waits for it."""
    limiter = getattr(limiter, "inner", limiter)
    try:
        limiter.acquire_nowait()
    except anyio.WouldBlock:
        return False
    limiter.release()
    return limiter.statistics().tasks_waiting == 0  # type: ignore[no-any-return]


class Meter:
    """How many bodies are active at a time."""

    def __init__(self) -> None:
        self.active = self.peak = self.total = 0
        self._lock = threading.Lock()

    def body(self, kind: str = "coroutine", turns: int = 3, *, fails: bool = False) -> Callable[[], Any]:
        def enter() -> None:
            with self._lock:
                self.active += 1
                self.total += 1
                self.peak = max(self.peak, self.active)

        def leave() -> None:
            with self._lock:
                self.active -= 1
            if fails:
                raise ValueError

        async def coroutine() -> None:
            enter()
            try:
                await ticks(turns)
            finally:
                leave()

        def plain() -> None:
            enter()
            leave()

        return coroutine if kind in {"coroutine", "suspended"} else plain

    def task(self, name: str, kind: str = "coroutine", *, fails: bool = False, **options: Any) -> Task[..., Any]:
        return Task(self.body(kind, fails=fails), name=name, thread=False if kind == "in place" else None, **options)


# -- how many ----------------------------------------------------------------------------------------------------------


@every_limiter
@pytest.mark.parametrize("body", ["coroutine", "thread", "in place"])
async def test_at_most_as_many_as_the_limiter_lets_in(kind: str, body: str) -> None:
    """L1."""
    meter, limiter = Meter(), MADE[kind]()
    tasks = [meter.task(f"s{k}", body, limiter=limiter) for k in range(30)]
    result = await settle(Parallel(*tasks))
    assert (meter.peak, meter.total) == (1, 30)
    assert result.state is State.SUCCEEDED
    assert is_free(limiter)


@pytest.mark.parametrize("size", [2, 7])
async def test_it_is_made_use_of(size: int) -> None:
    for limiter in (anyio.CapacityLimiter(size), anyio.Semaphore(size)):
        meter = Meter()
        await settle(Parallel(*[meter.task(f"s{k}", limiter=limiter) for k in range(30)]))
        assert meter.peak == size
        assert is_free(limiter)


async def test_ten_thousand_steps_behind_a_limiter() -> None:
    """L1."""
    meter, limiter = Meter(), anyio.CapacityLimiter(10)
    await orch.run(Parallel([Task(meter.body(turns=1), name="s", limiter=limiter)] * 3_000))
    assert (meter.peak, meter.total) == (10, 3_000)
    assert limiter.borrowed_tokens == 0


@virtual
async def test_who_comes_first_is_served_first() -> None:
    """L4: the same order on every loop."""
    order: list[str] = []

    def named(name: str) -> Task[..., Any]:
        async def body() -> None:
            order.append(name)
            await anyio.sleep(1)

        return Task(body, name=name, limiter=limiter)

    limiter = anyio.Semaphore(1)
    await settle(Parallel(*[Sequence(slow(k / 100), named(f"s{k}"), name=f"g{k}") for k in range(20)]))
    assert order == [f"s{k}" for k in range(20)]


# -- released, whatever happens ----------------------------------------------------------------------------------------


@every_limiter
@pytest.mark.parametrize("body", KINDS)
async def test_a_failing_step_gives_it_back(kind: str, body: str) -> None:
    """L7."""
    limiter = MADE[kind]()

    def act() -> None:
        raise ValueError

    for _ in range(3):
        task = Task(of_kind(body, act), name="s", thread=False if body == "in place" else None, limiter=limiter)
        await settle(task.evolve(retry=Retry(3, delay=0)))
        assert is_free(limiter)


@every_limiter
@pytest.mark.parametrize("how", ["sibling fails", "run cancelled", "timeout", "interrupt", "refused"])
async def test_a_step_that_is_stopped_gives_it_back(kind: str, how: str) -> None:
    """L7, C12: the one that holds it, and those that wait for it."""
    limiter = MADE[kind]()
    ran: list[str] = []

    async def never() -> None:
        ran.append("never")

    async def ends() -> None:
        await anyio.wait_all_tasks_blocked()
        if how == "run cancelled":
            scope.cancel()
            await anyio.sleep_forever()
        raise KeyboardInterrupt if how == "interrupt" else ValueError

    options: dict[str, Any] = {"limiter": limiter}
    if how == "timeout":
        options["timeout"] = 0.01
    if how == "refused":
        options["breaker"] = CircuitBreaker(fail_max=1)
        await settle(failing(ValueError(), breaker=options["breaker"]))
    holder = Task(forever, name="holder", **options)
    waiters = [Task(never, name=f"w{k}", limiter=limiter) for k in range(3)]
    steps = [holder, *waiters] if how in {"timeout", "refused"} else [holder, *waiters, ends]
    with anyio.CancelScope() as scope:
        try:
            await orch.run(Parallel(*steps), raise_on_failure=False)
        except KeyboardInterrupt:
            assert how == "interrupt"
    assert is_free(limiter)
    assert not ran


@every_limiter
async def test_one_waiter_that_is_stopped_does_not_hold_up_the_next(kind: str) -> None:
    """C12: the others go on in the same tick."""
    limiter, order, go = MADE[kind](), list[str](), anyio.Event()

    async def holds() -> None:
        await go.wait()

    async def fails() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    async def opens() -> None:
        await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
        go.set()

    async def works() -> None:
        order.append("works")

    doomed = Parallel(Task(forever, name="waits", limiter=limiter), fails, name="doomed")
    workflow = Parallel(
        Task(holds, limiter=limiter),
        doomed,
        Sequence(Task(ticks, name="later"), Task(works, limiter=limiter), name="last"),
        opens,
        on_failure="continue",
    )
    result = await settle(workflow)
    assert order == ["works"]
    assert states(result)["doomed/waits"] in {"cancelled", "failed"}
    assert is_free(limiter)


async def test_what_a_limiter_of_the_users_own_raises_is_the_failure_of_the_step() -> None:
    class Broken:
        async def acquire(self) -> None:
            raise OSError("no")

        def release(self) -> None:
            raise AssertionError("it was never taken")

    result = await settle(Task(ticks, limiter=Broken(), retry=Retry(2, delay=0)))
    assert [str(error) for error in result.errors] == ["no"]
    assert result.tasks["ticks"].attempts == 2


async def test_it_is_taken_and_given_back_once_for_each_attempt() -> None:
    own = Own()
    await settle(failing(ValueError(), limiter=own, retry=Retry(3, delay=0)))
    assert own.calls == ["acquire", "release"] * 3


# -- shared ------------------------------------------------------------------------------------------------------------


@every_limiter
async def test_it_is_shared_between_runs_and_with_the_callers_own_code(kind: str) -> None:
    meter, limiter = Meter(), MADE[kind]()
    workflow = Parallel(*[meter.task(f"s{k}", limiter=limiter) for k in range(5)])

    async def users_own() -> None:
        for _ in range(5):
            await limiter.acquire()
            try:
                await meter.body()()
            finally:
                limiter.release()
            await checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(orch.run, workflow)
        group.start_soon(users_own)
    assert (meter.peak, meter.total) == (1, 20)
    assert is_free(limiter)


async def test_a_run_waits_while_the_caller_holds_it() -> None:
    limiter, order = anyio.CapacityLimiter(1), list[str]()

    async def works() -> None:
        order.append("step")

    async with anyio.create_task_group() as group, limiter:
        group.start_soon(orch.run, Task(works, limiter=limiter))
        await anyio.wait_all_tasks_blocked()
        order.append("caller")
    assert order == ["caller", "step"]


async def test_its_size_may_change_while_it_is_in_use() -> None:
    """L6."""
    meter, limiter = Meter(), anyio.CapacityLimiter(1)

    async def grows() -> None:
        await ticks()
        limiter.total_tokens = 4

    await settle(Parallel(grows, *[meter.task(f"s{k}", limiter=limiter) for k in range(20)]))
    assert (meter.peak, meter.total) == (4, 20)


def test_a_limiter_made_outside_of_any_loop_serves_one_loop_after_another() -> None:
    limiter, limit = anyio.CapacityLimiter(1), RateLimit(100, per=0.001)
    task = Sequence(Task(ticks, name="a", limiter=limiter), Task(ticks, name="b", limiter=limit))
    assert anyio.run(orch.run, task).state is State.SUCCEEDED
    for backend in ("asyncio", "trio"):
        rate = Task(ticks, name="b", limiter=limit)
        assert orch.Runner(backend=backend).run(rate).state is State.SUCCEEDED


@pytest.mark.parametrize("anyio_backend", [pytest.param(("asyncio", {}), id="asyncio")])
async def test_a_semaphore_of_asyncio_itself() -> None:
    meter, limiter = Meter(), asyncio.Semaphore(2)
    await settle(Parallel(*[meter.task(f"s{k}", limiter=limiter) for k in range(9)]))
    assert (meter.peak, meter.total) == (2, 9)
    assert not limiter.locked()


# -- with limits of groups and of the run ------------------------------------------------------------------------------


@pytest.mark.parametrize("body", KINDS)
@pytest.mark.parametrize("runner_limit", [None, 1])
async def test_fifty_levels_with_a_limit_of_one_and_a_shared_limiter_are_no_deadlock(
    body: str, runner_limit: int | None
) -> None:
    """L2."""
    meter, limiter = Meter(), anyio.CapacityLimiter(1)
    workflow: Any = meter.task("inmost", limiter=limiter)
    for k in range(50):
        retried = meter.task(f"s{k}", body, limiter=limiter, retry=Retry(2, delay=0), timeout=60)
        workflow = Parallel(workflow, retried, limit=1, name=f"g{k}", timeout=60)
    result = await settle(workflow, runner=AsyncRunner(limit=runner_limit))
    assert (meter.peak, meter.total) == (1, 51)
    assert result.state is State.SUCCEEDED


@virtual
async def test_two_limiters_in_different_order_are_no_deadlock() -> None:
    """L8: a step holds one limiter at most, so there is no circle."""
    one, other = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)
    first = Sequence(Task(slow(1), name="a", limiter=one), Task(slow(1), name="b", limiter=other), name="first")
    second = Sequence(Task(slow(1), name="c", limiter=other), Task(slow(1), name="d", limiter=one), name="second")
    result = await settle(Parallel(first, second))
    assert (result.state, result.duration) == (State.SUCCEEDED, 2)


@virtual
async def test_a_step_that_waits_for_its_limiter_holds_its_slot() -> None:
    """The slot comes first: a limit is of what has been taken up."""
    limiter = anyio.CapacityLimiter(1)
    steps = [
        Task(slow(2), name="a", limiter=limiter),
        Task(slow(2), name="b", limiter=limiter),
        Task(slow(1), name="c"),
    ]
    result = await settle(Parallel(*steps, limit=2))
    assert result.state is State.SUCCEEDED
    assert result.duration in {4, 5}


@virtual
async def test_failures_timeouts_and_retries_under_limits_leave_nothing_taken() -> None:
    """L7: afterwards the same limits let as many in as before."""
    limiter = anyio.CapacityLimiter(2)
    bad = [
        failing(ValueError(), "f1", retry=Retry(3, delay=1), limiter=limiter),
        Task(forever, name="t1", timeout=1, retry=Retry(2, delay=1), limiter=limiter),
        Parallel(forever, name="g1", timeout=2, limit=1),
        Task(slow(1), name="ok", limiter=limiter),
    ]
    meter = Meter()

    def body(name: str) -> Task[..., Any]:
        async def work() -> None:
            meter.active += 1
            meter.peak = max(meter.peak, meter.active)
            await anyio.sleep(1)
            meter.active -= 1

        return Task(work, name=name)

    after = Parallel(*[body(f"s{k}") for k in range(9)], name="after")
    workflow = Sequence(Parallel(*bad, on_failure="continue", limit=2), after, on_failure="continue", limit=3)
    await settle(workflow, runner=runner_of(limit=4))
    assert meter.peak == 3
    assert is_free(limiter)


# -- rates -------------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("where", ["one run", "two runs", "retries"])
async def test_at_most_so_many_starts_in_any_window(where: str) -> None:
    limit, starts = RateLimit(3, per=10), list[float]()

    async def work() -> None:
        starts.append(anyio.current_time())
        if where == "retries":
            raise ValueError

    if where == "retries":
        await settle(Task(work, limiter=limit, retry=Retry(9, delay=1)))
    else:
        tasks = [Task(work, name=f"s{k}", limiter=limit) for k in range(9 if where == "one run" else 5)]
        async with anyio.create_task_group() as group:
            for _ in range(1 if where == "one run" else 2):
                group.start_soon(settle, Parallel(*tasks))
    windows = [sum(begin <= start < begin + 10 for start in starts) for begin in starts]
    assert max(windows) == 3
    assert len(starts) in {9, 10}


@virtual
async def test_a_bucket_lets_a_burst_through_and_then_keeps_the_rate() -> None:
    limit, starts = RateLimit(1, per=2, burst=4), list[float]()

    async def work() -> None:
        starts.append(anyio.current_time())

    await settle(Parallel(*[Task(work, name=f"s{k}", limiter=limit) for k in range(7)]))
    assert starts == [0, 0, 0, 0, 2, 4, 6]


@virtual
async def test_who_is_cancelled_while_it_waits_takes_no_start() -> None:
    limit, starts = RateLimit(1, per=10), list[float]()

    async def work() -> None:
        starts.append(anyio.current_time())

    async def fails() -> None:
        await anyio.sleep(5)
        raise ValueError

    tasks = [Task(work, name=f"s{k}", limiter=limit) for k in range(5)]
    await settle(Parallel(*tasks, fails))
    assert starts == [0]
    await settle(Task(work, limiter=limit))
    assert starts == [0, 10]


async def test_plain_functions_are_let_in_by_a_rate_as_well() -> None:
    limit, calls = RateLimit(1000, per=0.001), list[int]()
    tasks = [Task(of_kind("thread", lambda: calls.append(1)), name=f"s{k}", limiter=limit) for k in range(20)]
    await settle(Parallel(*tasks))
    assert len(calls) == 20


# -- compensation ------------------------------------------------------------------------------------------------------


@every_limiter
@pytest.mark.parametrize("body", KINDS)
async def test_a_compensation_takes_its_own_limiter_and_gives_it_back(kind: str, body: str) -> None:
    """S8: also the one that the steps of its group had."""
    limiter, diary = MADE[kind](), Diary()
    steps = [diary.step(n, limiter=limiter, compensate=diary.undo(n, body, limiter=limiter)) for n in "ab"]
    failed = failing(ValueError(), limiter=limiter)
    result = await settle(Sequence(*steps, failed, on_failure="compensate", limit=1), runner=AsyncRunner(limit=1))
    assert diary.lines == ["a", "b", "undo b", "undo a"]
    assert list(states(result).values()) == ["compensated", "compensated", "failed"]
    assert is_free(limiter)


async def test_a_compensation_needs_no_thread_that_others_have() -> None:
    """S8: a reserved lane; the only thread is taken until the compensation has been made."""
    diary, gate = Diary(), threading.Event()

    def blocks() -> None:
        gate.wait(10)

    undone = Sequence(
        diary.step("a", compensate=Task(gate.set, name="undo")),
        failing(ValueError()),
        on_failure="compensate",
        name="undone",
    )
    workflow = Parallel(Task(blocks, name="blocks"), undone, on_failure="continue", limit=2)
    result = await settle(workflow, runner=AsyncRunner(threads=1, limit=2))
    assert states(result) == {"blocks": "succeeded", "undone/a": "compensated", "undone/fails": "failed"}


async def test_a_compensation_is_not_kept_by_a_breaker_of_the_forward_path() -> None:
    """S8."""
    breaker, diary = CircuitBreaker(fail_max=1), Diary()
    steps = [diary.step("a", breaker=breaker), failing(ValueError(), breaker=breaker)]
    result = await settle(Sequence(*steps, on_failure="compensate", breaker=CircuitBreaker(fail_max=1)))
    assert breaker.state == "open"
    assert states(result) == {"a": "compensated", "fails": "failed"}


async def test_a_compensation_behind_an_open_breaker_of_its_own_fails() -> None:
    breaker, diary = CircuitBreaker("b", fail_max=1), Diary()
    await settle(failing(ValueError(), breaker=breaker))
    steps = [diary.step("a"), diary.step("b", compensate=diary.undo("b", breaker=breaker)), failing(ValueError())]
    result = await settle(Sequence(*steps, on_failure="compensate"))
    assert diary.lines == ["a", "b", "undo a"]
    assert isinstance(result.tasks["b"].compensation_error, orch.CircuitOpenError)


# -- what is no limiter ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [1, "one", object(), anyio.CapacityLimiter, lambda: None], ids=repr)
def test_what_is_no_limiter_is_refused_where_it_is_given(bad: Any) -> None:
    with pytest.raises(TypeError, match="limiter"):
        Task(forever, limiter=bad)


async def test_a_limiter_in_a_selected_part_of_a_graph_holds() -> None:
    meter, limiter = Meter(), anyio.CapacityLimiter(1)
    tasks = [meter.task(f"s{k}", limiter=limiter) for k in range(6)]
    result = await orch.run(Graph(*tasks, meter.task("other")), select=[f"s{k}" for k in range(5)])
    assert (meter.peak, meter.total, len(result.tasks)) == (1, 5, 5)


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Semaphore, threading.Condition])
def test_what_would_block_the_event_loop_is_no_limiter(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="limiter"):
        Task(forever, limiter=make())


@pytest.mark.parametrize("kind", ["CapacityLimiter", "Semaphore", "Lock"])
async def test_what_a_thread_holds_that_is_abandoned_comes_back(kind: str) -> None:
    """L7: at the latest when the thread ends."""
    limiter, go, over = MADE[kind](), threading.Event(), threading.Event()

    def lasts() -> None:
        go.wait(10)
        over.set()

    result = await settle(Task(lasts, timeout=0.01, limiter=limiter), runner=AsyncRunner(grace=0.01))
    assert [record.path for record in result.abandoned] == ["lasts"]
    go.set()
    assert await anyio.to_thread.run_sync(over.wait, 10)
    with anyio.fail_after(5):
        while not is_free(limiter):  # noqa: ASYNC110 (nobody announces it)
            await anyio.sleep(0.001)
