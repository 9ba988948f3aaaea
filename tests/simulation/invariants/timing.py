"""Virtual time is exact: timeouts, delays between attempts, deadlines of groups; and nobody waits for nothing."""

import itertools
from collections.abc import Iterator
from typing import Any

from orch import RetryAfter
from orch.errors import TaskTimeoutError
from orch.event import State, TaskEvent
from tests.simulation.plans import Group, Step
from tests.simulation.seen import ROUNDED, Seen

__all__ = ("CHECKS",)


def timeouts(seen: Seen) -> Iterator[str]:
    """A body over its time is cancelled at the very moment, and only then does its attempt fail with a timeout."""
    for name, calls in seen.awaited.items():
        timeout = seen.steps[name].timeout
        if timeout is None:
            continue
        for start, hit, end in calls:
            late = max((each.time for each in (hit, None if hit else end) if each), default=start.time)
            if late > start.time + timeout:
                yield f"{name} ran for {late - start.time} of {timeout} seconds"


def timed_out(seen: Seen) -> Iterator[str]:
    """A timeout names the task and its seconds, and there was a call that it cut off."""
    for event in seen.told:
        if isinstance(event.error, TaskTimeoutError) and event.state in {State.FAILED, State.RETRYING}:
            step, error = seen.steps[event.name], event.error
            if (error.task, error.timeout) != (event.path, step.timeout):
                yield f"{event.name} has {step.timeout} seconds, and failed with {error!r}"
            calls, now = seen.calls.get(event.name, []), seen.time(event)
            times = [end.time for _, hit, end in calls if hit and end and end.detail != "value"]
            if event.name in seen.threaded:  # the body goes on
                times = [start.time + error.timeout for start, _, _ in calls]
            if not any(abs(time - now) < ROUNDED for time in times):
                yield f"{event.name} timed out at {seen.time(event)}, when no call of it was cut off"


def deadlines(seen: Seen) -> Iterator[str]:
    """When the time of a group is over everything in it is cancelled at once, and nothing in it begins any more."""
    for group in seen.groups.values():
        if group.timeout is None:
            continue
        names = seen.inside[group.name]
        began = [seen.time(event) for event in seen.told if event.name in names and event.state is State.RUNNING]
        if began:
            yield from _deadline(seen, group, names, min(began) + group.timeout)


def _deadline(seen: Seen, group: Group, names: frozenset[str], end: float) -> Iterator[str]:
    for name in names:
        for start, hit, stop in seen.awaited.get(name, ()):
            if start.time > end:
                yield f"{name} began at {start.time}, {group.name} was over at {end}"
            until = hit or stop
            if until and until.time > end and start.time < end:
                yield f"{name} ran until {until.time}, {group.name} was over at {end}"
    for event in seen.told:
        if (
            event.reason == "timed_out"
            and (event.cause or "g0").rsplit("/", 1)[-1] == group.name
            and seen.time(event) < end
        ):
            yield f"{event.name} timed out at {seen.time(event)}, {group.name} had time until {end}"


def delays(seen: Seen) -> Iterator[str]:
    """The policy says how long to wait; the next attempt begins then, and not before, and none after the deadline."""
    unlimited = not seen.ledger.limits and not seen.threaded
    for name, events in seen.by_name.items() if State.RETRYING in seen.occurred else ():
        step = seen.steps[name]
        for one, other in itertools.pairwise(events):
            if one.state is not State.RETRYING:
                continue
            yield from _delay(seen, step, events, one)
            due = seen.time(one) + (one.delay or 0)
            early, late = seen.time(other) < due - ROUNDED, seen.time(other) > due + ROUNDED and unlimited
            if other.state is State.RUNNING and (early or late):
                yield f"{name}: attempt {other.attempt} began at {seen.time(other)}, due at {due}"
            if other.state is not State.RUNNING and late:
                yield f"{name}: no attempt at {due}"


def _delay(seen: Seen, step: Step, events: list[TaskEvent], event: TaskEvent) -> Iterator[str]:
    retry, error = step.retry, event.error
    if retry is None or error is None:
        yield f"{step.name} is tried again for no reason"
        return
    planned = _planned(retry, event.attempt)
    spread = planned * retry.jitter
    asked = _asked(error)
    low, high = (planned - spread, min(planned + spread, retry.max_delay)) if asked is None else (asked, asked)
    if not (event.delay is not None and low - ROUNDED <= event.delay <= high + ROUNDED):
        yield f"{step.name}: waits {event.delay}, planned {low} to {high}"
    if not all(isinstance(leaf, retry.retry_on) and not isinstance(leaf, retry.give_up_on) for leaf in _leaves(error)):
        yield f"{step.name} is tried again after {error!r}"
    began = next(seen.time(each) for each in events if each.state is State.RUNNING)
    if retry.deadline is not None and seen.time(event) + (event.delay or 0) - began > retry.deadline + ROUNDED:
        yield f"{step.name}: attempt {event.attempt + 1} after the deadline"


def _planned(retry: Any, number: int) -> float:
    growth = {"fixed": 1, "linear": number, "exponential": 2 ** (number - 1)}
    return float(min(retry.delay * growth[retry.backoff], retry.max_delay))


def _asked(error: BaseException) -> float | None:
    return error.seconds if isinstance(error, RetryAfter) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, RetryAfter) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def idleness(seen: Seen) -> Iterator[str]:
    """At the end of every moment nothing is ready that could run: all it waits for has ended, and slots are free."""
    if "undo" in seen.said or "slow" in seen.case.subscribers or seen.threaded:
        return  # a group that undoes holds up what comes after it
    waits = seen.waits
    pending, running, settled = set(waits), set[str](), set[str]()
    for event, after in zip(seen.told, [*seen.told[1:], None], strict=False):
        pending.discard(event.name)
        (running.add if event.state is State.RUNNING else running.discard)(event.name)
        if event.state is State.RETRYING and not event.delay:
            continue  # due at once
        if event.state.is_final:
            settled.add(event.name)
        if after is not None and after.time > event.time:
            idle = [name for name in pending if waits[name] <= settled and _free(seen, name, running)]
            yield from (f"{name} was ready at {seen.time(event)} and not started" for name in sorted(idle))


def _free(seen: Seen, name: str, running: set[str]) -> bool:
    limit = seen.case.limit
    if limit is not None and len(running) >= limit:
        return False
    for group in seen.around[name]:
        if group.limit is not None and len(running & seen.inside[group.name]) >= group.limit:
            return False
    return True


CHECKS = (timeouts, timed_out, deadlines, delays, idleness)
