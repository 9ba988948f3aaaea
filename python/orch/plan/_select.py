"""Selecting: a plan of the named outputs of a Graph and of what they need, and of nothing else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import attrs

from orch.definition import Graph
from orch.errors import DefinitionError, close_matches, combine
from orch.plan._lower import compile  # noqa: A004 (the verb users know from re)
from orch.plan._plan import Plan

__all__ = ("select",)


def select(plan: Plan, names: Iterable[str]) -> Plan:
    """Return the plan of a part of a Graph: the steps that give these outputs, or have these names, and all they need.

    Raises:
        DefinitionError: A name that the graph does not give, or the workflow is no graph.
    """
    graph, wanted = plan.workflow, set(names)
    if not isinstance(graph, Graph):
        raise DefinitionError(
            f"select: only a Graph has outputs to select; {graph.name!r} is a {plan.draft.scopes[0].kind}"
        )
    children = plan.draft.scopes[0].children
    given = [{step.name, *plan.outputs_of(child)} for step, child in zip(graph.steps, children, strict=True)]
    problems = [
        _unknown(name, set[str]().union(*given)) for name in sorted(wanted) if not any(name in each for each in given)
    ]
    if problems:
        raise combine(problems)
    exits = [plan.draft.exit(child) for child in children]
    starts = [0, *(each + 1 for each in exits)]
    chosen = [node for k, each in enumerate(given) if each & wanted for node in range(starts[k], exits[k] + 1)]
    kept = sorted({bisect_right(starts, node) - 1 for node in plan.dag.ancestors(chosen)})
    part = Graph([graph.steps[k] for k in kept], name=graph.name, on_failure=graph.on_failure, limit=graph.limit)
    outputs = {name for k in kept for name in plan.outputs_of(children[k]) if wanted & {name, graph.steps[k].name}}
    return attrs.evolve(compile(part), selected=frozenset(outputs))


def _unknown(name: str, known: set[str]) -> DefinitionError:
    meant = " or ".join(map(repr, close_matches(name, known)))
    cure = f"did you mean {meant}?" if meant else f"it gives: {', '.join(map(repr, sorted(known)[:20]))}"
    return DefinitionError(f"select: the graph gives no {name!r}; {cure}")
