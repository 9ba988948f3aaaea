"""
The states of a task and of a run, and which may follow which.

Plain data: the core decides transitions, this says what they mean. A state's code is its position in the enum,
the number by which `orch._core` knows it.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(enum.Enum):
    """
    Where a task or a run stands.

    Example:
        >>> from orch.event import State
        >>> State.from_code(4), State.SUCCEEDED.is_final, State("running")
        (<State.SUCCEEDED: 'succeeded'>, True, <State.RUNNING: 'running'>)
    """

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"

    @classmethod
    def from_code(cls, code: int) -> State:
        """The state with the core's number `code`; IndexError for a number that is none."""
        return STATES[code]

    @property
    def code(self) -> int:
        """The number by which the core knows this state."""
        return STATES.index(self)

    @property
    def is_final(self) -> bool:
        """Whether the task or run is settled: nothing of it will run again."""
        return self in _FINAL


STATES: tuple[State, ...] = tuple(State)
"""All states by code. A hot loop indexes this itself."""

_FINAL = STATES[State.SUCCEEDED.code :]

TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        # SUCCEEDED straight from PENDING is for values that were not computed in this run.
        State.PENDING: frozenset({State.RUNNING, State.SKIPPED, State.CANCELLED, State.SUCCEEDED}),
        State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.RETRYING, State.PAUSED, State.CANCELLED}),
        State.RETRYING: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
        State.PAUSED: frozenset({State.RUNNING, State.SUCCEEDED, State.CANCELLED}),
        State.SUCCEEDED: frozenset({State.COMPENSATED}),
        **dict.fromkeys((State.FAILED, State.SKIPPED, State.CANCELLED, State.COMPENSATED), frozenset[State]()),
    }
)
"""The states of a task that may directly follow each state."""
