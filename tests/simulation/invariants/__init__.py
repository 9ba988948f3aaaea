"""What holds of every run, whatever was run, however it ended."""

from collections.abc import Iterator

from tests.simulation.invariants import bodies, breakers, cancelling, events, expected, timing, undoing
from tests.simulation.seen import Crash, Seen

__all__ = ("violations",)

CHECKS = tuple(
    (f"{module.__name__.rsplit('.', 1)[-1]}.{check.__name__}", check)
    for module in (events, bodies, cancelling, timing, breakers, undoing, expected)
    for check in module.CHECKS
)


def violations(seen: Seen | Crash) -> Iterator[tuple[str, str]]:
    """What does not hold, each with the name of the invariant."""
    if isinstance(seen, Crash):
        yield type(seen.error).__name__, str(seen.error)
    elif not seen.trace:
        if seen.ledger.begun or seen.cancelled_at is None:
            yield "crash", f"no run: {seen.raised!r}"
    else:
        for name, check in CHECKS:
            for what in check(seen):
                yield name, what
    if isinstance(seen, Seen) and seen.twin is not None:
        yield from ((f"{name} (twin)", what) for name, what in violations(seen.twin))
