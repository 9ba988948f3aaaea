import copy
import inspect
import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from orch.event import Event, LogEvent, RunEvent, State, TaskEvent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVENTS = (
    Event("run", 1, NOON, ""),
    RunEvent("run", 1, NOON, "", State.RUNNING, "etl", tasks=3),
    TaskEvent("run", 2, NOON, "group/load", "load", State.SUCCEEDED, 1, [1, 2], cached=True),
    LogEvent("run", 3, NOON, "group/load", "info", "half way"),
)
events = pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@events
def test_an_event_cannot_be_changed(event: Event) -> None:
    for name in (*attrs.fields_dict(type(event)), "anything"):
        with pytest.raises(AttributeError):
            setattr(event, name, None)
    with pytest.raises(AttributeError):
        del event.seq


@events
def test_an_event_is_of_the_class_that_was_called(event: Event) -> None:
    assert type(event).__name__ in repr(event)
    assert type(event) in {Event, RunEvent, TaskEvent, LogEvent}
    assert isinstance(event, Event)
    assert not hasattr(event, "__dict__")


@events
def test_events_compare_by_value_and_kind(event: Event) -> None:
    same, other = attrs.evolve(event), attrs.evolve(event, seq=99)
    assert event == same
    assert hash(event) == hash(same)
    assert event != other
    assert [each for each in EVENTS if each == event] == [event]


@events
def test_events_survive_pickling_and_copying(event: Event) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(event, protocol)) == event
    assert copy.copy(event) == copy.deepcopy(event) == event
    with pytest.raises(AttributeError):
        copy.copy(event).seq = 3  # type: ignore[misc]


def test_events_with_unhashable_values_are_hashable() -> None:
    assert len({EVENTS[2], attrs.evolve(EVENTS[2])}) == 1


def test_fields_are_positional_and_have_a_signature() -> None:
    error = ValueError("x")
    event = TaskEvent("run", 1, NOON, "a", "a", State.FAILED, 2, None, error, 0.5, "aborted", "b", True)  # noqa: FBT003
    assert (event.attempt, event.error, event.delay, event.reason, event.cause) == (2, error, 0.5, "aborted", "b")
    assert event.cached
    names = list(inspect.signature(TaskEvent).parameters)
    assert names[:6] == ["run_id", "seq", "time", "path", "name", "state"]


def test_missing_and_unknown_fields_are_refused() -> None:
    make: Any = LogEvent
    with pytest.raises(TypeError, match="message"):
        make("run", 1, NOON, "a", "info")
    with pytest.raises(TypeError, match="colour"):
        make("run", 1, NOON, "a", "info", "m", colour="red")


def test_a_failed_construction_harms_no_later_one() -> None:
    make: Any = LogEvent
    with pytest.raises(TypeError):
        make()
    with pytest.raises(AttributeError):
        EVENTS[3].seq = 1  # type: ignore[misc]


def test_matching_by_class_and_position() -> None:
    match EVENTS[2]:
        case TaskEvent(state=State.SUCCEEDED, value=value):
            assert value == [1, 2]
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize(
    "value", [Broken(), [Broken()], list(range(1_000_000)), "x" * 1_000_000, 10**5_000], ids=range(5)
)
def test_the_repr_is_short_and_cannot_be_broken(value: object) -> None:
    assert len(repr(attrs.evolve(EVENTS[2], value=value))) < 700
