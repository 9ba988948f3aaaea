"""The values of groups, put together from those of their steps: lists for Sequence and Parallel, mappings for Graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orch.plan import Plan

__all__ = ("collect", "output", "value_of")


def output(values: list[Any], place: tuple[int, int]) -> Any:
    """Return what stands in a slot, or the k-th of several outputs; None where the step gave nothing."""
    slot, pick = place
    value = values[slot]
    return value if pick < 0 or value is None else value[pick]


def collect(plan: Plan, values: list[Any], scopes: Iterable[int], done: set[int]) -> None:
    """Put the values of these groups into the slots of their exits, inner groups first; `done` ones are there."""
    for scope in scopes:
        if scope not in done:
            for inner in _inner_first(plan, scope, done):
                values[plan.draft.scopes[inner].join] = _value(plan, values, inner)
                done.add(inner)


def value_of(plan: Plan, values: list[Any], done: set[int]) -> Any:
    """Return the value of the whole workflow."""
    root = plan.draft.scopes[0]
    collect(plan, values, (~child for child in root.children if child < 0), done)
    if plan.kind(0) == "task":
        return values[root.children[0]]
    if plan.kind(0) == "graph":
        return {name: output(values, place) for name, place in plan.outputs.items()}
    return _value(plan, values, 0)


def _inner_first(plan: Plan, scope: int, done: set[int]) -> list[int]:
    """Return the groups in a group, itself included, so that each comes behind those it contains."""
    order, stack = [scope], [scope]
    while stack:
        children = plan.draft.scopes[stack.pop()].children
        inner = [~child for child in children if child < 0 and ~child not in done]
        order += inner
        stack += inner
    return order[::-1]


def _value(plan: Plan, values: list[Any], scope: int) -> Any:
    children = plan.draft.scopes[scope].children
    if plan.kind(scope) == "graph":
        return {name: output(values, place) for child in children for name, place in plan.outputs_of(child).items()}
    return [values[plan.draft.exit(child)] for child in children]
