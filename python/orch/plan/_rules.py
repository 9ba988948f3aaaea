"""Which steps have policies to go by, and which groups: made with the plan, looked up by number in a run."""

from functools import cache
from typing import Any

import attrs

from orch.definition import Group, Resource, Task
from orch.errors import DefinitionError
from orch.plan._draft import NONE, Draft
from orch.plan._identity import Identity
from orch.plan._undo import Undo, undo_of
from orch.plan._wire import Wiring
from orch.policies import CircuitBreaker, FailureStrategy, Limiter, Retry

__all__ = ("Rules", "guarded", "is_plain", "rules_of")


@attrs.frozen(eq=False)
class Rules:
    """What one step goes by; only steps that have something to go by have any."""

    retry: Retry | None
    timeout: float | None
    limiter: Limiter | None
    breaker: CircuitBreaker | None
    guards: tuple[int, ...]
    """The scopes around it that have a timeout or a breaker, the outermost first."""
    undo: Undo | None
    """How it is compensated."""
    form: str | None
    """What its body is if not one call: a key of `orch.execution._forms.FORMS`."""
    plain: bool
    """Whether it is a plain function that belongs into a worker thread."""
    resources: tuple[tuple[int, Resource[Any]], ...] = ()
    """The slots that resources fill, which have to be open before its arguments are read."""
    identity: Identity | None = None
    """By what a cache knows its calls, if it is cached."""


def rules_of(draft: Draft, wiring: Wiring) -> dict[int, Rules]:
    """Return the rules of the steps that have some, by node; what is wrong with compensations joins the problems."""
    nearest = _nearest(draft)

    @cache
    def guards(scope: int) -> tuple[int, ...]:
        found = []
        while scope != NONE:
            found.append(scope)
            scope = nearest[draft.scopes[scope].parent] if scope else NONE
        return tuple(found[::-1])

    nodes = _own(draft) | wiring.uses.keys()
    if nearest:  # else no group has anything to say, as it mostly is
        nodes |= {node for node, task in enumerate(draft.tasks) if task and nearest[draft.scope_of[node]] != NONE}
    around = {node: guards(nearest[draft.scope_of[node]]) if nearest else () for node in nodes}
    return {node: _rules(draft, wiring, node, around[node]) for node in sorted(nodes)}


def guarded(draft: Draft) -> tuple[int, ...]:
    """Return the scopes that must be told when they settle."""
    return tuple(scope for scope, row in enumerate(draft.scopes) if isinstance(row.group, Group) and _waits(row.group))


def _waits(group: Group) -> bool:
    how = group.on_failure
    return group.breaker is not None or how is FailureStrategy.COMPENSATE or not isinstance(how, FailureStrategy)


def _nearest(draft: Draft) -> list[int]:
    """Return by scope the innermost one, itself or around it, that has a timeout or a breaker; nothing if none has."""
    guards = {scope for scope, row in enumerate(draft.scopes) if isinstance(row.group, Group) and _guards(row.group)}
    nearest = list[int]()
    for scope, row in enumerate(draft.scopes if guards else ()):
        nearest.append(scope if scope in guards else nearest[row.parent] if scope else NONE)
    return nearest


def _guards(group: Group) -> bool:
    return group.timeout is not None or group.breaker is not None


def _own(draft: Draft) -> set[int]:
    """Return the tasks that have policies of their own; every plan is asked, so there is no call in it."""
    return {
        node
        for node, task in enumerate(draft.tasks)
        if task is not None
        and (
            task.timeout is not None
            or task.retry is not None
            or task.compensate is not None
            or task.breaker is not None
            or task.limiter is not None
            or task.form is not None
        )
    }


def _rules(draft: Draft, wiring: Wiring, node: int, guards: tuple[int, ...]) -> Rules:
    task, undo, uses = draft.task(node), _undo(draft, wiring, node), tuple(wiring.uses.get(node, ()))
    return Rules(task.retry, task.timeout, task.limiter, task.breaker, guards, undo, task.form, is_plain(task), uses)


def is_plain(task: Task[..., Any]) -> bool:
    """Say whether it belongs into a worker thread; what asks takes itself there."""
    return not task.signature.is_async and task.thread is not False and task.form != "interrupt"


def _undo(draft: Draft, wiring: Wiring, node: int) -> Undo | None:
    task = draft.task(node)
    try:
        return None if task.compensate is None else undo_of(task, task.compensate, wiring.shapes[node])
    except DefinitionError as problem:
        wiring.problems.append(problem)
        return None
