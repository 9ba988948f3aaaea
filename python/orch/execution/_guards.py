"""Groups with a timeout or a breaker: what happens when the first step in them starts, and when all have ended."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from orch.definition import Group
from orch.errors import CircuitOpenError
from orch.event import State
from orch.execution._run import Run
from orch.policies import Permit

__all__ = ("enter", "leave")


def enter(run: Run, scopes: Iterable[int]) -> None:
    """Begin the groups around a step that starts, as far as none of their steps has; CircuitOpenError if one may not.

    The time of a group begins here, and here its breaker is asked: the whole group is one call.
    """
    for scope in scopes:
        if scope not in run.guards:
            run.guards[scope] = _begin(run, scope)
        begun = run.guards[scope]
        if isinstance(begun, CircuitOpenError):
            raise begun


def _begin(run: Run, scope: int) -> Permit | CircuitOpenError | None:
    group, permit = run.plan.draft.scopes[scope].group, None
    if not isinstance(group, Group):
        return None
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
    group, permit = run.plan.draft.scopes[scope].group, run.guards.get(scope)
    if not isinstance(group, Group) or group.breaker is None or not isinstance(permit, Permit):
        return
    error = run.blame(scope)
    if worst is State.SUCCEEDED:
        change = group.breaker.succeeded(permit)
    elif worst is State.FAILED and error is not None:
        change = group.breaker.failed(permit, error, run.clock())
    else:
        change = group.breaker.abandoned(permit)
    run.circuit(run.plan.draft.scope_path(scope), group.breaker.name, change)
