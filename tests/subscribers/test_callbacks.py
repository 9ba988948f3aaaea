"""`callbacks`: a function for each kind of event, plain or async, on every event loop."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

import orch
from orch.event import (
    ChunkEvent,
    CircuitEvent,
    CompensationEvent,
    Event,
    InterruptEvent,
    LogEvent,
    MapEvent,
    RunEvent,
    State,
    TaskEvent,
)
from orch.subscribers import callbacks

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def run(state: State) -> RunEvent:
    return RunEvent("r", 1, NOON, "", state, "etl")


def task(state: State) -> TaskEvent:
    return TaskEvent("r", 1, NOON, "a", "a", state)


KINDS: dict[str, tuple[Event, ...]] = {
    "on_run_start": (run(State.RUNNING),),
    "on_run_end": (run(State.SUCCEEDED), run(State.FAILED), run(State.CANCELLED), run(State.PAUSED)),
    "on_task_start": (task(State.RUNNING),),
    "on_task_end": (task(State.SUCCEEDED), task(State.FAILED), task(State.CANCELLED)),
    "on_task_retry": (task(State.RETRYING),),
    "on_task_skip": (task(State.SKIPPED),),
    "on_compensation": (task(State.COMPENSATED), CompensationEvent("r", 1, NOON, "a", "a", ValueError("no"))),
    "on_chunk": (ChunkEvent("r", 1, NOON, "a", "a", "word"),),
    "on_interrupt": (InterruptEvent("r", 1, NOON, "a", "a", "May I?"),),
    "on_map": (
        MapEvent("r", 1, NOON, "xs", "xs", 0, State.RUNNING),
        MapEvent("r", 1, NOON, "xs", "xs", 0, State.FAILED),
    ),
    "on_circuit": (CircuitEvent("r", 1, NOON, "a", "bank", "closed", "open"),),
    "on_log": (LogEvent("r", 1, NOON, "a", "info", "half way"),),
}
OTHERS = (run(State.PENDING), task(State.PENDING), task(State.PAUSED), Event("r", 1, NOON, ""))


def noting(notes: list[Any], name: str) -> Callable[[Event], None]:
    return lambda event: notes.append((name, event))


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_a_function_that_gets_nothing_else(name: str) -> None:
    heard: list[Event] = []
    given: dict[str, Any] = {name: heard.append}
    tell = callbacks(**given)

    for event in (*(event for events in KINDS.values() for event in events), *OTHERS):
        tell(event)

    assert heard == list(KINDS[name])


def test_what_nobody_asked_for_is_passed_over() -> None:
    outcomes = [callbacks()(event) for events in KINDS.values() for event in events]
    assert set(outcomes) == {None}


async def test_a_run_is_told_in_order_to_plain_and_async_functions() -> None:
    notes: list[Any] = []
    fails = iter((True, False))

    async def flaky(context: orch.Context[Any]) -> str:
        if next(fails):
            raise ConnectionError
        context.log("at last")
        return "value"

    async def broken() -> None:
        raise ValueError("no")

    async def never() -> None: ...

    async def undo() -> None: ...

    async def ended(event: TaskEvent) -> None:
        await anyio.lowlevel.checkpoint()
        notes.append(("on_task_end", event))

    bank = orch.CircuitBreaker("bank", fail_max=1)
    first = orch.Task(flaky, retry=orch.Retry(2, delay=0), compensate=undo)
    steps = orch.Sequence(first, orch.Task(broken, breaker=bank), never, on_failure="compensate")
    given: dict[str, Any] = {name: noting(notes, name) for name in KINDS} | {"on_task_end": ended}

    await orch.AsyncRunner(subscribers=[callbacks(**given)]).run(steps, orch.Context(), raise_on_failure=False)

    assert [(name, event.path) for name, event in notes] == [
        ("on_run_start", ""),
        ("on_task_start", "flaky"),
        ("on_task_retry", "flaky"),
        ("on_task_start", "flaky"),
        ("on_log", "flaky"),
        ("on_task_end", "flaky"),
        ("on_task_start", "broken"),
        ("on_circuit", "broken"),
        ("on_task_end", "broken"),
        ("on_task_skip", "never"),
        ("on_compensation", "flaky"),
        ("on_run_end", ""),
    ]


async def test_an_error_in_one_does_not_hurt_the_run(caplog: pytest.LogCaptureFixture) -> None:
    async def value() -> int:
        return 1

    async def bad(_: TaskEvent) -> None:
        raise ValueError("mine")

    result = await orch.run(value, subscribers=[callbacks(on_task_start=bad, on_task_end=bad)])

    assert result.value == 1
    assert "mine" in caplog.text


def test_a_bus_takes_it(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    bus = orch.EventBus()
    bus.subscribe(callbacks(on_run_end=heard.append), RunEvent)

    bus(run(State.RUNNING))
    bus(run(State.FAILED))

    assert heard == [run(State.FAILED)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"on_task_ended": print}, "callbacks: there is no 'on_task_ended'; did you mean 'on_task_end'?"),
        ({"task_end": print}, f"callbacks: there is no 'task_end': expected one of {', '.join(KINDS)}"),
        ({"on_log": "print"}, "on_log: expected a function of one event, or None, found str ('print')"),
        ({"on_log": False}, "on_log: expected a function of one event, or None, found bool (False)"),
    ],
    ids=["misspelt", "unknown", "text", "bool"],
)
def test_mistakes_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        callbacks(**arguments)
    assert str(caught.value) == message
