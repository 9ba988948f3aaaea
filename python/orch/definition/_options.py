"""Options that steps share: how long, how often, behind what. Each is checked where it is given, and None is none."""

from types import NoneType
from typing import Any

from orch.errors import expect
from orch.policies import CircuitBreaker, Limiter, Retry, Seconds, seconds

__all__ = ("breaker_of", "limiter_of", "retry_of", "timeout_of")

_BLOCKING = {"threading", "_thread", "multiprocessing"}


def timeout_of(value: Seconds | None) -> float | None:
    """Read a timeout as seconds; an infinite one is none."""
    return None if value is None else seconds("timeout", value)


def retry_of(value: Any) -> Retry | None:
    """Expect a `Retry`."""
    if value is not None:
        expect("retry", value, Retry, NoneType)
    return value  # type: ignore[no-any-return] # it has just been checked


def breaker_of(value: Any) -> CircuitBreaker | None:
    """Expect a `CircuitBreaker`."""
    if value is not None:
        expect("breaker", value, CircuitBreaker, NoneType)
    return value  # type: ignore[no-any-return] # it has just been checked


def limiter_of(value: Any) -> Limiter | None:
    """Expect anything with `acquire` and `release`: a `RateLimit`, a limiter or semaphore of anyio, one's own."""
    if value is not None and (isinstance(value, type) or not _has(value, "acquire") or not _has(value, "release")):
        found = f"{type(value).__name__} ({value!r:.100})"
        raise TypeError(f"limiter: expected an object with acquire() and release(), or None; found {found}")
    if type(value).__module__.partition(".")[0] in _BLOCKING:
        found, cure = type(value).__name__, "use its namesake in anyio"
        raise TypeError(f"limiter: expected one whose acquire() is awaited, found a {found}, which would block; {cure}")
    return value


def _has(value: object, name: str) -> bool:
    return callable(getattr(value, name, None))
