"""The event log of a run as plain tuples, equal for equal runs in any process; and a digest over many of them."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from orch.event import Event, TaskEvent
from tests.simulation.ledger import Entry
from tests.simulation.seen import Crash, Seen

__all__ = ("digest", "log", "record")


def log(seen: Seen | Crash) -> list[tuple[Any, ...]]:
    """Everything that was told, and everything that the bodies said, with times and without identities."""
    if isinstance(seen, Crash):
        return [(type(seen.error).__name__,)]
    twin = log(seen.twin) if seen.twin is not None else []
    return [*(_event(seen, event) for event in seen.trace), *map(_entry, seen.entries), *twin]


def _event(seen: Seen, event: Event) -> tuple[Any, ...]:
    kind, time = type(event).__name__, seen.time(event)
    if isinstance(event, TaskEvent):
        facts = (
            event.state.value,
            event.attempt,
            event.value,
            _named(event.error),
            event.delay,
            event.reason,
            event.cause,
        )
        return kind, event.seq, time, event.path, *facts
    rest = (getattr(event, name, None) for name in ("state", "error", "old", "new", "level", "message"))
    return kind, event.seq, time, event.path, *map(_named, rest)


def _entry(entry: Entry) -> tuple[Any, ...]:
    detail = entry.detail
    plain = tuple(map(_named, detail)) if isinstance(detail, tuple) else detail
    return entry.time, entry.what, entry.name, entry.number, plain


def _named(fact: Any) -> Any:
    return fact if isinstance(fact, str | int | float | None) else getattr(fact, "value", type(fact).__name__)


def record(seen: Seen) -> dict[str, Any]:
    """What must be the same on every event loop, where the outcome depends on no order: states, attempts and values."""
    tasks = {
        name: (events[-1].state, events[-1].attempt, str(events[-1].error)) for name, events in seen.by_name.items()
    }
    return {"state": seen.state, "tasks": tasks, "value": None if seen.result is None else repr(seen.result.value)}


def digest(logs: Iterable[list[tuple[Any, ...]]]) -> Iterator[str]:
    """After each log, a hash over it and all before."""
    hashed = hashlib.blake2b(digest_size=16)
    for each in logs:
        hashed.update(repr(each).encode())
        yield hashed.hexdigest()
