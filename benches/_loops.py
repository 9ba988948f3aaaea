"""Event loops to measure in, and the bare loops that everything is compared with."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio

from benches._ratio import Side
from benches._shapes import Case

__all__ = ("BACKENDS", "bare_async", "bare_sync", "in_loop")

BACKENDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


async def bare_async(case: Case, order: Sequence[int]) -> list[Any]:
    """Await every node in a given order: the yardstick. No scheduling, no isolation, no recording."""
    fns, deps = case.functions, case.deps
    values: list[Any] = [None] * len(fns)
    for i in order:
        values[i] = await fns[i](*[values[d] for d in deps[i]])
    return values


def bare_sync(case: Case, order: Sequence[int]) -> list[Any]:
    """Call every node in a given order."""
    fns, deps = case.functions, case.deps
    values: list[Any] = [None] * len(fns)
    for i in order:
        values[i] = fns[i](*[values[d] for d in deps[i]])
    return values


def in_loop(
    backend: str,
    work: Callable[[], Awaitable[Any]],
    check: Callable[[Any], object],
    *,
    repeat: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> Side:
    """Make a side of async work: the cost of one of `repeat` goes inside a loop that runs already, values checked."""
    name, options = BACKENDS[backend]

    async def timed() -> float:
        results = []  # kept until the time is taken: letting go of them is not part of the question
        start = clock()
        for _ in range(repeat):
            results.append(await work())  # noqa: PERF401 (no comprehension: it would be one more frame)
        end = clock()
        check(results[-1])
        return (end - start) / repeat

    return lambda: anyio.run(timed, backend=name, backend_options=options)
