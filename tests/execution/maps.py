"""Tools of the tests of maps: bodies, and what holds of the record of each run that has maps in it."""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, Event, Map, RunResult, State, Task
from orch.event import MapEvent, RunEvent, TaskEvent
from tests.runners.truth import by_path, check_task

PATIENCE = 20
ENDS = {State.SUCCEEDED, State.FAILED, State.CANCELLED}


async def double(x: int) -> int:
    await checkpoint()
    return 2 * x


def refusing(*wrong: int) -> Callable[..., Any]:
    """A body that fails for some items."""

    async def body(x: int) -> int:
        await checkpoint()
        if x in wrong:
            raise ValueError(x)
        return x

    return body


async def forever(x: int) -> None:
    await anyio.sleep_forever()


class Counter:
    """A body that counts how many of it are active at a time."""

    def __init__(self, turns: int = 4) -> None:
        self.active = self.most = self.done = 0
        self.turns = turns

    async def __call__(self, x: int) -> int:
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            for _ in range(self.turns):
                await checkpoint()
        finally:
            self.active -= 1
        self.done += 1
        return x


async def settle(workflow: Any, *given: Any, runner: AsyncRunner | None = None, **options: Any) -> RunResult:
    """Run to the end, watched and not, and check what holds of every run."""
    told: list[Event] = []
    watched = options.pop("watched", True)
    subscribers = [told.append] if watched else []
    run = (runner or AsyncRunner()).run
    with anyio.fail_after(PATIENCE):
        result = await run(workflow, *given, raise_on_failure=False, subscribers=subscribers, **options)
    check(result)
    assert not watched or told == list(result.trace)
    return result


def check(result: RunResult) -> None:
    """Numbers have no gaps, times do not go back, every task and every item ends once, and records agree."""
    trace = result.trace
    assert [event.seq for event in trace] == list(range(1, len(trace) + 1))
    assert {event.run_id for event in trace} == {result.run_id}
    assert all(one.time <= other.time for one, other in pairwise(trace))
    assert isinstance(trace[0], RunEvent)
    assert isinstance(trace[-1], RunEvent)
    known = by_path(trace)
    for events in known.values():
        check_task(events)
    assert set(known) == set(result.tasks)
    for path, record in result.tasks.items():
        assert (record.path, record.state, record.error) == (path, known[path][-1].state, known[path][-1].error)
    check_items(trace)


def check_items(trace: Iterable[Event]) -> None:
    """What is in an item lies between the begin and the end of its map; every item that was drawn ends once."""
    begun, ended, items = set[str](), set[str](), set[str]()
    for event in trace:
        if isinstance(event, TaskEvent):
            around = event.path.rpartition("[")[0]
            assert not around or around in begun - ended, event
            if "[" in event.path:
                items.add(re.sub(r"\][^\[\]]*$", "]", event.path))
            if event.state is State.RUNNING:
                begun.add(event.path)
            if event.state.is_final:
                ended.add(event.path)
        if isinstance(event, MapEvent):
            path = f"{event.path}[{event.index}]"
            assert event.path in begun - ended
            assert event.state in ENDS
            assert (event.error is not None) == (event.state is State.FAILED)
            assert path in items
            items.remove(path)
    assert not items, "these items did not end"


def ends(result: RunResult, path: str) -> list[tuple[int, str]]:
    """How the items of a map have ended, in order of their numbers."""
    found = [event for event in result.trace if isinstance(event, MapEvent) and event.path == path]
    return sorted((event.index, event.state.value) for event in found)


def mapped(body: Any, **options: Any) -> Map:
    """A map over `x` that is called `xs`."""
    fields: dict[str, Any] = {"over": "x", "name": "xs", **options}
    return Map(body, **fields)


def giving(value: Any, name: str) -> Task[..., Any]:
    """A step that gives a value."""
    return Task(lambda: value, name=name, thread=False)


__all__ = (
    "Counter",
    "check",
    "check_items",
    "double",
    "ends",
    "forever",
    "giving",
    "mapped",
    "orch",
    "refusing",
    "settle",
)
