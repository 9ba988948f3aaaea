"""What a run is given, checked against the plan before anything starts: inputs by name, and the Context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.context import Context
from orch.errors import DefinitionError, InputError, close_matches
from orch.plan._plan import Plan

__all__ = ("values_for",)


def values_for(plan: Plan, inputs: Mapping[str, Any], context: Context[Any] | None) -> list[Any]:
    """Return the list of values a run starts with: one empty slot a node, then constants, defaults and inputs.

    Raises:
        InputError: An input is missing, unknown, or only bound parameters carry its name.
        DefinitionError: A task requires a Context and the run has none.
    """
    known = plan.wiring.inputs
    missing = [name for name, each in known.items() if each.required and name not in inputs]
    unexpected = [name for name in inputs if name not in known]
    if missing or unexpected:
        meant = dict.fromkeys(each for name in unexpected[:100] for each in close_matches(str(name), known))
        raise InputError(missing, unexpected, tuple(meant), plan.inputs, _bound(plan, unexpected))
    needy = [plan.path(node) for _, node, required in plan.wiring.contexts if required and context is None]
    if needy:
        tasks = ", ".join(map(repr, needy[:10]))
        cure = "pass one: orch.run(workflow, orch.Context(data))"
        raise DefinitionError(f"{tasks}: a parameter takes the Context, and this run has none; {cure}")
    values = [None] * len(plan.draft.tasks) + plan.wiring.constants
    for name, value in inputs.items():
        for slot in known[name].slots:
            values[slot] = value
    return values


def _bound(plan: Plan, names: list[str]) -> list[str]:
    """Say where a name is bound: what only bound parameters carry is no input of the workflow."""
    bound = {name: node for node in plan.nodes for name in plan.draft.task(node).bound} if names else {}
    return [f"{name!r} is bound already in task {plan.path(bound[name])!r}" for name in names if name in bound]
