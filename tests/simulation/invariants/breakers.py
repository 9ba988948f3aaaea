"""Circuit breakers: each permit gets one verdict, the right one; beside a probe nobody else is let through."""

import itertools
from collections.abc import Iterator

from orch.event import CircuitEvent
from tests.simulation.ledger import Entry
from tests.simulation.seen import Seen

__all__ = ("CHECKS",)


def permits(seen: Seen) -> Iterator[str]:
    """Every permit is answered, once."""
    for label in {breaker.label for breaker in seen.built.shared.breakers}:
        given = [entry.number for entry in _of(seen, label, "admit") if entry.number]
        answered = sorted(entry.number for entry in _of(seen, label, "verdict"))
        if given != answered:
            yield f"{label} gave the permits {given}, and heard of {answered}"


def _entries(seen: Seen) -> list[Entry]:
    """All of them, if there is a breaker at all."""
    return seen.entries if seen.case.breakers else []


def _of(seen: Seen, label: str, what: str) -> list[Entry]:
    return [entry for entry in seen.said.get(what, ()) if entry.name == label]


def calls(seen: Seen) -> Iterator[str]:
    """A body behind a breaker is called right after it was let through; a refused one is not called."""
    for before, entry in itertools.pairwise(_entries(seen)):
        number = seen.steps[entry.name].breaker if entry.what == "start" and entry.name not in seen.threaded else None
        leave = before.what == "admit" and before.name == f"b{number}" and before.detail != "refused"
        if number is not None and not leave:
            yield f"{entry.name} was called without leave of b{number}"


def verdicts(seen: Seen) -> Iterator[str]:
    """What a breaker hears of a call is how it went; a cancellation is neither a success nor a failure."""
    steps: dict[tuple[str, int], str] = {}
    ends: dict[str, Entry] = {}
    for before, entry in itertools.pairwise(_entries(seen)):
        near = entry.what == "start" and before.what == "admit" and entry.name not in seen.threaded
        if near and seen.steps[entry.name].breaker is not None:
            steps[before.name, before.number] = entry.name
        if entry.what == "end":
            ends[entry.name] = entry
        if entry.what == "verdict" and (name := steps.get((entry.name, entry.number))) is not None:
            expected = _verdict(seen, name, ends.get(name))
            if entry.detail not in expected:
                yield f"{entry.name} heard that {name} {entry.detail}, not {sorted(expected)}"


def _verdict(seen: Seen, name: str, end: Entry | None) -> set[str]:
    if end is None:
        return set()
    start, hit, _ = seen.calls[name][end.number - 1]
    if end.detail == "value":
        return {"succeeded"}
    if end.detail == "failed":
        return {"failed"}
    if end.detail == "exit":
        return {"abandoned"}
    timeout = seen.steps[name].timeout
    late = timeout is not None and hit is not None and hit.time == start.time + timeout
    return {"failed", "abandoned"} if late else {"abandoned"}


def probes(seen: Seen) -> Iterator[str]:
    """While a probe is out the breaker lets nobody else through, but another probe once that is overdue."""
    patience = {breaker.label: max(breaker.reset_timeout, 60) for breaker in seen.built.shared.breakers}
    out: dict[str, dict[int, float]] = {}
    for entry in _entries(seen):
        ahead = out.setdefault(entry.name, {})
        if entry.what == "admit" and entry.detail != "refused":
            if ahead and (entry.detail != "probe" or entry.time < max(ahead.values()) + patience[entry.name] - 1e-6):
                yield f"{entry.name} let call {entry.number} through beside probes {list(ahead)}"
            if entry.detail == "probe":
                ahead[entry.number] = entry.time
        elif entry.what == "verdict" and ahead.pop(entry.number, None) is not None and entry.detail != "abandoned":
            ahead.clear()  # the others are of a time that is over


def told(seen: Seen) -> Iterator[str]:
    """Each change of a breaker is told, from the old state to the new one, and what is told adds up."""
    if seen.case.twin:  # the other run has changed it as well
        return
    changes: dict[str | None, list[tuple[str, str]]] = {}
    for event in seen.others:
        if isinstance(event, CircuitEvent):
            changes.setdefault(event.name, []).append((event.old, event.new))
    for breaker in seen.built.shared.breakers:
        states = ["closed", *itertools.chain(*changes.get(breaker.label, ())), breaker.state]
        if any(states[at] != states[at + 1] for at in range(0, len(states), 2)):
            yield f"{breaker.label}: {states}"


CHECKS = (permits, calls, verdicts, probes, told)
