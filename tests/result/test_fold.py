from collections.abc import Iterator
from itertools import count

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.event import TRANSITIONS, Event, LogEvent, State, TaskEvent
from orch.result import GroupShape, TaskRecord, advance, fold
from orch.result._state import fold_groups, group_state
from tests.result.told import NOON, at, run_event, task_event

PATHS = ("a", "b", "group/a", "group/a#2")


@st.composite
def histories(draw: st.DrawFn) -> list[TaskEvent]:
    """Events of a few tasks in any order that is legal for each of them."""
    states = dict.fromkeys(PATHS, State.PENDING)
    attempts = dict.fromkeys(PATHS, 0)
    events: list[TaskEvent] = []
    for seq in range(1, draw(st.integers(0, 30)) + 1):
        movable = [path for path in PATHS if TRANSITIONS[states[path]]]
        if not movable:
            break
        path = draw(st.sampled_from(movable))
        before, after = states[path], draw(st.sampled_from(sorted(TRANSITIONS[states[path]], key=list(State).index)))
        attempts[path] += after is State.RUNNING and before is not State.PAUSED
        states[path] = after
        value = seq if after is State.SUCCEEDED else None
        error = ValueError(seq) if after in {State.FAILED, State.RETRYING} else None
        events.append(task_event(seq, path, after, attempt=attempts[path], value=value, error=error))
    return events


@given(histories())
def test_a_record_says_what_the_events_said(events: list[TaskEvent]) -> None:
    for path, record in fold(events).items():
        mine = [event for event in events if event.path == path]
        runs = [event for event in mine if event.state is State.RUNNING]
        settled = [event.time for event in mine if event.state.is_final]
        assert record.state is mine[-1].state
        assert record.attempts == (runs[-1].attempt if runs else 0)
        assert record.started == (runs[0].time if runs else None)
        assert record.finished == (settled[0] if settled else None)
        assert (record.duration is not None) == bool(runs and settled)
        assert (record.value is not None) == (record.state in {State.SUCCEEDED, State.COMPENSATED})
        assert (record.error is not None) == (record.state in {State.FAILED, State.RETRYING})


@given(histories())
def test_tasks_do_not_mix(events: list[TaskEvent]) -> None:
    together = fold(events)
    for path in PATHS:
        assert fold(event for event in events if event.path == path).get(path) == together.get(path)


@given(histories(), st.integers(0, 30))
def test_folding_can_stop_and_go_on(events: list[TaskEvent], cut: int) -> None:
    records: dict[str, TaskRecord] = fold(events[:cut])
    for event in events[cut:]:
        records[event.path] = advance(records.get(event.path, TaskRecord(event.path, event.name)), event)
    assert records == fold(events)


def test_advance_changes_nothing_it_was_given() -> None:
    record = TaskRecord("a", "a")
    after = advance(record, task_event(1, "a", State.RUNNING, attempt=1))
    assert record == TaskRecord("a", "a")
    assert after.state is State.RUNNING
    with pytest.raises(AttributeError):
        after.state = State.FAILED  # type: ignore[misc]


def test_the_error_of_an_attempt_is_gone_once_the_task_succeeds() -> None:
    events = [
        task_event(1, "a", State.RUNNING, attempt=1),
        task_event(2, "a", State.RETRYING, attempt=1, error=ValueError(), delay=1.0),
        task_event(3, "a", State.RUNNING, attempt=2),
        task_event(4, "a", State.SUCCEEDED, attempt=2, value="v"),
    ]
    record = fold(events)["a"]
    assert (record.error, record.value, record.attempts, record.duration) == (None, "v", 2, 3.0)


def test_a_compensated_task_keeps_what_it_did() -> None:
    done = fold([task_event(1, "a", State.RUNNING, attempt=1), task_event(2, "a", State.SUCCEEDED, value=1)])["a"]
    undone = advance(done, task_event(3, "a", State.COMPENSATED))
    assert undone == attrs.evolve(done, state=State.COMPENSATED)


