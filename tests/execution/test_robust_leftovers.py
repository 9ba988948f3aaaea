"""What is left of a run when it is over: its result. And large shapes, where what is left adds up."""

import asyncio
import gc
import pickle
import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch.event import State, TaskEvent
from tests.execution.robust import Gate, immediate, on_asyncio, recorded, run_quietly, ticks, until

pytestmark = pytest.mark.timeout(30)


async def waits() -> int:
    await checkpoint()
    return 1


async def fails() -> None:
    await checkpoint()
    raise ValueError


def plain() -> int:
    return 2


async def every_kind_of_end() -> None:
    """One run that succeeds, one that fails, one that is cancelled, one that is interrupted; all with threads."""
    await orch.run(orch.Sequence(waits, plain, orch.Parallel(waits, plain)), subscribers=[lambda _: None])
    await run_quietly(orch.Parallel(waits, fails, plain, anyio.sleep_forever), subscribers=[lambda _: None])
    with anyio.move_on_after(0.001):
        await orch.run(orch.Parallel(plain, anyio.sleep_forever, anyio.sleep_forever), subscribers=[lambda _: None])

    async def exits() -> None:
        await checkpoint()
        raise SystemExit

    with pytest.raises(SystemExit):
        await orch.run(orch.Parallel(exits, plain, anyio.sleep_forever))


def living(*names: str) -> set[int]:
    """The objects of classes of these names, without those that another test may have left in a traceback."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each).__name__ in names}


async def test_many_runs_leave_no_object_of_the_engine_behind() -> None:
    names = ("Run", "Delivery", "Lane", "Schedule", "Threads", "TaskEvent")
    before = living(*names)
    for _ in range(10):
        await every_kind_of_end()
    await ticks()
    assert living(*names) <= before


async def test_many_runs_need_no_more_memory_threads_and_files_than_a_few() -> None:
    for _ in range(5):
        await every_kind_of_end()
    gc.collect()
    threads, files = threading.active_count(), _files()
    tracemalloc.start()
    try:
        for _ in range(5):
            await every_kind_of_end()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            await every_kind_of_end()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 80 * 250, f"{grown} bytes for 80 runs"
    assert threading.active_count() <= threads + 2, "trio keeps some of its own"
    assert _files() <= files


def _files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@on_asyncio
async def test_a_run_leaves_no_task_and_no_callback_in_the_loop() -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        await every_kind_of_end()
        assert asyncio.all_tasks() == before


async def test_values_that_are_not_retained_are_gone_while_the_run_goes_on() -> None:
    class Value:
        pass

    alive: list[weakref.ref[Value]] = []
    seen: list[bool] = []

    async def produces() -> Value:
        await checkpoint()
        value = Value()
        alive.append(weakref.ref(value))
        return value

    async def reads(produces: Value) -> int:
        await checkpoint()
        return 1

    async def looks(reads: int) -> None:
        await ticks()
        gc.collect()
        seen.append(alive[0]() is None)

    graph = orch.Graph(orch.Task(produces, retain=False), reads, looks)
    result = await orch.run(graph)
    assert seen == [True]
    assert result.state is State.SUCCEEDED
    await orch.run(graph, subscribers=[lambda _: None])
    assert len(alive) == 2
    gc.collect()
    assert alive[1]() is None


async def test_the_result_keeps_neither_lanes_nor_loop_alive() -> None:
    before = living("Delivery", "Lane", "Threads")
    result = await run_quietly(orch.Parallel(waits, fails, plain, on_failure="continue"))
    assert living("Delivery", "Lane", "Threads") <= before
    copy = pickle.loads(pickle.dumps(result))
    assert copy.value == result.value == [1, None, 2]
    assert [event.seq for event in copy.trace] == [event.seq for event in result.trace]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_result_can_be_read_when_its_loop_is_long_closed_and_by_many_threads(backend: str) -> None:
    result = orch.Runner(backend=backend).run(orch.Parallel([waits, plain] * 200))
    found: list[Any] = []

    def read() -> None:
        found.append((result.value, len(result.trace), len(result.tasks), len(result.report()["tasks"])))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [([1, 2] * 200, 802, 400, 400)] * 8


async def test_the_trace_does_not_change_after_the_run() -> None:
    with Gate() as gate:

        async def fails_soon() -> None:
            await until(lambda: gate.entered)
            raise ValueError

        runner = orch.AsyncRunner(grace=0)
        result = await runner.run(orch.Parallel(gate, fails_soon), raise_on_failure=False)
        before = list(result.trace)
        gate.open()
        await until(lambda: not [each for each in threading.enumerate() if each.name.startswith("orch")])
        assert list(result.trace) == before
        assert result.to_json() == result.to_json()


# -- large shapes -----------------------------------------------------------------------------------------------------


async def test_a_failure_at_the_root_of_a_long_chain_skips_all_of_it() -> None:
    step = orch.Task(waits, name="step")
    with recorded() as story:
        result = await run_quietly(orch.Sequence([fails, *[step] * 10_000]))
    told = [event for event in story.trace() if isinstance(event, TaskEvent) and event.state is State.SKIPPED]
    assert len(told) == 10_000
    assert {event.cause for event in told} == {"fails"}
    assert len(result.errors) == 1


@pytest.mark.parametrize("strategy", ["abort", "continue"])
async def test_a_failure_comes_up_through_a_thousand_groups(strategy: str) -> None:
    workflow: orch.Workflow = orch.Parallel(fails, waits, on_failure=strategy)
    for level in range(1_000):
        kind = orch.Sequence if level % 2 else orch.Parallel
        workflow = kind(workflow, immediate(), on_failure=strategy)
    result = await run_quietly(workflow)
    assert result.state is State.FAILED
    assert len(result.groups) == 1_001
    assert {group.state for group in result.groups.values()} == {State.FAILED}


async def test_three_thousand_steps_that_sleep_are_cancelled_and_told() -> None:
    begun: list[int] = []

    async def sleeps() -> None:
        begun.append(1)
        await anyio.sleep(60)

    heard: list[Any] = []
    scope = anyio.CancelScope()

    async def call() -> None:
        with scope:
            await orch.run(orch.Parallel([orch.Task(sleeps, name="step")] * 3_000), subscribers=[heard.append])

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await until(lambda: len(begun) == 3_000)
        scope.cancel()
    assert scope.cancelled_caught
    assert len(heard) == 6_002
    assert heard[-1].state is State.CANCELLED


def test_a_run_needs_little_stack() -> None:
    """Wide, long and deep, in a thread with 256 KB of stack: nothing in it recurses."""
    found: list[Any] = []

    def runs() -> None:
        deep: orch.Workflow = orch.Sequence(waits)
        for _ in range(1_500):
            deep = orch.Sequence(deep)
        workflow = orch.Parallel(deep, orch.Sequence([waits] * 1_500), *[waits] * 1_500)
        result = orch.Runner().run(workflow)
        found.append((result.state, len(result.tasks), len(result.groups), len(result.trace)))

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=runs)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert found == [(State.SUCCEEDED, 3_001, 1_503, 6_004)]
