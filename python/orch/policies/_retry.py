"""`Retry`: whether a failed attempt is followed by another one, and when. A value and one pure decision."""

import math
import random
from collections.abc import Iterator
from typing import Any, Literal, cast, get_args

from attrs import define, field, frozen

from orch.errors import CircuitOpenError, expect, spelled
from orch.policies._check import Kinds, Seconds, count, kinds, seconds, share

__all__ = ("Backoff", "Retry", "RetryAfter", "parts", "underlying")

Backoff = Literal["fixed", "linear", "exponential"]


def _asked(value: Seconds) -> float:
    return seconds("seconds", value, zero=True, none=False)


@define(eq=False, slots=False)
class RetryAfter(Exception):  # noqa: N818  (it asks for something; the error is its cause)
    """Raised by a task to be called again after so many seconds: `raise RetryAfter(30) from error`.

    The wait is exactly as long, whatever the policy says about delays. Whether there is another attempt is the
    policy's to decide, by the error it was raised from; if there is none, the task fails with that error.

    >>> RetryAfter(30).seconds
    30.0
    """

    seconds: float = field(converter=_asked)

    def __str__(self) -> str:
        return f"asked to be called again after {self.seconds:g} s"


@frozen(init=False)
class Retry:
    """When a task that failed is tried again.

    Before retry n the task waits d seconds (`"fixed"`), d·n (`"linear"`) or d·2ⁿ⁻¹ (`"exponential"`), never more than
    `max_delay`. An exception group is tried again only if each error in it would be. What is no `Exception`, such as a
    cancellation or Ctrl-C, never is, nor is a `CircuitOpenError` unless `retry_on` names it.

    >>> retry = Retry(5, delay=0.5, backoff="exponential", max_delay=3, give_up_on=KeyError)
    >>> [retry.next_delay(n, OSError(), random.Random(0), elapsed=0) for n in (1, 2, 3, 4, 5)]
    [0.5, 1.0, 2.0, 3.0, None]
    >>> retry.next_delay(1, KeyError("missing"), random.Random(0), elapsed=0)  # None: it is final

    Args:
        max_attempts: How often the task is called at most, the first call included.
        delay: d, in seconds or as a `timedelta`; 0 to try again at once.
        backoff: How the delay grows.
        max_delay: The longest delay, also with jitter.
        jitter: By which share of itself a delay varies at random, up and down: 0 to 1.
        retry_on: The errors after which the task is tried again: a class or several, their subclasses included.
        give_up_on: Those after which it is not; they win over `retry_on`.
        deadline: Seconds since the first attempt began after which none begins: no wait crosses it.
    """

    max_attempts: int
    delay: float
    backoff: Backoff
    max_delay: float
    jitter: float
    retry_on: tuple[type[Exception], ...]
    give_up_on: tuple[type[Exception], ...]
    deadline: float | None

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        delay: Seconds = 1.0,
        backoff: Backoff = "fixed",
        max_delay: Seconds = 60.0,
        jitter: float = 0.0,
        retry_on: Kinds = (Exception,),
        give_up_on: Kinds = (),
        deadline: Seconds | None = None,
    ) -> None:
        cast("Any", self).__attrs_init__(
            count("max_attempts", max_attempts),
            seconds("delay", delay, zero=True, none=False),
            _backoff(backoff),
            seconds("max_delay", max_delay, none=False),
            share("jitter", jitter),
            kinds("retry_on", retry_on),
            kinds("give_up_on", give_up_on),
            seconds("deadline", deadline),
        )

    def next_delay(self, attempt: int, error: BaseException, rng: random.Random, elapsed: float) -> float | None:
        """Say how long to wait before the next attempt; None: there is none.

        Args:
            attempt: The number of the attempt that has failed, from 1 on.
            error: What it failed with.
            rng: Where jitter comes from.
            elapsed: Seconds since the first attempt began.
        """
        if attempt >= self.max_attempts or not self._eligible(error):
            return None
        asked = _asked_for(error)
        delay = self._varied(self._planned(attempt), rng) if asked is None else asked
        return None if self.deadline is not None and elapsed + delay > self.deadline else delay

    def _planned(self, retry: int) -> float:
        if not self.delay or self.backoff == "fixed":
            return min(self.delay, self.max_delay)
        try:
            grown = self.delay * retry if self.backoff == "linear" else math.ldexp(self.delay, retry - 1)
        except OverflowError:  # far above any cap
            return self.max_delay
        return min(grown, self.max_delay)

    def _varied(self, delay: float, rng: random.Random) -> float:
        if not self.jitter or not delay:
            return delay
        return min(delay * (1 + rng.uniform(-self.jitter, self.jitter)), self.max_delay)

    def _eligible(self, error: BaseException) -> bool:
        named = isinstance(error, ExceptionGroup) and self._names(error, BaseExceptionGroup)
        return all(self._wants(each, named=named) for each in parts(error))

    def _wants(self, error: BaseException, *, named: bool) -> bool:
        """Judge one error; `named`: it is in a group that `retry_on` names."""
        if not isinstance(error, Exception) or isinstance(error, self.give_up_on):
            return False
        if isinstance(error, CircuitOpenError):
            return self._names(error, CircuitOpenError)
        return named or isinstance(error, (*self.retry_on, ExceptionGroup))  # of a group, what is in it decides

    def _names(self, error: Exception, base: type[BaseException]) -> bool:
        """Whether `retry_on` means this error by its own kind, not by one as general as `Exception`."""
        return any(isinstance(error, kind) and issubclass(kind, base) for kind in self.retry_on)


Retry.__init__ = spelled()(Retry.__init__)  # type: ignore[method-assign] # decorated, mypy would not see that of attrs


def _backoff(value: Any) -> Backoff:
    expect("backoff", value, str)
    known = get_args(Backoff)
    if value not in known:
        raise ValueError(f"backoff: expected one of {', '.join(map(repr, known))}, found {value!r:.100}")
    return cast("Backoff", value)


def underlying(error: Exception) -> Exception:
    """Find what a task really failed with: of a `RetryAfter`, the error that it was raised from."""
    cause = _behind(error)
    return cause if isinstance(cause, Exception) else error


def _behind(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, RetryAfter) and error.__cause__ is not None else error


def parts(error: BaseException) -> Iterator[BaseException]:
    """Take an error apart: itself, and of a group what is in it, at any depth; of a `RetryAfter`, what is behind it."""
    todo, seen = [error], set[int]()
    while todo:
        each = _behind(todo.pop())
        if id(each) not in seen:  # a group may be the cause of what is in it
            seen.add(id(each))
            yield each
            todo += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _asked_for(error: BaseException) -> float | None:
    """Find the wait that a `RetryAfter` asks for; of several in a group, the longest."""
    todo, waits = [error], list[float]()
    while todo:
        each = todo.pop()
        if isinstance(each, RetryAfter):
            waits.append(each.seconds)
        elif isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
    return max(waits, default=None)
