"""Scenes for test_robust_signals.py, played in a process of their own: Ctrl-C comes as a real signal.

Each prints one line of JSON: what came out of `anyio.run`, what the subscribers heard last, how long it took.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel

import orch
from orch.event import Event, TaskEvent

HEARD: list[Event] = []
RAN: list[str] = []
RUNNER = orch.AsyncRunner(grace=0.05)
WATCHED = orch.AsyncRunner(grace=0.05, subscribers=[HEARD.append])


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def soon(act: Callable[[], None] = interrupt, seconds: float = 0.03) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


async def sleeper() -> None:
    RAN.append("sleeper")
    await anyio.sleep(20)


async def brief() -> None:
    await anyio.lowlevel.checkpoint()


def step() -> None:
    time.sleep(0.02)
    RAN.append("thread")


async def busy() -> None:
    if not RAN:
        soon()
    RAN.append("busy")


async def alone() -> None:
    soon()
    await RUNNER.run(orch.Sequence(sleeper, sleeper))


async def spare() -> None:
    soon()
    await RUNNER.run(orch.Parallel(brief, sleeper, sleeper))


async def watched() -> None:
    soon()
    await WATCHED.run(orch.Parallel(brief, sleeper, sleeper))


async def threads() -> None:
    """Only threads work, a chain of them: what has not begun must not begin."""
    soon(seconds=0.03)
    await RUNNER.run(orch.Sequence([orch.Task(step, name="step")] * 100))


async def threads_watched() -> None:
    soon(seconds=0.03)
    await WATCHED.run(orch.Sequence([orch.Task(step, name="step")] * 100))


async def stuck_thread() -> None:
    soon()
    await RUNNER.run(orch.Parallel(lambda: time.sleep(2), brief))


async def never_suspends() -> None:
    steps = [orch.Task(busy, name="busy")] * 1_000
    for _ in range(200):
        await RUNNER.run(orch.Sequence(steps))


async def while_a_step_computes() -> None:
    async def computes() -> None:
        soon(seconds=0.01)
        begin = time.monotonic()
        while time.monotonic() - begin < 0.2:
            pass

    await RUNNER.run(orch.Sequence(computes, sleeper))


async def in_a_subscriber() -> None:
    def presses(event: Event) -> None:
        if isinstance(event, TaskEvent):
            interrupt()
            time.sleep(0.01)

    await RUNNER.run(orch.Parallel(sleeper, sleeper), subscribers=[presses])


async def subscriber_raises_it() -> None:
    def raises(event: Event) -> None:
        if isinstance(event, TaskEvent):
            raise KeyboardInterrupt

    await RUNNER.run(orch.Parallel(sleeper, sleeper), subscribers=[raises])


async def waiting_for_a_subscriber() -> None:
    async def slow(event: Event) -> None:
        if event.seq == 4:
            soon()
            await anyio.sleep(20)

    await RUNNER.run(brief, subscribers=[slow])


async def nested() -> None:
    async def inner() -> None:
        await WATCHED.run(orch.Parallel(brief, sleeper))

    soon()
    await RUNNER.run(orch.Parallel(brief, inner))


async def cleanup_takes_a_moment() -> None:
    async def careful() -> None:
        try:
            await anyio.sleep(20)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            RAN.append("cleaned")

    soon()
    await WATCHED.run(orch.Parallel(careful, careful))


async def swallowed() -> None:
    async def swallows() -> None:
        with contextlib.suppress(BaseException):
            await anyio.sleep(20)

    soon()
    await WATCHED.run(orch.Sequence(swallows, sleeper))


async def unhandled() -> None:
    """Played alone: the process ends by it."""
    soon()
    await RUNNER.run(orch.Parallel(brief, sleeper))


async def exits() -> None:
    async def exit_() -> None:
        await brief()
        sys.exit(3)

    await WATCHED.run(orch.Parallel(exit_, sleeper))


SCENES: list[Callable[[], Any]] = [
    alone,
    spare,
    watched,
    threads,
    threads_watched,
    stuck_thread,
    never_suspends,
    while_a_step_computes,
    in_a_subscriber,
    subscriber_raises_it,
    waiting_for_a_subscriber,
    nested,
    cleanup_takes_a_moment,
    swallowed,
]


def play(scene: Callable[[], Any], backend: str, options: dict[str, Any]) -> None:
    HEARD.clear()
    RAN.clear()
    begin = time.monotonic()
    try:
        anyio.run(scene, backend=backend, backend_options=options)
    except BaseException as error:  # noqa: BLE001 (that is the question)
        came = type(error).__name__
    else:
        came = "nothing"
    states = [getattr(event, "state", None) for event in HEARD]
    facts = {
        "scene": scene.__name__,
        "came": came,
        "seconds": time.monotonic() - begin,
        "ran": {name: RAN.count(name) for name in set(RAN)},
        "seqs": [event.seq for event in HEARD],
        "last": states[-1].value if states and states[-1] else None,
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who was started in the background ignores it
    loop = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}[sys.argv[1]]
    if len(sys.argv) > 2:
        anyio.run(globals()[sys.argv[2]], backend=loop[0], backend_options=loop[1])
    else:
        for each in SCENES:
            play(each, *loop)
