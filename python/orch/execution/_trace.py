"""
The events of a run, decoded from the core's journal when somebody reads them.

The journal holds integers: node, state, reason, cause, time. `Decoder` turns a stretch of it into events, in order
and without gaps; the first event of a run is its RunEvent(RUNNING), the last its final RunEvent. A subscriber's
stream and `result.trace` come out of the same decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orch.event import STATES, Event, LogEvent, RunEvent, State, TaskEvent
from orch.plan import NONE

if TYPE_CHECKING:
    from datetime import datetime

    from orch.execution._run import Run

__all__ = ("Decoder",)

_NOTE = 15
_RUNNING, _RETRYING = State.RUNNING.code, State.RETRYING.code
_REASONS = (None, "upstream_failed", "aborted", "upstream_cancelled")
_VALUES = {State.SUCCEEDED}
_ERRORS = {State.FAILED, State.CANCELLED}


class Decoder:
    """Reads the journal of one run from its beginning; each call goes on where the last one stopped."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._position = 0
        self._seq = 0
        self._notes = 0
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
        error = next(iter(run.errors_in_order()), None)
        return self._run_event(run.state, run.time(run.ended), error)

    def _run_event(self, state: State, time: datetime, error: BaseException | None) -> RunEvent:
        self._seq += 1
        plan = self._run.plan
        return RunEvent(self._run.run_id, self._seq, time, "", state, plan.workflow.name, error, len(plan))

    def _event(self, node: int, code: int, reason: int, cause: int, nanoseconds: int) -> Event:
        self._seq += 1
        run = self._run
        time = run.time(nanoseconds)
        path = run.plan.paths[node]
        if code == _NOTE:
            self._notes += 1
            return LogEvent(run.run_id, self._seq, time, path, *run.notes[self._notes - 1])
        state = STATES[code]
        attempt = self._attempts.get(node, 0 if code != _RUNNING else 1)
        if code == _RUNNING:
            self._attempts[node] = attempt
        return TaskEvent(
            run.run_id,
            self._seq,
            time,
            path,
            run.plan.name(node),
            state,
            attempt,
            run.values[node] if state in _VALUES else None,
            run.errors.get(node) if state in _ERRORS else None,
            None,
            _REASONS[reason],
            None if cause == NONE else run.plan.paths[cause],
        )
