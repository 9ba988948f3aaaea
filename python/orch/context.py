"""
`Context[T]`: what the steps of one run share.

The caller makes one around some data. A run binds it (`_bind`) and gives each step that asks for it a view (`_view`):
views share data and metadata, and know which step they were made for. The context given to a run is never written to,
so one context may serve several runs; its data is the caller's own and is changed in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar, final, overload

from orch.errors import close_matches, expect

__all__ = ("Context",)

T = TypeVar("T")

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class _Run(NamedTuple):
    """What all views of one run have in common."""

    id: str
    trace: Callable[[], Sequence[Any]]
    completed: Callable[[], Sequence[str]]


@final
class Context(Generic[T]):
    """
    Data that every step of a run may read and change, and a step's view of the run it is part of.

    A parameter annotated `Context` (also `Context[Order]`, `Context | None`, …) is given the view of its step. An
    attribute not listed here is looked up in the data: among its attributes, then, if it is a mapping, among its keys.

    >>> context = Context({"customer": "ada", "total": 12}, metadata={"region": "eu"})
    >>> context.customer, context.metadata["region"], context.run_id
    ('ada', 'eu', None)

    Args:
        data: Anything; it is shared, not copied.
        metadata: Notes about the run that are not part of its data; copied.
    """

    __slots__ = ("_attempt", "_data", "_metadata", "_run", "_sink", "_task")

    @overload
    def __init__(self: Context[None], data: None = None, *, metadata: Mapping[str, Any] | None = None) -> None: ...
    @overload
    def __init__(self, data: T, *, metadata: Mapping[str, Any] | None = None) -> None: ...
    def __init__(self, data: Any = None, *, metadata: Mapping[str, Any] | None = None) -> None:
        expect("metadata", metadata, Mapping, NoneType)
        self._data: T = data
        self._metadata = dict(metadata or ())
        self._run: _Run | None = None
        self._task: Callable[[], str] | None = None
        self._attempt = 0
        self._sink: Callable[[str, str], object] | None = None

    def __init_subclass__(cls) -> NoReturn:
        """Refuse: a view is always a plain `Context`."""
        raise TypeError(f"{cls.__name__}: a Context cannot be subclassed; put what it should do into its data")

    @property
    def data(self) -> T:
        """What the caller put in; the same object in every step and in `result.context`."""
        return self._data

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes about the run, shared by all its steps."""
        return self._metadata

    @property
    def run_id(self) -> str | None:
        """The run this view belongs to; None outside of a run."""
        return self._run.id if self._run else None

    @property
    def task(self) -> str | None:
        """The path of the step this view was made for; None outside of a step."""
        return self._task() if self._task else None

    @property
    def attempt(self) -> int:
        """Which call of the step this is, from 1; 0 outside of a step."""
        return self._attempt

    @property
    def trace(self) -> Sequence[Any]:
        """The events of the run so far, in order; empty outside of a run."""
        return self._run.trace() if self._run else ()

    @property
    def completed_steps(self) -> tuple[str, ...]:
        """The paths of the steps that have succeeded so far, in order; empty outside of a run."""
        return tuple(self._run.completed()) if self._run else ()

    def log(self, message: object, level: str = "info") -> None:
        """
        Add a `LogEvent` to the trace of the run; outside of a run, a line to the standard logger "orch".

        Raises:
            ValueError: The level is none of debug, info, warning, error, critical.
        """
        if level not in _LEVELS:
            raise ValueError(f"level: expected one of {', '.join(_LEVELS)}, found {level!r}")
        if self._sink is not None:
            self._sink(level, str(message))
        else:
            logging.getLogger("orch").log(logging.getLevelNamesMapping()[level.upper()], "%s", message)

    def __getattr__(self, name: str) -> Any:
        # Protocols probe for dunders, and what is being rebuilt has no slots yet: neither is to be asked of the data.
        if name.startswith("__") or name in Context.__slots__:
            raise AttributeError(name)
        data = self._data
        try:
            return getattr(data, name)
        except AttributeError:
            if isinstance(data, Mapping) and name in data:
                return data[name]
            if hasattr(type(data), name):
                raise  # a property of the data failed within: that is what went wrong
            raise AttributeError(self._unknown(name), name=name) from None

    def _unknown(self, name: str) -> str:
        data = self._data
        keys = [key for key in data if isinstance(key, str)] if isinstance(data, Mapping) else []
        public = [each for each in (*dir(data), *dir(Context)) if not each.startswith("_")]
        meant = " or ".join(map(repr, close_matches(name, [*keys, *public])))
        cure = f"; did you mean {meant}?" if meant else ""
        return f"neither the Context nor its data ({type(data).__name__}) has {name!r}{cure}"

    def __repr__(self) -> str:
        """One line without the data, which may be large or secret."""
        task = f" of task {self.task!r}, attempt {self.attempt}" if self._task else ""
        return f"<Context[{type(self._data).__name__}]{task}>"

    def __getstate__(self) -> tuple[T, dict[str, Any]]:
        """Keep data and metadata: a copy belongs to no run."""
        return self._data, self._metadata

    def __setstate__(self, state: tuple[T, dict[str, Any]]) -> None:
        """Rebuild an unbound context."""
        Context.__init__(self, state[0], metadata=state[1])

    def _bind(
        self, run_id: str, trace: Callable[[], Sequence[Any]] = tuple, completed: Callable[[], Sequence[str]] = tuple
    ) -> Context[T]:
        """
        Make the context of one run, of which `_view` makes those of its steps. Internal: for the engine.

        Args:
            run_id: The run.
            trace: Gives the events so far; called when a step asks.
            completed: Gives the paths of the steps that have succeeded; called when a step asks.
        """
        bound = self._view(None, 0, None)
        bound._run = _Run(run_id, trace, completed)  # noqa: SLF001  (a Context as well)
        return bound

    def _view(
        self, task: Callable[[], str] | None, attempt: int, sink: Callable[[str, str], object] | None
    ) -> Context[T]:
        """
        Make the view of one step. Internal: for the engine; one allocation, nothing is computed.

        Args:
            task: Gives the path of the step; called when somebody asks.
            attempt: Which call of the step it is for, from 1.
            sink: Takes level and message of each log entry, on the thread the step runs on.
        """
        view = object.__new__(Context)
        view._data = self._data
        view._metadata = self._metadata
        view._run = self._run
        view._task = task
        view._attempt = attempt
        view._sink = sink
        return view
