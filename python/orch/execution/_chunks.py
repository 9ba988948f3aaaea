"""Steps that stream: each value that a generator yields is told as a chunk; all of them together are the step's value.

A chunk goes straight into the journal, from whichever thread, and whoever reads is woken once, not once a chunk. On the
event loop a yield is like an await: others get their turn there about every millisecond, a run that is too far ahead of
its readers waits there, and a cancellation is raised there, in the generator. A generator in a thread is closed where
it yields the next chunk, if its step is to end.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from typing import Any

from anyio import from_thread
from anyio.lowlevel import checkpoint

from orch.definition import Task
from orch.event import ChunkEvent
from orch.execution._run import Run
from orch.execution._values import arguments
from orch.plan import Tile, unpacked

__all__ = ("Feed", "stream")

_TURN = 1_000_000  # nanoseconds that a generator may go on before others have their turn
_MOST = 256  # chunks until then, for clocks that stand still


async def stream(run: Run, step: int) -> Any:
    """Run a generator to its end on the event loop, and return the value of the step."""
    task, told = _begun(run, step), _Told(run, step)
    made = run.plan.calls[step](*arguments(run, step))  # type: ignore[misc] # no join is taken
    return unpacked(task, await (_awaiting(made, told) if task.signature.is_async else _in_place(made, told)))


def _begun(run: Run, step: int) -> Task[..., Any]:
    """Take note of where a stream begins that may be let go; maps let go of all that their items have told."""
    task = run.plan.draft.task(step)
    if not (task.retain or isinstance(run.plan, Tile)):
        run.streams.setdefault(step, len(run.notes))
    return task


class _Told:
    """The chunks of one attempt."""

    def __init__(self, run: Run, step: int) -> None:
        self.run = run
        self.chunks: list[Any] = []
        self._facts = ChunkEvent, run.plan.path(step), run.plan.name(step)
        self._note, self._hint, self._now = run.note, run.hint, run.schedule.now
        self._left, self._end = _MOST, self._now() + _TURN

    def add(self, chunk: object) -> bool:
        """Tell one more, on the loop; True if it is time to let others have their turn."""
        self.chunks.append(chunk)
        self._note(*self._facts, chunk)
        self._hint()
        self._left -= 1
        return not self._left or self._now() >= self._end

    async def breathe(self) -> BaseException | None:
        """Let others have their turn, and wait for readers; return what was raised meanwhile."""
        try:
            await checkpoint()
            await self.run.room()
        except BaseException as error:  # noqa: BLE001 (it is for the generator)
            return error
        finally:
            self._left, self._end = _MOST, self._now() + _TURN
        return None


async def _awaiting(generator: AsyncGenerator[Any, None], told: _Told) -> list[Any]:
    following = generator.__anext__
    pull: Any = following()
    while True:
        try:
            chunk = await pull
        except StopAsyncIteration:
            return told.chunks
        if told.add(chunk) and (error := await told.breathe()) is not None:
            pull = generator.athrow(error)
        else:
            pull = following()


async def _in_place(generator: Generator[Any, None, Any], told: _Told) -> Any:
    error: BaseException | None = None
    while True:
        try:
            chunk = next(generator) if error is None else generator.throw(error)
        except StopIteration as end:
            return told.chunks if end.value is None else end.value
        error = await told.breathe() if told.add(chunk) else None


class Feed:
    """A generator for a worker thread: calling it there runs it, and returns the value of the step."""

    def __init__(self, run: Run, step: int, make: Callable[[], Generator[Any, None, Any]]) -> None:
        self._run, self._task = run, _begun(run, step)
        self._facts = ChunkEvent, run.plan.path(step), run.plan.name(step)
        self._make = make
        self._lock = threading.Lock()  # nothing is told once `stop` has returned
        self._stopped = False
        self._news = threading.Event()

    def stop(self) -> None:
        """Nobody wants more. On the loop, which has told the thread so already."""
        with self._lock:
            self._stopped = True
        self._news.set()

    def __call__(self) -> Any:
        """Run the generator to its end, or close it where it is to end."""
        chunks = list[Any]()
        with closing(self._make()) as generator:
            while True:
                try:
                    chunk = next(generator)
                except StopIteration as end:
                    return unpacked(self._task, chunks if end.value is None else end.value)
                if not self._tell(chunk):
                    break
                chunks.append(chunk)
        from_thread.check_cancelled()  # raises what the event loop takes for the end of a step that was told to end
        return None

    def _tell(self, chunk: object) -> bool:
        run = self._run
        with self._lock:
            if self._stopped:
                return False
            run.note(*self._facts, chunk)
        if run.watched:
            run.wake()
            if run.crowded():
                self._wait(run)
        return True

    def _wait(self, run: Run) -> None:
        """Wait until readers have caught up; they hear of it before this looks, so that no news is lost."""
        run.held_up.add(self._news.set)
        while run.crowded() and not self._stopped:
            self._news.wait()
            self._news.clear()
        run.held_up.discard(self._news.set)
