"""The desk: what is done on the event loop at a certain time, or because a worker thread asks for it.

One task a run, and only in runs that have threads, policies or guarded groups. It sleeps until the next timer or
message, does what is due, and lets the run react to all of it at once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from anyio import CancelScope, current_time, move_on_at
from anyio import Event as Signal
from anyio.lowlevel import checkpoint, current_token

from orch.execution._run import Run

__all__ = ("Desk",)

_FOREVER = float("inf")
_FEW = 64
_FREE = nullcontext()
Timer = list[Any]  # when, a number that keeps the order, what to call or None
_logger = logging.getLogger("orch")


def _nobody() -> bool:
    return False


class Desk:
    """Messages from threads and timers of one run; `attend` is its task."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.messages: deque[Callable[[], object]] = deque()
        self._timers: list[Timer] = []
        self._stale = 0  # timers among them that were dropped
        self._alarm = 0.0  # what the desk sleeps until
        self._numbers = count()
        self._news = Signal()
        self._woken = False
        self.leaving: Callable[[], bool] = _nobody  # whether threads are on their way home, and sends them there
        native: Any = current_token().native_token
        self._post: Callable[..., object] = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        run.notice, run.wake, run.at, run.later, run.drop = self._arrived, self.wake, self.at, self.later, self.drop

    def at(self, when: float, do: Callable[[], object]) -> Timer:
        """Call `do` at a time of the event loop's clock, unless that is dropped or the run has ended by then.

        On the loop only. The desk is woken only if it would oversleep: most timers are dropped before they are due.
        """
        timer: Timer = [when, next(self._numbers), do]
        heappush(self._timers, timer)
        if when < self._alarm:
            self._alarm = when
            self._news.set()
        return timer

    def drop(self, timer: Timer) -> None:
        """Forget a timer; harmless when it has rung."""
        timer[2] = None
        if self._timers and self._timers[-1] is timer:
            self._timers.pop()
            return
        self._stale += 1
        if self._stale > len(self._timers) // 2 + _FEW:
            self._timers = [each for each in self._timers if each[2] is not None]
            heapify(self._timers)
            self._stale = 0

    def later(self, delay: float, do: Callable[[], object]) -> Timer:
        """Call `do` after so many seconds."""
        return self.at(current_time() + delay, do)

    def send(self, message: Callable[[], object]) -> None:
        """Have something done on the loop soon; from any thread."""
        self.messages.append(message)
        self.wake()

    def wake(self) -> None:
        """Wake the desk, from any thread; cheap to repeat before it has run."""
        if not self._woken:
            self._woken = True
            self.post(self._arrived)

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop make a call, whether or not the desk is still there; from any thread."""
        try:
            self._post(call)
        except RuntimeError:  # the loop is gone: only an abandoned thread can be so late
            _logger.debug("a worker thread ended after its event loop")

    def _arrived(self) -> None:
        self._woken = False
        self._news.set()

    async def attend(self, settled: Signal) -> None:
        """Do what comes up until the run is settled and nobody is `leaving`; shielded, for threads cannot be stopped.

        Timers that are not due by then are forgotten.
        """
        run = self._run
        with CancelScope(shield=True):
            while not run.broken and (self._is_going() or self._outlasting() or self.leaving()):
                self._alarm = self._timers[0][0] if self._timers else _FOREVER
                with move_on_at(self._alarm) if self._timers else _FREE:
                    await self._news.wait()
                self._news = Signal()
                if self._timers and self._timers[0][0] <= current_time():
                    await checkpoint()  # what ends in the tick of its deadline has ended in time
                while self.messages:
                    self.messages.popleft()()
                self._ring()
                run.react()
                run.publish()
                run.spread()
            self.leaving = _nobody  # threads know their desk: no cycle is to be left
            settled.set()

    def _is_going(self) -> bool:
        """Say whether the run goes on; one that ends with open questions takes no answers from now on."""
        run = self._run
        run.is_closed = run.is_closed or not run.is_going
        return not run.is_closed or (run.cancelled and run.schedule.is_active())

    def _outlasting(self) -> bool:
        """Say whether bodies in threads have outlived the run, which from now on waits as long as its grace says."""
        for scope, _ in self._run.outlasting.values():
            scope.deadline = min(scope.deadline, current_time() + self._run.options.grace)
        return bool(self._run.outlasting)

    def _ring(self) -> None:
        now = current_time()
        while self._timers and self._timers[0][0] <= now:
            do = heappop(self._timers)[2]
            if do is not None:
                do()
