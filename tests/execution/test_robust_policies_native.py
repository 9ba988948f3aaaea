"""asyncio's own cancellations in every phase of a step with policies: they reach the caller, counted as they were."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import orch
from orch import AsyncRunner, CircuitBreaker, Parallel, Retry, Sequence, State, Task
from orch.event import Event, RunEvent
from orch.testing import slow
from tests.execution.resilient import Diary, by_path, failing, runner_of, ticks, virtual

ASYNCIO = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]
pytestmark = pytest.mark.timeout(30)
on_asyncio = pytest.mark.parametrize("anyio_backend", ASYNCIO)


class Phase:
    """A workflow that gets into a phase and stays there; `reached` says when."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.ran: list[str] = []
        self.go = threading.Event()

    def end(self) -> None:
        """Let bodies in threads end, soon."""
        asyncio.get_running_loop().call_later(0.01, self.go.set)

    async def stays(self) -> None:
        self.reached.set()
        await asyncio.sleep(60)

    async def raises(self) -> None:
        asyncio.get_running_loop().call_later(0.005, self.reached.set)
        self.ran.append("attempt")
        raise ValueError

    async def lingers(self) -> None:
        self.reached.set()
        await ticks(10)
        self.ran.append("undone")

    def in_body(self) -> Any:
        return Task(self.stays, timeout=60, retry=Retry(3, delay=0), breaker=CircuitBreaker())

    def in_group(self) -> Any:
        return Parallel(Sequence(self.stays, timeout=60), self.stays, timeout=60)

    def between_attempts(self) -> Any:
        return Task(self.raises, retry=Retry(3, delay=60))

    def at_limiter(self) -> Any:
        limiter = anyio.Semaphore(1)
        return Parallel(Task(self.stays, limiter=limiter), Task(self.stays, name="waits", limiter=limiter, timeout=60))

    def at_rate(self) -> Any:
        limit = orch.RateLimit(1, per=60)
        return Parallel(Task(self.stays, limiter=limit), Task(self.stays, name="waits", limiter=limit))

    def in_thread(self) -> Any:
        def waits() -> None:
            loop.call_soon_threadsafe(self.reached.set)
            self.go.wait(10)

        loop = asyncio.get_running_loop()
        return Task(waits, timeout=60)

    def over_time_in_thread(self) -> Any:
        def waits() -> None:
            loop.call_soon_threadsafe(loop.call_later, 0.02, self.reached.set)
            self.go.wait(10)

        loop = asyncio.get_running_loop()
        return Task(waits, timeout=0.005, retry=Retry(3, delay=0))

    def undoing(self) -> Any:
        steps = [Task(ticks, name="a", compensate=self.lingers), failing(ValueError())]
        return Sequence(*steps, on_failure="compensate")

    def undoing_in_thread(self) -> Any:
        def undo() -> None:
            loop.call_soon_threadsafe(self.reached.set)
            self.go.wait(10)
            self.ran.append("undone")

        loop = asyncio.get_running_loop()
        return Sequence(Task(ticks, name="a", compensate=undo), failing(ValueError()), on_failure="compensate")


PHASES: list[Callable[[Phase], Any]] = [
    Phase.in_body, Phase.in_group, Phase.between_attempts, Phase.at_limiter, Phase.at_rate, Phase.in_thread,
    Phase.over_time_in_thread, Phase.undoing, Phase.undoing_in_thread,
]  # fmt: skip
in_every_phase = pytest.mark.parametrize("make", PHASES, ids=lambda make: make.__name__)


@on_asyncio
@in_every_phase
@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_task_gets_its_cancellations_back_and_can_answer_them(
    make: Callable[[Phase], Any], times: int
) -> None:
    """C3, safety 15."""
    phase, heard, counts = Phase(), list[Event](), list[int]()

    async def caller() -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            await AsyncRunner(subscribers=[heard.append]).run(make(phase))
        except asyncio.CancelledError:
            counts.append(task.cancelling())
            for _ in range(times):
                counts.append(task.uncancel())
        await asyncio.sleep(0)
        return "answered"

    task = asyncio.create_task(caller())
    await phase.reached.wait()
    for _ in range(times):
        task.cancel()
    phase.end()
    assert await task == "answered"
    assert counts == list(range(times, -1, -1))
    last = heard[-1]
    assert isinstance(last, RunEvent)
    assert last.state in {State.CANCELLED, State.FAILED}
    assert all(events[-1].state.is_final for events in by_path(heard).values())
    if "undoing" in make.__name__:
        assert phase.ran == ["undone"]
    if make is Phase.between_attempts:
        assert phase.ran == ["attempt"]


