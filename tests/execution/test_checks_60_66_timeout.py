"""Checks 60 to 66: steps, and groups, that take too long; what of it is virtual is exact."""

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    AsyncRunner,
    CircuitBreaker,
    Event,
    Graph,
    Parallel,
    Retry,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
)
from orch.event import RunEvent, TaskEvent
from orch.testing import slow
from tests.execution.resilient import (
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

SOON = 0.01  # seconds, for threads, which live in real time


class Gate:
    """A plain function that does not return before the gate is open; it counts who is inside."""

    def __init__(self, patience: float = 20) -> None:
        self.calls = self.active = self.peak = 0
        self.entered, self.left = threading.Event(), threading.Event()
        self._open, self._patience = threading.Event(), patience
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.calls += 1
            self.active += 1
            self.peak = max(self.peak, self.active)
        self.entered.set()
        self._open.wait(self._patience)
        with self._lock:
            self.active -= 1
        self.left.set()
        return "through"

    def open(self, after: float = 0.0) -> None:
        if not after:
            self._open.set()
            return
        timer = threading.Timer(after, self._open.set)
        timer.daemon = True
        timer.start()


def opening(gate: Gate, after: float = 0.01) -> Callable[[Event], None]:
    """A subscriber that opens the gate soon after a task has failed."""

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            gate.open(after)

    return listen


def at(result: orch.RunResult, path: str, state: State) -> float:
    """How many seconds after the start of the run a task got into a state."""
    event = next(event for event in by_path(result.trace)[path] if event.state is state)
    return (event.time - result.trace[0].time).total_seconds()


# -- 60: coroutines ----------------------------------------------------------------------------------------------------


@virtual
async def test_check_60_it_is_cancelled_its_cleanup_finishes_and_the_attempt_fails() -> None:
    done: list[float] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)
            done.append(anyio.current_time())

    result = await settle(Sequence(Task(work, timeout=5), Task(forever, name="next")))
    assert done == [7]
    (error,) = result.errors
    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error, TimeoutError)
    assert (error.task, error.timeout) == ("work", 5)
    assert states(result) == {"work": "failed", "next": "skipped"}
    assert at(result, "work", State.FAILED) == 7


@virtual
@pytest.mark.parametrize("seconds", [0.001, 1, 12.5, 1e5])
async def test_check_60_the_deadline_is_exact(seconds: float) -> None:
    """C4."""
    result = await settle(Task(forever, timeout=seconds), runner=runner_of())
    assert at(result, "forever", State.FAILED) == seconds


async def test_check_60_in_real_time_on_every_loop() -> None:
    begin = time.monotonic()
    result = await settle(Parallel(Task(forever, name="a", timeout=SOON), Task(ticks, name="b")))
    assert states(result) == {"a": "failed", "b": "cancelled"} or states(result) == {"a": "failed", "b": "succeeded"}
    assert SOON <= time.monotonic() - begin < 5


@virtual
async def test_check_60_the_path_is_named_for_a_nested_step() -> None:
    result = await settle(Sequence(Parallel(Task(forever, timeout=1), name="inner")))
    (error,) = result.errors
    assert isinstance(error, TaskTimeoutError)
    assert error.task == "inner/forever"


@virtual
async def test_check_60_siblings_are_untouched_under_continue() -> None:
    result = await settle(Parallel(Task(forever, timeout=1), Task(slow(9), name="other"), on_failure="continue"))
    assert states(result) == {"forever": "failed", "other": "succeeded"}


@virtual
async def test_check_60_many_steps_over_time_at_once() -> None:
    steps = [Task(forever, name=f"s{k}", timeout=1 + k % 3) for k in range(300)]
    result = await settle(Parallel(*steps, on_failure="continue"))
    assert [at(result, f"s{k}", State.FAILED) for k in range(300)] == [1 + k % 3 for k in range(300)]
    assert len(result.errors) == 300


@virtual
async def test_check_60_a_step_in_time_is_no_matter() -> None:
    result = await settle(Task(slow(1, value="done"), name="s", timeout=2))
    assert (result.value, story(result, "s"), logged(result, "s")) == ("done", ["running", "succeeded"], [])


