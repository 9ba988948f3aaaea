"""`UNKNOWN`: the value of an attempt of which nobody knows whether it did its work."""

from typing import Final, final

__all__ = ("UNKNOWN", "Unknown")


@final
class Unknown:
    """The class of `UNKNOWN`, its only instance: what a compensation gets for the value of a cut-off attempt.

    >>> UNKNOWN
    orch.UNKNOWN
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "orch.UNKNOWN"

    def __reduce__(self) -> str:
        return "UNKNOWN"  # the one of this module, whoever copies or unpickles it


UNKNOWN: Final = Unknown()
