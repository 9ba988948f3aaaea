"""How long a run may take at most: as if it did everything one after another, and waited as long as it ever may."""

from tests.simulation.plans import Case, Step, groups, leaves

__all__ = ("bound",)

_GRACE = 10.0  # of subscribers and threads, each at most half of it
_EVENTS = 8  # of one attempt and all that may be told about it
_SLOW = 0.25


def bound(case: Case) -> float:
    """Return virtual seconds after which a run that has not ended never will."""
    steps, around = list(leaves(case.root)), list(groups(case.root))
    attempts = sum(map(_attempts, steps))
    undoing = len(around) * case.undo_timeout if any(step.undo for step in steps) else 0.0
    telling = _SLOW * _EVENTS * (attempts + 2) if "slow" in case.subscribers else 0.0
    waiting = attempts * max((limiter.per for limiter in case.limiters), default=0.0)
    cancelling = case.cancel[0] if case.cancel else 0.0
    return sum(map(_longest, steps)) + undoing + telling + waiting + cancelling + 2 * _GRACE


def _attempts(step: Step) -> int:
    return step.retry.max_attempts if step.retry else 1


def _longest(step: Step) -> float:
    """All attempts of a step, and the delays between them."""
    working = min(float("inf") if step.hangs else step.seconds, step.timeout or float("inf"))
    working = step.seconds if step.threaded else working  # nobody can stop it
    if step.hangs and step.timeout is None:
        raise ValueError(f"{step.name} would hang for ever")
    attempts, delays = _attempts(step), 0.0
    if step.retry is not None:
        longest = min(step.retry.delay * 2**attempts, step.retry.max_delay) * (1 + step.retry.jitter)
        delays = attempts * max(longest, 0.75)  # what a RetryAfter asks for
    return attempts * (working + 2 * step.cleanup) + delays