@pytest.mark.parametrize("bad", [0, -1, float("nan"), "1", True, None], ids=repr)
def test_check_60_a_timeout_is_a_positive_number(bad: Any) -> None:
    """C7."""
    if bad is None:
        assert Task(forever, timeout=bad).timeout is None
        assert Task(forever, timeout=float("inf")).timeout is None
        return
    for make in (lambda: Task(forever, timeout=bad), lambda: Sequence(forever, timeout=bad)):
        with pytest.raises((TypeError, ValueError), match="timeout"):
            make()


@virtual
async def test_check_60_a_huge_timeout_is_as_good_as_none() -> None:
    """C7."""
    result = await settle(Sequence(Task(slow(1), timeout=1e18), timeout=1e18))
    assert result.state is State.SUCCEEDED


# -- C5: ties ----------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("what", ["task", "group", "both"])
async def test_a_result_at_the_deadline_and_the_deadline_are_one_or_the_other_never_both(what: str) -> None:
    """C5."""
    task = Task(slow(5, value="value"), name="s", timeout=5 if what != "group" else None)
    result = await settle(Sequence(task, timeout=5 if what != "task" else None))
    assert len([event for event in by_path(result.trace)["s"] if event.state.is_final]) == 1
    assert (result.state is State.SUCCEEDED) == (not result.errors)


@virtual
async def test_a_body_that_returns_in_the_tick_of_its_deadline_has_returned() -> None:
    """C5: what came back wins over the time."""

    async def work() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        return "value"

    result = await settle(Task(work, timeout=5))
    assert result.value == "value"
    assert not result.errors


# -- 61: timeouts of the user's own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [None, 60])
async def test_check_61_a_timeout_error_of_the_users_own_stays_what_it_is(seconds: float | None) -> None:
    error = TimeoutError("mine")
    result = await settle(failing(error, timeout=seconds))
    assert result.errors[0] is error
    assert not isinstance(error, TaskTimeoutError)


@virtual
@pytest.mark.parametrize("seconds", [None, 60])
async def test_check_61_one_out_of_a_scope_in_the_body(seconds: float | None) -> None:
    async def work() -> None:
        with anyio.fail_after(1):
            await anyio.sleep_forever()

    result = await settle(Task(work, timeout=seconds))
    assert [type(error) for error in result.errors] == [TimeoutError]
    assert result.duration == 1


@virtual
async def test_check_61_one_raised_when_the_deadline_has_passed_is_still_the_users() -> None:
    error = TimeoutError("mine")

    async def work() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)
        raise error

    result = await settle(Task(work, timeout=1))
    assert result.errors[0] is error


# -- 62: plain functions -----------------------------------------------------------------------------------------------


async def test_check_62_a_thread_over_time_fails_its_step_at_once() -> None:
    """T1: the failure does not wait for the thread; the run does, up to its grace."""
    gate, heard = Gate(), list[str]()

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            heard.append(f"failed while {gate.active} inside")
            gate.open()

    result = await settle(Parallel(Task(gate, name="gate", timeout=SOON)), subscribers=[listen])
    assert heard == ["failed while 1 inside"]
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert result.tasks["gate"].value is None
    assert gate.left.is_set()
    assert not result.abandoned


async def test_check_62_the_next_attempt_waits_for_the_body_that_still_runs() -> None:
    """F19."""
    gate = Gate()
    heard: list[TaskEvent] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent):
            heard.append(event)
            if event.state is State.RETRYING:
                gate.open(after=0.03)

    task = Task(gate, name="gate", timeout=SOON, retry=Retry(2, delay=0))
    result = await settle(task, subscribers=[listen])
    assert (gate.calls, gate.peak) == (2, 1)
    assert [event.state.value for event in heard] == ["running", "retrying", "running", "succeeded"]
    assert result.value == "through"
    assert (heard[2].time - heard[1].time).total_seconds() >= 0.03 * 0.9


@pytest.mark.parametrize("limited", ["group", "runner", "limiter"])
async def test_check_62_its_slot_stays_taken_until_the_thread_ends(limited: str) -> None:
    gate = Gate()
    inside: list[int] = []
    limiter = anyio.CapacityLimiter(1) if limited == "limiter" else None

    async def other() -> None:
        inside.append(gate.active)

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            gate.open(after=0.02)

    steps: list[Task[..., Any]] = [Task(gate, name="gate", timeout=SOON, limiter=limiter), Task(other, limiter=limiter)]
    group = Parallel(*steps, limit=1 if limited == "group" else None, on_failure="continue")
    runner = AsyncRunner(limit=1 if limited == "runner" else None)
    result = await settle(group, runner=runner, subscribers=[listen])
    assert inside == [0]
    assert states(result) == {"gate": "failed", "other": "succeeded"}
    if limiter:
        assert limiter.borrowed_tokens == 0


