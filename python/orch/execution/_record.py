"""What a run keeps beside the states, which the core has: errors, notes, reasons."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from orch._core import Schedule
from orch.event import ChunkEvent, CircuitEvent, Event
from orch.execution._protected import protected
from orch.plan import Plan
from orch.policies import Change

__all__ = ("Record",)


class Relayed(Protocol):
    """A run inside a step, whose events are read one by one as events of the run around."""

    def pump(self) -> None: ...
    def reader(self) -> Reader: ...


class Reader(Protocol):
    is_done: bool

    def next(self, seq: int) -> Event: ...


_FORGOTTEN: Any = (Event, "", ())


class Record:
    """The books of one run."""

    schedule: Schedule
    unread: Callable[[], float]
    is_over = False  # whether the last event is on record

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lock = threading.Lock()  # what is written here and into the journal is in the same order in both
        self.errors: dict[object, BaseException] = {}  # in order of time; by node, or by what else has failed
        self._ranks: dict[object, int] = {}  # their places in that order
        self.notes: list[tuple[type[Event] | Relayed, str, tuple[Any, ...]]] = []  # events beside those of states
        self.streams: dict[int, int] = {}  # those whose values may be let go, and the places of their first notes
        self.outdated: list[tuple[str, int, int]] = []  # chunks of released streams: path, first and last place
        self.relays: set[Relayed] = set()  # runs inside steps that go on
        self.tiles: dict[int, list[Any]] = {}  # by node of a map, the runs of its items
        self.outlet: Any = None  # takes the items of a map, which are not kept then
        self.reasons: dict[int, tuple[str, str | None]] = {}  # why, and because of whom, a step was stopped
        self.restored: set[int] = set()  # steps whose values are those of an earlier run
        self.released: set[int] = set()
        self.collected: set[int] = set()  # groups whose value is put together
        self.abandoned: list[int] = []

    def note(self, kind: type[Event], path: str, *facts: Any) -> None:
        """Put an event that is no change of a step's state into the journal; from any thread."""
        with self.lock:  # the k-th note of the journal is the k-th here
            if self.is_over:  # an abandoned thread may speak so late
                return
            self.notes.append((kind, path, facts))
            self.schedule.note(0)

    def let_go(self, released: Iterable[int] = (), told: float = math.inf) -> None:
        """Let go of the chunks of streams whose values were released, once everybody has been told them."""
        for node in self.streams.keys() & set(released):
            self.outdated.append((self.plan.path(node), self.streams.pop(node), len(self.notes)))
        read, waiting = min(self.unread(), told), self.outdated
        self.outdated = [(path, first, last) for path, first, last in waiting if read < last]
        for path, first, last in waiting:
            for k in range(first, int(min(read, last))):
                kind, at, facts = self.notes[k]
                if kind is ChunkEvent and at == path:
                    self.notes[k] = (kind, at, (facts[0], None))

    def relay(self, inner: Relayed, count: int) -> None:
        """Say that a run inside a step has so many more events."""
        with self.lock:
            if not self.is_over:
                self.notes.extend([(inner, "", ())] * count)
                for _ in range(count):
                    self.schedule.note(0)

    def forget(self, node: int) -> None:
        """Let go of what the items of a map have left behind, once everybody has it."""
        with self.lock:
            self.tiles[node] = []
            self.notes[:] = [_FORGOTTEN] * len(self.notes)

    def circuit(self, path: str, breaker: str | None, change: Change | None) -> None:
        """Say that a breaker has changed its state."""
        if change is not None:
            self.note(CircuitEvent, path, breaker, *change)

    def record(self, key: object, error: BaseException) -> None:
        """Keep an error, by the node that failed, or by what else has."""
        self._ranks[key] = len(self._ranks)
        self.errors[key] = error

    def blame(self, scope: int) -> Exception | None:
        """Return the first error in a group, its own included."""
        row = self.plan.draft.scopes[scope]
        failed = [node for node in (*range(row.start, row.end), row.join) if node in self.errors]
        error = self.errors[min(failed, key=self._ranks.__getitem__)] if failed else None
        return error if isinstance(error, Exception) else None


for _method in (Record.note, Record.relay, Record.forget):  # who is interrupted there may leave the lock taken
    protected(_method)
