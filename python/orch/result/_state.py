"""
The reducer: from the events of a run to what is known about its tasks and groups.

Everything that says where a task stands (the result, its report, progress) is this fold over the same events.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from orch.event import State, TaskEvent
from orch.event._types import sealed
from orch.event._text import brief

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from orch.event import Event

    _Failure = tuple[datetime | None, BaseException | None]


@sealed
@attrs.frozen(weakref_slot=False)
class TaskRecord:
    """
    What is known about one task of a run.

    Attributes:
        path: Which task: the names of the groups around it and its own, joined by `/`.
        name: Its name.
        state: Where it stands.
        value: What it returned; None unless it succeeded and its value was kept.
        error: What it raised last.
        attempts: How often it was begun.
        started: When it was begun first.
        finished: When it was settled.
        reason: Why it was skipped: `"upstream_failed"`, `"upstream_cancelled"` or `"aborted"`.
        cause: The path of the task that is to blame for a skip.
        cached: Whether the value comes from a cache.
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

    @property
    def duration(self) -> float | None:
        """Seconds from its first start until it was settled; None if it never ran or is not settled."""
        return seconds(self.started, self.finished)


@attrs.frozen
class GroupRecord:
    """
    What is known about one group of a run, derived from its tasks.

    Attributes:
        path: Which group; `""` is the workflow itself.
        kind: `"sequence"`, `"parallel"` or `"graph"`.
        state: Where it stands: the worst outcome among its tasks once all of them are settled.
        started: When its first task was begun.
        finished: When its last task was settled.
        error: What failed first in it.
    """

    path: str
    kind: str
    state: State
    started: datetime | None = None
    finished: datetime | None = None
    error: BaseException | None = attrs.field(default=None, repr=brief)

    @property
    def duration(self) -> float | None:
        """Seconds from the start of its first task until its last one was settled."""
        return seconds(self.started, self.finished)


class GroupShape(NamedTuple):
    """A group and the tasks in it: those at the positions `start` to `stop` in definition order."""

    path: str
    kind: str
    start: int
    stop: int


def seconds(started: datetime | None, finished: datetime | None) -> float | None:
    """The time between both in seconds, if there are both."""
    return None if started is None or finished is None else (finished - started).total_seconds()


def advance(record: TaskRecord, event: TaskEvent) -> TaskRecord:
    """The record after the event. Pure, and total: an order of states that cannot be is recorded as it came."""
    state = event.state
    started, finished, attempts = record.started, record.finished, record.attempts
    if state is State.COMPENSATED:  # what the task did stays what it did
        return attrs.evolve(record, state=state)
    if state is State.RUNNING:
        started, attempts = started or event.time, max(attempts, event.attempt)
    if state.is_final:
        finished = event.time
    facts = event.value, event.error, attempts, started, finished, event.reason, event.cause, event.cached
    return TaskRecord(record.path, record.name, state, *facts)


def fold(events: Iterable[Event]) -> dict[str, TaskRecord]:
    """The records of all tasks that the events speak of, by path, in order of their first event."""
    records: dict[str, TaskRecord] = {}
    for event in events:
        if isinstance(event, TaskEvent):
            record = records.get(event.path) or TaskRecord(event.path, event.name)
            records[event.path] = advance(record, event)
    return records


def fold_groups(shapes: Iterable[GroupShape], tasks: Sequence[TaskRecord]) -> dict[str, GroupRecord]:
    """
    The records of groups from those of their tasks, by path; linear, however deep they nest.

    Args:
        shapes: The groups, each before the groups in it.
        tasks: All tasks in definition order.
    """
    tallies = [_Tally(shape) for shape in shapes]
    _count([tally for tally in tallies if tally.shape.start < tally.shape.stop], tasks)
    return {tally.shape.path: tally.record() for tally in tallies}


def _count(tallies: list[_Tally], tasks: Sequence[TaskRecord]) -> None:
    """Count each task in the innermost group around it, and each group, when it ends, in the one around it."""
    coming, around = tallies[::-1], list[_Tally]()
    for position, task in enumerate(tasks):
        while around and around[-1].shape.stop <= position:
            _close(around)
        while coming and coming[-1].shape.start <= position:
            around.append(coming.pop())
        if around:
            failed = (task.finished, task.error) if task.state is State.FAILED else None
            around[-1].add({task.state}, task.started, task.finished, failed)
    while around:
        _close(around)


def _close(around: list[_Tally]) -> None:
    tally = around.pop()
    if around:
        around[-1].add(tally.states, tally.started, tally.finished, tally.failed)


class _Tally:
    """What is known so far about a group: its states, its times, and when and by what it failed first."""

    def __init__(self, shape: GroupShape) -> None:
        self.shape = shape
        self.states: set[State] = set()
        self.started: datetime | None = None
        self.finished: datetime | None = None
        self.failed: _Failure | None = None

    def add(
        self, states: set[State], started: datetime | None, finished: datetime | None, failed: _Failure | None
    ) -> None:
        self.states |= states
        self.started = min(filter(None, (self.started, started)), default=None)
        self.finished = max(filter(None, (self.finished, finished)), default=None)
        self.failed = min(filter(None, (self.failed, failed)), key=itemgetter(0), default=None)

    def record(self) -> GroupRecord:
        state = group_state(self.states)
        finished = self.finished if state.is_final else None
        error = self.failed[1] if self.failed else None
        return GroupRecord(self.shape.path, self.shape.kind, state, self.started, finished, error)


def group_state(states: set[State]) -> State:
    """The state of a group whose tasks are in these states: if all are settled, the worst."""
    if all(state.is_final for state in states):
        worst = (State.FAILED, State.CANCELLED, State.SKIPPED)
        return next((state for state in worst if state in states), State.SUCCEEDED)
    if states == {State.PENDING}:
        return State.PENDING
    return State.PAUSED if State.PAUSED in states and State.RUNNING not in states else State.RUNNING
