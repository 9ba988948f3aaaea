"""`Context[T]`: what the steps of one run share.

A run binds the context it is given (`_bind`) and gives each step that asks for one a view (`_view`): views share data
and metadata and know their step. The one given is never written to, so it may serve several runs at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Generic, NoReturn, TypeVar, final, overload

from attrs import frozen

from orch.errors import close_matches, did_you_mean, expect

__all__ = ("Context",)

T = TypeVar("T")
D = TypeVar("D")

_LEVELS = ("debug", "info", "warning", "error", "critical")
_OUTSIDE = {"run_id": None, "attempt": 0, "_task": None, "_sink": None, "_trace": tuple, "_completed": tuple}


@final
@frozen(slots=False, init=False, eq=False, repr=False)
class Context(Generic[T]):
    """Data that every step of a run may read and change, and a step's view of the run it is part of.

    A parameter annotated `Context` (also `Context[Order]`, `Context | None`, …) is given the view of its step. An
    attribute not listed here is looked up in the data: among its attributes, then, if it is a mapping, among its keys.

    >>> context = Context({"customer": "ada", "total": 12}, metadata={"region": "eu"})
    >>> context.customer, context.metadata["region"], context.run_id
    ('ada', 'eu', None)
    """

    data: T
    """What the caller put in, not copied: the same object in every step and in `result.context`."""
    metadata: dict[str, Any]
    """Notes about the run that are not part of its data: a copy of those given, shared by all steps."""
    run_id: str | None
    """The run this view belongs to, or was written in; None outside of a run."""
    attempt: int
    """Which call of the step this is, from 1; 0 outside of a step."""
    _task: Callable[[], str] | None
    _sink: Callable[[str, str], object] | None
    _trace: Callable[[], Sequence[Any]]
    _completed: Callable[[], Sequence[str]]

    @overload
    def __init__(self: Context[None], data: None = None, *, metadata: Mapping[str, Any] | None = None) -> None: ...
    @overload
    def __init__(self, data: T, *, metadata: Mapping[str, Any] | None = None) -> None: ...
    def __init__(self, data: Any = None, *, metadata: Mapping[str, Any] | None = None) -> None:
        expect("metadata", metadata, Mapping, NoneType)
        vars(self).update(_OUTSIDE, data=data, metadata=dict(metadata or ()))

    def __init_subclass__(cls) -> NoReturn:
        """Refuse: a view is always a plain `Context`."""
        raise TypeError(f"{cls.__name__}: a Context cannot be subclassed; put what it should do into its data")

    @property
    def task(self) -> str | None:
        """The path of the step this view was made for; None outside of a step."""
        return self._task() if self._task else None

    @property
    def trace(self) -> Sequence[Any]:
        """The events of the run so far, in order; empty outside of a run."""
        return self._trace()

    @property
    def completed_steps(self) -> tuple[str, ...]:
        """The paths of the steps that have succeeded so far, in order; empty outside of a run."""
        return tuple(self._completed())

    def log(self, message: object, level: str = "info") -> None:
        """Add a `LogEvent` to the trace of the run; outside of a run, a line to the standard logger "orch"."""
        if level not in _LEVELS:
            raise ValueError(f"level: expected one of {', '.join(_LEVELS)}, found {level!r}")
        if self._sink is not None:
            self._sink(level, str(message))
        else:
            logging.getLogger("orch").log(logging.getLevelNamesMapping()[level.upper()], "%s", message)

    def to_json(self) -> str:
        """Write data, metadata and what is known of the run as JSON; CodecError unless it would be read as it is.

        Data may be of dataclasses, attrs classes, pydantic models, enums, and what Python has: containers, dates with
        their zones, numbers, bytes, paths. Events become plain data, without the values of the steps.
        """
        from orch._codec import write  # noqa: PLC0415 (loaded by who needs it)

        parts = {"run_id": self.run_id, "data": self.data, "metadata": self.metadata}
        return write({**parts, "completed_steps": list(self.completed_steps), "trace": list(self.trace)})

    @classmethod
    @overload
    def from_json(cls, text: str, data_type: type[D]) -> Context[D]: ...
    @classmethod
    @overload
    def from_json(cls, text: str, data_type: Any = None) -> Context[Any]: ...
    @classmethod
    def from_json(cls, text: str, data_type: Any = None) -> Context[Any]:
        """Read what `to_json` wrote; CodecError, which is a ValueError, says what is wrong with which part of it.

        `data_type` is the class of the data, or an annotation like `dict[str, Order]`: the text names no class that the
        caller does not name. Without it there are no instances of classes in the data.

        >>> Context.from_json(Context({"due": {3, 4}}).to_json()).due
        {3, 4}
        """
        from orch._codec import read  # noqa: PLC0415 (as above)

        expect("text", text, str)
        parts = read(text, data_type)
        context: Context[Any] = cls(parts["data"], metadata=parts["metadata"])
        trace, completed = tuple(parts["trace"]), tuple(parts["completed_steps"])
        vars(context).update(run_id=parts["run_id"], _trace=lambda: trace, _completed=lambda: completed)
        return context

    def __getattr__(self, name: str) -> Any:
        # Protocols probe for dunders, and what is being rebuilt has no fields yet: neither is to be asked of the data.
        if name.startswith("__") or name in Context.__annotations__:
            raise AttributeError(name)
        data = self.data
        try:
            return getattr(data, name)
        except AttributeError:
            if isinstance(data, Mapping) and name in data:
                return data[name]
            if hasattr(type(data), name):
                raise  # a property of the data failed within: that is what went wrong
        keys = [key for key in data if isinstance(key, str)] if isinstance(data, Mapping) else []
        public = [each for each in (*dir(data), *dir(self)) if not each.startswith("_")]
        hint = did_you_mean(close_matches(name, [*keys, *public]), "; {}")
        message = f"neither the Context nor its data ({type(data).__name__}) has {name!r}{hint}"
        raise AttributeError(message, name=name)

    def __repr__(self) -> str:  # without the data, which may be large or secret
        task = f" of task {self.task!r}, attempt {self.attempt}" if self._task else ""
        return f"<Context[{type(self.data).__name__}]{task}>"

    def __getstate__(self) -> tuple[T, dict[str, Any]]:
        return self.data, self.metadata  # a copy belongs to no run

    def __setstate__(self, state: tuple[T, dict[str, Any]]) -> None:
        Context.__init__(self, state[0], metadata=state[1])

    def _bind(
        self, run_id: str, trace: Callable[[], Sequence[Any]] = tuple, completed: Callable[[], Sequence[str]] = tuple
    ) -> Context[T]:
        """Make the context of one run: `trace` gives its events, `completed` the paths of succeeded steps."""
        bound = self._view(None, 0, None)
        vars(bound).update(run_id=run_id, _trace=trace, _completed=completed)
        return bound

    def _view(
        self, task: Callable[[], str] | None, attempt: int, sink: Callable[[str, str], object] | None
    ) -> Context[T]:
        """Make the view of one step: `task` gives its path when asked, `sink` takes level and message of each entry."""
        view: Context[T] = object.__new__(Context)
        fields = vars(view)  # past the freeze, and in half the time
        fields.update(vars(self))
        fields["_task"], fields["attempt"], fields["_sink"] = task, attempt, sink
        return view
