"""Virtual time on trio: its own MockClock, exact to the last bit, and its scheduler with a seed.

Imported on use, as trio is an extra. `_ALLOW_DETERMINISTIC_SCHEDULING` and `_r` of `trio._core._run` are what its
plugin for Hypothesis sets; the tests notice if they go, and if its cache of threads changes.
"""

import math
import select
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, NoReturn, TypeVar, cast

import trio
from trio._core import _run as scheduler
from trio._core._thread_cache import THREAD_CACHE
from trio.abc import Instrument
from trio.testing import MockClock

from orch.testing._deadlock import DeadlockError, Patience, deadlock, innermost, sleeps_in

__all__ = ("Time", "next_deadline", "run_virtually")

T = TypeVar("T")


class Time:
    """What a MockClock does is done here: trio takes no other class, and lets nobody inherit from it."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.scope = trio.CancelScope()
        self.deadlock: DeadlockError | None = None
        self._now = 0.0
        self._patience = patience or Patience(_wait, _idle_threads, _kept_threads())

    def clock(self) -> MockClock:
        clock: Any = MockClock(autojump_threshold=0)
        clock.current_time = lambda: self._now
        clock.deadline_to_sleep_time = lambda deadline: 0 if deadline <= self._now else 999_999_999
        clock._autojump = self._pass_time  # noqa: SLF001 (what trio calls when nothing can run)
        return clock  # type: ignore[no-any-return] # a MockClock, of which three methods were replaced

    def _pass_time(self) -> None:
        deadline = next_deadline()
        if self._patience.for_threads(deadline):
            return
        if deadline != math.inf:
            self._now = max(self._now, deadline)
        elif self.deadlock is None:
            waiting = ((task.name, innermost(task.coro)) for task in _tasks())
            self.deadlock = deadlock(waiting, self._patience.silent())
            self.scope.cancel()
        else:  # somebody is shielded
            for task in _tasks():
                task._attempt_abort(self._raise)  # noqa: SLF001 (how trio itself delivers a KeyboardInterrupt)

    def _raise(self) -> NoReturn:
        raise self.deadlock or DeadlockError


def next_deadline() -> float:
    """Return when the next cancel scope of the run expires; infinity if none does."""
    return cast("float", _runner().deadlines.next_deadline())


def _runner() -> Any:
    return cast("Any", scheduler.GLOBAL_RUN_CONTEXT).runner


def _kept_threads() -> frozenset[threading.Thread]:
    """Find the threads that trio keeps for the next who wants one."""
    return frozenset(worker._thread for worker in tuple(THREAD_CACHE._idle_workers))  # noqa: SLF001 (no public way)


def _idle_threads() -> frozenset[threading.Thread]:
    """Find those of them that sleep; one that still tells the end of what it did is not among them."""
    return frozenset(thread for thread in _kept_threads() if sleeps_in(thread, "_work"))


def _wait(seconds: float) -> bool:
    """Wait for what wakes trio up when a thread has called `run_sync_soon`."""
    return bool(select.select([_runner().entry_queue.wakeup.wakeup_sock], [], [], seconds)[0])


def _tasks() -> Iterator[trio.lowlevel.Task]:
    """All tasks but trio's own."""
    todo = [_runner().main_task]
    while todo:
        task = todo.pop()
        yield task
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


@contextmanager
def _deterministic(seed: int) -> Generator[None, None, None]:
    names: dict[str, Any] = scheduler.__dict__
    before = {name: names[name] for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r")}
    names.update(_ALLOW_DETERMINISTIC_SCHEDULING=True, _r=Random(seed))  # noqa: S311 (to be foreseen)
    try:
        yield
    finally:
        names.update(before)


def run_virtually(
    async_fn: Callable[..., Coroutine[Any, Any, T]],
    args: tuple[Any, ...],
    seed: int,
    *instruments: Instrument,
    time: Time | None = None,
) -> T:
    """Run a coroutine function to its end, in a trio of its own."""
    time = time or Time()
    ended: list[T] = []

    async def main() -> None:
        with time.scope:
            ended.append(await async_fn(*args))

    try:
        with _deterministic(seed):
            trio.run(main, clock=time.clock(), instruments=instruments)
    finally:
        if time.deadlock is not None:
            raise time.deadlock from None
    return ended[0]
