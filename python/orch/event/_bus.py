"""
Who is told: subscriptions, and the bus that collects them.

Nothing here runs a task or keeps a queue. The engine gives every subscription a cursor on the run's log of events and a
task that delivers from it; a bus that is called by hand hands the event to its handlers there and then.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import attrs

from orch.event._types import Event

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Handler = Callable[[Any], object]
H = TypeVar("H", bound=Handler)
WhenFull = Literal["block", "drop"]


def _check_types(_: object, __: object, types: tuple[object, ...]) -> None:
    for kind in types:
        if not _is_event_class(kind):
            raise TypeError(f"types must be event classes, found {kind!r}")


def _is_event_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Event)


@attrs.frozen(eq=False)
class Subscription:
    """
    A handler and what it wants to hear of; equal to itself only, as a handler may subscribe twice.

    Attributes:
        handler: Takes one event; if it gives an awaitable, that is awaited before the next event.
        types: The event classes it gets, subclasses included; none means every event.
        when_full: What happens when it is too far behind: `"block"` makes the run wait, `"drop"` leaves out events of
            progress inside a task, which it can do without, never a change of state.
    """

    handler: Handler = attrs.field(validator=attrs.validators.is_callable())
    types: tuple[type[Event], ...] = attrs.field(default=(), validator=_check_types)
    when_full: WhenFull = attrs.field(default="block", validator=attrs.validators.in_(("block", "drop")))

    def accepts(self, event: Event) -> bool:
        """Whether the handler wants this event."""
        return not self.types or isinstance(event, self.types)


class EventBus:
    """
    Handlers that come and go, from any thread, also while events are delivered.

    A bus is itself a subscriber. A handler subscribed twice is called twice; a new handler gets the events that follow.

    Attributes:
        subscriptions: Who listens now, in order: a tuple that is replaced, never changed.
        dropped: How many events were left out for its `when_full="drop"` subscriptions.

    Example:
        >>> from orch.event import EventBus, RunEvent
        >>> bus = EventBus()
        >>> @bus.subscribe(RunEvent)
        ... def tell(event):
        ...     print(event.workflow, event.state.value)
        >>> bus.unsubscribe(tell)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.subscriptions: tuple[Subscription, ...] = ()
        self.dropped = 0

    @overload
    def subscribe(self, *types: type[Event], when_full: WhenFull = "block") -> Callable[[H], H]: ...
    @overload
    def subscribe(self, handler: H, /, *types: type[Event], when_full: WhenFull = "block") -> H: ...
    def subscribe(self, *arguments: Any, when_full: WhenFull = "block") -> Any:
        """
        From now on `handler` gets the events of these types, or all; gives the handler back.

        Also a decorator: `@bus.subscribe`, `@bus.subscribe(TaskEvent)`, `@bus.subscribe(when_full="drop")`.

        Raises:
            TypeError: The handler is not callable or a type is not an event class.
            ValueError: `when_full` is neither `"block"` nor `"drop"`.
        """
        if not arguments or _is_event_class(arguments[0]):
            return partial(self._add, arguments, when_full)
        return self._add(arguments[1:], when_full, arguments[0])

    def _add(self, types: tuple[type[Event], ...], when_full: WhenFull, handler: Handler) -> Handler:
        subscription = Subscription(handler, types, when_full)
        with self._lock:
            self.subscriptions += (subscription,)
        return handler

    def unsubscribe(self, handler: Handler) -> None:
        """`handler` gets nothing more, whatever it was subscribed to; harmless if it was not."""
        with self._lock:
            self.subscriptions = tuple(each for each in self.subscriptions if each.handler != handler)

    def __call__(self, event: Event, /) -> Awaitable[None] | None:
        """
        Hand the event to every handler that wants it, in order; an awaitable if some of them are asynchronous.

        Raises:
            ExceptionGroup: What the handlers raised, after each of them had the event.
        """
        errors: list[Exception] = []
        waiting: list[Awaitable[object]] = []
        for each in self.subscriptions:
            if each.accepts(event):
                with _collected(errors):
                    outcome = each.handler(event)
                    if inspect.isawaitable(outcome):
                        waiting.append(outcome)
        if waiting:
            return _finish(waiting, errors)
        _complain(errors)
        return None


event_bus = EventBus()
"""The bus of the process: every run of every runner is told to it."""


def subscriptions(subscribers: Iterable[object]) -> list[Subscription]:
    """
    What a user gave as subscribers, each as a `Subscription`; a bus stands for the ones it has at this moment.

    Raises:
        TypeError: One of them is not callable.
    """
    found: list[Subscription] = []
    for each in subscribers:
        if isinstance(each, EventBus):
            found += each.subscriptions
        else:
            found.append(each if isinstance(each, Subscription) else Subscription(each))  # type: ignore[arg-type]
    return found


async def _finish(waiting: list[Awaitable[object]], errors: list[Exception]) -> None:
    """Await the asynchronous handlers in order, then raise what went wrong with any."""
    for each in waiting:
        with _collected(errors):
            await each
    _complain(errors)


@contextmanager
def _collected(errors: list[Exception]) -> Generator[None]:
    """A watcher that fails must not keep the event from the others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 raised by `_complain` after all have had the event
        errors.append(error)


def _complain(errors: list[Exception]) -> None:
    if errors:
        raise ExceptionGroup("subscribers of an event bus failed", errors)
