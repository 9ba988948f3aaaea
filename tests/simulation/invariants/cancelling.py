"""After a cancellation nothing begins; and how the run ended agrees with how its tasks did."""

from collections import Counter
from collections.abc import Iterator
from math import inf

from orch.errors import CompensationError, TaskTimeoutError
from orch.event import LogEvent, RunEvent, State, TaskEvent
from tests.simulation.seen import ROUNDED, Seen

__all__ = ("CHECKS",)

_NAMED = "has not ended"


def nothing_new(seen: Seen) -> Iterator[str]:
    """Once the cancellation of the caller has been delivered no body begins, and none at any later time."""
    asked, delivered = None, False
    for entry in seen.entries if "cancel" in seen.said or seen.stopped else ():
        if entry.what == "cancel" and entry.time >= (inf if seen.cancelled_at is None else seen.cancelled_at):
            asked = entry.time
        delivered = delivered or entry.what == "delivered"
        if entry.what == "start" and asked is not None and (delivered or entry.time > asked):
            yield f"{entry.name} began at {entry.time}, cancelled at {asked}"
        if entry.what == "start" and entry.time > seen.stopped.get(entry.name, inf):
            yield f"{entry.name} began at {entry.time}, stopped at {seen.stopped[entry.name]}"


def nothing_running(seen: Seen) -> Iterator[str]:
    """The record says the same: who never ran is only cancelled when nobody begins any more."""
    running, over = set[str](), False
    for event in seen.told if State.CANCELLED in seen.occurred else ():
        if event.state is State.RUNNING:
            running.add(event.name)
            if over:
                yield f"{event.name} began after the run was cancelled"
        over = over or (event.state is State.CANCELLED and event.reason == "cancelled" and event.name not in running)


def stopped(seen: Seen) -> Iterator[str]:
    """A step that was to be stopped is cancelled at that moment, or never begins."""
    for name, when in seen.stopped.items():
        for start, hit, end in seen.awaited.get(name, ()):
            until = hit or end
            if until is not None and start.time < when < until.time:
                yield f"{name} ran until {until.time}, stopped at {when}"
        if not seen.calls.get(name) and seen.final.get(name) not in {State.CANCELLED, State.SKIPPED, State.FAILED}:
            yield f"{name} is {seen.final.get(name)}, stopped before it began"


def given_up(seen: Seen) -> Iterator[str]:
    """A thread that is to end is waited for as long as the grace says, and no longer."""
    for name in sorted(seen.threaded & seen.calls.keys()) if seen.threaded else ():
        start, _, end = seen.calls[name][-1]
        asked = [seen.stopped.get(name, inf), inf if seen.cancelled_at is None else seen.cancelled_at]
        asked += (seen.time(event) for event in seen.told if event.state is State.FAILED and _aborts(seen, event, name))
        if end is None or not start.time <= min(asked) < end.time:
            continue
        ended = seen.first_end.get(name, inf)
        if ended > min(asked) + seen.case.grace + ROUNDED:
            yield f"{name} was to end at {min(asked)}, and ended at {ended}"


def named(seen: Seen) -> Iterator[str]:
    """A coroutine that goes on when it was stopped is named once the grace is over, each time, and nobody else is."""
    told = [each for each in seen.others if isinstance(each, LogEvent) and _NAMED in each.message]
    if not told and "hit" not in seen.said:
        return
    said = Counter(each.path.rsplit("/", 1)[-1] for each in told)
    for name in said.keys() | seen.awaited.keys():
        took = [
            end.time - hit.time for _, hit, end in seen.awaited.get(name, ()) if hit is not None and end is not None
        ]
        expected = sum(seconds > seen.case.grace + ROUNDED for seconds in took)
        if said[name] != expected:
            yield f"{name} is named {said[name]} times, and went on for {took}"


def _aborts(seen: Seen, event: TaskEvent, name: str) -> bool:
    """Whether the failure has a task stopped."""
    group = next(iter(seen.around[event.name]), None)
    return group is not None and group in seen.around[name] and group.strategy in {"abort", "compensate"}


