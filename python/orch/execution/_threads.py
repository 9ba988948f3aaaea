"""
Worker threads of one run: plain functions off the event loop.

A thread is a lane too: it takes the next ready step of its kind from the same schedule, calls it, records the
result and goes on, so that a thousand small functions do not cost a thousand hops between loop and threads. The
loop is only woken for what it alone may do (react to failures, await, start lanes, end the run), and one wake-up
serves all that has come up.

Threads are daemons, named, at most `size`, started when steps are ready and nobody is idle, and gone when the run
ends. A body that cannot be stopped is waited for until the grace is over; then it is abandoned: its result, should
it come, is dropped.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from anyio import Event as Signal
from anyio._core._eventloop import claim_worker_thread  # what makes anyio.from_thread work in threads not made by anyio
from anyio.lowlevel import EventLoopToken, current_token

from orch.execution._lane import arguments, awaited
from orch.execution._run import IDLE, LOOP, REACT, THREAD, Run

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine

__all__ = ("Threads", "waker")

_LOOK, _GO_HOME = True, False  # what an idle thread is told
_logger = logging.getLogger("orch")


def waker(token: EventLoopToken) -> Callable[[Callable[[], object]], None]:
    """Return what runs a callback on the event loop of the token, from any thread, without waiting for it."""
    native: Any = token.native_token
    post = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon

    def wake(callback: Callable[[], object]) -> None:
        try:
            post(callback)
        except RuntimeError:  # the loop is gone: only an abandoned thread can be so late
            _logger.debug("a worker thread ended after its event loop")

    return wake


class Threads:
    """The threads of one run and what they have to say to its desk (`messages`, read on the loop after `wake`)."""

    def __init__(self, run: Run, size: int) -> None:
        self.run = run
        self.size = size
        self.news = Signal()
        """Set when the desk has something to do; on the loop only, others call `wake`."""
        self.messages: deque[Callable[[], object]] = deque()
        """What the desk is to do for threads, in order."""
        self.stopping: list[int] = []
        """Steps in threads that somebody wants to end."""
        self.adopt: Callable[[int, Coroutine[Any, Any, Any], contextvars.Context], object] = _nobody
        """Starts a lane that awaits what a plain function returned; connected by the engine."""
        self._token = current_token()
        self._wake_loop = waker(self._token)
        self._woken = False
        self._lock = threading.Lock()
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._busy: dict[int, threading.Thread] = {}
        self._idle = 0
        self._closed = False

    # -- called on the loop ----------------------------------------------------------------------------------------

    def notice(self) -> None:
        """Tell the desk that something may have changed."""
        self.news.set()

    def stop(self, node: int) -> None:
        """Ask for the end of a step that runs in a thread, which nobody can enforce: the desk waits for its grace."""
        self.stopping.append(node)
        self.news.set()

    def abandon(self, node: int) -> None:
        """Give up waiting for a step; its thread ends with its body, and what it returns is dropped."""
        self.run.abandoned.append(node)
        self.run.schedule.cancel(node)

    def close(self) -> None:
        """End the idle threads and wait for them; those in an abandoned body end with it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._tokens.put(_GO_HOME)
        for thread in self._threads.difference(self._busy.values()):
            thread.join()

    # -- called from anywhere --------------------------------------------------------------------------------------

    def grow(self) -> None:
        """Have somebody take the steps that are ready: wake an idle thread, or start one more."""
        if not self.run.schedule.ready(THREAD):
            return
        with self._lock:
            if self._closed:
                return
            if self._idle:
                self._idle -= 1
                self._tokens.put(_LOOK)
                return
            if len(self._threads) >= self.size:
                return
            thread = threading.Thread(target=self._main, name=f"orch-worker-{len(self._threads) + 1}", daemon=True)
            self._threads.add(thread)
        thread.start()

    def wake(self) -> None:
        """Wake the desk; cheap to repeat before it has run."""
        if not self._woken:
            self._woken = True
            self._wake_loop(self._arrived)

    def _arrived(self) -> None:
        self._woken = False
        self.news.set()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        with claim_worker_thread(self._token.backend_class, self._token.native_token):
            step = self.run.schedule.take(THREAD)
            while True:
                if step >= 0:
                    step = self._step(step)
                elif self._park(step):
                    step = self.run.schedule.take(THREAD)
                else:
                    return

    def _park(self, code: int) -> bool:
        """Wait for work; False: go. Idleness is on record before the last look, so that no wake-up is lost."""
        with self._lock:
            if self._closed:
                return False
            self._idle += 1
        if code == REACT or self.run.schedule.ready(LOOP) or not self.run.schedule.is_active():
            self.wake()
        if code == IDLE and self.run.schedule.ready(THREAD):
            self.grow()
        return self._tokens.get()

    def _step(self, step: int) -> int:
        self._busy[step] = threading.current_thread()
        if self.run.schedule.ready(THREAD):
            self.grow()
        context = self.run.context_vars.copy()
        try:
            value = context.run(self.run.calls[step], *arguments(self.run, step))
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is the outcome of the step)
            self._failed(step, error)
        else:
            if not hasattr(type(value), "__await__"):
                return self._succeeded(step, value)
            self.messages.append(partial(self.adopt, step, awaited(value), context))
            self.wake()
        del self._busy[step]
        return self.run.schedule.take(THREAD)

    def _succeeded(self, step: int, value: object) -> int:
        run = self.run
        run.values[step] = value
        del self._busy[step]
        try:
            following = run.schedule.done_take(step, THREAD)
        except ValueError:  # abandoned: the step is CANCELLED by now, and stays so
            run.values[step] = None
            _logger.warning("task %r returned after it was abandoned; its value is dropped", run.plan.path(step))
            return run.schedule.take(THREAD)
        if run.schedule.ready(LOOP):
            self.wake()
        return following

    def _failed(self, step: int, error: BaseException) -> None:
        run = self.run
        if step in run.abandoned:
            _logger.warning("task %r failed after it was abandoned", run.plan.path(step), exc_info=error)
        elif isinstance(error, Exception):
            run.fail(step, error)
        else:
            self.messages.append(partial(run.interrupt, step, error))
        self.wake()


def _nobody(step: int, rest: Coroutine[Any, Any, Any], context: contextvars.Context) -> None:
    """Stand in for what the engine has not connected yet."""