async def test_check_62_a_thread_that_outlives_the_grace_is_abandoned() -> None:
    """T1, T13: what it gives is dropped."""
    gate = Gate()
    result = await settle(Task(gate, name="gate", timeout=SOON), runner=AsyncRunner(grace=0.01))
    assert gate.active == 1
    assert [record.path for record in result.abandoned] == ["gate"]
    gate.open()
    assert await anyio.to_thread.run_sync(gate.left.wait, 10)
    assert states(result) == {"gate": "failed"}
    assert result.tasks["gate"].value is None


async def test_check_62_a_thread_that_ends_within_the_grace_is_not() -> None:
    gate = Gate()
    runner = AsyncRunner(grace=10, subscribers=[opening(gate)])
    result = await settle(Task(gate, name="gate", timeout=SOON), runner=runner)
    assert not result.abandoned
    assert gate.left.is_set()


async def test_check_62_a_retry_that_waits_for_a_thread_ends_with_the_run() -> None:
    """The body never ends; somebody cancels the run."""
    gate = Gate()
    scope = anyio.CancelScope()

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.RETRYING:
            scope.cancel()

    heard: list[Event] = []
    with scope:
        runner = AsyncRunner(grace=0.01, subscribers=[listen, heard.append])
        await runner.run(Task(gate, name="gate", timeout=SOON, retry=Retry(5, delay=0)))
    assert scope.cancelled_caught
    assert gate.calls == 1
    tasks = [event.state.value for event in heard if isinstance(event, TaskEvent)]
    assert tasks == ["running", "retrying", "cancelled"]
    gate.open()
    assert await anyio.to_thread.run_sync(gate.left.wait, 10)


async def test_check_62_threads_over_time_count_among_the_threads_of_the_run() -> None:
    """T2: with two threads there are never three, however many are over time."""
    gates = [Gate() for _ in range(6)]
    peaks: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            threads = [t for t in threading.enumerate() if t.name.startswith("orch-worker")]
            peaks.append(len(threads))
            gates[len(peaks) - 1].open()

    steps = [Task(gate, name=f"g{k}", timeout=SOON) for k, gate in enumerate(gates)]
    runner = AsyncRunner(threads=2)
    for k in range(6):
        gates[k].open(after=0.5)
    result = await settle(Parallel(*steps, on_failure="continue"), runner=runner, subscribers=[listen])
    assert max(peaks) <= 2
    assert set(states(result).values()) <= {"failed", "succeeded"}


async def test_check_62_what_a_thread_returns_late_is_dropped_and_awaitables_are_closed() -> None:
    gate = Gate()

    async def never() -> None: ...

    def late() -> Any:
        gate()
        return never()

    result = await settle(Task(late, timeout=SOON), subscribers=[opening(gate)])
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert result.value is None


async def test_check_62_what_a_thread_raises_late_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    def late() -> Any:
        gate()
        raise KeyError

    result = await settle(Task(late, timeout=SOON), subscribers=[opening(gate)])
    assert [type(error) for error in result.errors] == [TaskTimeoutError]
    assert "late" in caplog.text


async def test_check_62_the_awaitable_that_a_plain_function_returns_is_timed_too() -> None:
    def plain() -> Any:
        return forever()

    result = await settle(Task(plain, timeout=SOON))
    assert isinstance(result.errors[0], TaskTimeoutError)


async def test_check_62_siblings_go_on_while_a_thread_lasts() -> None:
    gate = Gate()

    async def opens() -> str:
        await anyio.to_thread.run_sync(gate.entered.wait, 10)
        await anyio.sleep(2 * SOON)
        gate.open()
        return "opened"

    group = Parallel(Task(gate, name="gate", timeout=SOON), opens, on_failure="continue")
    result = await settle(group)
    assert states(result) == {"gate": "failed", "opens": "succeeded"}


async def test_check_62_what_follows_does_not_wait_for_the_thread() -> None:
    gate = Gate()

    async def after() -> int:
        active = gate.active
        gate.open()
        return active

    result = await settle(Sequence(Task(gate, name="gate", timeout=SOON), after, on_failure="continue"))
    assert result["after"] == 1


