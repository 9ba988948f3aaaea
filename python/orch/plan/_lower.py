"""
Lowering: any definition becomes one flat `Plan`.

number (tree to tables) → wire (names to slots and edges) → link (edges to a validated `Dag`, callables, layout).
Every problem of the definition is found on the way and raised together at the end, before anything has run.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from orch._core import CycleFound, Dag, Layout
from orch.definition import Group, Task, Workflow
from orch.errors import CycleError, combine
from orch.plan._call import LOOP, PLACE, Shape, callable_of, lane_of
from orch.plan._draft import Draft, number
from orch.plan._plan import COLLECT, IN_PLACE, Plan
from orch.plan._wire import Wiring, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("compile",)

_JOIN_LANE = 2


def compile(workflow: Workflow | Plan | Callable[..., Any], /) -> Plan:  # noqa: A001 (the verb users know from re)
    """
    Lower and check a workflow without running it.

    The plan of a definition is made once and kept with it; a `Plan` is returned as it is.

    Args:
        workflow: a definition, a plan, or any callable, which is then a workflow of one task.

    Returns:
        The immutable, reusable plan.

    Raises:
        DefinitionError: with every problem that the definition has.
        TypeError: for something that is no step.

    Example:
        >>> import orch
        >>> def rows(): return [1, 2]
        >>> def total(rows): return sum(rows)
        >>> plan = orch.plan.compile(orch.Graph(total, rows))
        >>> plan.order()
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
    lanes = _lanes(draft)
    kinds = bytearray(IN_PLACE if lane == PLACE else 0 for lane in lanes)
    for node in wiring.collects:
        kinds[node] |= COLLECT
    return Plan(
        workflow=workflow,
        draft=draft,
        wiring=wiring,
        dag=dag,
        layout=_layout(draft, wiring, dag, lanes),
        calls=[_call(task, shape) for task, shape in zip(draft.tasks, wiring.shapes, strict=True)],
        kinds=bytes(kinds),
        threaded=1 in lanes,
    )


def _call(task: Task[..., Any] | None, shape: Shape | None) -> Callable[..., Any] | None:
    return None if task is None else callable_of(task, shape)


def _dag(draft: Draft, wiring: Wiring) -> Dag | None:
    """Return the validated graph; a cycle joins the other problems, as a path of names."""
    try:
        return Dag(len(draft.tasks), wiring.sources, wiring.targets, wiring.order)
    except CycleFound as found:
        names = tuple(draft.segments[node] for node in found.args[0])
        wiring.problems.append(CycleError(names))
        return None


def _lanes(draft: Draft) -> bytes:
    return bytes(_JOIN_LANE + 1 if task is None else lane_of(task) for task in draft.tasks)


def _layout(draft: Draft, wiring: Wiring, dag: Dag, lanes: bytes) -> Layout:
    scopes = draft.scopes
    core = array("B", lanes.translate(_CORE_LANES))
    return Layout(
        dag,
        core,
        _retained(draft, wiring),
        _column(row.parent for row in scopes),
        _column(row.start for row in scopes),
        _column(row.end for row in scopes),
        _column(row.join for row in scopes),
        _column((row.group.limit or 0) if isinstance(row.group, Group) else 0 for row in scopes),
    )


_CORE_LANES = bytes({PLACE: LOOP, _JOIN_LANE + 1: _JOIN_LANE}.get(lane, lane) for lane in range(256))


def _column(numbers: Iterable[int]) -> array[int]:
    return array("I", numbers)


def _retained(draft: Draft, wiring: Wiring) -> array[int]:
    """Say which values are kept to the end; a value that some group's value contains lives as long as that."""
    flags = array("B", (task is None or task.retain for task in draft.tasks))
    if all(flags):
        return flags
    collected = {scope for scopes in wiring.collects.values() for scope in scopes}
    for scope, row in enumerate(draft.scopes):
        if scope in collected or row.parent in collected:
            collected.add(scope)
            for child in row.children:
                flags[max(child, 0)] = 1 if child >= 0 else flags[0]
    return flags
