"""Events and bodies tell the same story; limits hold; nothing is left; nothing is cancelled for no reason."""

from collections.abc import Iterator
from math import inf

import anyio

from orch import RetryAfter
from orch.errors import CircuitOpenError, ForeignCancellationError, TaskTimeoutError
from orch.event import State
from tests.simulation.bodies import BoomError, OddError, value_of
from tests.simulation.ledger import Entry
from tests.simulation.plans import Group
from tests.simulation.seen import HANDED, ROUNDED, Seen

__all__ = ("CHECKS",)

_OURS = (BoomError, OddError, TimeoutError, ExceptionGroup, StopIteration, TaskTimeoutError, CircuitOpenError)


def starts(seen: Seen) -> Iterator[str]:
    """A body is called once for each attempt, or not at all where a limiter or a breaker came before."""
    for name, step in seen.steps.items():
        running = seen.states.get(name, ()).count(State.RUNNING)
        called = len(seen.calls.get(name, ()))
        if called == running:
            continue
        guarded = step.breaker is not None or any(group.breaker is not None for group in seen.around[name])
        guarded = guarded or step.threaded  # a job that nobody has begun is withdrawn
        if called > running or (not guarded and step.limiter is None):
            yield f"{name}: {running} attempts, {called} calls"


def ends(seen: Seen) -> Iterator[str]:
    """What the last call came to is what the task came to; nothing that returned a value is called a failure."""
    for name, calls in seen.calls.items():
        last = calls[-1][2]
        state = seen.final.get(name)
        if last is None:
            yield f"{name} is {state}, and its body still runs"
        elif last.detail == "value" and state is not State.SUCCEEDED and name not in seen.threaded:
            yield f"{name} is {state}, and its last call gave a value"
        elif state is State.SUCCEEDED and (last.detail != "value" or last.time > seen.first_end[name] + ROUNDED):
            yield f"{name} succeeded at {seen.first_end[name]}, and its last call {last.detail} at {last.time}"
        elif last.detail == "failed" and state is State.CANCELLED and not _again(seen, name) | (name in seen.threaded):
            yield f"{name} is cancelled, and its last call failed"


def _again(seen: Seen, name: str) -> bool:
    """Whether the task was waiting for another attempt, or for what comes before a body, when it was cancelled."""
    return State.RETRYING in seen.states[name]


def errors(seen: Seen) -> Iterator[str]:
    """Failures are the users' own errors or those of policies, and never a cancellation."""
    for event in seen.told:
        if event.state is State.FAILED or event.state is State.RETRYING:
            if not isinstance(event.error, (*_OURS, RetryAfter) if event.state is State.RETRYING else _OURS):
                yield f"{event.name} {event.state.value} with {event.error!r}"
        elif event.error is not None and not isinstance(event.error, Exception | SystemExit):
            yield f"{event.name}: {event.error!r}"
        if isinstance(event.error, ForeignCancellationError):
            yield f"{event.name}: a cancellation without a cause"


def values(seen: Seen) -> Iterator[str]:
    """What a task gave begins with its name, and says what it was given."""
    for event in seen.told:
        step = seen.steps[event.name]
        if event.state is State.SUCCEEDED and event.value is not None:
            inputs = {value_of(event.name, HANDED), event.name}
            if not str(event.value).startswith(event.name) or (
                not step.takes and not step.deps and event.value not in inputs
            ):
                yield f"{event.name} gave {event.value!r}"


def order(seen: Seen) -> Iterator[str]:
    """No body begins before the last call of what its task waits for has ended; none after its own task has ended."""
    ended = dict[str, int]()
    for position, entry in enumerate(seen.entries):
        if entry.what == "end" and entry.name not in seen.threaded:  # those may outlive their tasks
            ended[entry.name] = position
    for position, entry in enumerate(seen.entries):
        if entry.what == "start":
            for name in sorted(seen.waits[entry.name]):
                if ended.get(name, -1) > position:
                    yield f"{entry.name} was called at {entry.time} before {name} had ended"


def limits(seen: Seen) -> Iterator[str]:
    """No limit was ever exceeded, no body ran twice at a time, and in the end everything was given back."""
    yield from seen.ledger.broken
    yield from (f"{count} bodies of {name} are left" for name, count in seen.ledger.active.items() if count)
    for number, limiter in enumerate(seen.built.shared.limiters):
        if isinstance(limiter, anyio.CapacityLimiter):
            if seen.borrowed.get(number, (0, 0)) != (0, 0):
                yield f"limiter {number}: {seen.borrowed[number]} borrowed and waiting"
        else:
            yield from _rate(seen, number)


def _rate(seen: Seen, number: int) -> Iterator[str]:
    limiter = seen.case.limiters[number]
    waiting = seen.threaded if seen.case.threads else set[str]()  # for a thread, after the limiter let them start
    names = {name for name, step in seen.steps.items() if step.limiter == number} - waiting
    times = [entry.time for entry in seen.entries if entry.what == "start" and entry.name in names]
    if limiter.kind == "rate":
        for one, other in zip(times, times[limiter.size :], strict=False):
            if other - one < limiter.per - ROUNDED:
                yield f"limiter {number}: {limiter.size + 1} starts between {one} and {other}"
    else:
        for first, one in enumerate(times):
            for last, other in enumerate(times[first:], first):
                if last - first + 1 > limiter.size + (other - one) / limiter.per + ROUNDED:
                    yield f"limiter {number}: {last - first + 1} starts between {one} and {other}"


def leftovers(seen: Seen) -> Iterator[str]:
    """No task of the engine's is left, and the run came back in time."""
    if seen.left:
        yield f"tasks left behind: {seen.left}"
    if seen.cancelling:
        yield f"{seen.cancelling} cancellations left in the task of the caller"
    if seen.ended >= seen.limit:
        yield f"not over after {seen.limit} seconds"


def hits(seen: Seen) -> Iterator[str]:
    """Who is cancelled is so because the run was, its time was over, or somebody around it failed or was late."""
    for name, calls in seen.calls.items():
        for start, hit, _ in calls:
            if hit is not None and not _explained(seen, name, start, hit):
                yield f"{name} was cancelled at {hit.time}, and nobody had asked for it"


def _explained(seen: Seen, name: str, start: Entry, hit: Entry) -> bool:
    timeout = seen.steps[name].timeout
    if timeout is not None and hit.time == start.time + timeout:
        return True
    if min(inf if seen.cancelled_at is None else seen.cancelled_at, seen.stopped.get(name, inf)) <= hit.time:
        return True
    return any(_gives_up(seen, group, hit.time + ROUNDED) for group in seen.around[name])


def _gives_up(seen: Seen, group: Group, time: float) -> bool:
    names = seen.inside[group.name]
    events = [event for event in seen.told if event.name in names and seen.time(event) <= time]
    if group.timeout is not None and events:
        begun = [seen.time(event) for event in events if event.state is State.RUNNING]
        if begun and min(begun) + group.timeout <= time:
            return True
    inner = [each for each in seen.groups.values() if group in seen.around[each.name] and each.timeout is not None]
    failed = any(event.state is State.FAILED for event in events) or any(_gives_up(seen, each, time) for each in inner)
    return failed and group.strategy != "continue"


CHECKS = (starts, ends, errors, values, order, limits, leftovers, hits)