# -- 63: when the clock starts -----------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("where", ["group", "runner", "CapacityLimiter", "Semaphore", "RateLimit"])
async def test_check_63_waiting_for_a_slot_is_no_timeout(where: str) -> None:
    """F18."""
    made: dict[str, Callable[[], Any]] = {
        "CapacityLimiter": lambda: anyio.CapacityLimiter(1),
        "Semaphore": lambda: anyio.Semaphore(1),
        "RateLimit": lambda: orch.RateLimit(1, per=10),
    }
    limiter = made[where]() if where in made else None
    steps = [Task(slow(10), name=f"s{k}", timeout=11, limiter=limiter) for k in range(4)]
    group = Parallel(*steps, limit=1 if where == "group" else None)
    result = await settle(group, runner=runner_of(limit=1 if where == "runner" else None))
    assert result.state is State.SUCCEEDED
    assert result.duration == 40


async def test_check_63_waiting_for_a_thread_is_no_timeout() -> None:
    gate = Gate()
    gate.open(after=0.3)

    def quick() -> str:
        return "quick"

    steps = [Task(gate, name="gate", timeout=10), *[Task(quick, name=f"q{k}", timeout=0.25) for k in range(3)]]
    result = await settle(Parallel(*steps), runner=AsyncRunner(threads=1))
    assert result.state is State.SUCCEEDED


@virtual
async def test_check_63_each_attempt_has_the_whole_time() -> None:
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        await anyio.sleep(8)
        if calls < 3:
            raise ValueError

    result = await settle(Task(work, timeout=10, retry=Retry(3, delay=5)))
    assert (result.state, result.duration) == (State.SUCCEEDED, 34)


# -- 64: the caller's scope --------------------------------------------------------------------------------------------


async def test_check_64_every_phase_of_a_step_is_cancelled_with_the_run() -> None:
    """C1, C11, C12: in its body, between attempts, waiting for a limiter, for a slot, for others."""
    limiter, ran = anyio.CapacityLimiter(1), list[str]()

    async def flaky() -> None:
        ran.append("flaky")
        raise ValueError

    async def never() -> None:
        ran.append("never")

    workflow = Parallel(
        Task(forever, name="body"),
        Task(flaky, retry=Retry(5, delay=600)),
        Task(forever, name="holds", limiter=limiter),
        Task(never, name="limited", limiter=limiter, timeout=60),
        Task(forever, name="timed", timeout=600, breaker=CircuitBreaker(fail_max=1)),
        Parallel(Task(forever, name="first"), Task(never, name="second"), limit=1, name="slots", timeout=600),
        Sequence(Task(forever, name="one"), Task(never, name="two"), name="turns"),
    )
    heard: list[Event] = []
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel, scope)
            await AsyncRunner(subscribers=[heard.append]).run(workflow)
    assert scope.cancelled_caught
    assert ran == ["flaky"]
    told = by_path(heard)
    assert set(told) == set(orch.plan.compile(workflow).order())
    for events in told.values():
        assert events[-1].state is State.CANCELLED
        assert events[-1].reason == "cancelled"
        assert sum(event.state.is_final for event in events) == 1
    last = heard[-1]
    assert isinstance(last, RunEvent)
    assert last.state is State.CANCELLED
    assert limiter.borrowed_tokens == 0
    assert limiter.statistics().tasks_waiting == 0


async def _cancel(scope: anyio.CancelScope) -> None:
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


@virtual
@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8])
async def test_check_64_a_deadline_around_the_run_is_not_a_timeout_of_its_tasks(after: float) -> None:
    """C6: the caller's own scope fired, and nobody is blamed."""
    heard: list[Event] = []
    workflow = Sequence(Task(slow(2), name="a", timeout=4), Task(slow(100), name="b", timeout=50), timeout=60)
    with anyio.move_on_after(after) as scope:
        await runner_of(subscribers=[heard.append]).run(workflow)
    assert scope.cancelled_caught
    assert anyio.current_time() == after
    assert not any(getattr(event, "error", None) for event in heard)


@virtual
async def test_check_64_fail_after_around_a_run_raises_a_plain_timeout_error() -> None:
    with pytest.raises(TimeoutError) as caught:
        with anyio.fail_after(5):
            await runner_of().run(Task(forever, timeout=100))
    assert not isinstance(caught.value, TaskTimeoutError)


# -- 65: bodies that do not let themselves be cancelled ----------------------------------------------------------------


