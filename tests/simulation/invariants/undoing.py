"""Compensation: what has to be undone is, once, in reverse order, and while nothing of its group runs."""

from collections.abc import Iterator

from orch import UNKNOWN
from orch.event import CompensationEvent, State
from tests.simulation.ledger import Entry
from tests.simulation.plans import Group
from tests.simulation.seen import Seen

__all__ = ("CHECKS",)

GRACE = 5.0


def once(seen: Seen) -> Iterator[str]:
    """Nothing is undone but what succeeded, or may have done something; and nothing twice."""
    for name, entries in _undos(seen).items():
        step = seen.steps[name]
        if step.undo is None or len(entries) > 1:
            yield f"{name} was undone {len(entries)} times"
        unknown = entries[0].detail[0] is UNKNOWN
        if unknown and not step.undo_unknown:
            yield f"{name} was undone, and nobody knows what it did"
        if unknown == (seen.final.get(name) is State.SUCCEEDED):
            yield f"{name} is {seen.final.get(name)}, undone with the value {entries[0].detail[0]!r}"
        value = next((event.value for event in seen.by_name[name] if event.state is State.SUCCEEDED), UNKNOWN)
        if not unknown and entries[0].detail[0] != value:
            yield f"{name} gave {value!r}, undone with {entries[0].detail[0]!r}"


def _undos(seen: Seen) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in seen.said.get("undo", ()):
        found.setdefault(entry.name, []).append(entry)
    return found


def _entries(seen: Seen) -> list[Entry]:
    """All of them, if something was undone at all."""
    return seen.entries if "undo" in seen.said else []


def complete(seen: Seen) -> Iterator[str]:
    """Of a group that compensates and did not succeed everything is undone; of no other group anything is."""
    if not seen.case.undoable:
        return
    undone = _undos(seen)
    due = set[str]()
    for group in seen.groups.values():
        if _chosen(seen, group) and _worst(seen, group) is not State.SUCCEEDED:
            due |= seen.inside[group.name] & seen.case.undoable
    for name in undone.keys() - due:
        yield f"{name} was undone, and no group around it compensates"
    late = {event.path.rsplit("/", 1)[-1] for event in seen.others if isinstance(event, CompensationEvent)}
    for name in due - undone.keys() - late:
        if seen.final.get(name) is State.SUCCEEDED:
            yield f"{name} was not undone"


def _chosen(seen: Seen, group: Group) -> bool:
    """Whether the group compensates: always, or because its own strategy has said so."""
    if "," in group.strategy:
        asked = (entry for entry in seen.said.get("asked", ()) if entry.name == group.name)
        return any(entry.detail[1] == "compensate" for entry in asked)
    return group.strategy == "compensate"


def _worst(seen: Seen, group: Group) -> State:
    """SUCCEEDED if everything in the group did, and in time; else anything but that."""
    found = {seen.final.get(name) for name in seen.inside[group.name]}
    inner = {name for name in seen.late if group in (seen.groups[name], *seen.around[name])}
    return State.SUCCEEDED if found <= {State.SUCCEEDED} and not inner else State.FAILED


def reverse(seen: Seen) -> Iterator[str]:
    """Within a group the last to succeed is undone first, one after another."""
    ended = {event.name: event.seq for event in seen.told if event.state is State.SUCCEEDED}
    open_, last = None, dict[str, int]()
    for entry in _entries(seen):
        if entry.what == "undo" and entry.name in ended:
            group = _undoer(seen, entry.name)
            if group in last and last[group] < ended[entry.name]:
                yield f"{entry.name} was undone too late"
            last[group] = ended[entry.name]
        if entry.what == "undo" and _root_only(seen):
            if open_ is not None:
                yield f"{entry.name} was undone while {open_} was"
            open_ = entry.name
        open_ = None if entry.what == "undone" else open_


def _undoer(seen: Seen, name: str) -> str:
    """The group that undoes a task: the innermost around it that compensates and did not succeed."""
    for group in seen.around[name]:
        if _chosen(seen, group) and _worst(seen, group) is not State.SUCCEEDED:
            return group.name
    return ""


def _root_only(seen: Seen) -> bool:
    """Whether there is a single group that may compensate, so that nothing of two groups is undone at one time."""
    return sum(_chosen(seen, group) for group in seen.groups.values()) == 1


def apart(seen: Seen) -> Iterator[str]:
    """While something of a group is undone no body of the group runs, and none begins later."""
    active, closed = set[str](), set[str]()
    for entry in _entries(seen):
        if entry.what == "start":
            active.add(entry.name)
            if entry.name in closed:
                yield f"{entry.name} began after its group was undone"
        if entry.what == "end":
            active.discard(entry.name)
        if entry.what == "undo":
            inside = set(seen.inside.get(_undoer(seen, entry.name), ()))
            closed |= inside
            if seen.case.grace < GRACE:  # threads that take longer are given up
                inside -= seen.threaded
            if active & inside:
                yield f"{entry.name} was undone while {sorted(active & inside)} ran"


def recorded(seen: Seen) -> Iterator[str]:
    """COMPENSATED is who was undone, and nobody else; one that could not be is said, and stays as it was."""
    outcomes = {entry.name: entry.detail for entry in seen.said.get("undone", ())}
    failed = [event.path.rsplit("/", 1)[-1] for event in seen.others if isinstance(event, CompensationEvent)]
    if not outcomes and not failed and State.COMPENSATED not in seen.occurred:
        return
    for name, states in seen.states.items():
        compensated = State.COMPENSATED in states
        ok = outcomes.get(name) == "ok" and seen.final.get(name) is State.SUCCEEDED
        if compensated != ok:
            yield f"{name}: compensated is {compensated}, its compensation {outcomes.get(name)}"
        if (name in failed) != (outcomes.get(name, "ok") != "ok") and name in outcomes:
            yield f"{name}: its compensation {outcomes[name]}, told {failed}"
    if len(failed) != len(set(failed)):
        yield f"told twice: {failed}"


def in_time(seen: Seen) -> Iterator[str]:
    """No compensation goes on after the time of all those of its group is over."""
    began = dict[str, float]()
    for entry in _entries(seen):
        if entry.what in {"undo", "undone"}:
            group = _undoer(seen, entry.name)
            first = began.setdefault(group, entry.time)
            if entry.time > first + seen.case.undo_timeout:
                yield f"{entry.name}: undone until {entry.time}, its group began at {first}"


CHECKS = (once, complete, reverse, apart, recorded, in_time)
