"""What a run is given, checked against the plan before anything starts: inputs by name, and the Context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orch.errors import DefinitionError, InputError, close_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orch.context import Context
    from orch.plan._plan import Plan

__all__ = ("values_for",)


def values_for(plan: Plan, inputs: Mapping[str, Any], context: Context[Any] | None) -> list[Any]:
    """
    Return the list of values that a run starts with: one empty slot a node, then constants, defaults and inputs.

    Raises:
        InputError: an input is missing, unknown, or only bound parameters carry its name.
        DefinitionError: a task requires a Context and the run has none.

    """
    _check(plan, inputs)
    if context is None:
        _check_context(plan)
    values = [None] * len(plan.draft.tasks)
    values += plan.wiring.constants
    for name, value in inputs.items():
        for slot in plan.wiring.inputs[name].slots:
            values[slot] = value
    return values


def _check(plan: Plan, inputs: Mapping[str, Any]) -> None:
    known = plan.wiring.inputs
    missing = [name for name, each in known.items() if each.required and name not in inputs]
    unexpected = [name for name in inputs if name not in known]
    if missing or unexpected:
        raise InputError(missing, unexpected, _suggestions(known, unexpected), plan.inputs, _bound(plan, unexpected))


def _suggestions(known: Iterable[str], unexpected: list[str]) -> list[str]:
    return list(dict.fromkeys(meant for name in unexpected[:100] for meant in close_matches(name, known)))


def _bound(plan: Plan, names: list[str]) -> list[str]:
    """Say where a name is bound: what only bound parameters carry is no input of the workflow."""
    tasks = {node: task for node in plan.nodes() if names and (task := plan.draft.tasks[node]) and task.bound}
    return [
        f"{name!r} is bound already in task {plan.path(node)!r}"
        for name in names
        for node, task in tasks.items()
        if name in task.bound
    ]


def _check_context(plan: Plan) -> None:
    needy = [plan.path(node) for _, node, required in plan.wiring.contexts if required]
    if needy:
        tasks = ", ".join(repr(path) for path in needy[:10])
        raise DefinitionError(
            f"{tasks}: a parameter takes the Context, and this run has none; "
            f"pass one: orch.run(workflow, orch.Context(data))",
        )
