"""What a definition comes to, worked out the slow and obvious way, without any schedule."""

from typing import Any, NamedTuple

import attrs

from orch.event import State
from tests.properties.shapes import Group, Shape, Step, value_of

SUCCEEDED, SKIPPED, FAILED = State.SUCCEEDED, State.SKIPPED, State.FAILED
WORST = (FAILED, SKIPPED, SUCCEEDED)


class Pipe(NamedTuple):
    """A value handed on, which is there if what it comes from has succeeded."""

    value: Any
    there: bool


@attrs.define
class Expected:
    """How every step ends, by name, and whether that was decided at all by anything but the order of time."""

    states: dict[str, State] = attrs.field(factory=dict)
    values: dict[str, Any] = attrs.field(factory=dict)
    determined: bool = True
    value: Any = None


def evaluate(shape: Shape, handed: Any) -> Expected:
    """Work out states and values; `handed` is the input of the workflow by that name."""
    expected = Expected()
    root = shape if isinstance(shape, Group) else Group("task", (shape,))
    _group(expected, root, Pipe(handed, there=True), given=handed)
    expected.value = None
    if isinstance(shape, Step):
        expected.value = expected.values.get(shape.name)
    else:
        expected.value = _value(expected, shape)
    return expected


def _state(expected: Expected, shape: Shape) -> State:
    if isinstance(shape, Step):
        return expected.states[shape.name]
    found = {_state(expected, step) for step in shape.steps}
    return next((state for state in WORST if state in found), SUCCEEDED)


def _value(expected: Expected, shape: Shape) -> Any:
    """The value of a step or group, None for what did not succeed."""
    if isinstance(shape, Step):
        return expected.values.get(shape.name)
    if shape.kind == "graph":
        return {step.name: _value(expected, step) for step in shape.steps}
    return [_value(expected, step) for step in shape.steps]


def _visit(expected: Expected, shape: Shape, pipe: Pipe, given: Any, upstream: list[Shape]) -> None:
    if isinstance(shape, Group):
        _group(expected, shape, pipe, given)
        return
    needs = pipe.there if shape.takes else True
    needs = needs and all(_state(expected, dep) is SUCCEEDED for dep in upstream)
    if not needs:
        expected.states[shape.name] = SKIPPED
    elif shape.fails:
        expected.states[shape.name] = FAILED
    else:
        expected.states[shape.name] = SUCCEEDED
        argument: Any = pipe.value if shape.takes else None
        if upstream:
            argument = sorted((dep.name, _value(expected, dep)) for dep in upstream)
        expected.values[shape.name] = value_of(shape.name, argument)


def _group(expected: Expected, group: Group, pipe: Pipe, given: Any) -> None:
    aborted = False
    for step in group.steps:
        if aborted and group.kind == "sequence":
            _skip(expected, step)
            continue
        upstream = [group.steps[dep] for dep in step.deps] if isinstance(step, Step) else []
        _visit(expected, step, pipe, given, upstream)
        if _state(expected, step) is FAILED and group.strategy == "abort":
            aborted = True
            if group.kind != "sequence" and len(group.steps) > 1:
                expected.determined = False
        if group.kind == "sequence":
            pipe = _handed(expected, step, pipe)


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
    if isinstance(shape, Step):
        expected.states[shape.name] = SKIPPED
    else:
        for step in shape.steps:
            _skip(expected, step)
