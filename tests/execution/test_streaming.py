"""Steps that stream: what their chunks and values are, in every kind of generator, with every policy (100)."""

import contextvars
import functools
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, CircuitBreaker, Context, Graph, Parallel, Retry, Sequence, State, Task, TaskTimeoutError
from orch.errors import OutputError, UnsupportedError
from orch.event import ChunkEvent, EventBus, LogEvent, TaskEvent
from orch.testing import Recorder
from tests.execution.resilient import chunks_of, runner_of, settle, states, story, virtual

KINDS = ["async", "thread", "in place"]
kinds = pytest.mark.parametrize("kind", KINDS)


def streaming(kind: str, chunks: Iterable[Any], **options: Any) -> Task[..., Any]:
    """A task that streams what it is given, and an error at the end if that is in it."""

    def plain() -> Iterator[Any]:
        for chunk in chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    async def coloured() -> AsyncIterator[Any]:
        for chunk in plain():
            yield chunk

    options = {"name": "streams", "thread": False if kind == "in place" else None, **options}
    return Task(coloured if kind == "async" else plain, **options)


def gist(result: orch.RunResult) -> list[str]:
    """The events of the steps, in words."""
    said = []
    for event in result.trace[1:-1]:
        what = event.state.value if isinstance(event, TaskEvent) else getattr(event, "chunk", None)
        said.append(f"{event.path} {what}")
    return said


# -- values and chunks -------------------------------------------------------------------------------------------------


@kinds
async def test_each_value_is_a_chunk_and_all_of_them_are_the_value(kind: str) -> None:
    result = await settle(streaming(kind, "abc"))
    assert result.value == ["a", "b", "c"]
    assert gist(result) == ["streams running", "streams a", "streams b", "streams c", "streams succeeded"]
    chunks = [event for event in result.trace if isinstance(event, ChunkEvent)]
    assert {(event.path, event.name) for event in chunks} == {("streams", "streams")}
    assert result.tasks["streams"].attempts == 1


@kinds
async def test_nothing_yielded_is_an_empty_list(kind: str) -> None:
    result = await settle(streaming(kind, []))
    assert result.value == []
    assert gist(result) == ["streams running", "streams succeeded"]


@kinds
async def test_nothing_is_a_chunk_too(kind: str) -> None:
    result = await settle(streaming(kind, [None, 0, "", False]))
    assert result.value == chunks_of(result.trace, "streams") == [None, 0, "", False]


@pytest.mark.parametrize("thread", [None, False])
@pytest.mark.parametrize("returned, value", [(None, [1, 2]), (0, 0), ("", ""), ([], []), ("done", "done")])
async def test_what_a_plain_generator_returns_is_the_value_unless_it_is_none(
    thread: bool | None, returned: Any, value: Any
) -> None:
    def streams() -> Generator[int, None, Any]:
        yield 1
        yield 2
        return returned

    result = await settle(Task(streams, thread=thread))
    assert result.value == value
    assert chunks_of(result.trace, "streams") == [1, 2]


class Methods:
    def method(self, n: int) -> Iterator[int]:
        yield from range(n)

    @classmethod
    def of_class(cls, n: int) -> Iterator[int]:
        yield from range(n)

    @staticmethod
    async def of_nothing(n: int) -> AsyncIterator[int]:
        for k in range(n):
            yield k

    async def coloured(self, n: int) -> AsyncIterator[int]:
        for k in range(n):
            yield k

    @orch.task
    def decorated(self, n: int) -> Iterator[int]:
        yield from range(n)


class Called:
    def __call__(self, n: int) -> Iterator[int]:
        yield from range(n)


class AsyncCalled:
    async def __call__(self, n: int) -> AsyncIterator[int]:
        for k in range(n):
            yield k


def counts(n: int, start: int = 0) -> Iterator[int]:
    yield from range(start, start + n)


