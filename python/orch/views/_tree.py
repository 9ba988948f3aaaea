"""The tree of steps: what every view shows, and how terminals show it. A loop over flat tables: any depth will do."""

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from orch.definition import Group, Map, Task, Workflow
from orch.definition._border import Border
from orch.definition._resource import Use
from orch.errors import inert
from orch.event._discreet import sanitizer_of
from orch.event._text import cut, describe
from orch.plan import Plan, compile  # noqa: A004 (the verb users know from re)
from orch.result import GroupRecord, RunResult, TaskRecord

__all__ = ("Row", "Subject", "rows_of", "to_text")

DEEPEST, LONGEST = 24, 200  # levels of indentation, characters of an error or of many names
_FORMS = {"stream": "streams", "interrupt": "asks"}
Subject: TypeAlias = Workflow | Plan | RunResult | Callable[..., Any]


class Row(NamedTuple):
    """One step: `number` is the node of a task or ~scope of a group, no text has control characters."""

    number: int
    depth: int
    branch: str
    name: str
    facts: str
    record: TaskRecord | GroupRecord | None


def to_text(workflow_or_result: Subject, /) -> str:
    """Draw a workflow, a plan or a result as a tree, one line a step, control characters escaped.

    `← a, b` names steps whose values it needs, `[shared]` an object that is above, too; results show states, errors.

    >>> import orch
    >>> print(to_text(orch.Sequence(len, abs, name="crawl", limit=2)))
    crawl (sequence, limit 2)
    ├─ len
    └─ abs ← len
    """
    rows, arrows = rows_of(workflow_or_result)
    names, needs = {row.number: row.name for row in rows}, defaultdict[int, list[str]](list)
    for source, target in (pair for pair, needed in arrows.items() if needed):
        needs[target].append(names[source])
    return "\n".join(_line(row, needs[row.number]) for row in rows)


def _line(row: Row, needs: list[str]) -> str:
    level = f"(level {row.depth}) " if row.depth > DEEPEST else ""
    arrow = f" ← {cut(', '.join(needs), LONGEST)}" if needs else ""
    fate = f": {', '.join(filter(None, _fate(row.record)))}" if row.record else ""
    return f"{row.branch}{level}{row.name}{row.facts}{arrow}{fate}"


def _fate(record: TaskRecord | GroupRecord) -> list[str]:
    facts = [record.state.value, "" if record.duration is None else f"{record.duration:.3f} s"]
    if isinstance(record, TaskRecord):
        facts += [f"{record.reason} by {inert(record.cause)}" if record.cause else record.reason or ""]
        facts += ["cached" if record.cached else "", "restored" if record.restored else ""]
        facts += ["" if record.error is None else inert(cut(describe(record.error, sanitizer_of(record)), LONGEST))]
    return facts


def rows_of(subject: Subject) -> tuple[list[Row], dict[tuple[int, int], bool]]:
    """Read steps, and by number who waits for whom, True for a value; a pickled result has no plan: a list of paths."""
    if not isinstance(subject, RunResult):
        return _read(compile(subject), {})
    run: Any = getattr(subject._source, "_run", None)  # noqa: SLF001 (both read the same tables)
    tasks, groups = subject.tasks, subject.groups
    if run is None:
        flat = [Row(k, 1, "- ", inert(path), "", tasks[path]) for k, path in enumerate(tasks)]
        return [Row(~0, 0, "", inert(subject.name), "", groups.get("")), *flat], {}
    of_groups = {~scope: groups.get(run.plan.draft.scope_path(scope)) for scope in range(len(run.plan.draft.scopes))}
    return _read(run.plan, of_groups | {node: tasks[path] for node, path in run.plan.paths.items()})


