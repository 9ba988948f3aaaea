"""Events for a handler that would rather be told less than hold up a run: `when_full="drop"`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from orch.event import ChunkEvent, Event, EventBus, MapEvent, Subscription

__all__ = ("Backlog", "is_dispensable")


def is_dispensable(event: Event) -> bool:
    """Say whether whoever is late may go without it: progress, and no change of a state."""
    return isinstance(event, ChunkEvent | MapEvent)


class Backlog:
    """What one subscription of a bus is still to be told, in order.

    Of what is older than the `most` latest events, chunks and items of maps are left out, and counted by the bus; it is
    looked through whenever it has grown by as many. Changes of states stay, however many they are.
    """

    def __init__(self, bus: EventBus, to: Subscription, most: int) -> None:
        self.bus, self.to, self._most = bus, to, most
        self._events: deque[Event] = deque()
        self._looked = 0  # how many there were when it was looked through

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_wanted(self) -> bool:
        """Whether the handler is still subscribed."""
        return self.to in self.bus.subscriptions

    def add(self, events: Iterable[Event]) -> None:
        """Put events behind the others, as far as the handler wants them."""
        self._events.extend(filter(self.to.accepts, events))
        if len(self._events) >= max(self._looked, self._most) + self._most:
            late = len(self._events) - self._most
            kept = [each for k, each in enumerate(self._events) if k >= late or not is_dispensable(each)]
            self.bus.count_dropped(len(self._events) - len(kept))
            self._events = deque(kept)
            self._looked = len(kept)

    def pop(self) -> Event:
        """Take out the first event that is not too late; the last one never is."""
        while len(self._events) > self._most and is_dispensable(self._events[0]):
            self._events.popleft()
            self.bus.count_dropped(1)
        return self._events.popleft()
