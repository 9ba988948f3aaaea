"""The states of a task and of a run, and which may follow which. Plain data: the core decides transitions."""

import enum
from collections.abc import Mapping
from types import MappingProxyType


class State(enum.Enum):
    """Where a task or a run stands.

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
    def from_code(cls, code: int) -> "State":
        """The state with the core's number `code`; IndexError for a number that is none."""
        return STATES[code]

    @property
    def code(self) -> int:
        """The number by which the core knows this state: its position among them."""
        return STATES.index(self)

    @property
    def is_final(self) -> bool:
        """Whether the task or run is settled: nothing of it will run again."""
        return self in _FINAL


STATES: tuple[State, ...] = tuple(State)  # by code; a hot loop indexes this itself
_FINAL = STATES[State.SUCCEEDED.code :]

_AFTER = {  # by the name of a state, what a task may be in next
    "PENDING": "RUNNING SKIPPED CANCELLED SUCCEEDED",  # the last for a value that was not computed in this run
    "RUNNING": "SUCCEEDED FAILED RETRYING PAUSED CANCELLED",
    "RETRYING": "RUNNING FAILED CANCELLED",
    "PAUSED": "RUNNING SUCCEEDED CANCELLED",
    "SUCCEEDED": "COMPENSATED",
}
TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {state: frozenset(State[after] for after in _AFTER.get(state.name, "").split()) for state in State}
)
