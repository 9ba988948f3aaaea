"""The virtual event loop of asyncio: it never blocks, and every run of one seed is the same.

Time is a number. When no callback is ready it becomes that of the next timer; when there is no timer either, that is
a deadlock. There are no sockets, no signals and no subprocesses. Two things beyond asyncio's own code make a run
repeatable: anyio keeps tasks and cancel scopes in sets, whose order is that of addresses in memory, so for the time
of a run its `set` is one in order of insertion (`ordered_sets`); and with a seed other than 0 tasks that are ready
at the same time run in an order drawn from it, callbacks keeping their places.
"""

import asyncio
import heapq
import math
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

import anyio._backends._asyncio as backend

from orch.testing._deadlock import Patience, deadlock, innermost

__all__ = ("VirtualLoop", "run_virtually")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without I/O, in virtual time; `seed` 0 is first come, first served."""

    _ready: Any  # what BaseEventLoop keeps: callbacks that are due, and timers as a heap
    _scheduled: Any

    def __init__(self, seed: int = 0, patience: Patience | None = None) -> None:
        self._now = 0.0
        self._timers = 0
        super().__init__()
        self._selector: VirtualLoop | None = self  # its `select` is what BaseEventLoop waits with
        self._random = Random(seed) if seed else None  # noqa: S311 (to be foreseen)
        self._woken = threading.Event()
        self._patience = patience or Patience(self._wait)

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call `callback` at the time; of several at one time the first set is the first called."""
        self._timers += 1
        timer: Any = _Timer(when, callback, args, self, context)
        timer.number = self._timers
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # noqa: SLF001 (as BaseEventLoop does)
        return timer  # type: ignore[no-any-return] # asyncio leaves it untyped

    @property
    def _clock_resolution(self) -> float:
        """How far ahead of its time a timer may be: not at all, at any distance from 0."""
        return math.ulp(self._now)

    @_clock_resolution.setter
    def _clock_resolution(self, seconds: float) -> None:
        """Let BaseEventLoop believe in a clock of its own."""

    def select(self, timeout: float | None) -> tuple[()]:
        """Stand in for a selector: instead of waiting, let time pass.

        Raises:
            DeadlockError: There is nothing to wait for.
        """
        if timeout != 0:
            self._pass_time()
        if self._random is not None and len(self._ready) > 1:
            self._shuffle(self._random)
        return ()

    def _pass_time(self) -> None:
        timer = self._scheduled[0].when() if self._scheduled else math.inf
        if self._patience.for_threads(timer):
            return
        if timer == math.inf:
            tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
            waiting = ((task.get_name(), innermost(task.get_coro())) for task in tasks)
            raise deadlock(waiting, self._patience.silent())
        self._now = max(self._now, timer)

    def _shuffle(self, random: Random) -> None:
        ready = self._ready
        places = [at for at, handle in enumerate(ready) if _is_step(handle)]
        if len(places) > 1:
            handles = [ready[at] for at in places]
            random.shuffle(handles)
            for at, handle in zip(places, handles, strict=True):
                ready[at] = handle

    def close(self) -> None:
        """Be over, and let go of what leads back to it."""
        super().close()
        self._selector = None

    def _process_events(self, event_list: object) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        self._woken.set()

    def _wait(self, seconds: float) -> bool:
        come = self._woken.wait(seconds)
        self._woken.clear()
        return come


class _Timer(asyncio.TimerHandle):
    __slots__ = ("number",)
    number: int

    def __lt__(self, other: "_Timer") -> bool:  # type: ignore[override] # a loop has timers of this class only
        return (self.when(), self.number) < (other.when(), other.number)


def _is_step(handle: Any) -> bool:
    """Say whether a callback lets a task go on."""
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)  # noqa: SLF001 (what asyncio itself does)


def run_virtually(async_fn: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], loop: VirtualLoop) -> T:
    """Run a coroutine function to its end on a loop of its own, and close it."""

    async def call() -> T:
        return await async_fn(*args)

    with ordered_sets():
        main = loop.create_task(call())
        try:
            return loop.run_until_complete(main)
        finally:
            _dismiss(loop, main)
            loop.close()


def _dismiss(loop: VirtualLoop, main: asyncio.Task[Any]) -> None:
    """Cancel what is left, as `asyncio.run` does: the main task first, so that it may end what it has begun."""
    _end(loop, [] if main.done() else [main])
    _end(loop, [task for task in asyncio.all_tasks(loop) if not task.done()])
    if not main.cancelled() and main.done():
        main.exception()  # it is raised, or less than what is: nobody need be told that it was not looked at
    if loop._asyncgens:  # type: ignore[attr-defined] # noqa: SLF001 (asked of it by every asyncio.run)
        loop.run_until_complete(loop.shutdown_asyncgens())


def _end(loop: VirtualLoop, tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks; what will not end is left as it is."""
    for task in tasks:
        task.cancel()
    if tasks:
        rest = asyncio.wait(tasks, timeout=3600)
        for task in loop.run_until_complete(rest)[1]:
            task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 (has been reported as a deadlock)


class _OrderedSet(dict[Any, None]):
    """As much of a set as anyio needs."""

    add = dict.setdefault
    remove = dict.__delitem__

    def __init__(self, items: Any = ()) -> None:
        if items:
            self.update(dict.fromkeys(items))

    def discard(self, item: Any) -> None:
        self.pop(item, None)


@contextmanager
def ordered_sets() -> Generator[None, None, None]:
    """Let sets that anyio makes on asyncio keep the order of insertion."""
    names: dict[str, Any] = backend.__dict__
    before = names.get("set", set)
    names["set"] = _OrderedSet
    try:
        yield
    finally:
        names["set"] = before
