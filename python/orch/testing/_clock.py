"""A clock that goes with the event loop, real or virtual."""

from contextlib import suppress

from anyio import NoEventLoopError, current_time

__all__ = ("VirtualClock",)


class VirtualClock:
    """The time of the current event loop, as `AsyncRunner(clock=…)` takes it: virtual in a virtual run.

    Args:
        epoch: What `time()` says when the loop's own time is 0, in seconds since 1970.

    Example:
        >>> import anyio
        >>> from orch.testing import VirtualClock, run
        >>> async def wait():
        ...     clock = VirtualClock(epoch=1_000_000)
        ...     await anyio.sleep(60)
        ...     return clock.monotonic(), clock.time()
        >>> run(wait)
        (60.0, 1000060.0)
    """

    __slots__ = ("_last", "epoch")

    def __init__(self, epoch: float = 0.0) -> None:
        self.epoch = epoch
        self._last = 0.0

    def monotonic(self) -> float:
        """Return seconds that only ever grow, from an origin of the loop's own; where there is no loop, the last."""
        with suppress(NoEventLoopError):  # a result may be looked at when the loop is gone
            self._last = current_time()
        return self._last

    def time(self) -> float:
        """Return seconds since 1970."""
        return self.epoch + self.monotonic()
