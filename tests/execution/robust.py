"""Tools of the robustness tests: runs that were cancelled give no result, so their record is read where it lies."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self
from unittest import mock

import anyio
import anyio.lowlevel
import pytest
import sniffio

import orch
from orch.event import Event, RunEvent, State, TaskEvent
from orch.execution import Run, RunSource, execute
from tests.properties.invariants import check

ASYNCIO = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]
TRIO = [pytest.param(("trio", {}), id="trio")]

on_asyncio = pytest.mark.parametrize("anyio_backend", ASYNCIO)
on_trio = pytest.mark.parametrize("anyio_backend", TRIO)
watched = pytest.mark.parametrize("watched", ["alone", "watched"])
"""A run with subscribers takes another way through the engine; what holds for one must hold for the other."""


class Story:
    """What runs have recorded, in order of their start, and what a subscriber of them has heard."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.heard: list[Event] = []

    def trace(self, number: int = 0) -> Sequence[Event]:
        """The complete trace of one run, checked."""
        run = self.runs[number]
        trace = RunSource(run).trace()
        check(trace, run.plan)
        return trace

    def states(self, number: int = 0) -> dict[str, State]:
        """How every task of a run ended, by path."""
        return {event.path: event.state for event in self.trace(number) if isinstance(event, TaskEvent)}

    def state(self, number: int = 0) -> State:
        """How the run ended."""
        last = self.trace(number)[-1]
        assert isinstance(last, RunEvent)
        return last.state

    def listeners(self, watched: str) -> list[Callable[[Event], object]]:
        """The subscribers of a test that is run with and without."""
        return [self.heard.append] if watched == "watched" else []


@contextlib.contextmanager
def recorded() -> Iterator[Story]:
    """Keep the record of every run begun inside; who was told must have been told the same."""
    story = Story()

    async def keep(run: Run) -> None:
        story.runs.append(run)
        await execute(run)

    with mock.patch("orch.runners._async.execute", keep):
        yield story
    for number in range(len(story.runs)):
        story.trace(number)
    if story.heard and len(story.runs) == 1:
        assert story.heard == list(story.trace())


def trio_runs() -> bool:
    return sniffio.current_async_library() == "trio"


async def foreign_cancellation() -> BaseException:
    """A genuine cancellation exception of this event loop, of a scope that is long gone."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class() as cancelled:
            return cancelled
    raise AssertionError("not reached")


async def ticks(number: int = 5) -> None:
    """Let everybody who can run do so, several times."""
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that threads do, which nobody announces on the loop."""
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await anyio.sleep(0.001)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail a block that takes longer; it is not cancelled for that, as shields would not let it be."""
    begin = anyio.current_time()
    yield
    assert anyio.current_time() - begin < seconds, f"this took longer than {seconds} s"


class Gate:
    """A plain function that does not return before the gate is open; leaving the block opens it in any case."""

    def __init__(self) -> None:
        self.entered = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.entered += 1
        assert self._open.wait(20), "nobody opened the gate"
        return "through"

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


def immediate(value: Any = None) -> Callable[[], Any]:
    async def step() -> Any:
        return value

    return step


def run_quietly(workflow: Any, **options: Any) -> Any:
    return orch.run(workflow, raise_on_failure=False, **options)
