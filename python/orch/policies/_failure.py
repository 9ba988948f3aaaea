"""What a group does when one of its steps fails: a value, decided when the group is defined."""

import enum
from typing import Any, Protocol, Self, runtime_checkable

from orch.errors import close_matches, did_you_mean

__all__ = ("FailureStrategy", "Strategy")


@runtime_checkable
class Strategy(Protocol):
    """A strategy of your own: it looks at each failure and picks what the group does about this one."""

    def on_failure(self, event: Any, group: Any, /) -> "FailureStrategy":
        """Decide for one failure, given its `TaskEvent` and the definition of the group it happened in."""
        ...


class FailureStrategy(enum.Enum):
    """How a group reacts to a failed step. Whatever it does, the group has failed once it settles.

    Everywhere a strategy is taken its value is taken too: `on_failure="continue"`.

    >>> FailureStrategy("continue")
    <FailureStrategy.CONTINUE: 'continue'>
    """

    ABORT = "abort"
    """Cancel what runs in the group, skip what has not started."""
    CONTINUE = "continue"
    """Skip only what needs the failed step; everything else goes on."""
    COMPENSATE = "compensate"
    """As `ABORT`; then the compensations of what has succeeded in the group, the last one first."""

    @classmethod
    def _missing_(cls, value: object) -> Self:
        expected = ", ".join(repr(member.value) for member in cls)
        meant = did_you_mean(close_matches(value, [each.value for each in cls]), "; {}") if type(value) is str else ""
        raise ValueError(f"on_failure: unknown failure strategy: expected one of {expected}, found {value!r}{meant}")

    @classmethod
    def coerce(cls, value: Self | Strategy | str) -> Self | Strategy:
        """Read what a user gave as `on_failure`: a strategy, or the value of one."""
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, cls) or (isinstance(value, Strategy) and not isinstance(value, type)):
            return value
        kinds = "a FailureStrategy, its value as a string, or an object with on_failure(event, group)"
        raise TypeError(f"on_failure: expected {kinds}; found {value!r}")
