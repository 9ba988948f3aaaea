"""Who is told: subscriptions, and the bus that collects them. Nothing here keeps a queue, that is up to the engine."""

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain
from typing import Any, Literal, TypeVar, overload

import attrs

from orch.event._types import Event

Handler = Callable[[Any], object]
H = TypeVar("H", bound=Handler)
WhenFull = Literal["block", "drop"]
_RAISED = "subscribers of an event bus failed"


def _is_event_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Event)


def _check_types(_: object, __: object, types: tuple[object, ...]) -> None:
    if not all(map(_is_event_class, types)):
        raise TypeError(f"types: expected event classes, found {types!r}")


def _check_handler(_: object, __: object, value: Any) -> None:
    if not callable(value):
        found = f"{type(value).__name__} ({value!r:.100})"
        raise TypeError(f"handler: expected a callable that takes an event, found {found}")


def _check_full(_: object, __: object, value: object) -> None:
    if value not in ("block", "drop"):
        raise ValueError(f"when_full: expected 'block' or 'drop', found {value!r:.100}")


@attrs.frozen(eq=False)
class Subscription:
    """A handler and the classes of events it gets, none for all; equal to itself only, as it may subscribe twice."""

    handler: Handler = attrs.field(validator=_check_handler)
    types: tuple[type[Event], ...] = attrs.field(default=(), validator=_check_types)
    when_full: WhenFull = attrs.field(default="block", validator=_check_full)
    """If it is too far behind, `"block"` makes the run wait, `"drop"` leaves out progress, never a change of state."""

    def accepts(self, event: Event) -> bool:
        """Whether the handler wants this event."""
        return not self.types or isinstance(event, self.types)


class EventBus:
    """Handlers that come and go, from any thread, also while events are delivered. A bus is itself a subscriber.

    >>> bus = EventBus()
    >>> @bus.subscribe(Event)
    ... def tell(event):
    ...     print(event.run_id, event.seq)
    >>> bus.unsubscribe(tell)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.subscriptions: tuple[Subscription, ...] = ()  # in order; replaced, never changed
        self.dropped = 0  # events left out for subscriptions with `when_full="drop"`

    @overload
    def subscribe(self, *types: type[Event], when_full: WhenFull = "block") -> Callable[[H], H]: ...
    @overload
    def subscribe(self, handler: H, /, *types: type[Event], when_full: WhenFull = "block") -> H: ...
    def subscribe(self, *arguments: Any, when_full: WhenFull = "block") -> Any:
        """From now on `handler` gets the events of these types, or all. A decorator too, with or without arguments."""
        if not arguments or _is_event_class(arguments[0]):
            return lambda handler: self.subscribe(handler, *arguments, when_full=when_full)
        subscription = Subscription(arguments[0], arguments[1:], when_full)
        with self._lock:
            self.subscriptions += (subscription,)
        return subscription.handler

    def unsubscribe(self, handler: Handler) -> None:
        """`handler` gets nothing more, whatever it was subscribed to; harmless if it was not."""
        with self._lock:
            self.subscriptions = tuple(each for each in self.subscriptions if each.handler != handler)

    def count_dropped(self, events: int) -> None:
        """Add to `dropped`; for whoever delivers."""
        with self._lock:
            self.dropped += events

    def __call__(self, event: Event, /) -> Awaitable[None] | None:
        """Hand it to every handler that wants it, in order; what they raise follows, as one ExceptionGroup."""
        errors, waiting = list[Exception](), list[Awaitable[object]]()
        for each in self.subscriptions:
            try:
                outcome = each.handler(event) if each.accepts(event) else None
                if inspect.isawaitable(outcome):
                    waiting.append(outcome)
            except Exception as error:  # noqa: BLE001 (raised once all have had the event)
                errors.append(error)
        if errors and not waiting:
            raise ExceptionGroup(_RAISED, errors)
        return _finish(waiting, errors) if waiting else None


async def _finish(waiting: list[Awaitable[object]], errors: list[Exception]) -> None:
    for each in waiting:
        try:
            await each
        except Exception as error:  # noqa: BLE001 (as above)
            errors.append(error)
    if errors:
        raise ExceptionGroup(_RAISED, errors)


event_bus: EventBus = EventBus()
"""The bus of the process: every run that begins while somebody listens is told to it."""


def subscriptions(subscribers: Iterable[object]) -> list[Subscription]:
    """What a user gave as subscribers; a bus stands for those it has now. TypeError: one of them is not callable."""
    found: Iterable[Any] = chain(*(one.subscriptions if isinstance(one, EventBus) else (one,) for one in subscribers))
    return [each if isinstance(each, Subscription) else Subscription(each) for each in found]
