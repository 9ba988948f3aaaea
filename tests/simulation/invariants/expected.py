"""Where the outcome does not depend on who is quicker it is the one that was worked out by hand."""

from collections.abc import Iterator
from typing import Any

from orch.event import State
from tests.simulation.evaluate import Expected, evaluate
from tests.simulation.plans import Case
from tests.simulation.seen import HANDED, Seen

__all__ = ("CHECKS",)


def predicted(seen: Seen) -> Iterator[str]:
    """States, attempts and the value are those of the naive evaluator."""
    expected = _expected(seen.case)
    if not expected.determined or seen.cancelled_at is not None:
        return
    states = {name: states[-1] for name, states in seen.states.items()}
    for name, state in expected.states.items():
        if states.get(name) is not state:
            yield f"{name} is {states.get(name)}, expected {state}"
    for name, each in seen.states.items():
        found = each.count(State.RUNNING)
        if found != expected.attempts.get(name, 0):
            yield f"{name} made {found} attempts, expected {expected.attempts.get(name, 0)}"
    undone = State.COMPENSATED in states.values()  # a graph leaves out what was undone, a list does not
    if (
        seen.result is not None
        and not undone
        and _without_nothing(seen.result.value) != _without_nothing(expected.value)
    ):
        yield f"the value is {seen.result.value!r}, expected {expected.value!r}"


_latest: list[tuple[Case, Expected]] = []  # several runs of a case come one after another


def _expected(case: Case) -> Expected:
    if not _latest or _latest[0][0] is not case:
        _latest[:] = [(case, evaluate(case, HANDED))]
    return _latest[0][1]


def _without_nothing(value: Any) -> Any:
    """Leave out of mappings what is None: a graph leaves out what failed."""
    if isinstance(value, dict):
        return {name: _without_nothing(each) for name, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


CHECKS = (predicted,)
