"""What holds of every run, whatever happened in it. Behaviour tests run their workflows through `settle`."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC
from itertools import pairwise
from typing import Any

import anyio

import orch
from orch import Event, RunResult, State
from orch.event import LogEvent, RunEvent, TaskEvent
from orch.event._state import TRANSITIONS
from orch.plan import Plan

PATIENCE = 10
"""Seconds after which a run that should be over is a failure: none here takes a hundredth of them."""

_WORST = (State.FAILED, State.CANCELLED, State.SKIPPED, State.SUCCEEDED)
_BLAMED = {"upstream_failed": State.FAILED, "aborted": State.FAILED, "upstream_cancelled": State.CANCELLED}


async def settle(workflow: Any, *given: Any, runner: orch.AsyncRunner | None = None, **options: Any) -> RunResult:
    """Run to the end and check what holds of every run; a failed run is returned as well."""
    run = orch.run if runner is None else runner.run
    with anyio.fail_after(PATIENCE):
        result = await run(workflow, *given, raise_on_failure=False, **options)
    plan = orch.plan.compile(workflow)
    check(result, None if "select" in options else plan)
    return result


def check(result: RunResult, plan: Plan | None = None) -> None:
    """Check the invariants of a settled run; with its plan also that nothing started too early."""
    check_trace(result.trace, result.run_id)
    check_records(result)
    if plan is not None:
        assert list(result.tasks) == list(plan.describe()["tasks"])
        check_causality(plan, result.trace)


def check_trace(trace: Sequence[Event], run_id: str) -> None:
    """The first event is the start of the run, the last its end; no number is missing; tasks end once."""
    assert [event.seq for event in trace] == list(range(1, len(trace) + 1))
    assert {event.run_id for event in trace} == {run_id}
    assert all(event.time.tzinfo is UTC for event in trace)
    assert all(one.time <= other.time for one, other in pairwise(trace))
    first, *between, last = trace
    assert isinstance(first, RunEvent)
    assert isinstance(last, RunEvent)
    assert (first.state, first.path, last.path, last.workflow) == (State.RUNNING, "", "", first.workflow)
    assert last.state.is_final
    assert all(isinstance(event, TaskEvent | LogEvent) for event in between)
    for events in by_path(trace).values():
        check_task(events)


def check_task(events: Sequence[TaskEvent]) -> None:
    """One task: legal transitions only, from PENDING to exactly one final state."""
    states = [State.PENDING, *(event.state for event in events)]
    assert all(after in TRANSITIONS[before] for before, after in pairwise(states)), states
    assert [state.is_final for state in states].count(True) == 1, states
    assert len({event.name for event in events}) == 1
    ran = State.RUNNING in states
    assert [event.attempt for event in events] == [1 if ran else 0] * len(events)
    for event in events:
        assert (event.error is not None) or event.state is not State.FAILED
        assert (event.reason is not None) == (event.state in {State.SKIPPED, State.CANCELLED})


def check_records(result: RunResult) -> None:
    """Records, groups and errors say the same as the events."""
    known = by_path(result.trace)
    for path, record in result.tasks.items():
        last = known[path][-1]
        assert (record.path, record.name, record.state) == (path, last.name, last.state)
        assert (record.error, record.reason, record.cause) == (last.error, last.reason, last.cause)
        if record.state is State.SKIPPED:
            check_cause(result, known, last)
    failed = [event for event in tasks_of(result.trace) if event.state is State.FAILED]
    assert (result.state is State.FAILED) == bool(failed)
    assert [error for error in result.errors if isinstance(error, Exception)] == [event.error for event in failed]
    check_groups(result)
    assert "\n" not in repr(result)
    assert json.loads(result.to_json())["state"] == result.state.value


def check_cause(result: RunResult, known: dict[str, list[TaskEvent]], skipped: TaskEvent) -> None:
    """Who is blamed for a skip, a task or a group, has failed or was cancelled before it."""
    cause, state = str(skipped.cause), _BLAMED[str(skipped.reason)]
    if cause in known:
        assert (known[cause][-1].state, known[cause][-1].seq < skipped.seq) == (state, True)
    else:
        assert result.groups[cause].state is state


def check_groups(result: RunResult) -> None:
    """A group is as well off as the worst of its tasks."""
    inside: dict[str, set[State]] = {path: set() for path in result.groups}
    for path, task in result.tasks.items():
        for end in (k for k, letter in enumerate(path) if letter == "/"):
            inside.get(path[:end], set()).add(task.state)
    for path, group in result.groups.items():
        worst = next((state for state in _WORST if state in inside[path]), State.SUCCEEDED)
        assert not path or group.state is worst, path


def check_causality(plan: Plan, trace: Sequence[Event]) -> None:
    """What a task waits for was settled before it started."""
    settled: set[str] = set()
    before = {path: set(others) for path, others in plan.describe()["tasks"].items()}
    for event in tasks_of(trace):
        if event.state is State.RUNNING:
            assert before[event.path] <= settled, f"{event.path} did not wait for {before[event.path] - settled}"
        if event.state.is_final:
            settled.add(event.path)


# -- reading a trace ---------------------------------------------------------------------------------------------------


def tasks_of(trace: Iterable[Event]) -> list[TaskEvent]:
    """The events of tasks."""
    return [event for event in trace if isinstance(event, TaskEvent)]


def by_path(trace: Iterable[Event]) -> dict[str, list[TaskEvent]]:
    """The events of each task."""
    found: dict[str, list[TaskEvent]] = {}
    for event in tasks_of(trace):
        found.setdefault(event.path, []).append(event)
    return found


def of(trace: Iterable[Event], path: str) -> list[TaskEvent]:
    """The events of one task."""
    return [event for event in tasks_of(trace) if event.path == path]


def started(trace: Iterable[Event]) -> list[str]:
    """The paths of the tasks that ran, in the order of their starts."""
    return [event.path for event in tasks_of(trace) if event.state is State.RUNNING]


def told(trace: Iterable[Event]) -> list[str]:
    """What happened, in words: `"path state"`."""
    return [f"{event.path} {event.state.value}".strip() for event in trace if isinstance(event, RunEvent | TaskEvent)]


def states(result: RunResult) -> dict[str, str]:
    """The state of each task in words, by path."""
    return {path: record.state.value for path, record in result.tasks.items()}
