"""Compensations that are forgotten, repeated, too early or in another order."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import anyio

import orch.execution._engine as engine
import orch.execution._run as run
import orch.execution._undo as undo
from orch import State
from tests.simulation.mutants.plant import Change, mutant

__all__ = ()


def undoing(change: Callable[..., list[int]]) -> list[Change]:
    """Undo other steps than those that are due."""
    true = undo.due

    @wraps(true)
    def due(self: Any, scope: int, worst: State) -> list[int]:
        return change(self, scope, true(self, scope, worst))

    return [(engine, "due", due)]


@mutant
def compensate_in_order() -> list[Change]:
    return undoing(lambda self, scope, nodes: nodes[::-1])


@mutant
def compensate_twice() -> list[Change]:
    return undoing(lambda self, scope, nodes: nodes[:1] + nodes)


@mutant
def forget_the_first_to_compensate() -> list[Change]:
    return undoing(lambda self, scope, nodes: nodes[:-1])


@mutant
def compensate_the_failing_step() -> list[Change]:
    true = undo.in_reverse
    return [(undo, "in_reverse", lambda steps: true(step._replace(succeeded=True) for step in steps))]


@mutant
def compensate_again_in_the_group_around() -> list[Change]:
    true = undo.due

    def due(self: Any, scope: int, worst: State) -> list[int]:
        self.undone.clear()
        return true(self, scope, worst)

    return [(engine, "due", due)]


@mutant
def compensate_what_succeeded() -> list[Change]:
    true = undo.due
    return [(engine, "due", lambda self, scope, worst: true(self, scope, State.FAILED))]


@mutant
def compensate_nothing_after_a_cancellation() -> list[Change]:
    return undoing(lambda self, scope, nodes: [] if self.cancelled else nodes)


@mutant
def compensate_without_a_shield() -> list[Change]:
    return [(undo, "CancelScope", lambda shield, deadline: anyio.CancelScope(deadline=deadline))]


@mutant
def compensate_without_a_deadline() -> list[Change]:
    return [(undo, "CancelScope", lambda shield, deadline: anyio.CancelScope(shield=shield))]


@mutant
def give_up_after_a_failed_compensation() -> list[Change]:
    true = undo._failed

    def failed(self: Any, node: int, error: Exception) -> Exception:
        true(self, node, error)
        raise error

    return [(undo, "_failed", failed)]


@mutant
def compensate_before_all_has_ended() -> list[Change]:
    true = run.Run._answer

    def answer(self: Any, node: int) -> None:
        true(self, node)
        scope = self.plan.draft.scope_of[node]
        if scope in self.plan.guarded and scope not in self.__dict__.setdefault("early", set()):
            self.early.add(scope)
            self.close(scope, State.FAILED)

    return [(run.Run, "_answer", answer)]
