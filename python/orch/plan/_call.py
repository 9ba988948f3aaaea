"""How a step's function is called: `call(*values)`, with values in the order of its slots.

The hot path knows no other form. Whatever a function wants beyond that (keywords, one of several outputs of a producer,
the `upstream` mapping, a check of its own outputs) is wrapped around it here, once, when the plan is made.
"""

import inspect
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from orch.definition import Task
from orch.errors import OutputError

__all__ = ("Shape", "callable_of", "unpacked")


class Shape(NamedTuple):
    """How the values of a step's slots become arguments, where that is not simply by position."""

    names: tuple[str, ...]  # of the parameters; behind their values are those that `upstream` maps
    picks: dict[str, int]  # parameters that take one of several outputs, each with its number
    upstream: dict[str, int] | None  # names that it maps, with the same or -1; None if there is no such parameter

    def arguments(self, task: Task[..., Any], values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments."""
        return task.signature.arguments(self.named(task, values), task.extra)

    def named(self, task: Task[..., Any], values: Sequence[Any]) -> dict[str, Any]:
        """Return the arguments by name."""
        named = {**task.bound, **dict(zip(self.names, values, strict=False))}
        for name, k in self.picks.items():
            named[name] = named[name][k]
        if self.upstream is not None:
            mapped = zip(self.upstream.items(), values[len(self.names) :], strict=True)
            named["upstream"] = {name: value if k < 0 else value[k] for (name, k), value in mapped}
        return named


def callable_of(task: Task[..., Any], shape: Shape | None) -> Callable[..., Any]:
    """Return what a lane calls with the slots' values; for a coroutine task it always returns a coroutine.

    What a generator function gives is still to be run: what comes out of it is for `unpacked`.
    """
    fn: Callable[..., Any] = task.fn
    coroutine = task.signature.kind == "coroutine"
    if shape is None and (not task.unpacks or task.signature.streams) and (not coroutine or _returns_coroutine(fn)):
        return fn

    def begin(flat: Sequence[Any]) -> Any:
        args, kwargs = (flat, {}) if shape is None else shape.arguments(task, flat)
        return fn(*args, **kwargs)

    async def call(*flat: object) -> object:
        return unpacked(task, await begin(flat))

    if task.signature.streams:
        return lambda *flat: begin(flat)
    return call if coroutine else lambda *flat: unpacked(task, begin(flat))


def _returns_coroutine(fn: object) -> bool:
    """Say whether each call gives a coroutine, and not something else to await."""
    fn = fn.__func__ if isinstance(fn, MethodType) else fn
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & inspect.CO_COROUTINE)


def unpacked(task: Task[..., Any], value: Any) -> Any:
    """Return the value, checked to be a tuple if the task has several outputs."""
    if not task.unpacks:
        return value
    if not isinstance(value, tuple | list) or len(value) != len(task.outputs):
        found = f"{len(value)} values" if isinstance(value, tuple | list) else f"a {type(value).__name__}"
        raise OutputError(task.name, task.outputs, found)
    return tuple(value)
