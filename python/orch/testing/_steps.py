"""Steps with a will of their own: one that fails at first, one that takes its time."""

from typing import Any

from anyio import sleep

from orch.errors import expect

__all__ = ("Fails", "Slow", "fails", "slow")


class Fails:
    """What `fails` makes: an async function; `calls` counts how often it was called."""

    __name__ = "fails"

    def __init__(self, times: int, error: BaseException | type[BaseException] | None, then: Any) -> None:
        self.times = times
        self.error = error
        self.then = then
        self.calls = 0

    def __repr__(self) -> str:
        return f"<fails {self.times} times, {self.calls} calls so far>"

    async def __call__(self) -> Any:
        """Fail, or return the value."""
        self.calls += 1
        if self.calls <= self.times:
            raise self.error or RuntimeError(f"call {self.calls} of {self.times} that fail")
        return self.then


class Slow:
    """What `slow` makes: an async function; `calls` counts how often it was called."""

    __name__ = "slow"

    def __init__(self, seconds: float, value: Any) -> None:
        self.seconds = seconds
        self.value = value
        self.calls = 0

    def __repr__(self) -> str:
        return f"<slow, {self.seconds} seconds, {self.calls} calls so far>"

    async def __call__(self) -> Any:
        """Sleep, and return the value."""
        self.calls += 1
        await sleep(self.seconds)
        return self.value


def fails(times: int = 1, *, error: BaseException | type[BaseException] | None = None, then: Any = None) -> Fails:
    """Make a step that fails so often, and from then on succeeds.

    Args:
        times: How many calls fail.
        error: What they raise, an exception or a class of them; a RuntimeError unless given.
        then: The value of the calls after those.

    Example:
        >>> import orch
        >>> from orch.testing import fails, run
        >>> flaky = fails(times=2, then="at last")
        >>> async def call():
        ...     return [await orch.run(flaky, raise_on_failure=False) for _ in range(3)]
        >>> [result.state.value for result in run(call)], flaky.calls
        (['failed', 'failed', 'succeeded'], 3)
    """
    expect("times", times, int, least=0)
    kind = error if isinstance(error, type) else type(error)
    if error is not None and not issubclass(kind, BaseException):
        raise TypeError(f"error: expected an exception or a class of them, found {kind.__name__} ({error!r:.100})")
    return Fails(times, error, then)


def slow(seconds: float, *, value: Any = None) -> Slow:
    """Make a step that sleeps and then succeeds; in a virtual run the sleep takes no real time.

    Args:
        seconds: How long it sleeps.
        value: What it returns.

    Example:
        >>> import orch
        >>> from orch.testing import run, slow
        >>> run(orch.run, orch.task(slow(3600, value="rested"))).value
        'rested'
    """
    expect("seconds", seconds, int, float, least=0)
    return Slow(seconds, value)
