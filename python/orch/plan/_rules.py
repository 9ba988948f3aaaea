"""Which steps have policies to go by, and which groups: made with the plan, looked up by number in a run."""

from collections.abc import Iterator
from typing import Any

import attrs

from orch.definition import Group, Resource, Task
from orch.errors import DefinitionError
from orch.plan._draft import Draft
from orch.plan._identity import Identity
from orch.plan._undo import Undo, undo_of
from orch.plan._wire import Wiring
from orch.policies import CircuitBreaker, FailureStrategy, Limiter, Retry

__all__ = ("Guard", "Rules", "guarded", "is_plain", "rules_of")


@attrs.frozen(eq=False)
class Guard:
    """A group with a timeout or a breaker, and that around it: those around a step, from the innermost outwards."""

    scope: int
    outer: "Guard | None" = attrs.field(repr=False)

    def __iter__(self) -> Iterator[int]:
        guard: Guard | None = self
        while guard is not None:
            yield guard.scope
            guard = guard.outer


@attrs.frozen(eq=False)
class Rules:
    """What one step goes by; only steps that have something to go by have any."""

    retry: Retry | None
    timeout: float | None
    limiter: Limiter | None
    breaker: CircuitBreaker | None
    guard: Guard | None
    """The innermost group around it that has a timeout or a breaker."""
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
    guards = _guards(draft)
    nodes = _own(draft) | wiring.uses.keys()
    if guards:  # else no group has anything to say, as it mostly is
        nodes |= {node for node, task in enumerate(draft.tasks) if task and guards[draft.scope_of[node]]}
    around = {node: guards[draft.scope_of[node]] if guards else None for node in nodes}
    return {node: _rules(draft, wiring, node, around[node]) for node in sorted(nodes)}


def guarded(draft: Draft) -> tuple[int, ...]:
    """Return the scopes that must be told when they settle."""
    return tuple(scope for scope, row in enumerate(draft.scopes) if isinstance(row.group, Group) and _waits(row.group))


def _waits(group: Group) -> bool:
    how = group.on_failure
    return group.breaker is not None or how is FailureStrategy.COMPENSATE or not isinstance(how, FailureStrategy)


def _guards(draft: Draft) -> list[Guard | None]:
    """Return by scope the innermost guard, itself or around it; nothing at all if there are none."""
    guarding = {at for at, row in enumerate(draft.scopes) if isinstance(row.group, Group) and _is_guard(row.group)}
    guards = list[Guard | None]()
    for scope, row in enumerate(draft.scopes if guarding else ()):
        outer = guards[row.parent] if scope else None
        guards.append(Guard(scope, outer) if scope in guarding else outer)
    return guards


def _is_guard(group: Group) -> bool:
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


def _rules(draft: Draft, wiring: Wiring, node: int, guard: Guard | None) -> Rules:
    task, undo, uses = draft.task(node), _undo(draft, wiring, node), tuple(wiring.uses.get(node, ()))
    return Rules(task.retry, task.timeout, task.limiter, task.breaker, guard, undo, task.form, is_plain(task), uses)


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