CALLABLES: dict[str, Any] = {
    "function": counts,
    "partial": functools.partial(counts, start=0),
    "method": Methods().method,
    "class method": Methods.of_class,
    "async static method": Methods.of_nothing,
    "async method": Methods().coloured,
    "task that is a method": Methods().decorated,
    "object": Called(),
    "async object": AsyncCalled(),
    "partial of an object": functools.partial(AsyncCalled()),
    "bound method of an object": Called().__call__,
    "lambda": lambda n: (yield from range(n)),
}


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
async def test_whatever_is_a_generator_function_streams(fn: Any) -> None:
    step = fn if isinstance(fn, Task) else Task(fn, name="streams")
    result = await settle(step, n=3)
    assert result.value == chunks_of(result.trace, step.name) == [0, 1, 2]


async def test_what_only_returns_a_generator_gives_that_generator() -> None:
    def gives(n: int) -> Iterator[int]:
        return counts(n)

    async def awaits(n: int) -> Iterator[int]:
        return counts(n)

    async def coloured() -> AsyncIterator[int]:
        yield 1

    @functools.wraps(counts)
    def wrapped(n: int, start: int = 0) -> Iterator[int]:
        return counts(n, start)

    def returns() -> AsyncIterator[int]:
        return coloured()

    result = await settle(Parallel(gives, awaits, wrapped, returns), n=2)
    assert [list(value) for value in result.value[:3]] == [[0, 1]] * 3
    assert [chunk async for chunk in result.value[3]] == [1]
    assert not [event for event in result.trace if isinstance(event, ChunkEvent)]


def test_calling_the_task_calls_the_function() -> None:
    made = Task(counts, start=5)
    assert list(made(2)) == [5, 6]
    assert made.signature.kind == "generator"


# -- arguments ---------------------------------------------------------------------------------------------------------


@kinds
async def test_parameters_are_filled_as_those_of_other_steps(kind: str) -> None:
    def plain(value: int, upstream: dict[str, Any], context: Context[Any], *, scale: int = 10) -> Iterator[Any]:
        yield context.task
        yield value * scale
        yield dict(upstream)

    async def coloured(
        value: int, upstream: dict[str, Any], context: Context[Any], *, scale: int = 10
    ) -> AsyncIterator[Any]:
        for chunk in plain(value, upstream, context, scale=scale):
            yield chunk

    fn: Callable[..., Any] = coloured if kind == "async" else plain
    first = Task(lambda: 4, name="first", thread=False)
    step = Task(fn, name="streams", deps=["first"], thread=False if kind == "in place" else None)
    result = await settle(Graph(first, step), Context(), value=2)
    assert result["streams"] == ["streams", 20, {"first": 4}]


@kinds
async def test_the_next_step_gets_the_value(kind: str) -> None:
    result = await settle(Sequence(streaming(kind, [1, 2]), sum))
    assert result.value == [[1, 2], 3]


@kinds
async def test_several_outputs_take_the_value_apart(kind: str) -> None:
    step = streaming(kind, [1, 2], output=("one", "two"))
    result = await settle(Graph(step, Task(lambda one, two: two - one, name="difference")))
    assert result.outputs == {"one": 1, "two": 2, "difference": 1}


@kinds
async def test_a_stream_of_another_length_than_its_outputs_fails(kind: str) -> None:
    result = await settle(streaming(kind, [1, 2, 3], output=("one", "two")))
    (error,) = result.errors
    assert isinstance(error, OutputError)
    assert "3 values" in str(error)
    assert chunks_of(result.trace, "streams") == [1, 2, 3]


async def test_what_is_logged_stands_between_the_chunks() -> None:
    def streams(context: Context[Any]) -> Iterator[int]:
        yield 1
        context.log("half")
        yield 2

    async def coloured(context: Context[Any]) -> AsyncIterator[int]:
        for chunk in streams(context):
            yield chunk

    for step in (Task(streams), Task(streams, thread=False), Task(coloured, name="streams")):
        result = await settle(step, Context())
        said = [event for event in result.trace if isinstance(event, ChunkEvent | LogEvent)]
        assert [getattr(event, "chunk", "said") for event in said] == [1, "said", 2]


VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


@kinds
async def test_context_variables_stay_over_all_chunks_and_within_the_step(kind: str) -> None:
    def plain() -> Iterator[int]:
        for k in range(1, 4):
            yield VARIABLE.get()
            VARIABLE.set(VARIABLE.get() + k)

    async def coloured() -> AsyncIterator[int]:
        for k in range(1, 4):
            yield VARIABLE.get()
            await checkpoint()
            VARIABLE.set(VARIABLE.get() + k)

    step: Any = Task(coloured) if kind == "async" else Task(plain, thread=False if kind == "in place" else None)
    token = VARIABLE.set(10)
    try:
        result = await settle(Parallel(step, step.evolve(name="other")))
        assert VARIABLE.get() == 10
    finally:
        VARIABLE.reset(token)
    assert result.value == [[10, 11, 13]] * 2


@kinds
async def test_a_plain_generator_has_one_thread_for_all_its_chunks(kind: str) -> None:
    def plain() -> Iterator[int]:
        for _ in range(3):
            yield threading.get_ident()

    async def coloured() -> AsyncIterator[int]:
        for chunk in plain():
            yield chunk

    step: Any = Task(coloured) if kind == "async" else Task(plain, thread=False if kind == "in place" else None)
    (thread,) = set((await settle(step)).value)
    assert (thread == threading.get_ident()) == (kind != "thread")


async def test_a_generator_in_a_thread_may_call_the_event_loop() -> None:
    async def double(x: int) -> int:
        await checkpoint()
        return 2 * x

    def streams() -> Iterator[int]:
        for k in range(3):
            yield anyio.from_thread.run(double, k)

    assert (await settle(streams)).value == [0, 2, 4]


@kinds
async def test_many_at_once_each_in_its_order(kind: str) -> None:
    steps = [streaming(kind, range(50), name=f"s{k}") for k in range(40)]
    result = await settle(Parallel(*steps))
    assert result.value == [list(range(50))] * 40
    assert all(chunks_of(result.trace, f"s{k}") == list(range(50)) for k in range(40))


class Piece:
    """A chunk that can be missed."""


def pieces_of(kind: str, alive: "weakref.WeakSet[Piece]", number: int = 3) -> Task[..., Any]:
    def plain() -> Iterator[Piece]:
        for _ in range(number):
            alive.add(piece := Piece())
            yield piece
            del piece

    async def coloured() -> AsyncIterator[Piece]:
        for _ in range(number):
            alive.add(piece := Piece())
            yield piece
            del piece

    fn: Any = coloured if kind == "async" else plain
    return Task(fn, name="streams", retain=False, thread=False if kind == "in place" else None)


@kinds
@pytest.mark.parametrize("heard", [False, True])
async def test_a_released_value_goes_with_its_chunks(kind: str, heard: bool) -> None:
    alive, told = weakref.WeakSet[Piece](), list[int]()
    bus = EventBus()
    bus.subscribe(lambda event: told.append(id(event.chunk)), ChunkEvent)

    async def looks(number: int) -> tuple[int, int]:
        for _ in range(100):
            await checkpoint()
        gc.collect()
        return number, len(alive)

    steps = Sequence(pieces_of(kind, alive), Task(len, name="number", thread=False), looks)
    result = await AsyncRunner(subscribers=[bus] if heard else []).run(steps)
    assert result.value == [None, 3, (3, 0)] or heard  # what was told lately is still at hand
    gc.collect()
    assert len(alive) == 0
    assert chunks_of(result.trace, "streams") == [None] * 3
    assert len(told) == 3 * heard