def not_again(seen: Seen) -> Iterator[str]:
    """What fails because it was cancelled is not tried again."""
    if seen.cancelled_at is None:
        return
    cancelled = next(position for position, entry in enumerate(seen.entries) if entry.what == "cancel")
    after = set(seen.entries[cancelled:])
    for name, calls in seen.calls.items():
        start, hit, end = calls[-1]
        timeout = seen.steps[name].timeout
        if hit is None or end is None or hit not in after or (timeout and hit.time == start.time + timeout):
            continue
        states = seen.states[name]
        if states.count(State.RETRYING) == states.count(State.RUNNING) == len(calls):
            yield f"{name} is tried again at {end.time}, cancelled at {seen.cancelled_at}"


def aborted(seen: Seen) -> Iterator[str]:
    """A group that gives up lets nothing in it go on: at the moment of the failure whatever ran is cancelled."""
    for event in seen.told if State.FAILED in seen.occurred else ():
        group = next(iter(seen.around[event.name]), None)
        if event.state is State.FAILED and group is not None and group.strategy in {"abort", "compensate"}:
            now = seen.time(event) + ROUNDED
            for name in sorted(seen.inside[group.name] & seen.awaited.keys()):
                for start, hit, end in seen.awaited[name]:
                    until = hit or end
                    if until is not None and start.time < now < until.time:
                        yield f"{name} ran until {until.time}, {event.name} failed at {seen.time(event)}"


def outcome(seen: Seen) -> Iterator[str]:
    """FAILED if a task or the time of a group did, unless the run was cancelled; SUCCEEDED if all tasks did."""
    found = set(seen.final.values())
    match seen.state:
        case State.SUCCEEDED:
            if not found <= {State.SUCCEEDED}:
                yield f"succeeded with {found}"
        case State.FAILED:
            if State.FAILED not in found and not seen.late:
                yield f"failed with {found}"
        case State.CANCELLED:
            if seen.cancelled_at is None and not seen.stopped:
                yield "cancelled by nobody"
        case other:
            yield f"ended as {other}"


def returned(seen: Seen) -> Iterator[str]:
    """A result comes back unless the caller was cancelled, and says what the trace says; nothing else is raised."""
    exits = any(entry.detail == "exit" and entry.name not in seen.threaded for entry in seen.entries)
    asked = bool(seen.stopped) or any(entry.detail == "run" for entry in seen.said.get("cancel", ()))
    if seen.raised is not None:
        if not isinstance(seen.raised, SystemExit) or seen.cancelled_at is None:
            yield f"raised {seen.raised!r}"
    elif exits and not any(entry.detail is None for entry in seen.said.get("cancel", ())):
        yield f"a body raised SystemExit, and the result is {seen.result}"
    elif seen.result is None and seen.cancelled_at is None:
        yield f"{seen.state} without a result"
    elif seen.result is not None and seen.state is State.CANCELLED and not asked:
        yield f"cancelled, and the result is {seen.result}"
    elif seen.result is not None:
        if seen.result.state is not seen.state:
            yield f"the result is {seen.result.state}, the trace {seen.state}"
        states = {record.name: record.state for record in seen.result.tasks.values()}
        told = {name: states[-1] for name, states in seen.states.items()}
        if states != told:
            yield f"records {states}, trace {told}"
        if {record.name for record in seen.result.abandoned} - seen.threaded:
            yield f"abandoned: {seen.result.abandoned}"


def first_error(seen: Seen) -> Iterator[str]:
    """The errors of the result are those of the trace, the same objects in order of time; the first is the run's."""
    failures = [event.error for event in seen.told if event.state is State.FAILED]
    last = seen.trace[-1]
    if seen.result is not None:
        own = [error for error in seen.result.errors if not _of_groups(seen, error)]
        if list(map(id, own)) != list(map(id, failures)):
            yield f"errors {own}, failures {failures}"
        assert isinstance(last, RunEvent)
        if seen.state is State.FAILED and last.error is not next(iter(seen.result.errors), None):
            yield f"the run's error is {last.error!r}"


def _of_groups(seen: Seen, error: BaseException) -> bool:
    late = isinstance(error, TaskTimeoutError) and error.task.rsplit("/", 1)[-1] in seen.groups
    return late or isinstance(error, CompensationError | ZeroDivisionError | SystemExit)


CHECKS = (nothing_new, nothing_running, stopped, given_up, named, not_again, aborted, outcome, returned, first_error)
