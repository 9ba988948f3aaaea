"""What holds for the record of every run, whatever was run, on whatever loop, however it ended."""

import itertools
from collections import defaultdict
from collections.abc import Sequence

from orch.event import TRANSITIONS, Event, RunEvent, State, TaskEvent
from orch.plan import Plan

REASONS = {"upstream_failed": State.FAILED, "aborted": State.FAILED, "upstream_cancelled": State.CANCELLED}


def check(events: Sequence[Event], plan: Plan) -> None:
    """Check the complete trace of a settled run; the first thing that does not hold is an AssertionError."""
    told = [event for event in events if isinstance(event, TaskEvent)]
    frame(events)
    states = transitions(told)
    assert set(states) <= set(plan.order())
    missing = set(plan.order()) - set(states)
    assert not missing, f"tasks without any event: {sorted(missing)}"
    open_ones = {path: state for path, state in states.items() if not state.is_final}
    assert not open_ones, f"tasks that never ended: {open_ones}"
    starts(told)
    dependencies(told, plan)
    skips(told)
    nothing_begins_after_a_cancellation(told)
    outcome(events, states)


def frame(events: Sequence[Event]) -> None:
    """One run: numbered without gaps, begun by RUNNING, closed by its only final state, in order of time."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.run_id for event in events}) == 1
    first, last = events[0], events[-1]
    assert isinstance(first, RunEvent)
    assert first.state is State.RUNNING
    assert isinstance(last, RunEvent)
    assert last.state.is_final, f"the run ended as {last.state}"
    assert sum(isinstance(event, RunEvent) for event in events) == 2
    assert all(one.time <= next_.time for one, next_ in itertools.pairwise(events))


def transitions(told: Sequence[TaskEvent]) -> dict[str, State]:
    """Follow every task through its states; return where each ended."""
    states: dict[str, State] = {}
    for event in told:
        before = states.get(event.path, State.PENDING)
        assert event.state in TRANSITIONS[before], f"{event.path}: {before} -> {event.state}"
        known = (before, event.state) == (State.PENDING, State.SUCCEEDED)
        assert known == (event.cached or event.restored), f"{event.path} succeeded without running"
        states[event.path] = event.state
    return states


def starts(told: Sequence[TaskEvent]) -> None:
    """Without retries a task begins at most once, and has exactly one final event."""
    for state in (State.RUNNING, None):
        matching = [e.path for e in told if (e.state is state if state else e.state.is_final)]
        assert len(matching) == len(set(matching))
    assert {event.attempt for event in told if event.state is State.RUNNING} <= {1}


def dependencies(told: Sequence[TaskEvent], plan: Plan) -> None:
    """A task begins, or is skipped for what became of another, only when all it waits for is settled."""
    settled: set[str] = set()
    before = plan.describe()["tasks"]
    for event in told:
        if event.state is State.RUNNING:
            early = set(before[event.path]) - settled
            assert not early, f"{event.path} began before {sorted(early)} was settled"
        if event.state.is_final:
            settled.add(event.path)


def skips(told: Sequence[TaskEvent]) -> None:
    """A skip says why, and names a task that ended accordingly before; or a group in which one did."""
    ended: dict[str, set[State]] = defaultdict(set)
    for event in told:
        if event.state is State.SKIPPED:
            assert event.reason in REASONS
            assert event.cause
            found = ended[event.cause]
            assert REASONS[event.reason] in found, f"{event.path}: {event.reason} by {event.cause}, which is {found}"
        else:
            assert (event.reason is not None) == (event.state is State.CANCELLED)
        if event.state.is_final:
            parts = event.path.split("/")
            for length in range(len(parts)):
                ended["/".join(parts[: length + 1])].add(event.state)


def nothing_begins_after_a_cancellation(told: Sequence[TaskEvent]) -> None:
    """What never ran is only cancelled together with everything else that has not begun."""
    running, over = set[str](), False
    for event in told:
        if event.state is State.RUNNING:
            assert not over, f"{event.path} began after the run was cancelled"
            running.add(event.path)
        ends = event.state is State.CANCELLED and event.path not in running
        over = over or (ends and event.reason != "aborted")  # as is one that was being looked up in a cache


def outcome(events: Sequence[Event], states: dict[str, State]) -> None:
    """The run is what its tasks make of it: FAILED iff one failed, unless it was cancelled from outside."""
    last = events[-1]
    assert isinstance(last, RunEvent)
    found = set(states.values())
    if last.state is State.SUCCEEDED:
        assert found <= {State.SUCCEEDED}
    elif last.state is State.FAILED:
        assert State.FAILED in found
    else:
        assert last.state is State.CANCELLED
    failures = [event.error for event in events if isinstance(event, TaskEvent) and event.state is State.FAILED]
    if failures and last.state is State.FAILED:
        assert last.error is failures[0]
