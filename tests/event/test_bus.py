import threading
from datetime import UTC, datetime
from typing import Any

import anyio.lowlevel
import pytest

from orch.event import Event, EventBus, LogEvent, RunEvent, State, Subscription, TaskEvent, event_bus, subscriptions

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = RunEvent("run", 1, NOON, "", State.RUNNING, "etl")
TASK = TaskEvent("run", 2, NOON, "a", "a", State.RUNNING, 1)
LOG = LogEvent("run", 3, NOON, "a", "info", "hello")


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def tell(bus: EventBus, *events: Event) -> None:
    for event in events:
        assert bus(event) is None


def test_a_handler_gets_everything_in_order(bus: EventBus) -> None:
    heard: list[Event] = []
    handler = heard.append
    assert bus.subscribe(handler) is handler
    tell(bus, RUN, TASK, LOG)
    assert heard == [RUN, TASK, LOG]


def test_a_handler_gets_the_types_it_asked_for(bus: EventBus) -> None:
    heard: list[Event] = []
    bus.subscribe(heard.append, TaskEvent, RunEvent)
    tell(bus, RUN, TASK, LOG)
    assert heard == [RUN, TASK]


def test_the_base_class_stands_for_all_types(bus: EventBus) -> None:
    heard: list[Event] = []
    bus.subscribe(heard.append, Event)
    tell(bus, RUN, TASK, LOG)
    assert len(heard) == 3


def test_as_a_decorator(bus: EventBus) -> None:
    heard: list[str] = []

    @bus.subscribe
    def everything(event: Event) -> None:
        heard.append(f"{event.seq} everything")

    @bus.subscribe(TaskEvent, LogEvent)
    def some(event: Event) -> None:
        heard.append(f"{event.seq} some")

    @bus.subscribe(when_full="drop")
    def lazy(event: Event) -> None:
        heard.append(f"{event.seq} lazy")

    tell(bus, RUN, TASK)
    assert heard == ["1 everything", "1 lazy", "2 everything", "2 some", "2 lazy"]
    assert [each.when_full for each in bus.subscriptions] == ["block", "block", "drop"]
    assert all(map(callable, (everything, some, lazy)))


def test_after_unsubscribing_nothing_comes(bus: EventBus) -> None:
    heard: list[Event] = []
    bus.subscribe(heard.append, RunEvent)
    bus.subscribe(heard.append, TaskEvent)
    bus.unsubscribe(heard.append)
    bus.unsubscribe(heard.append)
    tell(bus, RUN, TASK)
    assert heard == []


def test_subscribed_twice_is_called_twice(bus: EventBus) -> None:
    heard: list[Event] = []
    bus.subscribe(heard.append)
    bus.subscribe(heard.append)
    tell(bus, RUN)
    assert heard == [RUN, RUN]
    first, second = bus.subscriptions
    assert first != second


def test_handlers_may_come_and_go_during_delivery(bus: EventBus) -> None:
    heard: list[str] = []

    def late(event: Event) -> None:
        heard.append(f"late {event.seq}")

    def once(event: Event) -> None:
        heard.append(f"once {event.seq}")
        bus.unsubscribe(once)
        bus.subscribe(late)

    bus.subscribe(once)
    tell(bus, RUN, TASK)
    assert heard == ["once 1", "late 2"]


def test_what_a_handler_raises_keeps_the_event_from_nobody(bus: EventBus) -> None:
    heard: list[Event] = []

    @bus.subscribe
    def broken(event: Event) -> None:
        raise ValueError(event.seq)

    bus.subscribe(heard.append)
    with pytest.raises(ExceptionGroup) as caught:
        bus(RUN)
    assert heard == [RUN]
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_asynchronous_handlers_are_awaited_in_order(bus: EventBus) -> None:
    heard: list[str] = []

    @bus.subscribe
    async def slow(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(f"slow {event.seq}")

    @bus.subscribe
    async def broken(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError(event.seq)

    @bus.subscribe
    async def last(event: Event) -> None:
        heard.append(f"last {event.seq}")

    waiting = bus(RUN)
    assert waiting is not None
    with pytest.raises(ExceptionGroup) as caught:
        await waiting
    assert heard == ["slow 1", "last 1"]
    assert len(caught.value.exceptions) == 1


async def test_asynchronous_handlers_that_succeed_leave_nothing(bus: EventBus) -> None:
    @bus.subscribe
    async def fine(event: Event) -> None: ...

    waiting = bus(RUN)
    assert waiting is not None
    assert await waiting is None  # type: ignore[func-returns-value]


def test_a_bus_may_listen_to_a_bus(bus: EventBus) -> None:
    heard: list[Event] = []
    outer = EventBus()
    outer.subscribe(bus, TaskEvent)
    bus.subscribe(heard.append)
    tell(outer, RUN, TASK)
    assert heard == [TASK]


def test_threads_may_subscribe_at_once(bus: EventBus) -> None:
    handlers = [lambda _, number=number: number for number in range(400)]

    def come_and_go(mine: list[Any]) -> None:
        for handler in mine:
            bus.subscribe(handler)
        for handler in mine[::2]:
            bus.unsubscribe(handler)

    threads = [threading.Thread(target=come_and_go, args=(handlers[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bus.subscriptions) == 200


@pytest.mark.parametrize("handler", [3, None, "print"])
def test_what_cannot_be_called_is_refused(bus: EventBus, handler: Any) -> None:
    with pytest.raises(TypeError, match="callable"):
        bus.subscribe(handler)
    with pytest.raises(TypeError, match="callable"):
        subscriptions([handler])


def test_wrong_types_and_options_are_refused(bus: EventBus) -> None:
    wrong: Any = int
    with pytest.raises(TypeError, match="event classes"):
        bus.subscribe(print, wrong)
    with pytest.raises(TypeError, match="event classes"):
        Subscription(print, (wrong,))
    with pytest.raises(ValueError, match=r"^when_full: expected 'block' or 'drop', found <class 'int'>$"):
        bus.subscribe(print, when_full=wrong)
    wrong = 3
    with pytest.raises(TypeError, match=r"^handler: expected a callable that takes an event, found int \(3\)$"):
        bus.subscribe(wrong)
    assert bus.subscriptions == ()


def test_subscriptions_of_all_that_a_user_may_give(bus: EventBus) -> None:
    bus.subscribe(print, RunEvent)
    bus.subscribe(len)
    own = Subscription(repr, (LogEvent,), "drop")
    found = subscriptions([bus, own, str])
    assert [each.handler for each in found] == [print, len, repr, str]
    assert [each.types for each in found] == [(RunEvent,), (), (LogEvent,), ()]
    assert found[2] is own


def test_a_subscription_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Subscription(print).when_full = "drop"  # type: ignore[misc]


def test_nobody_listens_to_the_process_unasked() -> None:
    assert event_bus.subscriptions == ()
