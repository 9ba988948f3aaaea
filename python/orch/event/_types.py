"""
What happened, in the past tense: one class per subject, the state in a field.

Events are immutable, comparable, hashable and, if the values they carry are, picklable. Within a run `seq` starts at 1
and has no gaps; the first event is `RunEvent(RUNNING)`, the last the final `RunEvent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from orch.event._sealed import sealed
from orch.event._text import brief

if TYPE_CHECKING:
    from datetime import datetime

    from orch.event._state import State


@sealed
@attrs.frozen(weakref_slot=False)
class Event:
    """
    What all events have.

    Attributes:
        run_id: The run it happened in.
        seq: Its number within the run, from 1, without gaps.
        time: When it happened, in UTC, aware.
        path: The task or group it is about; `""` for the run.
    """

    run_id: str
    seq: int
    time: datetime
    path: str


@sealed
@attrs.frozen(weakref_slot=False)
class RunEvent(Event):
    """
    The run changed its state.

    Attributes:
        state: The state it is in from now on.
        workflow: The name of the workflow.
        error: The first error, where it failed.
        tasks: How many tasks the run has, where known.
    """

    state: State
    workflow: str
    error: BaseException | None = attrs.field(default=None, repr=brief)
    tasks: int | None = None


@sealed
@attrs.frozen(weakref_slot=False)
class TaskEvent(Event):
    """
    A task changed its state.

    A failed attempt that will be repeated is RETRYING, with its error and the delay, and not FAILED.

    Attributes:
        name: The name of the task; `path` says which one of that name.
        state: The state it is in from now on.
        attempt: The number of the attempt, from 1; 0 for a task that never ran.
        value: What it returned, where it succeeded and the value is kept.
        error: What its attempt raised.
        delay: Seconds until the next attempt.
        reason: Why it was skipped: `"upstream_failed"`, `"upstream_cancelled"` or `"aborted"`.
        cause: The path of the task that is to blame for a skip.
        cached: Whether the value comes from a cache.
    """

    name: str
    state: State
    attempt: int = 0
    value: Any = attrs.field(default=None, repr=brief, hash=False)  # values need not be hashable, events are
    error: BaseException | None = attrs.field(default=None, repr=brief)
    delay: float | None = None
    reason: str | None = None
    cause: str | None = None
    cached: bool = False


@sealed
@attrs.frozen(weakref_slot=False)
class LogEvent(Event):
    """
    A task said something through its context.

    Attributes:
        level: The severity as in `logging`, in lower case: `"info"`.
        message: The text.
    """

    level: str
    message: str
