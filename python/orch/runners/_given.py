"""What callers give to runners, checked and sorted."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from orch.abc import Cache, Clock
from orch.context import Context
from orch.errors import UnsupportedError, expect
from orch.result import Past, RunResult, past_of

__all__ = (
    "Subscribers",
    "cache_of",
    "callables_of",
    "clock_of",
    "context_of",
    "drops",
    "endless",
    "given_of",
    "past_from",
)

Subscribers: TypeAlias = Iterable[Callable[[Any], object]]


def given_of(positional: Any, inputs: Any, context: Any, keywords: Any) -> tuple[dict[str, Any], Context[Any] | None]:
    """Sort what was given into inputs and context; nothing may be given twice."""
    if isinstance(positional, Context):
        if context is not None:
            raise TypeError("context: given twice, by position and by name")
        positional, context = None, positional
    given: dict[str, Any] = {}
    for more in (positional, inputs, keywords):
        if more is not None and not isinstance(more, Mapping):
            raise TypeError(f"inputs: expected a mapping of names to values or a Context, found {type(more).__name__}")
        if twice := given.keys() & (more or {}):
            raise TypeError(f"inputs: given twice: {', '.join(sorted(map(repr, twice)))}")
        given.update(more or {})
    return given, context_of(context)


def context_of(context: Any) -> Context[Any] | None:
    if context is not None and not isinstance(context, Context):
        found = type(context).__name__
        raise TypeError(f"context: expected an orch.Context, found {found}: wrap it, orch.Context(data)")
    return context


def callables_of(subscribers: Subscribers) -> tuple[Callable[[Any], object], ...]:
    if callable(subscribers):
        raise TypeError("subscribers: expected several callables, as a list, found a single one: write [subscriber]")
    expect("subscribers", subscribers, Iterable)
    found: tuple[Any, ...] = tuple(subscribers)
    if wrong := [type(each).__name__ for each in found if not callable(each)]:
        raise TypeError(f"subscribers: expected callables that take an event, found {wrong[0]}")
    return found


def cache_of(cache: Any) -> Cache:
    if isinstance(cache, type) or not all(
        callable(getattr(cache, method, None)) for method in ("get", "set", "discard")
    ):
        found = f"the class {cache.__name__}" if isinstance(cache, type) else type(cache).__name__
        raise TypeError(
            f"cache: expected an object with get(), set() and discard(), as orch.MemoryCache(), found {found}"
        )
    found_one: Cache = cache
    return found_one


def clock_of(clock: Any) -> Clock:
    for method in ("monotonic", "time"):
        if not callable(getattr(clock, method, None)):
            raise TypeError(f"clock: expected something with monotonic() and time(), found {type(clock).__name__}")
    found: Clock = clock
    return found


def past_from(run: RunResult | str) -> Past:
    if isinstance(run, str):
        cure = "give the result itself, resume(result, workflow)"
        raise UnsupportedError(f"run {run!r}: runs are found by their id in a store, and there is none; {cure}")
    expect("run", run, RunResult)
    return past_of(run)


def drops(when_full: object) -> bool:
    if when_full not in ("block", "drop"):
        raise ValueError(f"when_full: expected 'block' or 'drop', found {when_full!r}")
    return when_full == "drop"


def endless(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds
