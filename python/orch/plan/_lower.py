"""Lowering: any definition becomes one flat `Plan`.

number (tree to tables) → wire (names to slots and edges) → link (edges to a validated `Dag`, callables, layout).
Every problem of the definition is found on the way and raised together at the end, before anything has run.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from orch._core import CycleFound, Dag, Layout
from orch.definition import Group, Task, Workflow
from orch.errors import CycleError, combine
from orch.plan._call import callable_of
from orch.plan._draft import Draft, number
from orch.plan._plan import COLLECT, IN_PLACE, LANES, Plan
from orch.plan._wire import Wiring, wire

__all__ = ("compile",)

_CORE = {"loop": 0, "place": 0, "thread": 1, "join": 2}  # the lanes that the core tells apart
_CYCLES = 20  # separate cycles that are reported at once
_UNLIMITED = 0xFFFFFFFF  # more tasks than that no plan can have, so a higher limit is none


def compile(workflow: Workflow | Plan | Callable[..., Any], /) -> Plan:  # noqa: A001 (the verb users know from re)
    """Lower and check a workflow without running it; a definition's plan is made once and kept with it.

    Args:
        workflow: A definition, a plan (returned as it is), or any callable: a workflow of one task.

    Raises:
        DefinitionError: With every problem that the definition has.
        TypeError: For something that is no step.

    Example:
        >>> import orch
        >>> def rows(): return [1, 2]
        >>> def total(rows): return sum(rows)
        >>> orch.plan.compile(orch.Graph(total, rows)).order()
        ['rows', 'total']
    """
    if isinstance(workflow, Plan):
        return workflow
    definition = workflow if isinstance(workflow, Workflow) else Task(workflow)
    plan = definition._plan  # noqa: SLF001 (the slot that definitions keep for this function alone)
    if not isinstance(plan, Plan):
        plan = _lower(definition)
        object.__setattr__(definition, "_plan", plan)
    return plan


def _lower(workflow: Workflow) -> Plan:
    draft = number(workflow)
    wiring = wire(draft)
    dag = _dag(draft, wiring)
    if dag is None or wiring.problems:
        raise combine(wiring.problems)
    lanes = [_lane(task) for task in draft.tasks]
    kinds = bytearray(IN_PLACE if lane == "place" else 0 for lane in lanes)
    for node in wiring.collects:
        kinds[node] |= COLLECT
    calls = [task and callable_of(task, shape) for task, shape in zip(draft.tasks, wiring.shapes, strict=True)]
    layout = _layout(draft, wiring, dag, array("B", map(_CORE.__getitem__, lanes)))
    return Plan(workflow, draft, wiring, dag, layout, calls, bytes(kinds), "thread" in lanes)


def _dag(draft: Draft, wiring: Wiring) -> Dag | None:
    """Return the validated graph, or record its cycles: one after another, each found when the last is cut open."""
    edges = (wiring.sources, wiring.targets, wiring.order)
    for attempt in range(_CYCLES + 1):
        try:
            dag = Dag(len(draft.tasks), *edges)
        except CycleFound as found:
            cycle = found.args[0]
            wiring.problems.append(CycleError([draft.path(node) for node in cycle]))
            inside = set(cycle)
            kept = [k for k, (s, t) in enumerate(zip(*edges[:2], strict=True)) if not {s, t} <= inside]
            edges = tuple(array(column.typecode, (column[k] for k in kept)) for column in edges)  # type: ignore[assignment]
        else:
            return None if attempt else dag
    return None


def _lane(task: Task[..., Any] | None) -> LANES:
    if task is None:
        return "join"
    if task.signature.kind == "coroutine":
        return "loop"
    return "place" if task.thread is False else "thread"


def _layout(draft: Draft, wiring: Wiring, dag: Dag, lanes: array[int]) -> Layout:
    limits = [row.group.limit or 0 if isinstance(row.group, Group) else 0 for row in draft.scopes]
    rows = [(row.parent, row.start, row.end, row.join) for row in draft.scopes]
    parents, starts, ends, joins = (array("I", column) for column in zip(*rows, strict=True))
    capped = array("I", (min(each, _UNLIMITED) for each in limits))
    return Layout(dag, lanes, _retained(draft, wiring), parents, starts, ends, joins, capped)


def _retained(draft: Draft, wiring: Wiring) -> array[int]:
    """Say which values are kept to the end; a value that some group's value contains lives as long as that."""
    flags = array("B", (task is None or task.retain for task in draft.tasks))
    if all(flags):
        return flags
    read = {source for source, order in zip(wiring.sources, wiring.order, strict=True) if not order}
    flags = array("B", (flag or node not in read for node, flag in enumerate(flags)))  # the run itself reads the rest
    collected = {scope for scopes in wiring.collects.values() for scope in scopes}
    for scope, row in enumerate(draft.scopes):
        if scope in collected or row.parent in collected:
            collected.add(scope)
            for child in row.children:
                flags[draft.exit(child)] = 1
    return flags
