"""What a group does when one of its steps fails: a value, decided when the group is defined."""

from __future__ import annotations

import enum
from typing import Any, Protocol, runtime_checkable

__all__ = ("FailureStrategy", "Strategy")


class FailureStrategy(enum.Enum):
    """
    How a group reacts to a failed step. Whatever it does, the group has failed once it settles.

    Everywhere a strategy is taken its value is taken too: `on_failure="continue"`.

    >>> FailureStrategy("continue")
    <FailureStrategy.CONTINUE: 'continue'>
    """

    ABORT = "abort"
    """Cancel what runs in the group, skip what has not started."""
    CONTINUE = "continue"
    """Skip only what needs the failed step; everything else goes on."""

    @classmethod
    def _missing_(cls, value: object) -> FailureStrategy:
        expected = ", ".join(repr(member.value) for member in cls)
        message = f"unknown failure strategy: expected one of {expected}, found {value!r}"
        raise ValueError(message)

    @classmethod
    def coerce(cls, value: FailureStrategy | Strategy | str) -> FailureStrategy | Strategy:
        """
        Read what a user gave as `on_failure`.

        Raises:
            ValueError: A string that names no strategy.
            TypeError: Neither a strategy, nor a string, nor an object with a method `on_failure`.
        """
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, cls) or (isinstance(value, Strategy) and not isinstance(value, type)):
            return value
        message = (
            "on_failure: expected a FailureStrategy, its value as a string, or an object with "
            f"on_failure(event, group); found {value!r}"
        )
        raise TypeError(message)


@runtime_checkable
class Strategy(Protocol):
    """A strategy of your own: it looks at each failure and picks what the group does about this one."""

    def on_failure(self, event: Any, group: Any, /) -> FailureStrategy:
        """
        Decide for one failure.

        Args:
            event: The `TaskEvent` of the failure.
            group: The definition of the group it happened in.
        """
        ...
