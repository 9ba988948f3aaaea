"""From the events of a run to what is known about its tasks and groups: whoever asks gets this fold of them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

import attrs

from orch.errors import close_matches
from orch.event import CompensationEvent, Event, State, TaskEvent
from orch.event._discreet import Discreet, discreet, sanitizer_of
from orch.event._text import brief
from orch.event._types import sealed


class Timed(Discreet):
    """What has a begin and an end."""

    __slots__ = ()
    started: datetime | None
    finished: datetime | None

    @property
    def duration(self) -> float | None:
        """Seconds from begin to end; None if one of them is missing."""
        return (self.finished - self.started).total_seconds() if self.started and self.finished else None


@sealed
@attrs.frozen(weakref_slot=False, repr=False)
class TaskRecord(Timed):
    """What is known about a task of a run: `value` and `error` of its last attempt.

    `reason` and `cause` say why it was skipped or cancelled, `cause` as the path of a task or group.
    `compensation_error` says why it could not be undone; then it stays what it was.
    """

    path: str
    name: str
    state: State = State.PENDING
    value: Any = attrs.field(default=None, repr=brief, hash=False)
    error: BaseException | None = attrs.field(default=None, repr=brief)
    attempts: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    reason: str | None = None
    cause: str | None = None
    cached: bool = False
    restored: bool = False
    compensation_error: BaseException | None = attrs.field(default=None, repr=brief)


@attrs.frozen(repr=False)
class GroupRecord(Timed):
    """What its tasks say about a group: `error` is that of the first to fail. The path `""` is the workflow itself."""

    path: str
    kind: str
    state: State
    started: datetime | None = None
    finished: datetime | None = None
    error: BaseException | None = attrs.field(default=None, repr=brief)


class Inner(NamedTuple):
    """Path and name of a task in an item of a map: it is found by its path only, as many have its name."""

    path: str
    name: str


class GroupShape(NamedTuple):
    """A group and the tasks in it: those at the positions `start` to `stop` in definition order.

    Of kind "map" it is none: what follows the task at `start` is in the items of that, and no part of groups around.
    """

    path: str
    kind: str
    start: int
    stop: int
    error: BaseException | None = None  # of the group itself: its time was up


def advance(record: TaskRecord, event: TaskEvent) -> TaskRecord:
    """The record after the event. Pure, and total: an order of states that cannot be is recorded as it came."""
    if event.state is State.COMPENSATED:  # what the task did stays what it did
        return discreet(attrs.evolve(record, state=event.state), sanitizer_of(record))
    attempts = max(record.attempts, event.attempt)
    started = record.started or (event.time if event.state is State.RUNNING else None)
    finished = event.time if event.state.is_final else record.finished
    facts = event.value, event.error, attempts, started, finished, event.reason, event.cause
    known = TaskRecord(record.path, record.name, event.state, *facts, event.cached, event.restored)
    return discreet(known, sanitizer_of(event))


def fold(events: Iterable[Event]) -> dict[str, TaskRecord]:
    """The records of all tasks that the events speak of, by path, in order of their first event."""
    records: dict[str, TaskRecord] = {}
    for event in events:
        if isinstance(event, TaskEvent):
            record = records.get(event.path) or TaskRecord(event.path, event.name)
            records[event.path] = advance(record, event)
        elif isinstance(event, CompensationEvent):
            known = attrs.evolve(records[event.path], compensation_error=event.error)
            records[event.path] = discreet(known, sanitizer_of(event))
    return records


class Tasks(Mapping[str, TaskRecord]):
    """Records by path in definition order, or by a name that is unique; the trace is read when one is asked for."""

    def __init__(self, places: Sequence[tuple[str, str]], trace: Callable[[], Iterable[Event]]) -> None:
        self._places = places
        self._trace = trace
        self._positions: dict[str, int] = {}  # by path, else by name; -1 for a name that several tasks have
        for position, place in enumerate(places):
            if not isinstance(place, Inner):
                self._positions[place[1]] = -1 if place[1] in self._positions else position
        self._positions |= {path: position for position, (path, _) in enumerate(places)}

    @cached_property
    def _records(self) -> list[TaskRecord]:
        known = fold(self._trace())
        del self._trace  # it leads back to the result, which would outlive its last user
        return [known.get(path) or TaskRecord(path, name) for path, name in self._places]

    def __getitem__(self, key: str) -> TaskRecord:
        return self._records[self.find(key)]

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<records of {len(self)} tasks>"

    def find(self, key: str, others: Iterable[str] = ()) -> int:
        """The position of a task; `others` are names that would have been found elsewhere. KeyError: none, several."""
        position = self._positions.get(key)
        if position is None:
            meant = " or ".join(map(repr, close_matches(str(key), (*others, *self._positions))))
            raise KeyError(f"nothing is called {key!r}" + (f", did you mean {meant}?" if meant else ""))
        if position < 0:
            paths = [path for path, name in self._places if name == key]
            raise KeyError(f"{len(paths)} tasks are named {key!r}, ask by path: {brief(paths)}")
        return position


class _Tally(NamedTuple):
    """What some tasks come to."""

    states: frozenset[State]
    started: datetime | None
    finished: datetime | None
    failed: TaskRecord | None  # the first to fail


def fold_groups(shapes: Iterable[GroupShape], tasks: Sequence[TaskRecord]) -> dict[str, GroupRecord]:
    """The records of groups, given each before those in it, from the records of all tasks; linear at any depth.

    From the last group to the first, the tallies of what is in a group become one that stands where the group starts
    and reaches to its end: the group around it meets only that.
    """
    tallies = [
        _Tally(frozenset({task.state}), task.started, task.finished, task if task.state is State.FAILED else None)
        for task in tasks
    ]
    ends, records = list(range(1, len(tasks) + 1)), dict[str, GroupRecord]()
    for path, kind, start, stop, own in reversed(list(shapes)):
        if kind == "map":
            ends[start] = stop
            continue
        inside, position = list[_Tally](), start
        while position < stop:
            inside.append(tallies[position])
            position = ends[position]
        tally = _merged(inside)
        if own is not None:
            failed = TaskRecord(path, path, State.FAILED, error=own, finished=tally.finished)
            tally = tally._replace(states=tally.states | {State.FAILED}, failed=tally.failed or failed)
        if inside:
            tallies[start], ends[start] = tally, stop
        state = group_state(tally.states)
        error = tally.failed.error if tally.failed else None
        records[path] = GroupRecord(path, kind, state, tally.started, tally.finished if state.is_final else None, error)
    return dict(reversed(records.items()))


def _merged(tallies: Sequence[_Tally]) -> _Tally:
    return _Tally(
        frozenset[State]().union(*(each.states for each in tallies)),
        min((each.started for each in tallies if each.started), default=None),
        max((each.finished for each in tallies if each.finished), default=None),
        min((each.failed for each in tallies if each.failed), key=attrgetter("finished"), default=None),
    )


def group_state(states: Collection[State]) -> State:
    """The state of a group whose tasks are in these states: if all are settled, the worst."""
    if all(state.is_final for state in states):
        worst = (State.FAILED, State.CANCELLED, State.SKIPPED)
        return next((state for state in worst if state in states), State.SUCCEEDED)
    if states == {State.PENDING}:
        return State.PENDING
    return State.PAUSED if State.PAUSED in states and State.RUNNING not in states else State.RUNNING