def _read(plan: Plan, records: dict[int, Any]) -> tuple[list[Row], dict[tuple[int, int], bool]]:
    draft, rows, seen = plan.draft, list[Row](), set[int]()
    todo = [(0 if plan.kind(0) == "task" else ~0, 0, "", "")]
    while todo:
        number, depth, trunk, branch = todo.pop()
        step: Any = draft.task(number) if number >= 0 else draft.scopes[~number].group
        name = draft.segments[draft.exit(number)] if depth else step.name
        facts = _facts(step) + (" [shared]" if id(step) in seen else "")
        rows.append(Row(number, depth, trunk + branch, inert(name), facts, records.get(number)))
        seen.add(id(step))
        below = {"├─ ": "│  ", "└─ ": "   "}.get(branch, "") if depth <= DEEPEST else ""
        inner = draft.scopes[~number].children[::-1] if number < 0 else []
        todo += [(child, depth + 1, trunk + below, "├─ " if k else "└─ ") for k, child in enumerate(inner)]
    return rows, _arrows(plan)


def _facts(step: Task[..., Any] | Group) -> str:
    """Say what is not as everybody expects."""
    facts = _of_task(step) if isinstance(step, Task) else _of_group(step)
    return f" ({', '.join(facts)})" if facts else ""


def _of_task(step: Task[..., Any]) -> list[str]:
    facts = _of_map(step) if isinstance(step, Map) else [_FORMS[step.form]] if step.form in _FORMS else []
    facts += [f"gives {inert(', '.join(step.outputs))}"] if step.output else []
    facts += _policies(step)
    facts += [f"max_attempts {step.retry.max_attempts}"] if step.retry else []
    facts += ["limiter"] if step.limiter is not None else []
    facts += [f"compensate {inert(step.compensate.name)}"] if step.compensate else []
    facts += [] if step.cache is None else ["cached" if step.cache else "never cached"]
    return facts + [f"uses {inert(name)}" for name in _resources(step)]


def _of_map(step: Map) -> list[str]:
    body = "" if step.body.name == step.name else f"{inert(step.body.name)} "
    facts = [f"{body}for each {inert(', '.join(step.over))}"]
    facts += [step.mode] if step.mode != "zip" else []
    facts += [f"limit {step.limit}"] if step.limit else []
    return facts + ([f"on_error {step.on_error}"] if step.on_error != "raise" else [])


def _resources(step: Task[..., Any]) -> list[str]:
    free = (each.default for each in step.signature.parameters if each.name not in step.bound)
    return [each.resource.name for each in free if isinstance(each, Use)]


def _of_group(step: Group) -> list[str]:
    how = getattr(step.on_failure, "value", type(step.on_failure).__name__)
    facts: list[str] = [step.kind] if step.name != step.kind else []
    facts += [f"limit {step.limit}"] if step.limit else []
    facts += [*_policies(step), *([f"on_failure {inert(how)}"] if how != "abort" else [])]
    return facts + (_of_border(step.border) if step.border else [])


def _of_border(border: Border) -> list[str]:
    """Say what a group is called where it meets what is around it."""
    taken = [f"{outer} as {name}" for name, outer in border.takes.items() if name not in border.values]
    given = [f"{name} as {outer}" for name, outer in (border.gives or {}).items() if name != outer]
    known = ("takes", taken), ("gives", given), ("has", border.bound)
    return [f"{verb} {inert(cut(', '.join(names), LONGEST))}" for verb, names in known if names]


def _policies(step: Task[..., Any] | Group) -> list[str]:
    facts = [] if step.timeout is None else [f"timeout {step.timeout:.12g} s"]
    name = step.breaker and step.breaker.name
    return facts if step.breaker is None else [*facts, "breaker" if name is None else f"breaker {name!r}"]


def _arrows(plan: Plan) -> dict[tuple[int, int], bool]:
    """Values go from step to step; for its turn a step of a Sequence waits, as a whole, for the one before it."""
    joins, wiring = plan.draft.joins, plan.wiring
    edges = zip(wiring.sources, wiring.targets, wiring.order, strict=True)
    values = ((~joins.get(a, ~a), b) for a, b, order in edges if not order and b not in joins)
    turns = (pair for row in plan.draft.scopes if row.kind == "sequence" for pair in pairwise(row.children))
    return dict.fromkeys(turns, False) | dict.fromkeys(values, True)
