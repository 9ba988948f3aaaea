"""Finding a task by its path, or by its name where only one has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from orch.errors import close_matches
from orch.result._state import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SHOWN = 10  # paths in a message


class Index:
    """From a path or a name to the position of the task in definition order."""

    def __init__(self, tasks: Sequence[tuple[str, str]]) -> None:
        self.tasks = tasks
        self._by_path = {path: position for position, (path, _) in enumerate(tasks)}

    @cached_property
    def _by_name(self) -> dict[str, int]:
        """Position by name; -1 for a name that several tasks have."""
        found: dict[str, int] = {}
        for position, (_, name) in enumerate(self.tasks):
            found[name] = -1 if name in found else position
        return found

    def find(self, key: str, others: Iterable[str] = ()) -> int:
        """The position; `others` are names that would have been found elsewhere."""
        position = self._by_path.get(key)
        if position is None:
            position = self._by_name.get(key)
        if position is None:
            raise KeyError(self._unknown(key, others))
        if position < 0:
            paths = [path for path, name in self.tasks if name == key]
            raise KeyError(f"{len(paths)} tasks are named {key!r}, ask by path: {_listed(paths)}")
        return position

    def _unknown(self, key: object, others: Iterable[str]) -> str:
        names = (*others, *self._by_name, *self._by_path)
        close = close_matches(key, names) if isinstance(key, str) else ()
        return f"nothing is called {key!r}" + (f", did you mean {_listed(close)}?" if close else "")


class Tasks(Mapping[str, TaskRecord]):
    """Task records by path, or by a name that is unique."""

    def __init__(self, records: dict[str, TaskRecord], index: Index) -> None:
        self._records = records
        self._index = index

    def __getitem__(self, key: str) -> TaskRecord:
        record = self._records.get(key)
        return self._records[self._index.tasks[self._index.find(key)][0]] if record is None else record

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<records of {len(self)} tasks>"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
