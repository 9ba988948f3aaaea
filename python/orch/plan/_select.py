"""Selecting: a plan of the named outputs of a Graph and of what they need, and of nothing else."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import attrs

from orch.definition import Graph
from orch.errors import DefinitionError, close_matches, combine
from orch.plan._lower import compile  # noqa: A004 (the verb users know from re)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orch.plan._plan import Plan

__all__ = ("select",)


def select(plan: Plan, names: Iterable[str]) -> Plan:
    """
    Return the plan of a part of a graph: the steps that give these names, and all they wait for.

    Args:
        plan: the plan of a Graph.
        names: outputs, or names of steps. The part's value maps these only.

    Raises:
        DefinitionError: a name that the graph does not give, or the workflow is no graph.

    """
    wanted = tuple(names)
    graph = plan.workflow
    if not isinstance(graph, Graph):
        raise DefinitionError(f"select: only a Graph has outputs to select, {graph.name!r} is a {plan.kind(0)}")
    givers = _givers(plan)
    problems = [_unknown(name, givers) for name in wanted if name not in givers]
    if problems:
        raise combine(problems)
    kept = _closure(plan, {givers[name] for name in wanted})
    steps = [graph.steps[k] for k in kept]
    part = Graph(*steps, name=graph.name, on_failure=graph.on_failure, limit=graph.limit)
    outputs = [name for k in kept for name in _outputs(plan, k) if name in wanted or graph.steps[k].name in wanted]
    return attrs.evolve(compile(part), selected=frozenset(outputs))


def _givers(plan: Plan) -> dict[str, int]:
    """Return the position of the step that gives a name, for outputs and step names."""
    children = plan.draft.scopes[0].children
    found = {plan.draft.segment(child): k for k, child in enumerate(children)}
    return found | {name: k for k in range(len(children)) for name in _outputs(plan, k)}


def _outputs(plan: Plan, position: int) -> Iterable[str]:
    return plan.outputs_of(plan.draft.scopes[0].children[position])


def _unknown(name: str, givers: dict[str, int]) -> DefinitionError:
    meant = " or ".join(repr(each) for each in close_matches(name, givers))
    cure = f"did you mean {meant}?" if meant else f"it gives: {', '.join(map(repr, list(givers)[:20]))}"
    return DefinitionError(f"select: the graph gives no {name!r}; {cure}")


def _closure(plan: Plan, positions: set[int]) -> list[int]:
    """Return the positions of these steps and of all they wait for, in order of definition."""
    exits = [plan.draft.exit(child) for child in plan.draft.scopes[0].children]
    starts = [0, *(each + 1 for each in exits)]
    inside = [node for k in positions for node in range(starts[k], exits[k] + 1)]
    return sorted({bisect_right(starts, node) - 1 for node in plan.dag.ancestors(inside)})
