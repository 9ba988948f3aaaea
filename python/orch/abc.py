"""The shapes of what others may plug in. Nothing need inherit from these: what has the methods fits."""

from typing import Any, Protocol, runtime_checkable

from orch.event import Event

__all__ = ("Cache", "Clock", "Codec", "Subscriber")


@runtime_checkable
class Subscriber(Protocol):
    """Whoever is told what happens: any function of one event, plain or asynchronous.

    It cannot hurt the run: what it raises is logged, and after ten errors it is told no more.
    """

    def __call__(self, event: Event, /) -> object:
        """Take note of the event; an awaitable given back is awaited before the next event comes."""
        ...


class Cache(Protocol):
    """What steps gave, by keys that stand for which step it was and what it was given.

    It is asked from any thread: never on the event loop, unless it has an attribute `blocks` that is False. What it
    raises is a warning, and the step is carried out as if there was no cache.
    """

    def get(self, key: str, /) -> tuple[bool, Any]:
        """Return whether there is a value, and the value, which the caller may change as he likes."""
        ...

    def set(self, key: str, value: Any, /) -> object:
        """Keep a value, which the caller may change afterwards."""
        ...

    def discard(self, key: str, /) -> object:
        """Forget a value, if there is one: what gave it was undone."""
        ...


class Codec(Protocol):
    """Makes bytes of values, and the same values of the bytes again."""

    @property
    def name(self) -> str:
        """Tell codecs apart: what one of another name has written is not read."""
        ...

    def encode(self, value: Any, /) -> bytes:
        """Write a value; what is raised says that it cannot be written."""
        ...

    def decode(self, data: bytes, /) -> Any:
        """Read a value."""
        ...


class Clock(Protocol):
    """What time it is. The module `time` is one."""

    def monotonic(self) -> float:
        """Return seconds since some moment, which never go back: what breakers and deadlines of retries go by."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch: what events and results are stamped with."""
        ...
