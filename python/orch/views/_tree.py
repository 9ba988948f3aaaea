"""What every view shows: one row a step, read off the tables of the plan, so that any depth of nesting is a loop."""

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from orch.definition import Group, Task, Workflow
from orch.plan import Plan, compile  # noqa: A004 (the verb users know from re)
from orch.policies import FailureStrategy
from orch.result import GroupRecord, RunResult, TaskRecord

__all__ = ("Row", "Subject", "edges", "tree")

Subject: TypeAlias = Workflow | Plan | RunResult | Callable[..., Any]
Edges: TypeAlias = dict[tuple[int, int], bool]


@attrs.define(eq=False)
class Row:
    """One step: `number` is the node of a task or ~scope of a group. Each view escapes the texts by its own grammar."""

    number: int
    depth: int
    last: bool
    name: str
    facts: str = ""
    shared: bool = False
    record: TaskRecord | GroupRecord | None = None


def tree(subject: Subject) -> tuple[list[Row], Plan | None]:
    """Read a definition, a plan or a result; a result that was pickled has no plan and is a flat list of paths."""
    if not isinstance(subject, RunResult):
        plan = compile(subject)
        return _rows(plan), plan
    run: Any = getattr(subject._source, "_run", None)  # noqa: SLF001 (both read the same tables)
    tasks = list(subject.tasks.values())
    if run is None:
        flat = [Row(k, 1, task is tasks[-1], task.path, record=task) for k, task in enumerate(tasks)]
        return [Row(~0, 0, True, subject.name, record=subject.groups.get("")), *flat], None  # noqa: FBT003 (a column)
    rows, records = _rows(run.plan), dict(zip(run.plan.nodes, tasks, strict=True))
    for row in rows:
        of_group = None if row.number >= 0 else subject.groups.get(run.plan.draft.scope_path(~row.number))
        row.record = records.get(row.number, of_group)
    return rows, run.plan


def edges(plan: Plan | None) -> Edges:
    """Give who waits for whom, by number: True for a value, False only for its turn, for which whole groups wait."""
    found: Edges = {}
    if plan is not None:
        joins, wiring = plan.draft.joins, plan.wiring
        for source, target, order in zip(wiring.sources, wiring.targets, wiring.order, strict=True):
            if target not in joins:
                key = ~joins.get(source, ~source), _outermost(plan, source, target) if order else target
                found[key] = found.get(key, False) or not order
    return found


def _outermost(plan: Plan, source: int, target: int) -> int:
    """Give the largest step around the target that the source is no part of."""
    scopes, scope = plan.draft.scopes, plan.draft.scope_of[target]
    while not scopes[scope].start <= source < scopes[scope].end:
        target, scope = ~scope, scopes[scope].parent
    return target


def _rows(plan: Plan) -> list[Row]:
    draft, rows, seen = plan.draft, list[Row](), set[int]()
    todo = [(0 if plan.kind(0) == "task" else ~0, 0, True)]
    while todo:
        number, depth, last = todo.pop()
        step: Workflow = draft.task(number) if number >= 0 else draft.scopes[~number].group
        name = draft.segments[draft.exit(number)] if depth else step.name
        rows.append(Row(number, depth, last, name, ", ".join(_facts(step)), id(step) in seen))
        seen.add(id(step))
        inner = draft.scopes[~number].children if number < 0 else []
        todo += [(child, depth + 1, child == inner[-1]) for child in reversed(inner)]
    return rows


def _facts(step: Workflow) -> list[str]:
    """Say what is not as everybody expects."""
    if isinstance(step, Task):
        return [f"gives {', '.join(step.outputs)}"] if step.output else []
    if not isinstance(step, Group):
        return []
    facts: list[str] = [] if step.name == step.kind else [step.kind]
    facts += [f"limit {step.limit}"] if step.limit else []
    how = step.on_failure.value if isinstance(step.on_failure, FailureStrategy) else type(step.on_failure).__name__
    return facts if step.on_failure is FailureStrategy.ABORT else [*facts, f"on_failure {how}"]
