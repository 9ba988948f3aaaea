"""Where a result reads what it says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orch.event import Event
    from orch.result._state import GroupShape


class Source(Protocol):
    """What a run has recorded. The result keeps the answers that are costly."""

    def trace(self) -> Sequence[Event]:
        """All events of the run, in order of `seq`."""
        ...

    def value(self) -> Any:
        """The value of the workflow; of one that failed, what there is of it: None for each missing step."""
        ...

    def outputs(self) -> Mapping[str, Any]:
        """The values of the graph's outputs that there are, by name; empty if the workflow is not a graph."""
        ...

    def tasks(self) -> Sequence[tuple[str, str]]:
        """Path and name of every task of the run in definition order; groups are not among them."""
        ...

    def groups(self) -> Iterable[GroupShape]:
        """Every group, the workflow itself (`""`) included, each before the groups in it."""
        ...

    def value_at(self, position: int) -> Any:
        """The value of the task at this position of `tasks()`; LookupError if it has none or it was released."""
        ...


class Known:
    """What of a `Source` a pickled result still needs; the rest of it has been asked already."""

    def __init__(
        self, tasks: Sequence[tuple[str, str]], groups: Iterable[GroupShape], value_at: Callable[[int], Any]
    ) -> None:
        self._tasks = tuple(tasks)
        self._groups = tuple(groups)
        self._values: dict[int, Any] = {}
        for position in range(len(tasks)):
            with contextlib.suppress(LookupError):
                self._values[position] = value_at(position)

    def tasks(self) -> Sequence[tuple[str, str]]:
        return self._tasks

    def groups(self) -> Iterable[GroupShape]:
        return self._groups

    def value_at(self, position: int) -> Any:
        return self._values[position]
