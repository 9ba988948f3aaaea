"""Races between the loop and worker threads, each decided by the test: in every one of them nothing may be lost."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import anyio
import anyio.from_thread
import pytest

import orch
from orch import State, Task
from orch.execution import Run
from orch.execution._leash import Leash
from orch.execution._threads import Threads
from orch.runners import GraphRun
from tests.execution.robust import Gate, immediate, recorded, until, within

pytestmark = [pytest.mark.timeout(20), pytest.mark.blocks]
RUNNER = orch.AsyncRunner(grace=0.01)


def await_thread(condition: Callable[[], object]) -> None:
    """Hold up the loop until a thread has got so far."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the thread never got there"
        time.sleep(0.0005)


def threads_of(run: Run) -> Threads:
    found: Threads = run.stop_thread.__self__  # type: ignore[attr-defined]
    return found


async def end_of(run: GraphRun) -> orch.RunResult:
    with anyio.fail_after(5):
        return await run.wait()


def after_held(monkeypatch: pytest.MonkeyPatch, then: Callable[[Run, int], object]) -> None:
    """Have something happen while the loop is giving a step up: its slots are held, and it is not cancelled yet."""
    true = Run.held

    def held(run: Run, node: int) -> Callable[[], object]:
        release = true(run, node)
        then(run, node)
        return release

    monkeypatch.setattr(Run, "held", held)


async def test_a_step_that_ends_while_it_is_given_up_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with Gate() as gate:

        def through(run: Run, node: int) -> None:
            gate.open()
            await_thread(lambda: run.schedule.state(node) == State.SUCCEEDED.code)

        after_held(monkeypatch, through)
        with within(10):
            steps = orch.Parallel(Task(gate, name="gate"), Task(immediate("next"), name="next"), limit=1)
            async with RUNNER.iter(steps, raise_on_failure=False) as run:
                await until(lambda: gate.entered)
                run.cancel("gate")
                result = await end_of(run)
    assert (result.tasks["gate"].state, result.tasks["gate"].value) == (State.SUCCEEDED, "through")
    assert result.tasks["next"].value == "next"  # the slot was given back
    assert result.abandoned == ()


async def test_a_step_that_obeys_while_it_is_given_up_gives_its_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, asked = threading.Event(), threading.Event()

    def obedient() -> None:
        begun.set()
        asked.wait(5)
        anyio.from_thread.check_cancelled()

    def obeys(run: Run, _: int) -> None:
        asked.set()
        await_thread(lambda: threads_of(run).desk.messages)

    after_held(monkeypatch, obeys)
    with within(10):
        steps = orch.Parallel(Task(obedient, name="obedient"), Task(immediate("next"), name="next"), limit=1)
        async with RUNNER.iter(steps, raise_on_failure=False) as run:
            await until(begun.is_set)
            run.cancel("obedient")
            result = await end_of(run)
    assert {path: record.state for path, record in result.tasks.items()} == {
        "obedient": State.CANCELLED,
        "next": State.SUCCEEDED,
    }


async def test_a_step_that_fails_while_it_is_given_up_gives_its_slot_back() -> None:
    begun, gate = threading.Event(), Gate()

    class SlowError(Exception):
        def add_note(self, note: str) -> None:
            begun.set()
            gate()  # until the loop has given the step up
            super().add_note(note)

    def fails() -> None:
        raise SlowError

    with gate, within(10), recorded() as story:
        steps = orch.Parallel(Task(fails, name="fails"), Task(immediate("next"), name="next"), limit=1)
        async with anyio.create_task_group() as group:
            group.start_soon(released_when_abandoned, story, begun, gate)
            with anyio.fail_after(5):
                result = await RUNNER.run(steps, raise_on_failure=False)
    assert result.tasks["fails"].state is State.CANCELLED
    assert result.tasks["fails"].error is None
    assert result.tasks["next"].state is State.SUCCEEDED


async def released_when_abandoned(story: Any, begun: threading.Event, gate: Gate) -> None:
    await until(begun.is_set)
    (run,) = story.runs
    run.cancel_step(0)
    run.react()
    await until(lambda: run.abandoned)
    gate.open()


async def test_a_step_that_is_given_up_before_it_begins_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, ran = threading.Event(), list[int]()
    true = Threads._begin

    def begin(threads: Threads, body: object, this: Any) -> None:
        taken.set()
        await_thread(lambda: body in threads.run.abandoned)
        true(threads, body, this)

    monkeypatch.setattr(Threads, "_begin", begin)
    with within(10):
        steps = orch.Parallel(Task(lambda: ran.append(1), name="taken"), Task(immediate("next"), name="next"), limit=1)
        async with RUNNER.iter(steps, raise_on_failure=False) as run:
            await until(taken.is_set)
            run.cancel("taken")
            result = await end_of(run)
    assert ran == []
    assert [record.path for record in result.abandoned] == ["taken"]
    assert result.tasks["next"].state is State.SUCCEEDED


async def test_a_body_that_ends_while_it_is_told_to_end_leaves_the_thread_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, gate = threading.get_ident(), Gate()
    told: list[int] = []

    class Lock:
        """That of a leash; when the loop wants it the body ends first."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> Self:
            if threading.get_ident() == loop:
                gate.open()
                await_thread(lambda: 0 not in threads_of(story.runs[0])._busy)
            self._lock.acquire()
            return self

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    true = Leash.__init__

    def init(leash: Leash, token: Any) -> None:
        true(leash, token)
        leash.lock = Lock()  # type: ignore[assignment]

    monkeypatch.setattr(Leash, "__init__", init)
    monkeypatch.setattr(Leash, "pull", lambda _: told.append(1))
    with gate, within(10), recorded() as story:
        async with anyio.create_task_group() as group:
            group.start_soon(stopped_inside, story, gate)
            result = await RUNNER.run(Task(gate, name="gate"), raise_on_failure=False)
    assert told == []
    assert result.tasks["gate"].value == "through"


async def stopped_inside(story: Any, gate: Gate) -> None:
    await until(lambda: gate.entered)
    story.runs[0].cancel_step(0)
    story.runs[0].react()


async def test_of_two_threads_that_want_one_job_one_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Contended(deque[Any]):
        """Somebody else is faster, once."""

        tries = 0

        def popleft(self) -> Any:
            self.tries += 1
            if self.tries == 1:
                raise IndexError
            return super().popleft()

    monkeypatch.setattr("orch.execution._threads.deque", Contended)
    with within(10):
        result = await RUNNER.run(Task(lambda: "done", name="job", timeout=5))
    assert result.value == "done"
