"""Groups with a timeout or a breaker: what happens when the first step in them starts, and when all have ended."""

from __future__ import annotations

from functools import partial
from typing import cast

from orch.definition import Group
from orch.errors import CircuitOpenError
from orch.event import State
from orch.execution._failure import lament
from orch.execution._run import Run
from orch.plan import Guard
from orch.policies import Change, CircuitBreaker, Permit

__all__ = ("enter", "leave")


def enter(run: Run, guard: Guard) -> None:
    """Begin the groups around a step that starts, as far as none of their steps has; CircuitOpenError if one may not.

    The time of a group begins here, and here its breaker is asked: the whole group is one call.
    """
    begun, waiting = None, list[int]()
    for scope in guard:  # around one that has begun all have
        if scope in run.guards:
            begun = run.guards[scope]
            break
        waiting.append(scope)
    while waiting and not isinstance(begun, CircuitOpenError):
        scope = waiting.pop()
        begun = run.guards[scope] = _begin(run, scope)
    if isinstance(begun, CircuitOpenError):
        raise begun


def _begin(run: Run, scope: int) -> Permit | CircuitOpenError | None:
    group, permit = _group(run, scope), None
    if group.breaker is not None:
        try:
            permit = group.breaker.admit(run.clock())
        except CircuitOpenError as error:
            run.schedule.fail_scope(scope)  # nothing in it runs but the step that asks, which fails
            return error
        run.circuit(run.plan.draft.scope_path(scope), group.breaker.name, permit.change)
    if group.timeout is not None:
        run.later(group.timeout, partial(run.expire, scope, group.timeout))
    return permit


def leave(run: Run, scope: int, worst: State) -> None:
    """Tell the breaker of a group how the group ended."""
    group, permit = _group(run, scope), run.guards.get(scope)
    if group.breaker is None or not isinstance(permit, Permit):
        return
    try:
        change = _told(group.breaker, permit, worst, run.blame(scope), run.clock())
    except Exception as error:  # noqa: BLE001 (it may be of a class of the user's)
        what = "the breaker of group %r failed; what became of the group it does not know"
        lament(run.options.sanitize, error, what, group.name)
    else:
        run.circuit(run.plan.draft.scope_path(scope), group.breaker.name, change)


def _group(run: Run, scope: int) -> Group:
    return cast("Group", run.plan.draft.scopes[scope].group)  # a lone task has no scope to guard


def _told(breaker: CircuitBreaker, permit: Permit, worst: State, error: Exception | None, now: float) -> Change | None:
    if worst is State.SUCCEEDED:
        return breaker.succeeded(permit)
    if worst is State.FAILED and error is not None:
        return breaker.failed(permit, error, now)
    return breaker.abandoned(permit)