@on_asyncio
@in_every_phase
async def test_a_timeout_of_asyncio_around_the_run_is_a_plain_timeout(make: Callable[[Phase], Any]) -> None:
    phase = Phase()

    async def caller() -> None:
        async with asyncio.timeout(None) as deadline:

            def expire(_: object) -> None:
                deadline.reschedule(asyncio.get_running_loop().time())
                phase.end()

            reached = asyncio.create_task(phase.reached.wait())
            reached.add_done_callback(expire)
            await orch.run(make(phase))

    with pytest.raises(TimeoutError) as caught:
        await caller()
    assert not isinstance(caught.value, orch.TaskTimeoutError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_asyncio
async def test_a_cancellation_before_the_first_step_starts_nothing() -> None:
    """C13."""
    ran: list[int] = []
    diary = Diary()

    async def step() -> None:
        ran.append(1)

    steps = [diary.step("a"), Task(step, timeout=60, retry=Retry(3), limiter=anyio.Semaphore(1))]
    task = asyncio.create_task(orch.run(Sequence(*steps, on_failure="compensate", timeout=60)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ran == []
    assert diary.lines == []


@on_asyncio
async def test_steps_with_policies_leave_the_counts_of_their_tasks_alone() -> None:
    """What the engine cancels for a deadline it takes back."""
    counts: list[int] = []

    async def step() -> None:
        task = asyncio.current_task()
        assert task is not None
        counts.append(task.cancelling())

    late = Task(asyncio.sleep, 60, name="late", timeout=0.001)
    steps: list[Any] = [
        late,
        Task(step, name="a"),
        late,
        Task(step, name="b", timeout=60),
        Sequence(late, timeout=0.002),
        step,
    ]
    await orch.run(Sequence(*steps, on_failure="continue", limit=1), raise_on_failure=False)
    assert counts == [0, 0, 0]


@virtual
@pytest.mark.parametrize("order", ["timer first", "caller first"])
@pytest.mark.parametrize("what", ["task", "group"])
async def test_a_cancellation_in_the_tick_of_a_timeout_is_not_lost(what: str, order: str) -> None:
    """C3, with the scope of the caller."""
    for _ in range(50):
        scope, heard = anyio.CancelScope(), list[Event]()
        if order == "caller first":
            scope.deadline = anyio.current_time() + 5
        task: Any = Task(slow(60), name="s", timeout=5 if what == "task" else None)
        workflow = Sequence(task, timeout=5 if what == "group" else None)

        async def cancel(scope: anyio.CancelScope = scope) -> None:
            await anyio.sleep(5)
            scope.cancel()

        async with anyio.create_task_group() as group:
            if order != "caller first":
                group.start_soon(cancel)
            with scope:
                await runner_of(subscribers=[heard.append]).run(workflow, raise_on_failure=False)
        assert scope.cancel_called
        last = heard[-1]
        assert isinstance(last, RunEvent)
        assert (last.state is State.CANCELLED) == scope.cancelled_caught or last.state is State.FAILED


@on_asyncio
async def test_a_native_cancellation_in_the_tick_of_a_timeout_is_not_lost() -> None:
    """C3. Its count may be: anyio 4.16 takes back too much if a group ends in the same tick, also without orch."""
    for _ in range(200):

        async def caller() -> str:
            await orch.run(Task(asyncio.sleep, 60, timeout=0.001), raise_on_failure=False)
            return "timed out"

        task = asyncio.create_task(caller())
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        try:
            assert await task == "timed out"
        except asyncio.CancelledError:
            assert task.cancelled()
