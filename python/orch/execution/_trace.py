"""The events of a run, decoded from the core's journal when somebody reads them.

The journal holds integers: node, state, reason, cause, time. A `Decoder` turns a stretch of it into events, in
order and without gaps. A subscriber's stream and `result.trace` come out of the same decoder.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from orch.context import Context
from orch.event import STATES, Event, RunEvent, State, TaskEvent
from orch.execution._run import Run
from orch.plan import NONE

__all__ = ("Decoder", "bind", "rebind")

_NOTE = 15
_CANCELLED = "cancelled", None
_REASONS = (None, "upstream_failed", "aborted", "upstream_cancelled")


class Decoder:
    """Reads the journal of one run from its beginning; each call goes on where the last one stopped."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._position = self._notes = self._seq = 0
        self._attempts: dict[int, int] = {}

    def begin(self) -> RunEvent:
        """Return the first event of the run."""
        return self._run_event(State.RUNNING, self._run.started, None)

    def advance(self) -> list[Event]:
        """Return what the journal holds beyond what was read already."""
        entries = self._run.schedule.journal(self._position)
        self._position += len(entries)
        return [self._event(*entry) for entry in entries]

    def end(self) -> RunEvent:
        """Return the last event of a settled run."""
        run = self._run
        return self._run_event(run.state, run.time(run.ended), next(iter(run.errors.values()), None))

    def _run_event(self, state: State, time: datetime, error: BaseException | None) -> RunEvent:
        self._seq += 1
        plan = self._run.plan
        return RunEvent(self._run.run_id, self._seq, time, "", state, plan.workflow.name, error, len(plan))

    def _event(self, node: int, code: int, reason: int, cause: int, nanoseconds: int) -> Event:
        self._seq += 1
        run = self._run
        time = run.time(nanoseconds)
        if code == _NOTE:
            self._notes += 1
            kind, path, facts = run.notes[self._notes - 1]
            return kind(run.run_id, self._seq, time, path, *facts)
        state, attempt = STATES[code], self._attempts.get(node, 0)
        if state is State.RUNNING:
            self._attempts[node] = attempt = attempt + 1
        value, error, delay = self._outcome(node, state, attempt)
        why, who = _REASONS[reason], run.plan.path(cause) if cause != NONE else "" if reason else None
        if state is State.CANCELLED:
            why, who = run.reasons.get(node, _CANCELLED)
        name, path = run.plan.name(node), run.plan.paths[node]
        return TaskEvent(run.run_id, self._seq, time, path, name, state, attempt, value, error, delay, why, who)

    def _outcome(self, node: int, state: State, attempt: int) -> tuple[Any, BaseException | None, float | None]:
        """Return value, error and delay of what has just changed its state."""
        if state is State.SUCCEEDED:
            return self._run.values[node], None, None
        if state is State.RETRYING:
            return None, *self._run.trails[node].failures[attempt - 1]
        return None, self._run.errors.get(node) if state in {State.FAILED, State.CANCELLED} else None, None


def bind(run: Run, context: Context[Any]) -> None:
    """Make the context that of the run, and give every step that asks for it its view."""

    def trace() -> list[Event]:
        decoder = Decoder(run)
        return [decoder.begin(), *decoder.advance()]

    def completed() -> list[str]:
        return [run.plan.path(node) for node, code, *_ in run.schedule.journal() if code == State.SUCCEEDED.code]

    run.context = context._bind(run.run_id, trace, completed)  # noqa: SLF001 (made for this caller)
    for slot, node, _ in run.plan.wiring.contexts:
        view = run.context._view(partial(run.plan.path, node), 1, partial(run.log, node))  # noqa: SLF001 (as above)
        run.values[slot] = view


def rebind(run: Run, node: int, attempt: int) -> None:
    """Give a step that is called again views that know which attempt it is."""
    for slot, owner, _ in run.plan.wiring.contexts:
        if owner == node and run.values[slot] is not None:
            run.values[slot] = run.values[slot]._view(  # noqa: SLF001 (as above)
                partial(run.plan.path, node), attempt, partial(run.log, node)
            )
