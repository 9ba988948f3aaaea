"""A clock that goes with the event loop, real or virtual."""

from anyio import current_time

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

    __slots__ = ("epoch",)

    def __init__(self, epoch: float = 0.0) -> None:
        self.epoch = epoch

    def monotonic(self) -> float:
        """Return seconds that only ever grow, from an origin of the loop's own."""
        return current_time()

    def time(self) -> float:
        """Return seconds since 1970."""
        return self.epoch + current_time()
