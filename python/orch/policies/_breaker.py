"""`CircuitBreaker`: after so many failures in a row, no calls for a while; then a single one to find out.

A pure state machine behind one lock. Whoever calls passes the time and reports how the call went, with the permit it
got. Every change of state begins a new generation, and so does every probe; a call from before the state has changed is
out of date, and its result counts for nothing.
"""

from functools import partial
from threading import Lock
from typing import Any, Literal

from attrs import frozen

from orch.errors import CircuitOpenError, spelled
from orch.policies._check import Kinds, Seconds, count, kinds, seconds, text
from orch.policies._retry import parts, underlying

__all__ = ("Change", "Circuit", "CircuitBreaker", "Permit")

_PATIENCE = 60.0  # seconds that a probe may take in any case: calls may last longer than a short timeout

Circuit = Literal["closed", "open", "half_open"]
Change = tuple[Circuit, Circuit]
"""The old state and the new one."""


@frozen
class Permit:
    """Leave for one call. Its outcome is reported with it, once."""

    generation: int
    is_probe: bool = False
    change: Change | None = None
    """What giving the permit changed."""


class CircuitBreaker:
    """Stops calls to what keeps failing: one object, shared by all tasks, groups and runs that call it.

    Closed, it lets every call through and counts failures in a row. The one that makes `fail_max` opens it: calls get
    a `CircuitOpenError` at once. After `reset_timeout` a single probe is let through, whose success closes it, and
    whose failure opens it anew; if it is not back after another `reset_timeout`, and a minute, the next call is a probe
    as well. A cancelled call counts as nothing; so does a result that comes after the state has changed. It may be used
    from any thread and event loop; copied or unpickled, it is a closed one of its own.

    >>> breaker = CircuitBreaker("payments", fail_max=1, reset_timeout=30)
    >>> breaker.failed(breaker.admit(now=100), OSError("down"), now=101)
    ('closed', 'open')
    >>> breaker.admit(now=111)
    Traceback (most recent call last):
    orch.errors.CircuitOpenError: circuit breaker 'payments' is open: the next call is let through in 20 s
    >>> breaker.succeeded(breaker.admit(now=131)), breaker
    (('half_open', 'closed'), <CircuitBreaker 'payments' closed>)

    Args:
        name: What it is called in events and errors.
        fail_max: How many failures in a row open it.
        reset_timeout: Seconds, or a `timedelta`, from then to the probe.
        ignore: Errors that count neither as failure nor as success: a class or several, their subclasses included.
    """

    @spelled()
    def __init__(
        self,
        name: str | None = None,
        *,
        fail_max: int = 5,
        reset_timeout: Seconds = 60.0,
        ignore: Kinds = (),
    ) -> None:
        self.name = text("name", name)
        self.fail_max = count("fail_max", fail_max)
        self.reset_timeout = seconds("reset_timeout", reset_timeout, none=False)
        self.ignore = kinds("ignore", ignore)
        self._lock = Lock()
        self._state: Circuit = "closed"
        self._failures = 0
        self._opened = 0.0  # when; of an open one
        self._probed = 0.0  # when the last probe was let through; of a half open one
        self._probes: set[int] = set()  # those that are out, by generation
        self._generation = 0

    @property
    def state(self) -> Circuit:
        """`"closed"`, `"open"` or `"half_open"`; an open one is half open once a call has asked after the timeout."""
        return self._state

    @property
    def failures(self) -> int:
        """Failures in a row, so far."""
        return self._failures

    def reset(self) -> None:
        """Close it. What is under way counts for nothing."""
        with self._lock:
            self._turn("closed")

    def admit(self, now: float) -> Permit:
        """Let a call through.

        Raises:
            CircuitOpenError: It is open, or the probe is out and not overdue.
        """
        with self._lock:
            wait = self._wait(now)
            if wait is not None:
                raise CircuitOpenError(self.name, wait)
            if self._state == "closed":
                return Permit(self._generation)
            change = self._turn("half_open") if self._state == "open" else None
            self._generation += 1
            self._probes.add(self._generation)
            self._probed = now
            return Permit(self._generation, is_probe=True, change=change)

    def succeeded(self, permit: Permit) -> Change | None:
        """Report that a call went well; a probe's success closes the circuit."""
        with self._lock:
            if not self._is_current(permit):
                return None
            self._failures = 0
            return self._turn("closed") if permit.is_probe else None

    def failed(self, permit: Permit, error: BaseException, now: float) -> Change | None:
        """Report that a call failed. One of the errors to ignore, or what is no `Exception`, counts for nothing."""
        if not self._counts(error):
            return self.abandoned(permit)
        with self._lock:
            if not self._is_current(permit):
                return None
            self._failures += 1  # of a probe, on top of those that have opened it
            if self._failures < self.fail_max:
                return None
            self._opened = now
            return self._turn("open")

    def abandoned(self, permit: Permit) -> Change | None:
        """Report that a call has no outcome, as it was cancelled: the next call may be the probe in its place."""
        with self._lock:
            self._probes.discard(permit.generation)
        return None

    def wait(self, now: float) -> float | None:
        """Say in how many seconds a call may be let through, 0.0 while the probe is out; None: a call would be, now."""
        with self._lock:
            return self._wait(now)

    def _wait(self, now: float) -> float | None:
        if self._state != "open":
            self._probed = min(self._probed, now)
            is_out = self._generation in self._probes and now - self._probed < max(self.reset_timeout, _PATIENCE)
            return 0.0 if is_out else None
        self._opened = min(self._opened, now)  # another run's clock may be behind: never wait longer than the timeout
        left = self._opened + self.reset_timeout - now
        return left if left > 0 else None

    def _turn(self, state: Circuit) -> Change | None:
        """Go over into a state, or begin it anew; permits given out before count for nothing from now on."""
        old, self._state = self._state, state
        self._generation += 1
        self._probes.clear()
        if state == "closed":
            self._failures = 0
        return None if old == state else (old, state)

    def _is_current(self, permit: Permit) -> bool:
        return permit.generation in self._probes if permit.is_probe else permit.generation == self._generation

    def _counts(self, error: BaseException) -> bool:
        if not isinstance(error, Exception) or isinstance(underlying(error), self.ignore):
            return False
        leaves = (each for each in parts(error) if not isinstance(each, BaseExceptionGroup))
        return not all(isinstance(leaf, self.ignore) for leaf in leaves)

    def __reduce__(self) -> tuple[Any, ...]:
        make = partial(type(self), fail_max=self.fail_max, reset_timeout=self.reset_timeout, ignore=self.ignore)
        return make, (self.name,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self.name is None else f' {self.name!r}'} {self._state}>"