@virtual
@pytest.mark.parametrize("how", ["suppressed", "shielded"])
async def test_check_65_a_late_value_is_taken_and_the_lateness_recorded(how: str) -> None:
    async def work() -> str:
        if how == "shielded":
            with anyio.CancelScope(shield=True):
                await anyio.sleep(9)
        else:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                pass
        return "late"

    result = await settle(Sequence(Task(work, timeout=5), Task(slow(1), name="next")))
    assert result.value == ["late", None]
    assert result.state is State.SUCCEEDED
    (line,) = logged(result, "work")
    assert line[0] == "warning"
    assert "5 s" in line[1]


@virtual
async def test_check_65_a_late_value_is_no_failure_for_a_breaker() -> None:
    breaker = CircuitBreaker(fail_max=1)

    async def work() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(9)
        return "late"

    await settle(Task(work, timeout=5, breaker=breaker))
    assert breaker.state == "closed"


# -- 66: errors while being cancelled ----------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("how", ["timeout", "sibling", "group timeout"])
async def test_check_66_what_cleanup_raises_is_kept(how: str) -> None:
    error = KeyError("cleanup")

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    async def bad() -> None:
        await anyio.sleep(5)
        raise ValueError

    step = Task(work, timeout=5 if how == "timeout" else None)
    steps = [step, Task(bad)] if how == "sibling" else [step]
    result = await settle(Parallel(*steps, timeout=5 if how == "group timeout" else None))
    assert states(result)["work"] == "failed"
    assert result.tasks["work"].error is error
    assert any(each is error for each in result.errors)


async def test_check_66_what_cleanup_raises_when_the_run_is_cancelled_is_in_the_events() -> None:
    error, heard = KeyError("cleanup"), list[Event]()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel, scope)
            await AsyncRunner(subscribers=[heard.append]).run(Task(work, timeout=60, retry=Retry(3, delay=0)))
    final = by_path(heard)["work"][-1]
    assert (final.state, final.error) == (State.FAILED, error)


# -- groups ------------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
async def test_a_group_over_its_timeout_fails_and_names_itself(kind: Any) -> None:
    """Decision 15."""
    group = kind(Task(forever, name="a"), Task(forever, name="b"), name="late", timeout=7)
    result = await settle(Sequence(slow(3), group, Task(forever, name="after")))
    (error,) = result.errors
    assert isinstance(error, TaskTimeoutError)
    assert (error.task, error.timeout) == ("late", 7)
    assert result.duration == 10
    assert result.groups["late"].state is State.FAILED
    assert result.groups["late"].error is error
    assert result.tasks["late/a"].state is State.CANCELLED
    assert (result.tasks["late/a"].reason, result.tasks["late/a"].cause) == ("timed_out", "late")
    assert result.tasks["late/b"].state is (State.SKIPPED if kind is Sequence else State.CANCELLED)
    assert result.tasks["after"].state is State.SKIPPED
    assert result.state is State.FAILED


@virtual
async def test_the_root_group_over_its_timeout_fails_the_run() -> None:
    result = await settle(Sequence(forever, name="job", timeout=7))
    (error,) = result.errors
    assert isinstance(error, TaskTimeoutError)
    assert error.task == "job"
    assert result.state is State.FAILED
    with pytest.raises(orch.WorkflowError):
        result.raise_for_failure()


@virtual
@pytest.mark.parametrize("strategy", ["abort", "continue", "compensate"])
async def test_the_outer_group_answers_a_timeout_by_its_strategy(strategy: Any) -> None:
    group = Parallel(Task(forever, name="a"), name="late", timeout=7, on_failure="continue")
    result = await settle(Sequence(group, Task(slow(1), name="after"), on_failure=strategy))
    assert states(result)["after"] == ("succeeded" if strategy == "continue" else "skipped")


@virtual
@pytest.mark.parametrize("outer, inner, own", [(1, 5, 9), (5, 1, 9), (9, 5, 1), (5, 5, 9), (9, 1, 1), (5, 9, 5)])
async def test_nested_deadlines_name_the_one_that_fired(outer: float, inner: float, own: float) -> None:
    """C6; where several fire in one tick, any of them is named, once."""
    step = Task(forever, name="s", timeout=own)
    result = await settle(Sequence(Sequence(step, name="in", timeout=inner), name="out", timeout=outer))
    first = min(outer, inner, own)
    assert result.duration == first
    names = {name for name, limit in [("out", outer), ("in", inner), ("in/s", own)] if limit == first}
    errors = [error for error in result.errors if isinstance(error, TaskTimeoutError)]
    assert len(errors) == len(result.errors) >= 1
    assert {error.task for error in errors} <= names
    assert {error.timeout for error in errors} == {first}


