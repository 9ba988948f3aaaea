"""Back-pressure of `iter`: a slow reader holds the run up, one who waits or has left does not, nobody deadlocks."""

import threading
import tracemalloc
from contextlib import nullcontext
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orch import AsyncRunner, Event, Parallel, Sequence, State, Task
from orch.runners._iter import GraphRun
from tests.runners.iterated import events_of

AHEAD = 10_000
BREATH = 1024  # steps a lane may take before it looks around
BATCH = 256  # events that count as read when the last of them is
ENOUGH = 8_000  # steps: more than a run gets to that is held up
MANY = 30_000

STARTS, LOCK = [0], threading.Lock()


async def counts() -> None:
    STARTS[0] += 1


async def suspends() -> None:
    STARTS[0] += 1
    await anyio.lowlevel.checkpoint()


def plainly() -> None:
    with LOCK:
        STARTS[0] += 1


KINDS: dict[str, Any] = {
    "wide": lambda n: Parallel(*[counts] * n),
    "chain": lambda n: Sequence(*[counts] * n),
    "suspended": lambda n: Parallel(*[suspends] * n, limit=100),
    "threads": lambda n: Parallel(*[plainly] * n),
    "policies": lambda n: Parallel(*[Task(counts, timeout=60)] * n, limit=100),
}
kinds = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nothing_started() -> None:
    STARTS[0] = 0


async def stalled(run: GraphRun) -> int:
    """Wait until the run gets no further, and return how many events there are by then."""
    before = -1
    while before != len(run._run.schedule):
        before = len(run._run.schedule)
        await anyio.sleep(0.05)
    return before + 1


def iterated_long(workflow: Any, **options: Any) -> GraphRun:
    return AsyncRunner().iter(workflow, raise_on_failure=False, **options)


@kinds
@pytest.mark.parametrize("read", [0, 700])
async def test_a_reader_that_stops_holds_the_run_up(kind: str, read: int) -> None:
    async with iterated_long(KINDS[kind](ENOUGH)) as run:
        seen = [await anext(run) for _ in range(read)]
        ahead = await stalled(run) - read
        assert AHEAD - BATCH <= ahead <= AHEAD + 2 * BREATH
        assert STARTS[0] < ENOUGH
        seen += await events_of(run)
    assert STARTS[0] == ENOUGH
    assert [event.seq for event in seen] == list(range(1, 2 * ENOUGH + 3))
    assert run.result.state is State.SUCCEEDED


@kinds
async def test_waiting_without_reading_never_deadlocks(kind: str) -> None:
    async with iterated_long(KINDS[kind](MANY)) as run:
        result = await run.wait()
    assert (result.state, STARTS[0]) == (State.SUCCEEDED, MANY)


@kinds
async def test_waiting_after_the_reader_has_stopped_goes_on_and_loses_nothing(kind: str) -> None:
    async with iterated_long(KINDS[kind](ENOUGH)) as run:
        seen = [await anext(run) for _ in range(10)]
        await stalled(run)
        result = await run.wait()
        seen += await events_of(run)
    assert (result.state, STARTS[0]) == (State.SUCCEEDED, ENOUGH)
    assert [event.seq for event in seen] == list(range(1, 2 * ENOUGH + 3))


async def test_waiting_that_is_given_up_holds_the_run_up_again() -> None:
    let_go = anyio.Event()

    async def waits() -> None:
        await let_go.wait()

    async with iterated_long(Sequence(waits, *[counts] * ENOUGH)) as run:
        with anyio.move_on_after(0.01):
            await run.wait()
        let_go.set()
        assert await stalled(run) <= AHEAD + 2 * BREATH
        assert len(await events_of(run)) == 2 * ENOUGH + 4


@kinds
@pytest.mark.parametrize("how", ["leave", "cancel", "raise", "outside"])
async def test_a_run_that_is_held_up_can_be_ended(kind: str, how: str) -> None:
    run, scope = iterated_long(KINDS[kind](ENOUGH)), anyio.CancelScope()

    async def block() -> None:
        async with run:
            await anext(run)
            await stalled(run)
            if how == "cancel":
                assert run.cancel()
                seen = await events_of(run)
                assert [event.seq for event in seen] == list(range(2, len(seen) + 2))
            elif how == "raise":
                raise KeyError("mine")
            elif how == "outside":
                scope.cancel()
                await anyio.sleep_forever()

    with scope, pytest.raises(KeyError) if how == "raise" else nullcontext():
        await block()
    assert scope.cancelled_caught == (how == "outside")
    assert run.result.state is State.CANCELLED
    assert STARTS[0] < ENOUGH


async def test_one_step_of_a_run_that_is_held_up_can_be_cancelled() -> None:
    names = [Task(counts, name=f"s{k}") for k in range(ENOUGH)]
    async with iterated_long(Sequence(*names)) as run:
        await stalled(run)
        assert run.cancel(f"s{ENOUGH - 2}")
        await run.wait()
    assert STARTS[0] == ENOUGH - 1
    assert run.result.tasks[f"s{ENOUGH - 2}"].state is State.CANCELLED


async def test_a_slow_reader_needs_little_memory() -> None:
    """What is ahead of him is in the journal, a few dozen bytes an event, and made an event when he gets there."""
    workflow = Sequence(*[counts] * MANY)
    async with iterated_long(workflow) as run:
        await run.wait()  # what a plan keeps is not the reader's
    async with iterated_long(workflow) as run:
        tracemalloc.start()
        try:
            await anext(run)
            await stalled(run)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4e6, f"{peak / 1e6:.1f} MB"


@pytest.mark.parametrize("slow", ["reader", "subscriber"])
async def test_the_slowest_of_reader_and_subscriber_decides(slow: str) -> None:
    go_on, heard, seen = anyio.Event(), list[Event](), list[Event]()

    async def subscriber(event: Event) -> None:
        heard.append(event)
        if slow == "subscriber":
            await go_on.wait()

    async def reads() -> None:
        if slow == "reader":
            await go_on.wait()
        seen.extend(await events_of(run))

    run = iterated_long(KINDS["wide"](ENOUGH), subscribers=[subscriber])
    async with run, anyio.create_task_group() as group:
        group.start_soon(reads)
        assert await stalled(run) <= AHEAD + 2 * BREATH
        go_on.set()
    assert seen == heard
    assert len(seen) == 2 * ENOUGH + 2


async def test_short_runs_are_never_held_up() -> None:
    async with iterated_long(Parallel(*[counts] * 4000)) as run:
        await stalled(run)
        assert STARTS[0] == 4000
        assert len(await events_of(run)) == 8002
