"""Tools of the tests of policies: runs in virtual time, what holds of the record of each, small steps."""

import functools
import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
import orch.testing
from orch import AsyncRunner, Event, RunResult, State, Task
from orch.event import TRANSITIONS, ChunkEvent, CircuitEvent, CompensationEvent, LogEvent, RunEvent, TaskEvent
from orch.plan import Plan
from orch.testing import VirtualClock

PATIENCE = 10
_is_virtual = ContextVar("_is_virtual", default=False)
REASONS = {
    State.SKIPPED: {"aborted", "upstream_failed", "upstream_cancelled"},
    State.CANCELLED: {"aborted", "timed_out", "cancelled", "requested"},
}


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an async test one that runs in virtual time, on asyncio and on trio."""

    @functools.wraps(test)
    def virtually(backend: Any, **given: Any) -> None:
        before = _is_virtual.set(True)
        try:
            orch.testing.run(functools.partial(test, **given), backend=backend)
        finally:
            _is_virtual.reset(before)

    signature = inspect.signature(test)
    backend = inspect.Parameter("backend", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    del virtually.__dict__["__wrapped__"]
    virtually.__signature__ = signature.replace(parameters=[backend, *signature.parameters.values()])  # type: ignore[attr-defined]
    found: Callable[..., None] = pytest.mark.parametrize("backend", ["asyncio", "trio"])(virtually)
    return found


def runner_of(**options: Any) -> AsyncRunner:
    """A runner by the clock of the event loop in a virtual test, by that of the machine in another."""
    return AsyncRunner(clock=VirtualClock() if _is_virtual.get() else None, **options)


async def settle(workflow: Any, *given: Any, runner: AsyncRunner | None = None, **options: Any) -> RunResult:
    """Run to the end and check what holds of every run, failed or not."""
    told: list[Event] = []
    subscribers = [*options.pop("subscribers", ()), told.append]
    runner = runner or runner_of()
    with anyio.fail_after(PATIENCE * (100_000 if _is_virtual.get() else 1)):
        result = await runner.run(workflow, *given, raise_on_failure=False, subscribers=subscribers, **options)
    check(result, orch.plan.compile(workflow))
    assert [_gist(event) for event in told] == [_gist(event) for event in result.trace]
    return result


def _gist(event: Event) -> tuple[Any, ...]:
    return type(event), event.seq, event.time, event.path, getattr(event, "state", None)  # values may be let go


# -- what holds of every run -------------------------------------------------------------------------------------------


def check(result: RunResult, plan: Plan) -> None:
    """Check the record of a settled run."""
    frame(result.trace, result.run_id)
    known = by_path(result.trace)
    assert set(known) == set(result.tasks) == set(plan.order())
    for path, events in known.items():
        check_task(events)
        check_record(result, path, events)
    check_causality(plan, result.trace)
    check_errors(result)


def frame(trace: Sequence[Event], run_id: str) -> None:
    """Numbered without gaps, in order of time, begun and closed by the run's own events."""
    assert [event.seq for event in trace] == list(range(1, len(trace) + 1))
    assert {event.run_id for event in trace} == {run_id}
    assert all(one.time <= other.time for one, other in pairwise(trace))
    first, *between, last = trace
    assert isinstance(first, RunEvent)
    assert isinstance(last, RunEvent)
    assert (first.state, last.state.is_final) == (State.RUNNING, True)
    said = TaskEvent | LogEvent | CircuitEvent | CompensationEvent | ChunkEvent
    assert all(isinstance(event, said) for event in between)
    check_chunks(trace)


def check_chunks(trace: Sequence[Event]) -> None:
    """Chunks are told while their task runs, neither before nor after."""
    running = set[str]()
    for event in trace:
        if isinstance(event, TaskEvent):
            (running.add if event.state is State.RUNNING else running.discard)(event.path)
        assert not isinstance(event, ChunkEvent) or event.path in running, event


def check_task(events: Sequence[TaskEvent]) -> None:
    """One task: attempts from 1 on, each with one end, legal transitions, one final state, undone at most once."""
    states = [State.PENDING, *(event.state for event in events)]
    assert all(after in TRANSITIONS[before] for before, after in pairwise(states)), states
    ends = [state for state in states if state.is_final and state is not State.COMPENSATED]
    assert len(ends) == 1, states
    attempt = 0
    for event in events:
        attempt += event.state is State.RUNNING
        assert event.attempt == attempt, events
        assert (event.error is not None) == (event.state in {State.FAILED, State.RETRYING}) or (
            event.state is State.CANCELLED
        )
        assert (event.delay is not None) == (event.state is State.RETRYING)
        assert (event.reason in REASONS[event.state]) if event.state in REASONS else event.reason is None