def test_a_skip_has_reason_and_cause_and_no_duration() -> None:
    record = fold([task_event(1, "b", State.SKIPPED, reason="upstream_failed", cause="a")])["b"]
    assert (record.reason, record.cause, record.attempts, record.duration) == ("upstream_failed", "a", 0, None)


def test_a_cached_task_succeeds_without_running() -> None:
    record = fold([task_event(1, "a", State.SUCCEEDED, value=1, cached=True)])["a"]
    assert (record.cached, record.attempts, record.started) == (True, 0, None)


def test_other_events_leave_no_record() -> None:
    others: list[Event] = [run_event(1, State.RUNNING), LogEvent("run", 2, NOON, "a", "info", "m")]
    assert fold(others) == {}


# -- groups ------------------------------------------------------------------------------------------------------------


@st.composite
def shapes(draw: st.DrawFn, tasks: int = 8) -> list[GroupShape]:
    """Groups that nest in any way, each before the groups in it."""
    numbers = count()

    def inside(start: int, stop: int, depth: int) -> Iterator[GroupShape]:
        yield GroupShape(f"g{next(numbers)}", "parallel", start, stop)
        while depth and start < stop and draw(st.booleans()):
            first, last = sorted(draw(st.tuples(st.integers(start, stop), st.integers(start, stop))))
            yield from inside(first, last, depth - 1)
            start = last

    return list(inside(0, tasks, 3))


states = st.sampled_from([state for state in State if state is not State.RETRYING])


@given(shapes(), st.lists(states, min_size=8, max_size=8), st.permutations(range(8)))
def test_a_group_is_what_its_tasks_are(groups: list[GroupShape], given: list[State], order: list[int]) -> None:
    records = [
        TaskRecord(f"t{i}", "t", state, None, ValueError(i) if state is State.FAILED else None, 1, at(-i), at(order[i]))
        for i, state in enumerate(given)
    ]
    found = fold_groups(groups, records)
    assert list(found) == [group.path for group in groups]
    for group in groups:
        inside = records[group.start : group.stop]
        failed = sorted((r for r in inside if r.state is State.FAILED), key=lambda r: r.finished or NOON)
        record = found[group.path]
        assert record.state is group_state({r.state for r in inside})
        assert record.started == min((r.started for r in inside if r.started), default=None)
        last = max((r.finished for r in inside if r.finished), default=None)
        assert record.finished == (last if record.state.is_final else None)
        assert record.error is (failed[0].error if failed else None)


@pytest.mark.parametrize(
    "inside, expected",
    [
        ("", "SUCCEEDED"),
        ("SUCCEEDED COMPENSATED", "SUCCEEDED"),
        ("SUCCEEDED SKIPPED", "SKIPPED"),
        ("SKIPPED CANCELLED", "CANCELLED"),
        ("SUCCEEDED CANCELLED FAILED SKIPPED", "FAILED"),
        ("PENDING", "PENDING"),
        ("PENDING SUCCEEDED", "RUNNING"),
        ("RETRYING", "RUNNING"),
        ("RUNNING FAILED", "RUNNING"),
        ("PAUSED SUCCEEDED PENDING", "PAUSED"),
        ("PAUSED RUNNING", "RUNNING"),
    ],
)
def test_the_state_of_a_group(inside: str, expected: str) -> None:
    assert group_state({State[name] for name in inside.split()}) is State[expected]


def test_groups_nest_to_any_depth_in_linear_time() -> None:
    depth = 20_000
    groups = [GroupShape(f"g{i}", "sequence", 0, 1) for i in range(depth)]
    found = fold_groups(groups, [TaskRecord("t", "t", State.FAILED, None, ValueError(), 1, at(0), at(1))])
    assert {record.state for record in found.values()} == {State.FAILED}
    assert len(found) == depth
