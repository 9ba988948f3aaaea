"""What a case comes to, worked out the slow and obvious way, where that does not depend on who is quicker.

No schedule, no clock but one number for each step. Whatever it cannot know (cancellations, groups with deadlines,
breakers, ties of a timeout with the end of a body, failures beside others that run) makes it say so.
"""

from typing import Any, NamedTuple

import attrs

from orch.event import State
from tests.simulation.bodies import value_of
from tests.simulation.plans import Case, Group, Shape, Step, groups, leaves

__all__ = ("Expected", "evaluate")

SUCCEEDED, SKIPPED, FAILED, COMPENSATED = State.SUCCEEDED, State.SKIPPED, State.FAILED, State.COMPENSATED
_WORST = (FAILED, SKIPPED, SUCCEEDED)


class Pipe(NamedTuple):
    """A value handed on, which is there if what it comes from has succeeded."""

    value: Any
    there: bool


@attrs.define
class Expected:
    """How every step ends, what it gives and after how many attempts; `determined` is whether that is known at all."""

    states: dict[str, State] = attrs.field(factory=dict)
    values: dict[str, Any] = attrs.field(factory=dict)
    attempts: dict[str, int] = attrs.field(factory=dict)
    order: list[str] = attrs.field(factory=list)
    determined: bool = True
    value: Any = None


def evaluate(case: Case, handed: Any) -> Expected:
    """Work out states and values; `handed` is the input of that name."""
    expected = Expected()
    if any(step.error == "exit" or (step.threaded and step.timeout) for step in leaves(case.root)):
        expected.determined = False
    if (
        case.cancel is not None
        or case.stops
        or any(each.timeout or each.breaker is not None for each in groups(case.root))
    ):
        expected.determined = False
    if any(step.breaker is not None for step in leaves(case.root)):
        expected.determined = False
    if any("," in each.strategy or each.strategy == "raises" for each in groups(case.root)):
        expected.determined = False
    if expected.determined:
        root = case.root if isinstance(case.root, Group) else Group("task", (case.root,))
        _group(expected, root, Pipe(handed, there=True))
        expected.value = _value(expected, case.root)
    return expected


def _attempt(step: Step, number: int) -> str | None:
    """How one attempt ends: "ok", the kind of its error, or None if that is a tie."""
    timeout = step.timeout or float("inf")
    if number <= step.hangs or step.seconds > timeout:
        if step.on_cancel.endswith("value"):
            return step.error if number <= step.fails else "ok"
        return step.error if step.on_cancel == "error" else "late"
    if step.seconds == timeout:
        return None
    return step.error if number <= step.fails else "ok"


def _outcome(expected: Expected, step: Step) -> bool:
    """Whether a step succeeds, attempt after attempt."""
    number = 0
    while True:
        number += 1
        kind = _attempt(step, number)
        retry = step.retry
        expected.attempts[step.name] = number
        if kind is None or (retry is not None and retry.deadline is not None and kind != "ok"):
            expected.determined = False
            return True
        if kind == "ok" or retry is None or number >= retry.max_attempts or not _again(retry, kind):
            return kind == "ok"


def _again(retry: Any, kind: str) -> bool:
    """Whether the policy tries again after this kind of error; there are three lists of kinds and two of exceptions."""
    picky = Exception not in retry.retry_on
    forgiving = TimeoutError not in retry.give_up_on
    return {
        "boom": True,
        "after": True,
        "group": True,
        "odd": not picky,
        "mixed": not picky,
        "stop": not picky,
        "timeout": forgiving,
        "late": forgiving,
    }[kind]


def _state(expected: Expected, shape: Shape) -> State:
    """The state of a step or group, as the group around it sees it."""
    if isinstance(shape, Step):
        state = expected.states[shape.name]
        return SUCCEEDED if state is COMPENSATED else state
    found = {_state(expected, step) for step in shape.steps}
    return next((state for state in _WORST if state in found), SUCCEEDED)


def _value(expected: Expected, shape: Shape) -> Any:
    if isinstance(shape, Step):
        return expected.values.get(shape.name)
    if shape.kind == "graph":
        return {step.name: _value(expected, step) for step in shape.steps}
    return [_value(expected, step) for step in shape.steps]


def _visit(expected: Expected, shape: Shape, pipe: Pipe, upstream: list[Shape]) -> None:
    if isinstance(shape, Group):
        _group(expected, shape, pipe)
        return
    needs = (pipe.there or not shape.takes) and all(_state(expected, dep) is SUCCEEDED for dep in upstream)
    if not needs:
        expected.states[shape.name] = SKIPPED
    elif not _outcome(expected, shape):
        expected.states[shape.name] = FAILED
    else:
        expected.states[shape.name] = SUCCEEDED
        expected.order.append(shape.name)
        argument: Any = pipe.value if shape.takes else None
        if upstream:
            argument = sorted((dep.name, _value(expected, dep)) for dep in upstream)
        expected.values[shape.name] = value_of(shape.name, argument)


def _group(expected: Expected, group: Group, pipe: Pipe) -> None:
    aborted = False
    for step in group.steps:
        if aborted and group.kind == "sequence":
            _skip(expected, step)
            continue
        upstream = [group.steps[dep] for dep in step.deps] if isinstance(step, Step) else []
        _visit(expected, step, pipe, upstream)
        if _state(expected, step) is FAILED and group.strategy != "continue":
            aborted = True
            if group.kind != "sequence" and len(group.steps) > 1:
                expected.determined = False
        if group.kind == "sequence":
            pipe = _handed(expected, step, pipe)
    if group.strategy == "compensate" and _state(expected, group) is not SUCCEEDED:
        _undo(expected, group)


def _handed(expected: Expected, step: Shape, before: Pipe) -> Pipe:
    """What is handed on behind a step; an empty Sequence hands on what it was handed."""
    there = _state(expected, step) is SUCCEEDED
    last = step
    while isinstance(last, Group) and last.kind == "sequence":
        if not last.steps:
            return before
        last = last.steps[-1]
    return Pipe(_value(expected, last), there)


def _skip(expected: Expected, shape: Shape) -> None:
    for step in leaves(shape):
        expected.states[step.name] = SKIPPED


def _undo(expected: Expected, group: Group) -> None:
    """What has a compensation that works is compensated; whether there is time for all of them depends on the order."""
    for step in leaves(group):
        done = expected.states[step.name] is SUCCEEDED
        if step.undo is not None and step.undo.kind in {"slow", "hangs"} and (done or step.undo_unknown):
            expected.determined = False
        if step.undo is not None and step.undo.kind in {"ok", "plain"} and done:
            expected.states[step.name] = COMPENSATED
