"""Random streams, read or not, stopped at a random moment: what was told is what a naive model says, or begins so."""

from collections.abc import AsyncIterator, Generator
from typing import Any

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

import orch
import orch.testing
from orch import AsyncRunner, Event, Parallel, Retry, Sequence, State, Task
from orch.event import ChunkEvent, TaskEvent
from orch.testing import VirtualClock
from tests.properties.test_random_runs import CI
from tests.runners.iterated import check

pytestmark = pytest.mark.timeout(120)

LONG = 300  # chunks: others have their turn in between


@attrs.frozen
class Stream:
    """What a generator does, one after another: chunks (numbers), and in words what else."""

    moves: tuple[int | str, ...]
    is_async: bool = True
    fails: int = 0  # so many attempts, at the end
    returned: str | None = None
    attempts: int = 1
    timeout: float | None = None

    @property
    def chunks(self) -> list[int]:
        """What an attempt streams that nobody stops."""
        return [k for move in self.moves for k in _chunks(move)]

    @property
    def value(self) -> Any:
        """What it gives."""
        return self.chunks if self.returned is None or self.is_async else self.returned


def _chunks(move: int | str) -> list[int]:
    return [move] if isinstance(move, int) else _LONG if move == "long" else []


_LONG = list(range(1000, 1000 + LONG))


@attrs.frozen
class Case:
    """Streams in a group, a reader, and what stops the run when so many turns of the loop are over."""

    streams: tuple[Stream, ...]
    together: bool
    reads: bool
    stop: str | None
    turns: int
    seed: int


MOVES = st.one_of(st.integers(0, 9), st.sampled_from(["turn", "sleep", "long"]))
STREAMS = st.builds(
    Stream,
    st.lists(MOVES, max_size=8).map(tuple),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([None, "", "done"]),
    st.integers(1, 3),
    st.sampled_from([None, None, 0.5, 1.5]),
)
CASES = st.builds(
    Case,
    st.lists(STREAMS, min_size=1, max_size=3).map(tuple),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "run", "step", "leave", "outside"]),
    st.integers(0, 40),
    st.integers(0, 5),
)


class Play:
    """A case under way: makes the tasks, and counts which generators were opened and closed."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.opened = self.closed = 0
        self._left = [stream.fails for stream in case.streams]
        self.seen = list[Event]()
        self.scope = anyio.CancelScope()
        steps = [self.task(k) for k in range(len(case.streams))]
        self.workflow: orch.Workflow = Parallel(*steps) if case.together else Sequence(*steps, on_failure="continue")
        self.run = AsyncRunner(clock=VirtualClock()).iter(self.workflow, raise_on_failure=False)

    def task(self, k: int) -> Task[..., Any]:
        """Make a task of a stream."""
        stream = self.case.streams[k]

        async def coloured() -> AsyncIterator[int]:
            self.opened += 1
            try:
                for move in stream.moves:
                    if move == "sleep":
                        await anyio.sleep(1)
                    elif move == "turn":
                        await checkpoint()
                    else:
                        for chunk in _chunks(move):
                            yield chunk
                self.fail(k)
            finally:
                self.closed += 1

        def plain() -> Generator[int, None, str | None]:
            self.opened += 1
            try:
                yield from stream.chunks
                self.fail(k)
                return stream.returned
            finally:
                self.closed += 1

        fn: Any = coloured if stream.is_async else plain
        retry = Retry(stream.attempts, delay=1)
        return Task(fn, name=f"s{k}", retry=retry, timeout=stream.timeout, thread=False)

    def fail(self, k: int) -> None:
        """Fail as often as the stream says."""
        if self._left[k]:
            self._left[k] -= 1
            raise ValueError(f"stream {k}")

    async def go(self) -> orch.RunResult:
        """Carry it out."""
        with self.scope:
            async with self.run as run, anyio.create_task_group() as group:
                group.start_soon(self.stops)
                if self.case.reads:
                    async for event in run:
                        self.seen.append(event)
                elif self.case.stop != "leave":
                    await run.wait()
                else:
                    await self.over.wait()
                group.cancel_scope.cancel()
        return self.run.result

    async def stops(self) -> None:
        """Stop it when it is time."""
        for _ in range(self.case.turns):
            await checkpoint()
        match self.case.stop:
            case "run":
                self.run.cancel()
            case "step":
                self.run.cancel("s0")
            case "outside":
                self.scope.cancel()
            case "leave":
                self.over.set()
            case _:
                pass

    @property
    def over(self) -> anyio.Event:
        """When the block is to be left."""
        if not hasattr(self, "_over"):
            self._over = anyio.Event()
        return self._over


def attempts_of(result: orch.RunResult, path: str) -> list[list[int]]:
    """The chunks of each attempt of a step."""
    attempts = list[list[int]]()
    for event in result.trace:
        if isinstance(event, TaskEvent) and event.path == path and event.state is State.RUNNING:
            attempts.append([])
        if isinstance(event, ChunkEvent) and event.path == path:
            attempts[-1].append(event.chunk)
    return attempts


def agrees(case: Case, result: orch.RunResult) -> None:
    """Compare what is on record with the model."""
    for k, stream in enumerate(case.streams):
        record, attempts = result.tasks[f"s{k}"], attempts_of(result, f"s{k}")
        assert len(attempts) == record.attempts <= stream.attempts
        for chunks in attempts:
            assert chunks == stream.chunks[: len(chunks)]
        if record.state is State.SUCCEEDED:
            assert (attempts[-1], record.value) == (stream.chunks, stream.value)
        if stream.timeout is None:  # else an attempt may be cut short
            assert all(chunks == stream.chunks for chunks in attempts[:-1])
        if case.stop is None and stream.timeout is None and not case.together:
            succeeds = stream.fails < stream.attempts
            assert record.state is (State.SUCCEEDED if succeeds else State.FAILED)
            assert record.attempts == (stream.fails + 1 if succeeds else stream.attempts)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(case=CASES)
@CI
def test_random_streams_agree_with_the_model(backend: Any, case: Case) -> None:
    async def main() -> tuple[Play, orch.RunResult]:
        play = Play(case)
        return play, await play.go()

    play, result = orch.testing.run(main, backend=backend, seed=case.seed)
    check(result, orch.plan.compile(play.workflow))
    agrees(case, result)
    assert play.opened == play.closed
    assert play.opened <= sum(record.attempts for record in result.tasks.values())
    assert play.seen == list(result.trace)[: len(play.seen)]
    if case.reads and case.stop != "outside":
        assert len(play.seen) == len(result.trace)