@kinds
@pytest.mark.parametrize("number", [3, 2000])
async def test_who_reads_later_is_told_what_was_released_and_then_it_goes(kind: str, number: int) -> None:
    alive = weakref.WeakSet[Piece]()
    async with AsyncRunner().iter(Sequence(pieces_of(kind, alive, number), len)) as run:
        await run.wait()
        assert len(alive) == number
        seen = sum([isinstance(event, ChunkEvent) and isinstance(event.chunk, Piece) async for event in run])
    gc.collect()
    assert seen == number
    assert len(alive) == 0
    assert run.result.value == [None, number]


@kinds
async def test_what_other_steps_stream_stays(kind: str) -> None:
    def total(streams: list[int]) -> int:
        return sum(streams)

    both = Parallel(streaming(kind, [1, 2], retain=False), streaming(kind, [3, 4], name="other"))
    read = Task(total, name="sum", thread=False)
    result = await settle(Graph(*both.steps, read))
    assert result.outputs == {"other": [3, 4], "sum": 3}
    assert chunks_of(result.trace, "other") == [3, 4]
    assert chunks_of(result.trace, "streams") == [None, None]


@kinds
async def test_a_cached_stream_gives_its_value_and_no_chunks(kind: str) -> None:
    runner, step = AsyncRunner(cache=orch.MemoryCache()), streaming(kind, [1, 2], version=1, cache=True)
    first = await settle(step, runner=runner)
    second = await settle(step, runner=runner)
    assert first.value == second.value == chunks_of(first.trace, "streams") == [1, 2]
    assert second.tasks["streams"].cached
    assert chunks_of(second.trace, "streams") == []


@orch.resource
async def database() -> AsyncIterator[str]:
    yield "row"


@kinds
async def test_a_stream_may_use_resources(kind: str) -> None:
    def plain(of: str = orch.use(database)) -> Iterator[str]:
        yield from (f"{of} {k}" for k in range(2))

    async def coloured(of: str = orch.use(database)) -> AsyncIterator[str]:
        for chunk in plain(of):
            yield chunk

    fn: Any = coloured if kind == "async" else plain
    result = await settle(Task(fn, thread=False if kind == "in place" else None))
    assert result.value == ["row 0", "row 1"]


@kinds
async def test_items_of_a_map_stream_too(kind: str) -> None:
    def plain(n: int) -> Iterator[int]:
        yield from range(n)

    async def coloured(n: int) -> AsyncIterator[int]:
        for chunk in range(n):
            yield chunk

    body: Any = Task(coloured if kind == "async" else plain, thread=False if kind == "in place" else None)
    async with AsyncRunner().iter(orch.Map(body, over="n", name="all"), n=[2, 0, 3]) as run:
        seen = [event async for event in run]
    assert run.result.value == [[0, 1], [], [0, 1, 2]]
    assert [chunks_of(seen, f"all[{k}]") for k in range(3)] == run.result.value


def test_for_synchronous_callers() -> None:
    heard = Recorder()
    assert orch.Runner(subscribers=[heard]).run(counts, n=2).value == [0, 1]
    assert [type(event).__name__ for event in heard.of("counts")] == [
        "TaskEvent",
        "ChunkEvent",
        "ChunkEvent",
        "TaskEvent",
    ]
    assert orch.Runner(strict=True).run(counts, n=2).value == [0, 1]
    with pytest.raises(UnsupportedError, match="'of_nothing'"):
        orch.Runner(strict=True).run(Methods.of_nothing, n=2)


# -- errors and retries ------------------------------------------------------------------------------------------------


@kinds
async def test_a_failure_comes_after_the_chunks_before_it(kind: str) -> None:
    error = ValueError("no")
    result = await settle(streaming(kind, [1, 2, error]))
    assert result.errors == (error,)
    assert gist(result) == ["streams running", "streams 1", "streams 2", "streams failed"]
    assert error.__notes__ == ["in task 'streams', attempt 1"]


@kinds
@pytest.mark.parametrize("error", [StopIteration(5), StopAsyncIteration(5)])
async def test_a_stop_that_the_body_raises_is_a_failure(kind: str, error: Exception) -> None:
    result = await settle(streaming(kind, [1, error]))
    (found,) = result.errors
    assert found is error or found.__cause__ is error


