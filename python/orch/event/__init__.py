"""Facts about a run, and who is told them."""

from orch.event._bus import EventBus, Subscription, event_bus, subscriptions
from orch.event._state import STATES, TRANSITIONS, State
from orch.event._types import CircuitEvent, CompensationEvent, Event, LogEvent, RunEvent, TaskEvent

__all__ = (
    "STATES",
    "TRANSITIONS",
    "CircuitEvent",
    "CompensationEvent",
    "Event",
    "EventBus",
    "LogEvent",
    "RunEvent",
    "State",
    "Subscription",
    "TaskEvent",
    "event_bus",
    "subscriptions",
)
