"""The shapes of what others may plug in. Nothing need inherit from these: what has the methods fits."""

from typing import Protocol, runtime_checkable

from orch.event import Event

__all__ = ("Clock", "Subscriber")


@runtime_checkable
class Subscriber(Protocol):
    """Whoever is told what happens: any function of one event, plain or asynchronous.

    It cannot hurt the run: what it raises is logged, and after ten errors it is told no more.
    """

    def __call__(self, event: Event, /) -> object:
        """Take note of the event; an awaitable given back is awaited before the next event comes."""
        ...


class Clock(Protocol):
    """What time it is. The module `time` is one."""

    def monotonic(self) -> float:
        """Return seconds since some moment, which never go back: what breakers and deadlines of retries go by."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch: what events and results are stamped with."""
        ...
