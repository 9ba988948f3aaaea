"""Lowering: any definition becomes one flat `Plan`.

number (tree to tables) → wire (names to slots and edges) → link (edges to a validated `Dag`, callables, layout).
Every problem of the definition is found on the way and raised together at the end, before anything has run.
"""

import gc
from array import array
from collections.abc import Callable, Mapping
from itertools import compress
from typing import Any

from orch._core import CycleFound, Dag, Layout
from orch.definition import Task, Workflow
from orch.errors import CycleError, combine
from orch.plan._call import callable_of
from orch.plan._draft import Draft, number
from orch.plan._plan import COLLECT, IN_PLACE, RULES, Plan
from orch.plan._rules import Rules, guarded, rules_of
from orch.plan._types import mismatches
from orch.plan._wire import Wiring, wire

__all__ = ("compile", "lane_of", "lanes_by")

_LOOP, _PLACE, _THREAD, _JOIN = (0, 0), (0, IN_PLACE), (1, 0), (2, 0)  # lanes: the core's number, bits of `Plan.kinds`
_CYCLES = 20  # separate cycles that are reported at once
_UNLIMITED = 0xFFFFFFFF  # more tasks than that no plan can have, so a higher limit is none


def compile(workflow: Workflow | Plan | Callable[..., Any], /) -> Plan:  # noqa: A001 (the verb users know from re)
    """Lower and check a workflow without running it; a definition's plan is made once and kept with it.

    Takes a definition, a plan (returned as it is), or any callable: a workflow of one task. Raises a `DefinitionError`
    with every problem that the definition has.

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
        collects = gc.isenabled()
        gc.disable()  # nothing that is made here is garbage, and looking for some would take a third of the time
        try:
            plan = _lower(definition)
        finally:
            if collects:
                gc.enable()
        object.__setattr__(definition, "_plan", plan)
    return plan


def _lower(workflow: Workflow) -> Plan:
    draft = number(workflow)
    wiring = wire(draft)
    rules = rules_of(draft, wiring)
    wiring.problems += mismatches(draft, wiring)
    dag = _dag(draft, wiring)
    lanes = [lane_of(task) for task in draft.tasks]
    threaded = _THREAD in lanes or any(map(_undone_in_thread, rules.values()))
    calls = [task and callable_of(task, shape) for task, shape in zip(draft.tasks, wiring.shapes, strict=True)]
    kinds, layout = lanes_by(rules, lanes, draft, wiring, dag)
    return Plan(workflow, draft, wiring, dag, layout, calls, kinds, threaded, rules, guarded(draft))


def lanes_by(
    rules: Mapping[int, Rules], lanes: list[tuple[int, int]], draft: Draft, wiring: Wiring, dag: Dag
) -> tuple[bytes, Layout]:
    """Return `Plan.kinds` and the layout for steps that go by these rules, each otherwise in a lane of its own kind."""
    for node in rules:
        lanes[node] = _LOOP if lanes[node] is _THREAD else lanes[node]  # the attempt takes the body to a thread
    kinds = bytearray(kind for _, kind in lanes)
    for node in wiring.collects:
        kinds[node] |= COLLECT
    for node in rules:
        kinds[node] |= RULES
    return bytes(kinds), _layout(draft, wiring, dag, bytes(core for core, _ in lanes))


def _dag(draft: Draft, wiring: Wiring) -> Dag:
    """Return the validated graph or raise all problems; cycles one after another, each found when the last is cut."""
    edges, problems = [wiring.sources, wiring.targets, wiring.order], list(wiring.problems)
    for _ in range(_CYCLES):
        try:
            dag = Dag(len(draft.tasks), *edges)
        except CycleFound as found:
            cycle, inside = found.args[0], set(found.args[0])
            problems.append(CycleError([draft.path(node) for node in cycle]))
            kept = [not {*edge} <= inside for edge in zip(edges[0], edges[1], strict=True)]
            edges = [array(column.typecode, compress(column, kept)) for column in edges]
        else:
            if not problems:
                return dag
            break
    raise combine(problems)


def lane_of(task: Task[..., Any] | None) -> tuple[int, int]:
    """Return where a task runs: the number of the lane in the core, and a bit of `Plan.kinds`."""
    if task is None:
        return _JOIN
    if task.signature.is_async:
        return _LOOP
    return _PLACE if task.thread is False else _THREAD


def _undone_in_thread(rules: Rules) -> bool:
    return rules.undo is not None and lane_of(rules.undo.task) is _THREAD


def _layout(draft: Draft, wiring: Wiring, dag: Dag, lanes: bytes) -> Layout:
    limits = (min(getattr(row.group, "limit", None) or 0, _UNLIMITED) for row in draft.scopes)
    rows = [(row.parent, row.start, row.end, row.join, limit) for row, limit in zip(draft.scopes, limits, strict=True)]
    return Layout(dag, lanes, _retained(draft, wiring), *(array("I", column) for column in zip(*rows, strict=True)))


def _retained(draft: Draft, wiring: Wiring) -> bytearray | None:
    """Say which values are kept to the end, None for all; what a group's value contains lives as long as that."""
    if all(task is None or task.retain for task in draft.tasks):
        return None
    read = {source for source, order in zip(wiring.sources, wiring.order, strict=True) if not order}
    kept = bytearray(task is None or task.retain or node not in read for node, task in enumerate(draft.tasks))
    collected = {scope for scopes in wiring.collects.values() for scope in scopes}
    for scope, row in enumerate(draft.scopes):
        if scope in collected or row.parent in collected:
            collected.add(scope)
            for child in row.children:
                kept[draft.exit(child)] = 1
    return kept


Workflow._compile = compile  # noqa: SLF001 (the hook that definitions keep for it)
