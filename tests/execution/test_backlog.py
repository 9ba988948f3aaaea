"""What a handler that would rather be told less is still to be told."""

from collections.abc import Iterable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orch.event import ChunkEvent, Event, EventBus, LogEvent, MapEvent, State, Subscription, TaskEvent
from orch.execution._backlog import Backlog, is_dispensable

NOW = datetime(2025, 1, 1, tzinfo=UTC)
MOST = 10


def event(seq: int, kind: str) -> Event:
    said = "run", seq, NOW, "path"
    match kind:
        case "chunk":
            return ChunkEvent(*said, "name", seq)
        case "item":
            return MapEvent(*said, "name", seq, State.RUNNING)
        case "log":
            return LogEvent(*said, "info", "hello")
        case _:
            return TaskEvent(*said, "name", State.RUNNING)


def backlog(*types: type[Event]) -> Backlog:
    bus = EventBus()
    bus.subscribe(print, *types, when_full="drop")
    return Backlog(bus, bus.subscriptions[0], MOST)


def drained(of: Backlog) -> list[int]:
    seqs = list[int]()
    while of:
        seqs.append(of.pop().seq)
    return seqs


def add(to: Backlog, kinds: Iterable[str], first: int = 1) -> None:
    for seq, kind in enumerate(kinds, first):
        to.add([event(seq, kind)])


def test_what_is_dispensable() -> None:
    assert [is_dispensable(event(1, kind)) for kind in ("chunk", "item", "log", "task")] == [True, True, False, False]


def test_whoever_is_not_late_misses_nothing() -> None:
    it = backlog()
    add(it, ["chunk"] * MOST)
    assert drained(it) == list(range(1, MOST + 1))
    assert it.bus.dropped == 0


def test_whoever_is_late_misses_the_oldest() -> None:
    it = backlog()
    add(it, ["chunk"] * (MOST + 3))
    assert drained(it) == list(range(4, MOST + 4))
    assert it.bus.dropped == 3


def test_what_nobody_listens_to_is_not_missed() -> None:
    it = backlog(TaskEvent)
    add(it, ["chunk"] * 100 + ["task"])
    assert (drained(it), it.bus.dropped) == ([101], 0)


def test_it_is_wanted_until_the_handler_has_gone() -> None:
    it = backlog()
    assert it.is_wanted
    it.bus.unsubscribe(print)
    assert not it.is_wanted


@given(st.lists(st.sampled_from(["chunk", "item", "log", "task", "pop"]), max_size=150))
def test_it_is_in_order_bounded_and_complete_but_for_what_it_has_counted(moves: list[str]) -> None:
    it, made, got = backlog(), list[Event](), list[Event]()
    for seq, move in enumerate(moves, 1):
        if move != "pop":
            made.append(event(seq, move))
            it.add(made[-1:])
        elif it:
            got.append(it.pop())
        kept = sum(not is_dispensable(each) for each in made)
        assert len(it) <= kept + 2 * MOST
    while it:
        got.append(it.pop())
    assert [each.seq for each in got] == sorted(each.seq for each in got)
    missing = [each for each in made if each not in got]
    assert all(map(is_dispensable, missing))
    assert len(missing) == it.bus.dropped
    assert made[-MOST:] == got[-MOST:][-len(made[-MOST:]) :] or "pop" in moves
    assert isinstance(it.to, Subscription)
