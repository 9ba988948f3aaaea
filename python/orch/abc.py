"""The shapes of what others may plug in. Nothing need inherit from these: what has the methods fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime

    from orch.event import Event

__all__ = ("Clock", "Subscriber")


@runtime_checkable
class Subscriber(Protocol):
    """Whoever is told what happens: any function of one event, plain or asynchronous."""

    def __call__(self, event: Event, /) -> object:
        """
        Take note of the event; an awaitable given back is awaited before the next event comes.

        It cannot hurt the run: what it raises is logged, and after ten errors it is told no more.
        """
        ...


@runtime_checkable
class Clock(Protocol):
    """Where a run gets its time from; tests bring one that moves when they say so."""

    def now(self) -> datetime:
        """The time of day in UTC, aware: what events carry."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since any fixed moment, never going back: what durations are measured with."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when that much time has passed on this clock; a checkpoint even for 0."""
        ...
