"""`run`: an async function in virtual time, on the event loop of choice."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal, TypeVar, TypeVarTuple

from orch.errors import expect
from orch.testing import _loop

__all__ = ("run",)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(
    async_fn: Callable[[*Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    backend: Literal["asyncio", "trio"] = "asyncio",
    seed: int = 0,
) -> T:
    """Run an async function in virtual time and return its result: sleeping costs nothing.

    Time begins at 0, stands still while anything runs, and jumps to the next deadline when everything waits. There is
    no network, and no subprocess. Breakers, the deadlines of retries and the times in events go by the clock of the
    runner: give it a `VirtualClock`.

    Plain functions run in worker threads, in real time, and are not repeatable, so prefer steps with `thread=False`
    here. Where no timer is set they are waited for, at most 5 seconds without news; where one is set they get 10 ms
    before time jumps to it.

    Args:
        async_fn: What to run, as `anyio.run` takes it.
        *args: Its arguments.
        backend: "asyncio" or "trio".
        seed: Which of the possible orders is taken where several tasks could run; 0 on asyncio is first come, first
            served. The same seed gives the same run, in any process; where a `Retry` has jitter, if the runner is given
            an `rng` with a seed, `AsyncRunner(rng=random.Random(1))`.

    Raises:
        DeadlockError: Every task waits for another, no timer is set, and no thread gives news; says who waits where.
        Exception: Whatever the function raises.

    Example:
        >>> import anyio
        >>> async def nap():
        ...     await anyio.sleep(8 * 3600)
        ...     return anyio.current_time()
        >>> run(nap), run(nap, backend="trio", seed=5)
        (28800.0, 28800.0)
    """
    expect("seed", seed, int)
    if backend not in ("asyncio", "trio"):
        raise ValueError(f"backend: expected 'asyncio' or 'trio', found {backend!r}")
    call: Callable[..., Coroutine[Any, Any, T]] = partial(_begun, async_fn)
    if backend == "asyncio":
        return _loop.run_virtually(call, args, _loop.VirtualLoop(seed))
    from orch.testing import _trio  # noqa: PLC0415 (trio is an extra)

    return _trio.run_virtually(call, args, seed)


def _begun(async_fn: Any, *args: Any) -> Coroutine[Any, Any, Any]:
    coroutine = async_fn(*args) if callable(async_fn) else None
    if isinstance(coroutine, Coroutine):
        return coroutine
    if isinstance(async_fn, Coroutine):
        async_fn.close()  # nobody else will await it
    raise TypeError(f"async_fn: expected an async function, not called yet: run(f, 1), found {async_fn!r:.100}")