def check_record(result: RunResult, path: str, events: Sequence[TaskEvent]) -> None:
    """A record says what the last events say."""
    record = result.tasks[path]
    end = [event for event in events if event.state is not State.COMPENSATED][-1]
    assert record.state is events[-1].state
    assert (record.error, record.reason, record.cause) == (end.error, end.reason, end.cause)
    assert record.attempts == end.attempt
    undone = [event for event in result.trace if isinstance(event, CompensationEvent) and event.path == path]
    assert record.compensation_error is (undone[-1].error if undone else None)
    assert len(undone) + (record.state is State.COMPENSATED) <= 1


def check_causality(plan: Plan, trace: Sequence[Event]) -> None:
    """What a task waits for was settled before it started; what is undone is undone after what was made of it."""
    settled: set[str] = set()
    before = {path: set(others) for path, others in plan.describe()["tasks"].items()}
    undone: set[str] = set()
    for event in tasks_of(trace):
        if event.state is State.RUNNING:
            assert before[event.path] <= settled, f"{event.path} did not wait for {before[event.path] - settled}"
        if event.state.is_final:
            settled.add(event.path)
        if event.state is State.COMPENSATED:
            assert not before[event.path] & undone, f"{event.path} undone after {before[event.path] & undone}"
            undone.add(event.path)


def check_errors(result: RunResult) -> None:
    """Every failure is among the errors, in order of time; a run in which something failed did not succeed."""
    failed = [event.error for event in tasks_of(result.trace) if event.state is State.FAILED]
    assert [id(error) for error in result.errors if any(error is each for each in failed)] == list(map(id, failed))
    if result.state is State.SUCCEEDED:
        assert not failed
        assert not result.errors
    if failed:  # unless somebody cancelled it after that
        assert result.state in {State.FAILED, State.CANCELLED}


# -- reading a trace ---------------------------------------------------------------------------------------------------


def tasks_of(trace: Sequence[Event]) -> list[TaskEvent]:
    """The events of tasks."""
    return [event for event in trace if isinstance(event, TaskEvent)]


def by_path(trace: Sequence[Event]) -> dict[str, list[TaskEvent]]:
    """The events of each task."""
    found: dict[str, list[TaskEvent]] = {}
    for event in tasks_of(trace):
        found.setdefault(event.path, []).append(event)
    return found


def states(result: RunResult) -> dict[str, str]:
    """The state of each task in words, by path."""
    return {path: record.state.value for path, record in result.tasks.items()}


def story(result: RunResult, path: str) -> list[str]:
    """The states a task went through, in words."""
    return [event.state.value for event in by_path(result.trace).get(path, [])]


def circuits(result: RunResult) -> list[tuple[str, str | None, str, str]]:
    """What breakers said: path, name, old and new state."""
    return [(e.path, e.name, e.old, e.new) for e in result.trace if isinstance(e, CircuitEvent)]


def logged(result: RunResult, path: str) -> list[tuple[str, str]]:
    """What was logged about a task: level and message."""
    return [(e.level, e.message) for e in result.trace if isinstance(e, LogEvent) and e.path == path]


def chunks_of(trace: Sequence[Event], path: str) -> list[Any]:
    """What a task has streamed."""
    return [event.chunk for event in trace if isinstance(event, ChunkEvent) and event.path == path]


# -- steps -------------------------------------------------------------------------------------------------------------


class Diary:
    """Steps that write down what they do, and what undoes them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)

    def step(self, name: str, kind: str = "coroutine", *, error: BaseException | None = None, **options: Any) -> Any:
        """A task that can be undone; kinds: coroutine, suspended, thread, in place."""

        def act() -> str:
            self.write(name)
            if error is not None:
                raise error
            return name.upper()

        options.setdefault("compensate", self.undo(name, kind))
        return Task(of_kind(kind, act), name=name, thread=False if kind == "in place" else None, **options)

    def undo(self, name: str, kind: str = "coroutine", error: BaseException | None = None, **options: Any) -> Any:
        """What undoes a step: a task that writes it down."""

        def act() -> None:
            self.write(f"undo {name}")
            if error is not None:
                raise error

        fn = of_kind(kind, act)
        return Task(fn, name=f"undo {name}", thread=False if kind == "in place" else None, **options)


KINDS = ["coroutine", "suspended", "thread", "in place"]


def of_kind(kind: str, act: Callable[[], Any]) -> Callable[[], Any]:
    """A function without parameters that does something, as a kind of step."""

    async def coroutine() -> Any:
        if kind == "suspended":
            await checkpoint()
        return act()

    def plain() -> Any:
        return act()

    return plain if kind in {"thread", "in place"} else coroutine


def failing(error: BaseException, name: str = "fails", **options: Any) -> Task[..., Any]:
    """A task that raises."""

    async def fails() -> None:
        raise error

    return Task(fails, name=name, **options)


async def forever() -> None:
    """Wait to be cancelled."""
    await anyio.sleep_forever()


async def ticks(number: int = 5) -> None:
    """Let everybody who can run do so, several times."""
    for _ in range(number):
        await checkpoint()
