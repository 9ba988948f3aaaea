"""Scenes for test_resources_signals.py, played in a process of their own: Ctrl-C while resources are at work.

Each prints one line of JSON: what came out of `anyio.run`, what was written down, what was left over.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio

import orch
from orch.event import Event, RunEvent

RAN: list[str] = []


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def soon(seconds: float = 0.03) -> None:
    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()


def hear(event: Event) -> None:
    if isinstance(event, RunEvent):
        RAN.append(event.state.value)


runner = orch.AsyncRunner(grace=0.3, subscribers=[hear])


@orch.resource
async def database() -> AsyncIterator[str]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 30)
        RAN.append("open")
        yield "value"
        await anyio.sleep(0.02)
        RAN.append("closed")
        group.cancel_scope.cancel()


@orch.resource
def plain() -> Iterator[str]:
    RAN.append("open")
    yield "value"
    RAN.append("closed")


@orch.resource
async def slow() -> AsyncIterator[str]:
    soon()
    try:
        await anyio.sleep(30)
        yield "value"
    finally:
        RAN.append("withdrawn")


@orch.resource
async def slow_to_close() -> AsyncIterator[str]:
    yield "value"
    soon()
    await anyio.sleep(0.1)
    RAN.append("closed")


@orch.resource
async def interrupts_opening() -> AsyncIterator[str]:
    raise KeyboardInterrupt
    yield ""  # type: ignore[unreachable] # what makes it a generator


@orch.resource
async def interrupts_closing() -> AsyncIterator[str]:
    yield "value"
    raise KeyboardInterrupt


async def sleeper(it: str, inner: str = orch.use(database)) -> None:
    soon()
    await anyio.sleep(20)


async def done(it: str) -> None: ...


def using(made: orch.Resource[str], step: Callable[..., Any] = done) -> orch.Task[..., Any]:
    return orch.Task(step).bind(it=orch.use(made))


async def in_use() -> None:
    await runner.run(using(database, sleeper))


async def in_use_in_a_thread() -> None:
    await runner.run(using(plain, sleeper).bind(inner=""))


async def while_opening() -> None:
    await runner.run(orch.Parallel(using(slow), using(database)))


async def while_closing() -> None:
    await runner.run(using(slow_to_close))


async def an_opening_that_raises_it() -> None:
    await runner.run(orch.Sequence(using(database), using(interrupts_opening)))


async def a_closing_that_raises_it() -> None:
    await runner.run(orch.Sequence(using(database), using(interrupts_closing)))


SCENES: list[Callable[[], Any]] = [
    in_use,
    in_use_in_a_thread,
    while_opening,
    while_closing,
    an_opening_that_raises_it,
    a_closing_that_raises_it,
]


def play(scene: Callable[[], Any], backend: str, options: dict[str, Any]) -> None:
    RAN.clear()
    came = "nothing"
    try:
        anyio.run(scene, backend=backend, backend_options=options)
    except BaseException as error:  # noqa: BLE001 (that is the question)
        came = type(error).__name__
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("orch-")]
    sys.stdout.write(json.dumps({"scene": scene.__name__, "came": came, "ran": list(RAN), "threads": threads}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who was started in the background ignores it
    loop = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}[sys.argv[1]]
    for each in SCENES:
        play(each, *loop)
