"""Facts about a run, and who is told them."""

from orch.event._bus import EventBus, Subscription, WhenFull, event_bus, subscriptions
from orch.event._state import STATES, TRANSITIONS, State
from orch.event._types import (
    ChunkEvent,
    CircuitEvent,
    CompensationEvent,
    Event,
    InterruptEvent,
    LogEvent,
    MapEvent,
    RunEvent,
    TaskEvent,
)

__all__ = (
    "STATES",
    "TRANSITIONS",
    "ChunkEvent",
    "CircuitEvent",
    "CompensationEvent",
    "Event",
    "EventBus",
    "InterruptEvent",
    "LogEvent",
    "MapEvent",
    "RunEvent",
    "State",
    "Subscription",
    "TaskEvent",
    "WhenFull",
    "event_bus",
    "subscriptions",
)
