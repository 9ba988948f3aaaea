"""`MapResult`: what is known about a workflow that was run once for each of many items."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast, overload

import attrs

from orch.errors import WorkflowError
from orch.event import Event, State
from orch.event._discreet import sanitizer_of
from orch.result._report import plain
from orch.result._result import RunResult
from orch.result._state import Timed

__all__ = ("MapResult", "MapSource")

_SHOWN = 100  # items in a report


class MapSource(Protocol):
    """What a map has recorded."""

    def __len__(self) -> int: ...  # the items that were drawn
    def result(self, index: int) -> RunResult: ...
    def values(self) -> list[Any]: ...
    def errors(self) -> list[tuple[int | None, BaseException]]: ...  # in order of time; None: of no item
    def trace(self) -> Sequence[Event]: ...


class _Known(NamedTuple):
    """What a pickled result has in place of its source."""

    results: tuple[RunResult, ...]
    given: list[Any]
    raised: list[tuple[int | None, BaseException]]
    events: tuple[Event, ...]

    def __len__(self) -> int:
        return len(self.results)

    def result(self, index: int) -> RunResult:
        return self.results[index]

    def values(self) -> list[Any]:
        return self.given

    def errors(self) -> list[tuple[int | None, BaseException]]:
        return self.raised

    def trace(self) -> Sequence[Event]:
        return self.events


@attrs.frozen(eq=False, repr=False, slots=False)
class MapResult(Timed, Sequence[RunResult]):
    """The result of each item, in order of the items; of an item that never began, CANCELLED.

    It is FAILED if an item failed and was not tolerated. An item is a run of its own, with the id `run_id[index]`; its
    result is made when it is asked for, and not kept.
    """

    run_id: str
    name: str
    state: State
    _source: MapSource
    context: Any = None
    started: datetime | None = None
    finished: datetime | None = None

    @cached_property
    def values(self) -> list[Any]:
        """The value of each item, None where it failed."""
        return self._source.values()

    @cached_property
    def errors(self) -> tuple[BaseException, ...]:
        """What went wrong, in order of time, in items that were tolerated, too."""
        return tuple(error for _, error in self._failures)

    @cached_property
    def failed(self) -> tuple[int, ...]:
        """The numbers of the items that failed, from 0, the first to fail first."""
        return tuple(dict.fromkeys(index for index, _ in self._failures if index is not None))

    @cached_property
    def trace(self) -> Sequence[Event]:
        """Everything that happened, in order, in all items."""
        return self._source.trace()

    @cached_property
    def _failures(self) -> list[tuple[int | None, BaseException]]:
        return self._source.errors()

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> RunResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[RunResult]: ...
    def __getitem__(self, index: int | slice) -> RunResult | list[RunResult]:
        """What is known about one item, or about some."""
        numbers = range(len(self))
        if isinstance(index, slice):
            return [self._source.result(each) for each in numbers[index]]
        if isinstance(cast("object", index), str):
            raise TypeError(f"the results of a map are found by number: result[0][{index!r}], found {index!r}")
        try:
            return self._source.result(numbers[index])
        except IndexError:
            raise IndexError(f"the map has {len(self)} items, there is no number {index}") from None

    def raise_for_failure(self) -> None:
        """Raise a `WorkflowError` if the map failed: `.index` is the first item to fail, `.result` this result."""
        if self.state is State.FAILED:
            index = next(iter(self.failed), None)
            where = "" if index is None else f" at item {index}"
            errors = [error for error in self.errors if isinstance(error, Exception)]
            raise WorkflowError(f"map of {self.name!r} failed{where}", errors, self, index)

    def report(self) -> dict[str, Any]:
        """The map as data that JSON can hold: its values, what failed, and reports of the first hundred items."""
        facts, clean = ("run_id", "name", "state", "started", "finished", "duration", "failed"), sanitizer_of(self)
        items = [item.report() for item in islice(self, _SHOWN)]
        told = {name: plain(getattr(self, name)) for name in facts}
        told["values"] = plain(self.values, clean)
        return told | {"errors": [plain(error, clean) for error in self.errors], "size": len(self), "items": items}

    def to_json(self, *, indent: int | None = None) -> str:
        """The report as JSON, in ASCII."""
        return json.dumps(self.report(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        took = "" if self.duration is None else f" in {self.duration:.3f} s"
        failed = f", failed: {len(self.failed)}" if self.failed else ""
        return f"<MapResult {self.name!r} {self.state.value}{took}, items: {len(self)}{failed}, run {self.run_id!r}>"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle and copy what is known, not the run it is read from."""
        state = {name: getattr(self, name) for name in attrs.fields_dict(MapResult)}
        return state | {"_source": _Known(tuple(self), self.values, self._failures, tuple(self.trace))}
