"""Reading a stream while it is made: promptness, order, back-pressure, leaving early, and being told less (100)."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Event, Parallel, Sequence, State, Task
from orch.event import ChunkEvent, EventBus, RunEvent, TaskEvent
from orch.runners._iter import GraphRun
from tests.execution.resilient import chunks_of
from tests.runners.iterated import events_of, iterated

AHEAD = 10_000
TURN = 256  # chunks a generator on the event loop may be ahead beyond that
MANY = 25_000

KINDS = ["async", "thread", "in place"]
kinds = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.timeout(60)


class Counting:
    """Streams numbers, without ever waiting by itself; counts them, and how often it was closed."""

    def __init__(self, kind: str, most: int = MANY) -> None:
        self.made = self.closed = 0
        self._most = most
        self.task = Task(
            self._coloured if kind == "async" else self._plain,
            name="streams",
            thread=None if kind == "thread" else False,
        )

    def _plain(self) -> Iterator[int]:
        try:
            for k in range(self._most):
                self.made = k + 1
                yield k
        finally:
            self.closed += 1

    async def _coloured(self) -> AsyncIterator[int]:
        try:
            for k in range(self._most):
                self.made = k + 1
                yield k
        finally:
            self.closed += 1


async def stalled(*sources: Counting) -> int:
    """Wait until nothing more is made, and return how much there is."""
    before = 0
    while (made := sum(source.made for source in sources)) != before or not made:
        before = made
        await anyio.sleep(0.05)
    return before


async def finished(source: Counting) -> None:
    """Wait until all is made."""
    while source.made < MANY:  # noqa: ASYNC110 (it may be made in a thread)
        await anyio.sleep(0.01)


def same(one: object, other: object) -> bool:
    """Compare what is long: pytest would show how it differs, and take minutes for it."""
    return one == other


async def chunk(run: GraphRun) -> Any:
    """Read to the next chunk."""
    async for event in run:
        if isinstance(event, ChunkEvent):
            return event.chunk
    raise AssertionError("there is no more")


# -- prompt, in order --------------------------------------------------------------------------------------------------


async def test_a_chunk_is_there_before_the_next_one_is_made() -> None:
    let, made = [anyio.Event() for _ in range(5)], list[int]()

    async def streams() -> AsyncIterator[int]:
        for k, gate in enumerate(let):
            made.append(k)
            yield k
            await gate.wait()

    async with iterated(streams) as run:
        for k, gate in enumerate(let):
            assert await chunk(run) == k
            assert made == list(range(k + 1))
            gate.set()


async def test_a_chunk_of_a_thread_is_there_before_the_next_one_is_made() -> None:
    let, made = [threading.Event() for _ in range(5)], list[int]()

    def streams() -> Iterator[int]:
        for k, gate in enumerate(let):
            made.append(k)
            yield k
            gate.wait(10)

    async with iterated(streams) as run:
        for k, gate in enumerate(let):
            assert await chunk(run) == k
            assert made == list(range(k + 1))
            gate.set()


@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("style", ["plain", "async", "bus"])
async def test_a_subscriber_has_a_chunk_before_the_next_one_is_made(kind: str, style: str) -> None:
    heard, here = list[int](), threading.Event()

    def plain() -> Iterator[int]:
        for k in range(4):
            here.clear()
            yield k
            assert here.wait(10)

    async def coloured() -> AsyncIterator[int]:
        for k in range(4):
            yield k
            while len(heard) <= k:
                await anyio.lowlevel.checkpoint()

    def listens(event: ChunkEvent) -> None:
        heard.append(event.chunk)
        here.set()

    async def listens_too(event: ChunkEvent) -> None:
        await anyio.lowlevel.checkpoint()
        listens(event)

    bus = EventBus()
    bus.subscribe(
        listens_too if style == "async" else listens, ChunkEvent, when_full="drop" if style == "bus" else "block"
    )
    with anyio.fail_after(10):
        result = await AsyncRunner(subscribers=[bus]).run(coloured if kind == "async" else plain)
    assert result.value == heard == [0, 1, 2, 3]


@kinds
async def test_all_chunks_come_in_order_and_before_the_end_of_their_step(kind: str) -> None:
    source = Counting(kind, 2000)
    async with iterated(Sequence(source.task, len)) as run:
        seen = await events_of(run)
    assert same(seen, list(run.result.trace))
    assert same(chunks_of(seen, "streams"), list(range(2000)))
    end = next(k for k, event in enumerate(seen) if isinstance(event, TaskEvent) and event.state is State.SUCCEEDED)
    assert isinstance(seen[end - 1], ChunkEvent)
    assert not any(isinstance(event, ChunkEvent) for event in seen[end:])


async def test_streams_of_several_steps_are_read_as_they_are_made() -> None:
    first, second = anyio.Event(), anyio.Event()

    async def one() -> AsyncIterator[str]:
        yield "1a"
        await second.wait()
        yield "1b"

    async def two() -> AsyncIterator[str]:
        await first.wait()
        yield "2a"
        second.set()

    async with iterated(Parallel(one, two)) as run:
        assert await chunk(run) == "1a"
        first.set()
        assert [await chunk(run), await chunk(run)] == ["2a", "1b"]


# -- leaving, cancelling, waiting --------------------------------------------------------------------------------------


@kinds
async def test_leaving_early_closes_the_generator(kind: str) -> None:
    source = Counting(kind, 10**9)
    async with iterated(source.task) as run:
        assert await chunk(run) == 0
    assert run.result.state is State.CANCELLED
    assert source.closed == 1
    seen = chunks_of(run.result.trace, "streams")
    assert same(seen, list(range(len(seen))))


@kinds
async def test_a_reader_that_raises_closes_the_generator(kind: str) -> None:
    source = Counting(kind, 10**9)
    run = AsyncRunner().iter(source.task)

    async def reads() -> None:
        async with run:
            await chunk(run)
            raise KeyError

    with pytest.raises(KeyError):
        await reads()
    assert source.closed == 1
    assert run.result.state is State.CANCELLED


@kinds
async def test_what_was_not_read_can_be_read_after_the_block(kind: str) -> None:
    source = Counting(kind, 300)
    async with iterated(source.task) as run:
        seen = [await chunk(run)]
        await run.wait()
    seen += chunks_of(await events_of(run), "streams")
    assert same(seen, list(range(300)))


@kinds
async def test_waiting_without_reading_never_deadlocks(kind: str) -> None:
    source = Counting(kind)
    async with AsyncRunner().iter(source.task) as run:
        result = await run.wait()
    assert same(result.value, list(range(MANY)))


# -- a slow reader -----------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("read", [0, 700])
async def test_a_stream_that_is_ahead_waits_for_its_reader(kind: str, read: int) -> None:
    source = Counting(kind)
    async with AsyncRunner().iter(source.task) as run:
        seen = [await anext(run) for _ in range(read)]
        ahead = await stalled(source) - read
        assert AHEAD - 2 * TURN <= ahead <= AHEAD + TURN
        seen += await events_of(run)
    assert same([event.seq for event in seen], list(range(1, MANY + 5)))
    assert same(chunks_of(seen, "streams"), list(range(MANY)))
    assert run.dropped == 0


@kinds
@pytest.mark.parametrize("style", ["plain", "bus"])
async def test_a_stream_that_is_ahead_waits_for_a_subscriber(kind: str, style: str) -> None:
    source, let, heard = Counting(kind), anyio.Event(), list[Event]()

    async def listens(event: Event) -> None:
        await let.wait()
        heard.append(event)

    async def lets() -> None:
        assert AHEAD - 2 * TURN <= await stalled(source) <= AHEAD + TURN
        let.set()

    bus = EventBus()
    bus.subscribe(listens)
    async with anyio.create_task_group() as group:
        group.start_soon(lets)
        await AsyncRunner(subscribers=[bus if style == "bus" else listens]).run(source.task)
    assert same(chunks_of(heard, "streams"), list(range(MANY)))


@kinds
@pytest.mark.parametrize("how", ["leave", "cancel", "step", "timeout", "wait"])
async def test_a_stream_that_is_held_up_can_be_ended(kind: str, how: str) -> None:
    source, failed = Counting(kind), anyio.Event()

    def listens(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            failed.set()

    task = source.task.evolve(timeout=0.4) if how == "timeout" else source.task
    with anyio.fail_after(4):  # less than the grace
        async with AsyncRunner(subscribers=[listens]).iter(task, raise_on_failure=False) as run:
            await stalled(source)
            if how in {"cancel", "step"}:
                assert run.cancel("streams" if how == "step" else None)
                seen = await events_of(run)
                assert same([event.seq for event in seen], list(range(1, len(seen) + 1)))
            elif how == "timeout":
                await failed.wait()
            elif how == "wait":
                await run.wait()
    assert source.closed == 1
    ends = {"timeout": State.FAILED, "wait": State.SUCCEEDED}
    assert run.result.state is ends.get(how, State.CANCELLED)
    assert run.result.abandoned == ()


async def test_several_threads_that_are_held_up_all_go_on() -> None:
    sources = [Counting("thread", 6000) for _ in range(4)]
    async with AsyncRunner().iter(Parallel(*(source.task for source in sources))) as run:
        await stalled(*sources)
        assert sum(source.made for source in sources) < AHEAD + TURN
        seen = await events_of(run)
    assert same([chunks_of(seen, path) for path in run.result.tasks], [list(range(6000))] * 4)


# -- told less ---------------------------------------------------------------------------------------------------------


@kinds
async def test_a_reader_that_would_rather_be_told_less_holds_nobody_up(kind: str) -> None:
    source = Counting(kind)
    async with AsyncRunner().iter(Sequence(source.task, len), when_full="drop") as run:
        assert isinstance(await anext(run), RunEvent)
        await finished(source)
        seen = await events_of(run)
    assert run.dropped == MANY - (AHEAD - 3)  # three changes of state come after the last chunk
    assert same(chunks_of(seen, "streams"), list(range(run.dropped, MANY)))
    states = [event.state.value for event in seen if isinstance(event, TaskEvent | RunEvent)]
    assert states == ["running", "succeeded"] * 2 + ["succeeded"]
    assert same(chunks_of(run.result.trace, "streams"), list(range(MANY)))
    assert same(run.result.value[0], list(range(MANY)))


@kinds
async def test_a_reader_who_keeps_up_misses_nothing(kind: str) -> None:
    source = Counting(kind, 3000)
    async with iterated(source.task, when_full="drop") as run:
        seen = await events_of(run)
    assert same(seen, list(run.result.trace))
    assert run.dropped == 0


async def test_changes_of_states_are_never_left_out() -> None:
    async def step() -> None: ...

    async with AsyncRunner().iter(Sequence(*[step] * 6000), when_full="drop") as run:
        await run.wait()
        seen = await events_of(run)
    assert same([event.seq for event in seen], list(range(1, 12_003)))
    assert run.dropped == 0


@kinds
async def test_a_handler_that_would_rather_be_told_less_holds_nobody_up(kind: str) -> None:
    source, let, slow, fast = Counting(kind), anyio.Event(), list[Event](), list[Event]()
    bus = EventBus()

    @bus.subscribe(when_full="drop")
    async def is_slow(event: Event) -> None:
        await let.wait()
        slow.append(event)

    bus.subscribe(fast.append)

    async def lets() -> None:
        await finished(source)
        while not isinstance(fast[-1], RunEvent):
            await anyio.lowlevel.checkpoint()
        let.set()

    run = AsyncRunner(subscribers=[bus]).iter(source.task)
    async with anyio.create_task_group() as group, run:
        group.start_soon(lets)
        await run.wait()
    assert same(fast, list(run.result.trace))
    assert len(slow) == len(fast) - bus.dropped
    assert 2 * TURN < MANY - AHEAD <= bus.dropped <= MANY
    seqs = [event.seq for event in slow]
    assert seqs == sorted(set(seqs))
    kept = chunks_of(slow, "streams")
    assert kept[-100:] == list(range(MANY - 100, MANY))  # the latest ones
    assert [type(event) for event in slow if not isinstance(event, ChunkEvent)] == [
        RunEvent,
        TaskEvent,
        TaskEvent,
        RunEvent,
    ]


async def test_a_handler_is_told_less_only_of_what_it_listens_to() -> None:
    source, let, heard = Counting("async"), anyio.Event(), list[Event]()
    bus = EventBus()

    @bus.subscribe(TaskEvent, when_full="drop")
    async def is_slow(event: Event) -> None:
        await let.wait()
        heard.append(event)

    async with AsyncRunner(subscribers=[bus]).iter(source.task) as run:
        await stalled(source)
        let.set()
        await run.wait()
    assert len(heard) == 2
    assert bus.dropped == 0


async def test_handlers_come_and_go_while_a_stream_goes_on() -> None:
    bus, heard = EventBus(), list[int]()
    gates = [anyio.Event() for _ in range(6)]

    async def streams() -> AsyncIterator[int]:
        for k, gate in enumerate(gates):
            yield k
            await gate.wait()

    def listens(event: ChunkEvent) -> None:
        heard.append(event.chunk)

    async with AsyncRunner(subscribers=[bus]).iter(streams) as run:
        for k, gate in enumerate(gates):
            assert await chunk(run) == k
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            if k == 1:
                bus.subscribe(listens, ChunkEvent, when_full="drop")
            if k == 4:
                bus.unsubscribe(listens)
            gate.set()
    assert heard == [2, 3, 4]


async def test_a_handler_that_raises_is_left_out_after_ten_errors(caplog: pytest.LogCaptureFixture) -> None:
    bus, calls = EventBus(), list[Event]()

    @bus.subscribe(ChunkEvent, when_full="drop")
    def raises(event: Event) -> None:
        calls.append(event)
        raise ValueError("no")

    await AsyncRunner(subscribers=[bus]).run(Counting("async", 100).task)
    assert len(calls) == 10
    assert len(caplog.records) == 2


@pytest.mark.parametrize("wrong", ["wait", None, True, "DROP"])
async def test_what_a_reader_may_want(wrong: Any) -> None:
    with pytest.raises(ValueError, match="when_full: expected 'block' or 'drop', found "):
        AsyncRunner().iter(len, obj="", when_full=wrong)


@pytest.mark.parametrize("who", ["reader", "handler"])
async def test_little_memory_is_needed_for_a_slow_one(who: str) -> None:
    """Beside the trace, which has every chunk, nobody queues more than twice what he may be behind."""
    source, bus, let = Counting("async"), EventBus(), anyio.Event()

    @bus.subscribe(when_full="drop")
    async def is_slow(_: Event) -> None:
        if who == "handler":
            await let.wait()

    async with AsyncRunner(subscribers=[bus]).iter(source.task, when_full="drop") as run:
        await finished(source)
        most = bus.dropped
        let.set()
    assert (most >= MANY - 2 * AHEAD) == (who == "handler")
    assert run.dropped == 0  # nothing was read


def test_the_bus_counts_from_any_thread() -> None:
    bus = EventBus()

    def counts() -> None:
        for _ in range(2000):
            bus.count_dropped(1)

    threads = [threading.Thread(target=counts) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bus.dropped == 8000
    assert orch.EventBus().dropped == 0
