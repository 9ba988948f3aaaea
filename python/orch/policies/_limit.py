"""`RateLimit`: at most so many starts in a time. A limiter like any other, which `limiter=` takes."""

import time
from collections import OrderedDict, deque
from functools import partial
from typing import Any, Protocol, Self, runtime_checkable

import anyio
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from orch.errors import spelled
from orch.policies._check import Seconds, count, seconds

__all__ = ("Limiter", "RateLimit")

_NEVER = float("-inf")


@runtime_checkable
class Limiter(Protocol):
    """What `limiter=` takes: an `anyio.CapacityLimiter` or `Semaphore`, a `RateLimit`, or one of your own."""

    async def acquire(self) -> Any:
        """Wait until a call may start."""
        ...

    def release(self) -> Any:
        """Say that the call is over."""
        ...


class RateLimit:
    """Lets at most `rate` calls start in any `per` seconds; how long they take is not its business.

    With `burst` it is a bucket of so many tokens instead, full at first, and filled up at a steady `rate` tokens in
    `per` seconds: up to `burst` calls at once, and no more than the rate in the long run. Who comes first starts
    first, and who is cancelled while it waits takes no start. It reads the clock of the event loop, so that a virtual
    one works, too, and may be used in one event loop after another, but not in two at once.

    >>> from orch.testing import run
    >>> async def starts() -> list[float]:
    ...     limit, times = RateLimit(2, per=60), []
    ...     for _ in range(5):
    ...         async with limit:
    ...             times.append(anyio.current_time())
    ...     return times
    >>> run(starts)
    [0.0, 0.0, 60.0, 60.0, 120.0]

    Args:
        rate: How many, a whole number: for one call in two seconds, `RateLimit(1, per=2)`.
        per: In how many seconds, or a `timedelta`.
        burst: How many may start at once, at a steady rate. None: `rate` in any window of `per` seconds.
    """

    @spelled()
    def __init__(self, rate: int, per: Seconds = 1.0, *, burst: int | None = None) -> None:
        self.rate = count("rate", rate)
        self.per = seconds("per", per, none=False)
        self.burst = None if burst is None else count("burst", burst)
        self._starts = _Window(self.rate, self.per) if self.burst is None else _Bucket(self.burst, self.per / self.rate)
        self._waiting = OrderedDict[anyio.Event, None]()  # the first of them sleeps until it may start
        self._loop: EventLoopToken | None = None
        self._last = (0.0, 0.0)  # the last start, in the time of that loop and in that of the process

    async def acquire(self) -> None:
        """Wait until a call may start, and start it."""
        self._enter()
        turn = anyio.Event()
        self._waiting[turn] = None
        try:
            await (turn.wait() if len(self._waiting) > 1 else checkpoint())
            while not self._start():  # noqa: ASYNC110  (it is the clock that is waited for)
                await anyio.sleep_until(self._starts.due)
        finally:
            del self._waiting[turn]
            if self._waiting:
                next(iter(self._waiting)).set()

    def acquire_nowait(self) -> None:
        """Start a call.

        Raises:
            anyio.WouldBlock: It may not start yet, or others wait.
        """
        self._enter()
        if self._waiting or not self._start():
            raise anyio.WouldBlock

    def release(self) -> None:
        """Do nothing: only starts are limited."""

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _start(self) -> bool:
        now = anyio.current_time()
        if now < self._starts.due:
            return False
        self._starts.add(now)
        self._last = now, time.monotonic()
        return True

    def _enter(self) -> None:
        """Come from another event loop, whose clock may begin elsewhere: the last start was as long ago as it was."""
        loop = current_token()
        if loop == self._loop:
            return
        if self._waiting:
            raise RuntimeError(f"{self!r} is in use in another event loop: give each one a RateLimit of its own")
        if self._loop is not None:
            then, real = self._last
            now = anyio.current_time() - (time.monotonic() - real)  # what this loop's clock said at the last start
            self._starts.shift(now - then)
            self._last = now, real
        self._loop = loop

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), burst=self.burst), (self.rate, self.per)

    def __repr__(self) -> str:
        burst = "" if self.burst is None else f", burst={self.burst}"
        return f"{type(self).__name__}({self.rate}, per={self.per:g}{burst})"


class _Window:
    """The starts of the last `per` seconds; after `rate` of them another is due when the first is that long ago."""

    def __init__(self, rate: int, per: float) -> None:
        self._starts = deque[float]()
        self._rate = rate
        self._per = per

    @property
    def due(self) -> float:
        return self._starts[0] + self._per if len(self._starts) >= self._rate else _NEVER

    def add(self, now: float) -> None:
        while self._starts and self._starts[0] + self._per <= now:
            self._starts.popleft()
        self._starts.append(now)

    def shift(self, by: float) -> None:
        self._starts = deque(start + by for start in self._starts)


class _Bucket:
    """A bucket of tokens, told by one number: when it will be full again."""

    def __init__(self, burst: int, interval: float) -> None:
        self._full = _NEVER
        self._slack = (burst - 1) * interval
        self._interval = interval

    @property
    def due(self) -> float:
        return self._full - self._slack

    def add(self, now: float) -> None:
        self._full = max(self._full, now) + self._interval

    def shift(self, by: float) -> None:
        self._full += by
