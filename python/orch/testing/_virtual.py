"""`run`: an async function in virtual time, on the event loop of choice."""

from collections.abc import Callable, Coroutine
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
    """Run an async function in virtual time and return its result: sleeping costs nothing, and nothing is random.

    Time begins at 0, stands still while anything runs, and jumps to the next deadline when everything waits. There is
    no network, and no subprocess. Plain functions that run in worker threads take no virtual time; what they do is
    waited for in real time and is not repeatable, so prefer steps with `thread=False` here.

    Args:
        async_fn: What to run, as `anyio.run` takes it.
        *args: Its arguments.
        backend: "asyncio" or "trio".
        seed: Which of the possible orders is taken where several tasks could run; 0 on asyncio is first come, first
            served. The same seed gives the same run, in any process.

    Raises:
        DeadlockError: Every task waits for another and no timer is set; says which task waits where.
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
    if backend == "asyncio":
        return _loop.run_virtually(async_fn, args, _loop.VirtualLoop(seed))
    if backend != "trio":
        raise ValueError(f"backend: expected 'asyncio' or 'trio', found {backend!r}")
    from orch.testing import _trio  # noqa: PLC0415 (trio is an extra)

    return _trio.run_virtually(async_fn, args, seed)