@kinds
async def test_arguments_that_do_not_fit_are_a_failure(kind: str) -> None:
    class Lying:
        __signature__ = __import__("inspect").Signature()

        def __call__(self, needed: int) -> Iterator[int]:
            yield needed

    class AsyncLying(Lying):
        async def __call__(self, needed: int) -> AsyncIterator[int]:  # type: ignore[override]  # of another colour
            yield needed

    step = Task(AsyncLying() if kind == "async" else Lying(), thread=False if kind == "in place" else None)
    result = await settle(step)
    assert isinstance(result.errors[0], TypeError)


@kinds
@virtual
async def test_another_attempt_starts_anew_and_its_chunks_alone_are_the_value(kind: str) -> None:
    left = [ValueError("once"), ValueError("twice")]

    def plain() -> Iterator[str]:
        attempt = 3 - len(left)
        yield f"{attempt}a"
        if left:
            raise left.pop()
        yield f"{attempt}b"

    async def coloured() -> AsyncIterator[str]:
        for chunk in plain():
            yield chunk

    fn: Callable[..., Any] = coloured if kind == "async" else plain
    step = Task(fn, name="streams", retry=Retry(3, delay=1), thread=False if kind == "in place" else None)
    result = await settle(step)
    assert result.value == ["3a", "3b"]
    assert chunks_of(result.trace, "streams") == ["1a", "2a", "3a", "3b"]
    assert story(result, "streams") == ["running", "retrying"] * 2 + ["running", "succeeded"]


@kinds
async def test_a_breaker_and_a_limiter_are_about_the_whole_stream(kind: str) -> None:
    breaker, limiter = CircuitBreaker(fail_max=1), anyio.CapacityLimiter(1)
    busy = list[int]()

    def borrowed() -> Iterator[int]:
        for _ in range(3):
            busy.append(limiter.borrowed_tokens)
            yield 1
        raise ValueError("no")

    options: Any = {"breaker": breaker, "limiter": limiter}
    result = await settle(streaming(kind, borrowed(), **options))
    assert (breaker.state, limiter.borrowed_tokens, busy) == ("open", 0, [1, 1, 1])
    assert states(result) == {"streams": "failed"}
    refused = await settle(streaming(kind, [1], **options))
    assert isinstance(refused.errors[0], orch.CircuitOpenError)
    assert chunks_of(refused.trace, "streams") == []


@kinds
async def test_it_is_undone_with_its_value(kind: str) -> None:
    undone = list[Any]()
    step = streaming(kind, [1, 2], compensate=Task(undone.append, name="undo"))
    result = await settle(Sequence(step, streaming(kind, [ValueError("no")], name="fails"), on_failure="compensate"))
    assert states(result) == {"streams": "compensated", "fails": "failed"}
    assert undone == [[1, 2]]


def test_what_undoes_does_not_stream() -> None:
    with pytest.raises(
        TypeError, match="compensate: expected a function that undoes, found the generator function 'co"
    ):
        Task(len, compensate=counts)


