"""What one run has left behind: its events, what the bodies said, and questions that many invariants ask."""

from functools import cached_property
from typing import Any

import anyio
import attrs

import orch
from orch.event import Event, RunEvent, State, TaskEvent
from orch.plan import Plan
from tests.simulation.build import Built
from tests.simulation.ledger import Entry, Ledger
from tests.simulation.plans import Case, Group, Step

__all__ = ("HANDED", "ROUNDED", "Crash", "Seen")

HANDED = "the input"
ROUNDED = 2e-6  # events have times of whole microseconds
_DEPTH = 5  # of causes
_ENDS = tuple(state for state in State if state.is_final)


@attrs.define
class Crash:
    """A run that never came back: a deadlock, or an error of the engine itself."""

    case: Case
    backend: str
    error: BaseException


@attrs.define(slots=False)
class Seen:
    """What one run has left behind, with the questions that many invariants ask of it."""

    case: Case
    plan: Plan
    built: Built
    trace: tuple[Event, ...] = ()
    heard: list[list[Event]] = attrs.field(factory=list)
    result: orch.RunResult | None = None
    raised: BaseException | None = None
    ended: float = 0.0
    limit: float = 0.0
    cancelling: int = 0  # cancellations of the caller's task that asyncio still counts
    over: anyio.Event = attrs.field(factory=anyio.Event)
    left: list[str] = attrs.field(factory=list)
    borrowed: dict[int, tuple[int, int]] = attrs.field(factory=dict)  # tokens out and tasks waiting, in the end
    run: Any = None
    twin: "Seen | None" = None  # another run of the same case, at the same time
    steps: dict[str, Step] = attrs.field(init=False)  # and so on: what the case says, which is asked for all the time
    threaded: frozenset[str] = attrs.field(init=False)
    groups: dict[str, Group] = attrs.field(init=False)
    inside: dict[str, frozenset[str]] = attrs.field(init=False)
    around: dict[str, tuple[Group, ...]] = attrs.field(init=False)
    waits: dict[str, frozenset[str]] = attrs.field(init=False)
    told: list[TaskEvent] = attrs.field(factory=list)  # and so on: the trace, sorted by `look`
    others: list[Event] = attrs.field(factory=list)
    by_name: dict[str, list[TaskEvent]] = attrs.field(factory=dict)
    states: dict[str, tuple[State, ...]] = attrs.field(factory=dict)  # that each task has gone through
    occurred: set[State] = attrs.field(factory=set)  # that some task has been in
    final: dict[str, State] = attrs.field(factory=dict)  # in which each task ended, compensated or not
    first_end: dict[str, float] = attrs.field(factory=dict)  # when it did so first
    said: dict[str, list[Entry]] = attrs.field(factory=dict)  # the entries by `what`

    def __attrs_post_init__(self) -> None:
        case = self.case
        self.steps, self.threaded, self.groups = case.steps, case.threaded, case.groups
        self.inside, self.around, self.waits = case.inside, case.around, case.waits

    @property
    def ledger(self) -> Ledger:
        return self.built.ledger

    @property
    def entries(self) -> list[Entry]:
        return self.built.ledger.entries

    @property
    def state(self) -> State:
        """How the run ended."""
        last = self.trace[-1]
        assert isinstance(last, RunEvent)
        return last.state

    def look(self) -> None:
        """Sort what was told and said, once for all invariants."""
        for event in self.trace:
            if type(event) is TaskEvent:
                self.told.append(event)
                self.by_name.setdefault(event.name, []).append(event)
                if event.state in _ENDS:
                    self.first_end.setdefault(event.name, event.time.timestamp())
                    if event.state is not State.COMPENSATED:
                        self.final[event.name] = event.state
            else:
                self.others.append(event)
        self.states = {name: tuple(event.state for event in events) for name, events in self.by_name.items()}
        self.occurred.update(*self.states.values())
        for entry in self.entries:
            self.said.setdefault(entry.what, []).append(entry)

    def forget(self) -> None:
        """Take the frames off the errors, which lead back to the run: all of it goes at once then, without a search."""
        errors = [event.error for event in self.trace if isinstance(event, TaskEvent)]
        if self.run is not None:
            errors += [self.run.interruption, *self.run.errors.values()]
        for error in errors:
            _take_off(error)

    @cached_property
    def calls(self) -> dict[str, list[tuple[Entry, Entry | None, Entry | None]]]:
        """By task its body's calls: start, hit, end."""
        found: dict[str, list[list[Entry | None]]] = {}
        places = {"start": 0, "hit": 1, "end": 2}
        for entry in self.entries:
            if entry.what == "start":
                found.setdefault(entry.name, []).append([entry, None, None])
            elif entry.what in places:
                found[entry.name][entry.number - 1][places[entry.what]] = entry
        return {name: [(call[0], call[1], call[2]) for call in calls] for name, calls in found.items()}  # type: ignore[misc]

    @cached_property
    def awaited(self) -> dict[str, list[tuple[Entry, Entry | None, Entry | None]]]:
        """The calls of all others."""
        return {name: calls for name, calls in self.calls.items() if name not in self.threaded}

    @cached_property
    def late(self) -> set[str]:
        """The groups whose time was over."""
        errors = self.run.errors.values()
        found = {each.task.rsplit("/", 1)[-1] for each in errors if isinstance(each, orch.TaskTimeoutError)}
        return found & self.groups.keys()

    @cached_property
    def cancelled_at(self) -> float | None:
        """When the caller was cancelled, the run told to end, or a body ended it all; None if nobody did so."""
        if "cancel" not in self.said:
            return None
        heard = {event.name for event in self.told if isinstance(event.error, SystemExit)}
        dropped = self.threaded - heard  # what a thread raises that was given up
        return next((entry.time for entry in self.said["cancel"] if entry.name not in dropped), None)

    @cached_property
    def stopped(self) -> dict[str, float]:
        """The steps that somebody has asked the run to stop while they had not ended, and when that was."""
        return {entry.name: entry.time for entry in self.said.get("stopped", ()) if entry.name and entry.detail}

    def time(self, event: Event) -> float:
        """Virtual seconds."""
        return event.time.timestamp()


def _take_off(error: BaseException | None) -> None:
    for _ in range(_DEPTH):
        if error is None:
            return
        error.__traceback__ = None
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                each.__traceback__ = None
        error = error.__cause__ or error.__context__
