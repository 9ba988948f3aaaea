"""Worker threads in virtual time: real threads of which one runs at a time, and only while the event loop waits for it.

A thread goes on until it sleeps (by `sleep`, in virtual time), waits for something to do, or ends. Which of several
goes on next is drawn from the seed. For that the engine's queue of idle threads is one of our own, and so are its
threads, which begin when they are given their first turn. Those that really run are kept, and carry out one of the
engine's after another: starting one takes longer than most of what it does.
"""

import atexit
import heapq
import math
import os
import threading
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial
from random import Random
from typing import Any

import trio

import orch.execution._threads as engine
from orch.testing import _loop, _trio
from orch.testing._deadlock import Patience
from tests.simulation.quiet import Trio, quiet

__all__ = ("drive", "living", "rest", "sleep")


class _Worker:
    """A thread, for the engine; `due` is when it could go on: never, if it waits for a queue."""

    def __init__(self, main: Callable[[Any], None], leash: Any, name: str) -> None:
        self.main = main
        self.leash = leash
        self.name = name
        self.baton = _begun()
        self.due = 0.0
        self.carrier: _Carrier | None = None

    def start(self) -> None:
        self.baton.workers[self] = None

    def join(self) -> None:
        """It has ended, or nobody could ask."""


class _OverError(SystemExit):
    """Ends a thread that a broken run has left behind."""


class _Carrier:
    """A thread that really runs. Locks are its semaphores, which are ten times slower."""

    def __init__(self) -> None:
        self.go = _taken()
        self.worker: _Worker | None = None
        self.thread = threading.Thread(target=self._carry, name="carrier", daemon=True)
        self.thread.start()

    def _carry(self) -> None:
        _carriers[get_ident()] = self
        try:
            self.go.acquire()
            while self.worker is not None:
                worker, baton = self.worker, self.worker.baton
                try:
                    with suppress(_OverError):
                        if not baton.is_over:
                            Context().run(worker.main, worker)
                finally:
                    self.worker = None
                    del worker.main  # no cycle is to be left
                    baton.end(worker)
                if baton.is_over:
                    return
                self.go.acquire()
        finally:
            del _carriers[get_ident()]


class _Baton:
    """Whose turn it is."""

    def __init__(self, seed: int) -> None:
        self.now: Callable[[], float] = float
        self._seed = seed
        self._draws = 0  # that were none, as there was no thread
        self._random: Random | None = None
        self.is_over = self.is_clean = False  # clean: nobody was left
        self.workers: dict[_Worker, None] = {}  # in the order in which they were started
        self._back = _taken()

    def due(self) -> float:
        """When the next thread could go on."""
        return min((worker.due for worker in self.workers), default=math.inf)

    def turn(self) -> bool:
        """Let one thread go on for a while, if one can; called by the event loop."""
        if not self.workers:
            return False
        now = self.now()
        ready = [worker for worker in self.workers if worker.due <= now]
        if ready:
            _give(self._carrier(self.chance().choice(ready)).go)
            self._back.acquire()
        return bool(ready)

    def chance(self) -> Random:
        """Made when there is a thread: to make it takes long, and most runs have none."""
        if self._random is None:
            self._random = Random(self._seed)
            for _ in range(self._draws):
                self._random.random()
        return self._random

    def is_hasty(self) -> bool:
        """Whether a thread has its turn although the event loop has something to do."""
        if self._random is None and not self.workers:
            self._draws += 1
            return False
        return self.chance().random() < 0.5

    def _carrier(self, worker: _Worker) -> _Carrier:
        if worker.carrier is None:
            worker.carrier = _idle.pop() if _idle else _Carrier()
            worker.carrier.worker = worker
        return worker.carrier

    def wait(self, worker: _Worker, until: float) -> None:
        """Called by a thread: let the event loop go on, and come back then."""
        assert worker.carrier is not None
        worker.due = until
        if not self.is_over:
            _give(self._back)
            worker.carrier.go.acquire()
        if self.is_over:
            raise _OverError

    def dismiss(self) -> None:
        """End whatever is left, when the event loop is gone."""
        self.is_over, self.is_clean = True, not self.workers
        for worker in list(self.workers):
            if worker.carrier is not None:
                _give(worker.carrier.go)
                worker.carrier.thread.join(1)

    def end(self, worker: _Worker) -> None:
        """Called by a thread that is over."""
        del self.workers[worker]
        if not self.is_over:
            assert worker.carrier is not None
            _idle.append(worker.carrier)
            _give(self._back)


def _taken() -> Any:
    lock = allocate_lock()
    lock.acquire()
    return lock


