"""The record of a run: numbered, in order, legal transitions only, one end for each task, the truth about each skip."""

from collections.abc import Iterator

from orch.event import TRANSITIONS, Event, RunEvent, State, TaskEvent
from tests.simulation.seen import Seen

__all__ = ("CHECKS",)


def frame(seen: Seen) -> Iterator[str]:
    """Begun by RUNNING, closed by the only final state, numbered without gaps, in order of time."""
    trace, times = seen.trace, [event.time for event in seen.trace]
    if [event.seq for event in trace] != list(range(1, len(trace) + 1)):
        yield f"seq is {[event.seq for event in trace]}"
    if {event.run_id for event in trace} != {"simulated"}:
        yield "another run's events"
    if times != sorted(times):
        yield "time goes back"
    frames = [event for event in seen.others if isinstance(event, RunEvent)]
    ends = len(trace) > 1 and trace[0] is frames[0] and trace[-1] is frames[-1]
    if not ends or [event.state.is_final for event in frames] != [False, True]:
        yield f"framed by {[event.state for event in frames]}"


_ENDS = tuple(state for state in State if state.is_final and state is not State.COMPENSATED)
_LEGAL = {(one, other) for one in State for other in TRANSITIONS[one]} - {(State.PENDING, State.SUCCEEDED)}


def transitions(seen: Seen) -> Iterator[str]:
    """Every task goes from state to state as it may, ends once, and stays as it ended."""
    missing = seen.steps.keys() - seen.by_name.keys()
    if missing:
        yield f"no event of {sorted(missing)}"
    for name, states in seen.states.items():
        for pair in zip((State.PENDING, *states), states, strict=False):
            if pair not in _LEGAL:
                yield f"{name}: {pair[0].value} -> {pair[1].value}"
        ends = [state for state in states if state in _ENDS]
        if len(ends) != 1:
            yield f"{name} ended {len(ends)} times: {[state.value for state in ends]}"


def attempts(seen: Seen) -> Iterator[str]:
    """Attempts are numbered from 1, as many as the policy allows; every event names the one it is about."""
    for name, events in seen.by_name.items():
        numbers = [event.attempt for event in events if event.state is State.RUNNING]
        retry = seen.steps[name].retry
        most = retry.max_attempts if retry else 1
        if numbers != list(range(1, len(numbers) + 1)) or len(numbers) > most:
            yield f"{name}: attempts {numbers} of {most}"
        current = 0
        for event in events:
            current = event.attempt if event.state is State.RUNNING else current
            if event.attempt != current:
                yield f"{name}: {event.state.value} speaks of attempt {event.attempt}, not {current}"


def dependencies(seen: Seen) -> Iterator[str]:
    """A task begins when all it waits for has ended, and what it needs has succeeded."""
    settled = dict[str, State]()
    for event in seen.told:
        if event.state is State.RUNNING and event.attempt == 1:
            early = seen.waits[event.name] - settled.keys()
            if early:
                yield f"{event.name} began before {sorted(early)} had ended"
            for need in _needs(seen, event.name):
                if settled.get(need) not in {State.SUCCEEDED, State.COMPENSATED}:
                    yield f"{event.name} began although {need} is {settled.get(need)}"
        if event.state.is_final:
            settled[event.name] = event.state


def _needs(seen: Seen, name: str) -> Iterator[str]:
    """The tasks among its siblings that a task takes values of."""
    around = seen.around[name]
    for position in seen.steps[name].deps:
        needed = around[0].steps[position].name
        if needed in seen.steps:
            yield needed


_WHY = {
    "upstream_failed": {State.FAILED},
    "upstream_cancelled": {State.CANCELLED},
    "aborted": {State.FAILED},
}


def skips(seen: Seen) -> Iterator[str]:
    """A skip names a reason, and whom to blame: a task that had ended so, or a group in which one had."""
    ended: dict[str, set[State]] = {}
    if State.SKIPPED not in seen.occurred:
        yield from (_unasked(event) for event in seen.told if event.reason or event.cause if not _is_stopped(event))
        return
    for event in seen.told:
        if event.state is State.SKIPPED:
            found = ended.get(_last(event.cause), set())
            late = _has_deadline(seen, event.cause)
            if event.reason not in _WHY or (event.cause is None and not late):
                yield f"{event.name} skipped because of {event.reason} by {event.cause}"
            elif not (_WHY[event.reason] & found) and not late:
                yield f"{event.name}: {event.reason} by {event.cause}, which is {found}"
        elif (event.reason or event.cause) and not _is_stopped(event):
            yield _unasked(event)
        if event.state.is_final:
            for name in (event.name, *(group.name for group in seen.around[event.name])):
                ended.setdefault(name, set()).add(event.state)


def _is_stopped(event: TaskEvent) -> bool:
    return event.state is State.CANCELLED


def _unasked(event: TaskEvent) -> str:
    return f"{event.name}: {event.state.value} for the reason {event.reason}"


def _last(path: str | None) -> str:
    return (path or "g0").rsplit("/", 1)[-1]


def _has_deadline(seen: Seen, path: str | None) -> bool:
    group = seen.groups.get(_last(path))
    return group is not None and any(
        inner.timeout is not None or inner.breaker is not None
        for inner in (group, *(seen.groups[name] for name in seen.groups if group in seen.around[name]))
    )


def stops(seen: Seen) -> Iterator[str]:
    """A cancelled task says why: the run was, somebody failed, or the time of a group was over."""
    failed = set[str]()
    for event in seen.told if State.CANCELLED in seen.occurred else ():
        if event.state is State.CANCELLED:
            yield from _stopped(seen, event, failed)
        if event.state is State.FAILED:
            failed.add(event.path)


def _stopped(seen: Seen, event: TaskEvent, failed: set[str]) -> Iterator[str]:
    what = f"{event.name} cancelled at {seen.time(event)}: {event.reason} by {event.cause!r}"
    around = {group.name for group in seen.around[event.name]}
    match event.reason:
        case "cancelled":
            if seen.cancelled_at is None or seen.state is not State.CANCELLED:
                yield f"{what}, but nobody cancelled the run"
        case "aborted":
            if event.cause not in failed and _last(event.cause) not in seen.groups:
                yield f"{what}, which had not failed"
        case "timed_out":
            group = seen.groups.get(_last(event.cause))
            if group is None or group.name not in around or group.timeout is None:
                yield f"{what}, which has no timeout around it"
        case "requested":
            if event.name not in seen.stopped:
                yield f"{what}, but nobody asked for it"
        case _:
            yield what


def heard(seen: Seen) -> Iterator[str]:
    """Who takes events has had all of them, in order, before the run was over; after a cancellation in its grace."""
    trace = list(map(_identity, seen.trace)) if seen.heard else []
    for each in seen.heard:
        told = list(map(_identity, each))
        hurried = seen.cancelled_at is not None and "slow" in seen.case.subscribers
        if told != trace and not (hurried and told == trace[: len(told)]):
            yield f"a subscriber heard {len(each)} of {len(seen.trace)} events, or others"


def _identity(event: Event) -> tuple[object, ...]:
    return type(event), event.seq, event.time, event.path, getattr(event, "state", None), getattr(event, "attempt", 0)


CHECKS = (frame, transitions, attempts, dependencies, skips, stops, heard)
