"""How a step's function is called: positionally, with values in the order of its slots.

The hot path knows one form, `call(*values)`. Whatever a function wants beyond that (keywords, one of several
outputs of a producer, the `upstream` mapping, a check of its own outputs) is wrapped around it here, once, when the
plan is made.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import attrs

from orch.definition import Task
from orch.errors import OutputError

__all__ = ("Shape", "callable_of")


@attrs.frozen
class Shape:
    """How the flat values of a step become the arguments of its function: positional, then keywords, then upstream."""

    positional: int
    keywords: tuple[str, ...] = ()
    picks: tuple[tuple[int, int], ...] = ()  # (position, k): of the tuple of outputs there, the k-th is meant
    upstream: tuple[int, tuple[str, ...]] | None = (
        None  # (position, names): there goes the mapping of names to the rest
    )

    def arguments(self, flat: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments for the values of the slots."""
        values = list(flat)
        for position, k in self.picks:
            values[position] = values[position][k]
        end = self.positional + len(self.keywords)
        if self.upstream is not None:
            position, names = self.upstream
            values[position] = dict(zip(names, values[end:], strict=True))
        return values[: self.positional], dict(zip(self.keywords, values[self.positional : end], strict=True))


def callable_of(task: Task[..., Any], shape: Shape | None) -> Callable[..., Any]:
    """Return what a lane calls with the slots' values; for a coroutine task it always returns a coroutine."""
    call: Callable[..., Any] = task.fn
    coroutine = task.signature.kind == "coroutine"
    if shape is not None:
        call = _shaped(call, shape)
    if task.unpacks:
        return (_checked_coroutine if coroutine else _checked)(call, task)
    return _as_coroutine(call) if coroutine and not _returns_coroutine(task.fn) else call


def _returns_coroutine(fn: object) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & inspect.CO_COROUTINE)


def _as_coroutine(fn: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*flat: object) -> object:
        return await fn(*flat)

    return call


def _shaped(fn: Callable[..., Any], shape: Shape) -> Callable[..., Any]:
    def call(*flat: object) -> object:
        args, kwargs = shape.arguments(flat)
        return fn(*args, **kwargs)

    return call


def _checked(fn: Callable[..., Any], task: Task[..., Any]) -> Callable[..., Any]:
    return lambda *flat: _outputs(task, fn(*flat))


def _checked_coroutine(fn: Callable[..., Any], task: Task[..., Any]) -> Callable[..., Any]:
    async def call(*flat: object) -> object:
        return _outputs(task, await fn(*flat))

    return call


def _outputs(task: Task[..., Any], value: object) -> tuple[Any, ...]:
    """Return the value as the tuple of the task's outputs, or say what was expected and found."""
    if not isinstance(value, tuple | list):
        raise OutputError(task.name, task.outputs, f"a {type(value).__name__}")
    if len(value) != len(task.outputs):
        raise OutputError(task.name, task.outputs, f"{len(value)} values")
    return tuple(value)