def _give(lock: Any) -> None:
    try:  # noqa: SIM105 (as often as anything here: what is shorter takes longer)
        lock.release()
    except RuntimeError:  # nobody waits for it: some thread has gone on for so long that it was given up
        pass


_baton: _Baton | None = None
_carriers: dict[int, _Carrier] = {}
_idle: list[_Carrier] = []
os.register_at_fork(after_in_child=_idle.clear)  # a new process has one thread


_trios: list["_Trio"] = []  # one, if any


@atexit.register
def rest() -> None:
    """End what is kept: threads, and trio."""
    while _trios:
        with quiet("trio"):
            _trios.pop().trio.end()
    while _idle:
        carrier = _idle.pop()
        _give(carrier.go)
        carrier.thread.join()


def _begun() -> _Baton:
    assert _baton is not None
    return _baton


def _this() -> _Worker:
    worker = _carriers[get_ident()].worker
    assert worker is not None
    return worker


def sleep(seconds: float) -> None:
    """Sleep in a worker thread, in virtual time."""
    worker = _this()
    worker.baton.wait(worker, worker.baton.now() + seconds)


def living() -> bool:
    """Whether there are threads that have not ended."""
    return _baton is not None and bool(_baton.workers)


class _Queue:
    """What idle threads wait on."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: deque[_Worker] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting:
            self._waiting.popleft().due = 0.0

    def get(self) -> Any:
        worker = _this()
        while not self._items:
            self._waiting.append(worker)
            worker.baton.wait(worker, math.inf)
        return self._items.popleft()


@contextmanager
def _patched(baton: _Baton) -> Iterator[None]:
    global _baton  # noqa: PLW0603 (one simulation at a time)
    names: dict[str, Any] = engine.__dict__
    before = {name: names[name] for name in ("SimpleQueue", "_Worker")}
    names.update(SimpleQueue=_Queue, _Worker=_Worker)
    _baton = baton
    try:
        yield
    finally:
        baton.dismiss()
        baton.now = float  # no cycle is to be left
        names.update(before)
        _baton = None


class _Patience(Patience):
    """Threads have had their turn: nobody waits for them."""

    def __init__(self) -> None:
        super().__init__(bool)

    def for_threads(self, timer: float) -> bool:
        return False


_PATIENCE = _Patience()


class _Loop(_loop.VirtualLoop):
    def __init__(self, seed: int, baton: _Baton) -> None:
        super().__init__(seed, _PATIENCE)
        self._baton = baton
        baton.now = self.time

    def _run_once(self) -> None:
        """As its base, without what that does for sockets and for debugging."""
        ready, timers = self._ready, self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False
        self.select(0 if ready else None)
        while timers and timers[0].when() <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def select(self, timeout: float | None) -> tuple[()]:
        if self._ready and self._baton.is_hasty():
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
        if not self._ready:
            super()._pass_time()


class _Time(_trio.Time):
    _baton: _Baton

    def begin(self, baton: _Baton) -> None:
        """Be as new, for a run of its own."""
        self.scope, self.deadlock = trio.CancelScope(), None
        self._now, self._baton = 0.0, baton
        baton.now = lambda: self._now

    def _pass_time(self) -> None:
        if self._baton.turn():
            return
        due = self._baton.due()
        if due != math.inf and due <= _trio.next_deadline():
            self._now = max(self._now, due)
        else:
            super()._pass_time()


def drive(function: Callable[..., Any], *args: Any, backend: str, seed: int) -> Any:
    """Run an async function as `orch.testing.run` does, with threads of which one runs at a time."""
    baton = _Baton(seed)
    if backend != "trio":
        with quiet(backend), _patched(baton):
            return _loop.run_virtually(function, args, _Loop(seed, baton))
    with quiet(backend):
        kept = _trios.pop() if _trios and not _trios[0].trio.is_over else _Trio()
        try:
            with _patched(baton):
                return kept.run(partial(function, *args), seed, baton)
        finally:
            if baton.is_clean:
                _trios[:] = [kept]
            else:
                kept.trio.end()


class _Trio:
    """A trio that is kept, and its time."""

    def __init__(self) -> None:
        self.time = _Time(_PATIENCE)
        self.trio = Trio(self.time.clock())

    def run(self, function: Callable[[], Any], seed: int, baton: _Baton) -> Any:
        async def job() -> Any:
            with self.time.scope:
                return await function()

        self.time.begin(baton)
        try:
            return self.trio.run(job, seed)
        finally:
            if self.time.deadlock is not None:
                raise self.time.deadlock from None
