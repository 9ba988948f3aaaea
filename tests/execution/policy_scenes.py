"""Scenes for test_robust_policy_signals.py, played in a process of their own: Ctrl-C while policies are at work.

Each prints one line of JSON: what came out of `anyio.run`, what the steps wrote down, what was heard, how long it took.
"""

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
from orch.event import CompensationEvent, Event, TaskEvent

HEARD: list[Event] = []
RAN: list[str] = []


def runner(**options: Any) -> orch.AsyncRunner:
    return orch.AsyncRunner(grace=0.05, subscribers=[HEARD.append], **options)


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def soon(act: Callable[[], None] = interrupt, seconds: float = 0.03) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


async def done() -> str:
    await anyio.lowlevel.checkpoint()
    RAN.append("done")
    return "value"


async def undo() -> None:
    await anyio.sleep(0.02)
    RAN.append("undone")


def undo_in_thread() -> None:
    time.sleep(0.02)
    RAN.append("undone")


async def sleeper() -> None:
    RAN.append("sleeper")
    await anyio.sleep(20)


async def fails() -> None:
    RAN.append("attempt")
    raise ValueError


def compensated(*steps: Any, undo: Any = undo) -> orch.Sequence:
    first = [orch.Task(done, name=name, compensate=undo) for name in "ab"]
    return orch.Sequence(*first, *steps, on_failure="compensate")


async def compensates() -> None:
    soon()
    await runner().run(compensated(sleeper))


async def compensates_in_threads() -> None:
    soon()
    await runner().run(compensated(sleeper, undo=undo_in_thread))


async def compensates_nested() -> None:
    soon()
    await runner().run(compensated(compensated(sleeper)))


async def while_it_compensates() -> None:
    """The group has failed by itself; Ctrl-C comes while it is undone."""

    async def slowly() -> None:
        if "undone" not in RAN:
            soon(seconds=0.01)
        await anyio.sleep(0.05)
        RAN.append("undone")

    await runner().run(compensated(fails, undo=slowly))


async def a_step_that_raises_it() -> None:
    async def raises() -> None:
        raise KeyboardInterrupt

    await runner().run(compensated(raises))


async def a_thread_that_raises_it() -> None:
    def raises() -> None:
        raise KeyboardInterrupt

    await runner().run(compensated(orch.Task(raises, timeout=5)))


async def between_attempts() -> None:
    soon()
    await runner().run(orch.Sequence(orch.Task(fails, retry=orch.Retry(5, delay=20)), sleeper))


async def at_a_limiter() -> None:
    limiter = anyio.CapacityLimiter(1)
    tasks = [orch.Task(sleeper, name=name, limiter=limiter, timeout=20) for name in "abc"]
    soon()
    await runner().run(orch.Parallel(*tasks))
    RAN.append("never")


async def in_a_timed_body() -> None:
    soon()
    await runner().run(orch.Parallel(orch.Task(sleeper, timeout=20, retry=orch.Retry(3, delay=0)), timeout=20))


async def a_thread_over_its_timeout() -> None:
    soon(seconds=0.06)
    stuck = orch.Task(lambda: time.sleep(3), name="stuck", timeout=0.02, retry=orch.Retry(3, delay=0))
    await runner().run(orch.Sequence(stuck))


async def a_timed_thread() -> None:
    soon()
    await runner().run(orch.Task(lambda: time.sleep(3), name="stuck", timeout=20))


async def a_compensation_that_hangs() -> None:
    async def hangs() -> None:
        RAN.append("hangs")
        await anyio.sleep(20)

    soon()
    await runner(compensation_timeout=0.2).run(compensated(sleeper, undo=hangs))


async def pressed_twice() -> None:
    """The second Ctrl-C does not wait for the compensation. Played alone."""

    async def hangs() -> None:
        RAN.append("hangs")
        soon(seconds=0.05)
        await anyio.sleep(20)

    soon()
    await runner().run(compensated(sleeper, undo=hangs))


async def stuck_at_exit() -> None:
    """T3: a thread over its timeout does not keep the interpreter. Played alone."""
    stuck = orch.Task(lambda: time.sleep(30), name="stuck", timeout=0.02)
    result = await runner().run(stuck, raise_on_failure=False)
    sys.stdout.write(json.dumps([record.path for record in result.abandoned]) + "\n")


SCENES: list[Callable[[], Any]] = [
    compensates,
    compensates_in_threads,
    compensates_nested,
    while_it_compensates,
    a_step_that_raises_it,
    a_thread_that_raises_it,
    between_attempts,
    at_a_limiter,
    in_a_timed_body,
    a_thread_over_its_timeout,
    a_timed_thread,
    a_compensation_that_hangs,
]


def play(scene: Callable[[], Any], backend: str, options: dict[str, Any]) -> None:
    HEARD.clear()
    RAN.clear()
    begin = time.monotonic()
    came = "nothing"
    try:
        anyio.run(scene, backend=backend, backend_options=options)
    except BaseException as error:  # noqa: BLE001 (that is the question)
        came = type(error).__name__
    ends: dict[str, str] = {}
    for event in HEARD:
        if isinstance(event, TaskEvent):
            ends[event.path] = event.state.value
    facts = {
        "scene": scene.__name__,
        "came": came,
        "seconds": time.monotonic() - begin,
        "ran": list(RAN),
        "seqs": [event.seq for event in HEARD],
        "ends": ends,
        "broken": [event.path for event in HEARD if isinstance(event, CompensationEvent)],
        "last": getattr(getattr(HEARD[-1], "state", None), "value", None) if HEARD else None,
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
