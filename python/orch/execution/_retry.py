"""Whether a failed attempt is followed by another: what is known of a step so far, and a pure decision about it."""

from __future__ import annotations

import random
from typing import Any

import attrs

from orch.errors import CircuitOpenError
from orch.plan import Key, Rules
from orch.policies import underlying

__all__ = ("Settled", "Trail", "next_try")


class Settled(BaseException):
    """Tells the lane that the end of its step is on record already."""


@attrs.define(eq=False)
class Trail:
    """What the attempts of a step have left behind."""

    attempt: int = 0  # the number of the one that runs, or was the last
    began: float = 0.0  # when the first did, by the clock of the run
    failures: list[tuple[Exception, float]] = attrs.field(factory=list)  # each with the delay that followed
    is_due: bool = False  # whether the delay before the next attempt is over
    is_late: bool = False  # whether the timeout of the attempt is over
    is_unknown: bool = False  # whether a body was called of which nobody knows how it ended
    end: int = 0  # the number of its end among those of all attempts of the run
    arguments: list[Any] = attrs.field(factory=list)  # what it was called with, if that may be needed
    value: Any = None  # the same, of what it returned
    key: Key | None = None  # under which what it gives is to be kept


def next_try(rules: Rules, trail: Trail, error: Exception, rng: random.Random, now: float) -> float | Exception:
    """Return after how many seconds there will be another attempt; else what the step fails with.

    Where a breaker would refuse that attempt nobody waits for it: the step fails with a CircuitOpenError, caused by the
    error of the last call that was made.
    """
    retry, last = rules.retry, trail.failures[-1][0] if trail.failures else None
    delay = None if retry is None else retry.next_delay(trail.attempt, error, rng, now - trail.began)
    if delay is not None and not delay >= 0:
        raise ValueError(f"{retry!r}.next_delay: expected seconds or None, found {delay!r}")
    if isinstance(error, CircuitOpenError) and delay is None:
        if last is not None and error.__cause__ is None:
            error.__cause__ = underlying(last)
        return error
    wait = None if rules.breaker is None or delay is None else rules.breaker.wait(now)
    if retry is not None and rules.breaker is not None and delay is not None and wait is not None and wait > delay:
        refused = CircuitOpenError(rules.breaker.name, wait)
        refused.__cause__ = underlying(error)
        if retry.next_delay(trail.attempt, refused, rng, now - trail.began) is None:
            return refused
    return underlying(error) if delay is None else float(delay)
