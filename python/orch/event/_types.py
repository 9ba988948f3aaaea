"""What happened, in the past tense: one class per subject, the state in a field; as picklable as the values in it.

Within a run `seq` starts at 1 and has no gaps; the first event is `RunEvent(RUNNING)`, the last the final `RunEvent`.
"""

from datetime import datetime
from typing import Any, TypeVar

import attrs

from orch.event._discreet import Discreet
from orch.event._state import State
from orch.event._text import brief

T = TypeVar("T")
_set_class = object.__dict__["__class__"].__set__


def sealed(cls: type[T]) -> type[T]:
    """Make instances of `cls`, a final class made by `attrs.frozen`, cheap to construct.

    A run makes two events a task; `attrs.frozen` writes their fields through `object.__setattr__`, 1.1 µs each. Of a
    sealed class an instance is a hidden twin while `__init__` runs, where plain assignment is allowed (0.4 µs).
    """
    body: dict[str, Any] = {
        "__slots__": (),
        "__setattr__": object.__setattr__,  # both of them, or each assignment goes through a slow slot
        "__delattr__": object.__delattr__,
        "__attrs_pre_init__": lambda self: _set_class(self, twin),
        "__attrs_post_init__": lambda self: _set_class(self, cls),
    }
    twin: type = attrs.define(type(cls.__name__, (cls,), body), eq=False, repr=False, weakref_slot=False)
    for name in ("__attrs_pre_init__", "__init__"):  # the hook is looked up before the instance is a twin
        type.__setattr__(cls, name, twin.__dict__[name])
    return cls


@attrs.frozen(weakref_slot=False, repr=False)
class Event(Discreet):
    """What all events have: `time` is aware and in UTC, `path` that of the task it is about, `""` for the run."""

    run_id: str
    seq: int
    time: datetime
    path: str


@attrs.frozen(weakref_slot=False, repr=False)
class RunEvent(Event):
    """The run changed its state; `error` is its first one, `tasks` how many it has, where that is known."""

    state: State
    workflow: str
    error: BaseException | None = attrs.field(default=None, repr=brief)
    tasks: int | None = None


@sealed
@attrs.frozen(weakref_slot=False, repr=False)
class TaskEvent(Event):
    """A task changed its state. An attempt that failed and will be repeated is RETRYING, with `delay` in seconds."""

    name: str
    state: State
    attempt: int = 0  # from 1; 0 for a task that never ran
    value: Any = attrs.field(default=None, repr=brief, hash=False)  # values need not be hashable, events are
    error: BaseException | None = attrs.field(default=None, repr=brief)
    delay: float | None = None
    # of a skip: "upstream_failed", "upstream_cancelled" or "aborted"; of CANCELLED: "aborted", "timed_out" (a group),
    # "cancelled" (the run was) or "requested" (this task alone)
    reason: str | None = None
    cause: str | None = None  # the path of the task, or of the group, that is to blame for it
    cached: bool = False  # it has not run, its value was known from another run
    restored: bool = False  # it has not run, its value is that of the run which this one goes on with


@attrs.frozen(weakref_slot=False, repr=False)
class CircuitEvent(Event):
    """A breaker changed its state, by a call of the task or group at `path`: "closed", "open" or "half_open"."""

    name: str | None
    old: str
    new: str


@attrs.frozen(weakref_slot=False, repr=False)
class CompensationEvent(Event):
    """The compensation of a task failed; the task stays what it was."""

    name: str
    error: BaseException | None = attrs.field(default=None, repr=brief)


@sealed
@attrs.frozen(weakref_slot=False, repr=False)
class ChunkEvent(Event):
    """A task that streams has given one more value; all of them together are the task's."""

    name: str
    chunk: Any = attrs.field(default=None, repr=brief, hash=False)


@attrs.frozen(weakref_slot=False, repr=False)
class InterruptEvent(Event):
    """A task asks a question and waits for somebody to answer it."""

    name: str
    question: Any = attrs.field(default=None, repr=brief, hash=False)


@sealed
@attrs.frozen(weakref_slot=False, repr=False)
class MapEvent(Event):
    """One item of a map changed its state; `path` is that of the map, and `index` counts from 0."""

    name: str
    index: int
    state: State
    error: BaseException | None = attrs.field(default=None, repr=brief)


@attrs.frozen(weakref_slot=False, repr=False)
class LogEvent(Event):
    """A task said something through its context; `level` is one of `logging`, in lower case."""

    level: str
    message: str
