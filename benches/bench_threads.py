"""P3: what does a plain function cost in worker threads, beside a hop to a thread and back for each of them?

And P4: in place (`thread=False`), beside the bare loop that calls one after another.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.to_thread
import pytest

import orch
from benches._loops import bare_sync, in_loop
from benches._ratio import Bound, Ratio
from benches._shapes import SHAPES, Case, case

BOUND = Bound(0.055)  # 3 µs where a hop costs 54
SIZE = 5_000


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("shape", ["chain", "wide", "layered"])
def bench_threads(ratio: Ratio, shape: str, backend: str) -> None:
    _beside_hops(ratio, "P3 threads", shape, backend, clock=time.process_time, bound=BOUND)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def bench_threads_wall(ratio: Ratio, backend: str) -> None:
    """What process time does not see: waiting for one another. No bound: others on the machine are waited for, too."""
    _beside_hops(ratio, "P3 threads, wall", "layered", backend, clock=time.perf_counter)


def _beside_hops(
    ratio: Ratio, question: str, shape: str, backend: str, *, clock: Callable[[], float], bound: Bound | None = None
) -> None:
    made = case(shape, SIZE, "plain")
    baseline = in_loop(backend, partial(hop_per_node, made), made.check, clock=clock)
    subject = in_loop(backend, partial(orch.run, made.plan), made.check_run, clock=clock)
    ratio(
        question, ("to_thread", baseline), subject,
        shape=shape, size=SIZE, backend=backend, per=SIZE, bound=bound, rounds=3,
    )  # fmt: skip


@pytest.mark.parametrize("shape", ["chain", "layered"])
def bench_threads_beside_bare_loop(ratio: Ratio, shape: str) -> None:
    made = case(shape, SIZE, "plain")
    _beside_bare_loop(ratio, made, "P3 threads", shape)


@pytest.mark.parametrize("shape", SHAPES)
def bench_in_place(ratio: Ratio, shape: str) -> None:
    made = case(shape, SIZE, "plain", thread=False)
    _beside_bare_loop(ratio, made, "P4 in place", shape)


def _beside_bare_loop(ratio: Ratio, made: Case, question: str, shape: str) -> None:
    order = list(range(SIZE))

    async def bare() -> list[Any]:
        return bare_sync(made, order)

    baseline = in_loop("asyncio", bare, made.check)
    subject = in_loop("asyncio", partial(orch.run, made.plan), made.check_run)
    ratio(
        question, ("bare loop", baseline), subject,
        shape=shape, size=SIZE, backend="asyncio", per=SIZE, rounds=7,
    )  # fmt: skip


async def hop_per_node(made: Case) -> list[Any]:
    """Call every node in a worker thread, in an order known before."""
    fns, deps = made.functions, made.deps
    values: list[Any] = [None] * len(fns)
    for i in range(len(fns)):
        values[i] = await anyio.to_thread.run_sync(fns[i], *[values[d] for d in deps[i]])
    return values