@virtual
async def test_a_group_deadline_counts_the_waits_between_attempts() -> None:
    """C6: run 2 s, step 5 s, and a retry's wait in between."""
    calls: list[float] = []

    async def flaky() -> None:
        calls.append(anyio.current_time())
        raise ValueError

    task = Task(flaky, timeout=5, retry=Retry(10, delay=3))
    result = await settle(Sequence(task, name="job", timeout=8))
    assert calls == [0, 3, 6]
    assert story(result, "flaky")[-1] == "cancelled"
    assert [type(error) for error in result.errors] == [TaskTimeoutError]
    assert result.duration == 8


@virtual
async def test_a_group_deadline_counts_from_its_first_task_not_from_the_run() -> None:
    group = Sequence(slow(4), name="late", timeout=5)
    result = await settle(Sequence(slow(100), group))
    assert result.state is State.SUCCEEDED


@virtual
async def test_a_group_that_is_done_in_time_is_not_touched_later() -> None:
    group = Sequence(slow(4), name="early", timeout=5)
    result = await settle(Sequence(group, slow(100)))
    assert result.state is State.SUCCEEDED
    assert not result.errors


@virtual
async def test_steps_of_a_group_over_its_timeout_may_clean_up() -> None:
    ended: list[float] = []

    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            ended.append(anyio.current_time())

    result = await settle(Sequence(Parallel(careful, timeout=5, name="g"), slow(1), on_failure="continue"))
    assert ended == [8]
    assert result.duration == 9


@virtual
async def test_a_step_that_returns_in_spite_of_the_group_deadline_has_its_value_and_the_group_failed() -> None:
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(9)
        return "late"

    result = await settle(Parallel(stubborn, timeout=5, name="g"))
    assert states(result) == {"stubborn": "succeeded"}
    assert result.state is State.FAILED
    assert isinstance(result.errors[0], TaskTimeoutError)


async def test_a_thread_in_a_group_over_its_timeout_is_waited_for_within_the_grace() -> None:
    gate = Gate()
    gate.open(after=0.2)
    result = await settle(Parallel(Task(gate, name="gate"), timeout=SOON, name="g"))
    assert states(result) == {"gate": "succeeded"}
    assert [type(error) for error in result.errors] == [TaskTimeoutError]


async def test_a_thread_with_policies_in_a_group_over_its_timeout_is_waited_for_too() -> None:
    gate = Gate()
    gate.open(after=0.2)
    result = await settle(Parallel(Task(gate, name="gate", timeout=60), timeout=SOON, name="g"))
    assert states(result) == {"gate": "succeeded"}
    assert [type(error) for error in result.errors] == [TaskTimeoutError]


@virtual
async def test_a_thousand_nested_groups_with_timeouts() -> None:
    workflow: Any = Task(forever, name="s")
    for k in range(1000):
        workflow = Sequence(workflow, name=f"g{k}", timeout=2000 - k)
    result = await runner_of().run(workflow, raise_on_failure=False)
    assert result.duration == 1001
    assert result.state is State.FAILED


@virtual
async def test_a_failure_before_the_deadline_is_the_error_of_the_group() -> None:
    error = ValueError()
    result = await settle(Parallel(failing(error), forever, timeout=5, name="g"))
    assert result.errors == (error,)
    assert result.duration == 0


@virtual
async def test_what_has_failed_before_the_deadline_is_reported_as_well() -> None:
    error = ValueError()
    result = await settle(Parallel(failing(error), forever, timeout=5, name="g", on_failure="continue"))
    assert [type(each) for each in result.errors] == [ValueError, TaskTimeoutError]
    assert result.groups[""].error is error


async def test_the_scope_of_a_step_is_left_as_it_was_entered() -> None:
    """Safety 15: a timed step leaves no scope behind, whatever it does."""

    async def deep() -> None:
        with anyio.CancelScope():
            await checkpoint()

    for _ in range(50):
        result = await settle(Sequence(Task(deep, timeout=60, retry=Retry(2)), Task(deep, name="second"), timeout=60))
        assert result.state is State.SUCCEEDED
    await checkpoint()
    assert anyio.current_effective_deadline() == float("inf")