@kinds
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_interrupts_surface_bare(kind: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        await AsyncRunner().run(streaming(kind, [1, error()]))


# -- the event loop goes on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "in place"])
async def test_a_generator_that_never_waits_lets_others_have_their_turn(kind: str) -> None:
    turns = list[int]()

    def chunks() -> Iterator[int]:
        for k in range(3000):
            turns.append(turn)
            yield k

    turn = 0
    done = anyio.Event()

    async def neighbour() -> None:
        nonlocal turn
        while not done.is_set():
            turn += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(neighbour)
        await orch.run(streaming(kind, chunks()))
        done.set()
    assert len(set(turns)) >= 3000 // 256 // 2  # on trio, which shuffles, every other time at the least


@virtual
async def test_others_have_their_turn_where_time_stands_still() -> None:
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(neighbour)
        await runner_of().run(streaming("async", range(2560)))
        group.cancel_scope.cancel()
    assert turns >= 10


@pytest.mark.parametrize("kind", ["async", "in place"])
async def test_a_generator_that_never_waits_can_be_stopped(kind: str) -> None:
    closed = list[int]()

    def endless() -> Iterator[int]:
        k = 0
        try:
            while True:
                yield (k := k + 1)
        finally:
            closed.append(k)

    def plain() -> Iterator[int]:
        yield from endless()

    async def coloured() -> AsyncIterator[int]:
        chunks = endless()
        try:
            for chunk in chunks:
                yield chunk
        finally:
            chunks.close()  # type: ignore[attr-defined]  # it is a generator

    fn: Callable[..., Any] = coloured if kind == "async" else plain
    step = Task(fn, name="streams", timeout=0.02, thread=False if kind == "in place" else None)
    result = await settle(step)
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert len(closed) == 1


# -- how they are ended ------------------------------------------------------------------------------------------------


class Source:
    """Streams two chunks, then waits for ever; counts how often it is closed, and by what."""

    def __init__(self) -> None:
        self.closed = list[str]()
        self.entered = anyio.Event()

    async def __call__(self) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
            self.entered.set()
            await anyio.sleep_forever()
        except BaseException as error:
            self.closed.append(type(error).__name__)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            self.closed.append("finally")


@virtual
async def test_a_timeout_ends_it() -> None:
    source = Source()
    result = await settle(Task(source, name="streams", timeout=3))
    (error,) = result.errors
    assert isinstance(error, TaskTimeoutError)
    assert (error.task, error.timeout) == ("streams", 3)
    assert gist(result) == ["streams running", "streams 1", "streams 2", "streams failed"]
    assert (len(source.closed), source.closed[-1]) == (2, "finally")


@pytest.mark.parametrize("how", ["group timeout", "sibling", "step", "run", "leave"])
async def test_whoever_ends_it_it_is_closed_once(how: str) -> None:
    source = Source()

    async def fails() -> None:
        await source.entered.wait()
        if how == "sibling":
            raise ValueError("no")
        await anyio.sleep_forever()

    timeout = 0.05 if how == "group timeout" else None
    workflow = Parallel(Task(source, name="streams"), fails, timeout=timeout)
    async with AsyncRunner().iter(workflow, raise_on_failure=False) as run:
        await source.entered.wait()
        if how in {"step", "run"}:
            assert run.cancel("streams" if how == "step" else None)
        if how == "step":
            async for event in run:
                if isinstance(event, TaskEvent) and event.state is State.CANCELLED:
                    break
        elif how != "leave":
            await run.wait()
    gc.collect()
    assert (len(source.closed), source.closed[-1]) == (2, "finally")
    record = run.result.tasks["streams"]
    assert record.state is State.CANCELLED
    reasons = {"group timeout": "timed_out", "sibling": "aborted", "step": "requested"}
    assert record.reason == reasons.get(how, "cancelled")
    assert chunks_of(run.result.trace, "streams") == [1, 2]


async def test_a_cancellation_from_outside_ends_it() -> None:
    source = Source()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancels() -> None:
                await source.entered.wait()
                scope.cancel()

            group.start_soon(cancels)
            await orch.run(Task(source, name="streams"))
    assert scope.cancelled_caught
    assert (len(source.closed), source.closed[-1]) == (2, "finally")


@pytest.mark.parametrize("kind", ["async", "in place"])
@virtual
async def test_between_two_chunks_a_cancellation_is_raised_where_it_yields(kind: str) -> None:
    """This generator never waits: it is stopped while others have their turn."""
    raised, stop = list[str](), anyio.Event()

    def endless() -> Iterator[int]:
        try:
            for k in range(10_000):
                if k == 300:
                    stop.set()
                yield k
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    async def coloured() -> AsyncIterator[int]:
        try:
            for k in range(10_000):
                if k == 300:
                    stop.set()
                yield k
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    fn: Callable[..., Any] = coloured if kind == "async" else endless
    step = Task(fn, name="streams", thread=False if kind == "in place" else None)
    async with runner_of().iter(step, raise_on_failure=False) as run:
        await stop.wait()
        run.cancel()
    assert raised == [anyio.get_cancelled_exc_class().__name__]
    assert run.result.state is State.CANCELLED
    assert 300 < len(chunks_of(run.result.trace, "streams")) <= 1024


@virtual
async def test_a_scope_of_its_own_around_the_yields_is_its_own_affair() -> None:
    async def streams() -> AsyncIterator[int]:
        with anyio.move_on_after(5):
            k = 0
            while True:
                yield (k := k + 1)
                await anyio.sleep(1)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
            yield 100
        yield 101

    result = await settle(streams)
    assert result.value == [1, 2, 3, 4, 5, 100, 101]


@virtual
async def test_a_scope_of_its_own_that_is_cancelled_between_two_chunks_is_left() -> None:
    """The generator never waits; its scope is cancelled while others have their turn."""
    scope = anyio.CancelScope()

    async def streams() -> AsyncIterator[str]:
        with scope:
            while True:
                yield "more"
        yield "enough"

    async with runner_of().iter(streams) as run:
        async for event in run:
            if isinstance(event, ChunkEvent):
                scope.cancel()
    assert run.result.value[-2:] == ["more", "enough"]
    assert scope.cancelled_caught


@virtual
async def test_one_with_an_open_task_group_that_is_stopped_between_two_chunks() -> None:
    left = list[str]()

    async def streams() -> AsyncIterator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            try:
                while True:
                    yield 1
            finally:
                left.append("left")

    async with runner_of().iter(streams, raise_on_failure=False) as run:
        async for event in run:
            if isinstance(event, ChunkEvent):
                run.cancel()
    assert left == ["left"]
    assert run.result.state is State.CANCELLED


@virtual
async def test_one_that_swallows_the_cancellation_is_told_again() -> None:
    swallowed = list[int]()

    async def stubborn() -> AsyncIterator[int]:
        for k in range(3000):
            try:
                yield k
            except BaseException:
                swallowed.append(k)
                if len(swallowed) == 3:
                    raise

    async with runner_of().iter(stubborn, raise_on_failure=False) as run:
        async for event in run:
            if isinstance(event, ChunkEvent):
                run.cancel()
    assert len(swallowed) == 3
    assert run.result.state is State.CANCELLED


@virtual
async def test_one_that_fails_while_it_is_ended_has_failed() -> None:
    async def untidy() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            raise ValueError("untidy")

    result = await settle(Task(untidy, timeout=1))
    (error,) = result.errors
    assert isinstance(error, ValueError)


# -- threads -----------------------------------------------------------------------------------------------------------


class ThreadSource:
    """Streams in a thread, each chunk when it is let, and says how it ended."""

    def __init__(self) -> None:
        self.let, self.told = threading.Semaphore(0), threading.Semaphore(0)
        self.closed = list[str]()

    def __call__(self) -> Iterator[int]:
        k = 0
        try:
            while True:
                self.told.release()
                self.let.acquire()
                k += 1
                yield k
        except BaseException as error:
            self.closed.append(type(error).__name__)
            raise

    async def reached(self, times: int) -> None:
        """Wait until it has been let into so many chunks."""
        for _ in range(times):
            await anyio.to_thread.run_sync(self.told.acquire)


async def test_a_thread_over_its_time_is_closed_at_its_next_chunk(caplog: pytest.LogCaptureFixture) -> None:
    source = ThreadSource()

    def listen(event: orch.Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            source.let.release(5)

    source.let.release(2)
    with anyio.fail_after(3):  # less than the grace
        result = await settle(Task(source, name="streams", timeout=0.05), subscribers=[listen])
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert chunks_of(result.trace, "streams") == [1, 2]
    assert source.closed == ["GeneratorExit"]
    assert result.abandoned == ()
    assert caplog.records == []  # it has done as it was told


async def test_after_its_time_no_other_attempt_begins_before_it_is_closed() -> None:
    active, peaks, let = 0, list[int](), threading.Event()

    def streams() -> Iterator[int]:
        nonlocal active
        active += 1
        peaks.append(active)
        try:
            yield 1
            if len(peaks) == 1:
                let.wait(5)
                yield 2
        finally:
            active -= 1

    def listen(event: orch.Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.RETRYING:
            let.set()

    result = await settle(Task(streams, timeout=0.05, retry=Retry(2, delay=0)), subscribers=[listen])
    assert (result.value, peaks) == ([1], [1, 1])
    assert chunks_of(result.trace, "streams") == [1, 1]


@pytest.mark.parametrize("how", ["step", "run", "leave"])
async def test_a_thread_that_is_to_end_is_closed_at_its_next_chunk(how: str) -> None:
    source = ThreadSource()
    source.let.release(2)
    async with AsyncRunner(grace=3).iter(Task(source, name="streams"), raise_on_failure=False) as run:
        await source.reached(3)
        if how != "leave":
            assert run.cancel("streams" if how == "step" else None)
        source.let.release(50_000)  # more than it comes to
    assert source.closed == ["GeneratorExit"]
    assert run.result.tasks["streams"].state is State.CANCELLED
    assert chunks_of(run.result.trace, "streams")[:2] == [1, 2]
    assert run.result.abandoned == ()


async def test_a_thread_that_gives_no_more_chunks_is_given_up_after_the_grace() -> None:
    source = ThreadSource()
    source.let.release(1)
    async with AsyncRunner(grace=0.05).iter(Task(source, name="streams"), raise_on_failure=False) as run:
        await source.reached(2)
        run.cancel()
        result = await run.wait()
        assert [record.path for record in result.abandoned] == ["streams"]
        source.let.release(5)  # it is closed now, and what it yields is told nobody
    assert chunks_of(run.result.trace, "streams") == [1]
    while not source.closed:  # noqa: ASYNC110 (it ends in a thread)
        await anyio.sleep(0.001)
    assert source.closed == ["GeneratorExit"]


async def test_a_thread_that_ends_before_its_next_chunk_has_succeeded() -> None:
    entered, let = threading.Event(), threading.Event()

    def streams() -> Iterator[int]:
        yield 1
        entered.set()
        let.wait(5)

    async with AsyncRunner(grace=5).iter(streams, raise_on_failure=False) as run:
        await anyio.to_thread.run_sync(entered.wait)
        run.cancel()
        let.set()
    assert run.result.tasks["streams"].state is State.SUCCEEDED
    assert run.result.tasks["streams"].value == [1]


async def test_a_thread_may_ask_whether_it_is_to_end() -> None:
    entered, raised = threading.Event(), list[str]()

    def streams() -> Iterator[int]:
        yield 1
        entered.set()
        try:
            while True:
                anyio.from_thread.check_cancelled()
                threading.Event().wait(0.001)
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    async with AsyncRunner().iter(streams, raise_on_failure=False) as run:
        await anyio.to_thread.run_sync(entered.wait)
        run.cancel()
    assert raised == [anyio.get_cancelled_exc_class().__name__]
    assert run.result.tasks["streams"].state is State.CANCELLED


async def test_an_error_while_a_thread_is_closed_is_the_failure() -> None:
    entered = threading.Event()

    def untidy() -> Iterator[int]:
        try:
            while True:
                entered.set()
                yield 1
        finally:
            raise ValueError("untidy")

    async with AsyncRunner().iter(Task(untidy, retry=Retry(5, delay=0)), raise_on_failure=False) as run:
        await anyio.to_thread.run_sync(entered.wait)
        run.cancel()
    record = run.result.tasks["untidy"]
    assert (record.state, record.attempts, str(record.error)) == (State.FAILED, 1, "untidy")
