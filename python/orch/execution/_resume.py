"""Going on with a run: which steps of the earlier one need not be made again, decided from plain data.

What succeeded is restored: its value is known, it has no attempt, its group counts it as a success, and if the group
fails now it is undone like the others. Everything else runs, as does what stands behind the steps that the caller wants
to be made again. So does a step whose value was let go, if one that runs reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orch.definition import Interrupt, check_answer
from orch.errors import DefinitionError, DefinitionMismatchError, close_matches, did_you_mean, expect
from orch.event import State
from orch.execution._retry import Trail
from orch.execution._run import Run
from orch.execution._values import arguments
from orch.plan import Plan, asked_for, named
from orch.result import Past, Pause

__all__ = ("check_same", "restore")


def check_same(plan: Plan, past: Past) -> None:
    """Expect the plan to be that of the earlier run, in paths and wiring; a DefinitionMismatchError if it is not."""
    before, now = past.shape, plan.shape
    added, removed = now.keys() - before.keys(), before.keys() - now.keys()
    changed = [path for path, row in now.items() if path in before and before[path] != row]
    if added or removed or changed:
        names = (sorted({path.removesuffix("/") for path in paths}) for paths in (added, removed, changed))
        raise DefinitionMismatchError(past.run_id, *names)


def restore(run: Run, past: Past, from_: str | Iterable[str], answers: Mapping[str, Any] | None) -> None:
    """Give a run that has not begun what is known from an earlier one, and answers to what that one has asked.

    Raises:
        DefinitionError: There is no step of a name in `from_`.
        LookupError: An answer is to no open question.
        TypeError, ValueError: It is not what the question asks for, or there already.
    """
    again = _behind(run.plan, _meant(run.plan, from_))
    pauses = {node: pause for node, pause in _open(run.plan, past).items() if node not in again}
    given = _answers(run, past, pauses, {} if answers is None else answers)
    nodes = run.plan.at
    done = [nodes[path] for path in past.done if path in nodes and nodes[path] not in again]
    known = {node: past.values[path] for path, node in nodes.items() if path in past.values} | given
    run.kept = {node: pause.question for node, pause in pauses.items() if node not in given}
    again |= set(run.plan.nodes).difference(done, given)
    again |= _lost(run.plan, again.difference(run.kept), known.keys())
    _put(run, past, [node for node in (*done, *given) if node not in again], known)


def _meant(plan: Plan, from_: str | Iterable[str]) -> set[int]:
    """Return the steps that are to be made again; of a group, all in it."""
    found = set[int]()
    groups = {plan.draft.scope_path(scope): row for scope, row in enumerate(plan.draft.scopes)}
    for name in [from_] if isinstance(from_, str) else from_:
        expect("from_", name, str)
        rows = [groups[name]] if name in groups else [row for row in groups.values() if row.group.name == name]
        inside = [node for row in rows for node in range(row.start, row.end) if node not in plan.draft.joins]
        nodes = named(plan, name, plan.nodes) or inside
        if not nodes:
            known = dict.fromkeys((*plan.paths.values(), *map(plan.name, plan.nodes), *filter(None, groups)))
            cure = did_you_mean(close_matches(name, known)) or f"there are: {', '.join(map(repr, list(known)[:20]))}"
            raise DefinitionError(f"from_: there is no step {name!r}; {cure}")
        found.update(nodes)
    return found


def _behind(plan: Plan, nodes: set[int]) -> set[int]:
    """Return the nodes and all that come after them."""
    found, todo = set(nodes), list(nodes)
    while todo:
        more = [node for node in plan.dag.successors(todo.pop()) if node not in found]
        found.update(more)
        todo += more
    return found


def _open(plan: Plan, past: Past) -> dict[int, Pause]:
    known = {pause.path: pause for pause in past.pauses}
    return {node: known[plan.paths[node]] for node in plan.interrupts if plan.paths[node] in known}


def _answers(run: Run, past: Past, pauses: Mapping[int, Pause], answers: Mapping[str, Any]) -> dict[int, Any]:
    expect("answers", answers, Mapping)

    def state_of(node: int) -> State:
        return State.SUCCEEDED if run.plan.paths[node] in past.done else State.PENDING

    given = asked_for(run.plan, pauses, answers, state_of)
    for node, answer in given.items():
        task = run.plan.draft.task(node)
        kind = task.type if isinstance(task, Interrupt) else Any
        check_answer(pauses[node].path, pauses[node].question, kind, answer)
    return given


def _lost(plan: Plan, again: set[int], known: Iterable[int]) -> set[int]:
    """Return the steps whose values were let go and are read by steps that run; these run as well."""
    having, found, todo = {*known, *plan.draft.joins}, set[int](), list(again)
    while todo:
        slots = plan.wiring.slots[todo.pop()]
        more = {slot for slot in slots if slot < len(plan.draft.tasks)}.difference(having, again, found)
        found |= more
        todo += more
    return found


def _put(run: Run, past: Past, nodes: list[int], known: Mapping[int, Any]) -> None:
    """Restore steps, in the order in which they had ended."""
    for node in nodes:
        if node in known:
            run.values[node] = known[node]
        else:
            run.released.add(node)
    for node in nodes:
        if node in run.plan.rules and run.plan.rules[node].undo is not None:
            called_with = list(past.arguments.get(run.plan.paths[node], ())) or arguments(run, node)
            run.trails[node] = Trail(0, end=next(run.ends), arguments=called_with, value=known.get(node))
    for node in nodes:
        run.restored.add(node)
        run.schedule.restore(node)
