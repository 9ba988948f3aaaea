"""Where a result reads what it says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orch.event import Event
    from orch.result._state import GroupShape


class Source(Protocol):
    """What a run has recorded. All but `value_at` are called at most once, so nothing need be kept."""

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


@attrs.frozen
class Known:
    """A `Source` whose answers are worked out already: what a pickled result holds."""

    _trace: tuple[Event, ...]
    _value: Any
    _outputs: Mapping[str, Any]
    _tasks: tuple[tuple[str, str], ...]
    _groups: tuple[GroupShape, ...]
    _values: Mapping[int, Any]

    def trace(self) -> Sequence[Event]:
        return self._trace

    def value(self) -> Any:
        return self._value

    def outputs(self) -> Mapping[str, Any]:
        return self._outputs

    def tasks(self) -> Sequence[tuple[str, str]]:
        return self._tasks

    def groups(self) -> Iterable[GroupShape]:
        return self._groups

    def value_at(self, position: int) -> Any:
        return self._values[position]


def values_of(source: Source, tasks: int) -> dict[int, Any]:
    """The values that the first `tasks` tasks of `source` have, by position."""
    found: dict[int, Any] = {}
    for position in range(tasks):
        with contextlib.suppress(LookupError):
            found[position] = source.value_at(position)
    return found
