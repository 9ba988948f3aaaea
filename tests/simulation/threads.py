"""Worker threads in virtual time: real threads of which one runs at a time, and only while the event loop waits for it.

A thread goes on until it sleeps (by `sleep`, in virtual time), waits for something to do, or ends. Which of several
goes on next is drawn from the seed. For that the engine's queue of idle threads is one of our own, and its threads
ask for their turn before they begin.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import orch.execution._threads as engine
from orch.testing import _loop, _trio

__all__ = ("drive", "living", "sleep")


class _Slot:
    """A thread, and whether it could go on."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.due: float = 0.0  # when it could; never, if it waits for a queue


class _OverError(SystemExit):
    """Ends a thread that a broken run has left behind."""


class _Baton:
    """Whose turn it is."""

    def __init__(self, seed: int) -> None:
        self.now: Callable[[], float] = float
        self.random = Random(seed)
        self.is_over = False
        self._back = threading.Semaphore(0)
        self.slots: dict[threading.Thread, _Slot] = {}

    def due(self) -> float:
        """When the next thread could go on."""
        return min((slot.due for slot in self.slots.values()), default=math.inf)

    def turn(self) -> bool:
        """Let one thread go on for a while, if one can; called by the event loop."""
        ready = [slot for slot in self.slots.values() if slot.due <= self.now()]
        if ready:
            self.random.choice(ready).go.release()
            self._back.acquire()
        return bool(ready)

    def wait(self, until: float) -> None:
        """Called by a thread: let the event loop go on, and come back then."""
        slot = self.slots[threading.current_thread()]
        slot.due = until
        if not self.is_over:
            self._back.release()
            slot.go.acquire()
        if self.is_over:
            raise _OverError

    def dismiss(self) -> None:
        """End whatever is left, when the event loop is gone."""
        self.is_over = True
        for thread, slot in list(self.slots.items()):
            slot.go.release()
            thread.join(1)

    def end(self) -> None:
        """The thread is over."""
        del self.slots[threading.current_thread()]
        self._back.release()


_baton: _Baton | None = None


def sleep(seconds: float) -> None:
    """Sleep in a worker thread, in virtual time."""
    assert _baton is not None
    _baton.wait(_baton.now() + seconds)


def living() -> bool:
    """Whether there are threads that have not ended."""
    return _baton is not None and bool(_baton.slots)


class _Queue:
    """What idle threads wait on."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: deque[_Slot] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting:
            self._waiting.popleft().due = 0.0

    def get(self) -> Any:
        assert _baton is not None
        while not self._items:
            self._waiting.append(_baton.slots[threading.current_thread()])
            _baton.wait(math.inf)
        return self._items.popleft()


@contextmanager
def _patched(baton: _Baton) -> Iterator[None]:
    global _baton  # noqa: PLW0603 (one simulation at a time)
    names: dict[str, Any] = engine.__dict__
    before = {"SimpleQueue": names["SimpleQueue"]}
    start, main = engine.Threads._start_thread, engine.Threads._main

    def starting(self: Any, thread: Any) -> None:
        baton.slots[thread] = _Slot()
        start(self, thread)

    def running(self: Any) -> None:
        baton.slots[threading.current_thread()].go.acquire()
        try:
            if not baton.is_over:
                main(self)
        finally:
            baton.end()

    names["SimpleQueue"], _baton = _Queue, baton
    engine.Threads._start_thread, engine.Threads._main = starting, running  # type: ignore[method-assign]
    try:
        yield
    finally:
        baton.dismiss()
        names.update(before)
        engine.Threads._start_thread, engine.Threads._main = start, main  # type: ignore[method-assign]
        _baton = None


class _Loop(_loop.VirtualLoop):
    def __init__(self, seed: int, baton: _Baton) -> None:
        super().__init__(seed)
        self._baton = baton
        baton.now = self.time

    def select(self, timeout: float | None) -> tuple[()]:
        if self._ready and self._baton.random.random() < 0.5:
            self._baton.turn()
        while not self._ready:
            if not self._baton.turn() and not self._jump():
                break
        return super().select(timeout)

    def _jump(self) -> bool:
        """Go to the time at which a thread wants to go on, if no timer is earlier."""
        timer = self._scheduled[0].when() if self._scheduled else math.inf
        due = self._baton.due()
        if due == math.inf or due > timer:
            return False
        self._now = max(self._now, due)
        return True

    def _pass_time(self) -> None:
        self._patience.for_threads = lambda timer: False  # type: ignore[method-assign] # they have had their turn
        if not self._ready:
            super()._pass_time()


class _Time(_trio.Time):
    def __init__(self, baton: _Baton) -> None:
        super().__init__()
        self._baton = baton
        baton.now = lambda: self._now

    def _pass_time(self) -> None:
        if self._baton.turn():
            return
        due = self._baton.due()
        if due != math.inf and due <= _trio.next_deadline():
            self._now = max(self._now, due)
        else:
            self._patience.for_threads = lambda timer: False  # type: ignore[method-assign] # they have had their turn
            super()._pass_time()


def drive(function: Callable[..., Any], *args: Any, backend: str, seed: int) -> Any:
    """Run an async function as `orch.testing.run` does, with threads of which one runs at a time."""
    baton = _Baton(seed)
    with _patched(baton):
        if backend == "trio":
            return _trio.run_virtually(function, args, seed, time=_Time(baton))
        return _loop.run_virtually(function, args, _Loop(seed, baton))
