"""
What a failure leads to: the reducer behind `on_failure`.

Pure: a strategy and the facts of a failure go in, one of the strategies comes out; the run then does what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orch.policies import FailureStrategy, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from orch.event import TaskEvent

__all__ = ("decide",)


def decide(on_failure: FailureStrategy | Strategy, group: object, event: Callable[[], TaskEvent]) -> FailureStrategy:
    """
    Return how a group reacts to a failure of one of its steps.

    Args:
        on_failure: the group's strategy, or an object that picks one for each failure.
        group: the definition of the group.
        event: gives the failure as an event; only called for an object that wants to see it.

    Raises:
        TypeError: the object returned something else than a FailureStrategy.

    """
    if isinstance(on_failure, FailureStrategy):
        return on_failure
    chosen = on_failure.on_failure(event(), group)
    if not isinstance(chosen, FailureStrategy):
        raise TypeError(f"{on_failure!r}.on_failure: expected a FailureStrategy, found {chosen!r}")
    return chosen
