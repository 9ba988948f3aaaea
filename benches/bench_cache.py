"""P10: what does a step cost that is found in a cache, beside the same step without one? And one that is not found?

Steps whose bodies do nothing, so that all there is to see is the price of looking: a digest for every argument, the
lookup and a copy, and on disk the way to a thread and back. Process time counts the thread, too; the wall clock shows
what somebody waits who has only this to do. What is not found is looked up, made and kept.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

import orch
from benches._loops import BACKENDS, in_loop
from benches._ratio import Bound, Ratio, Side
from benches._shapes import Case, case

SIZE: Final = 1_000
MEMORY, DISK = Bound(30.0, "µs"), Bound(150.0, "µs")
CLOCKS: Final[dict[str, Callable[[], float]]] = {"process": time.process_time, "wall": time.perf_counter}


def without(made: Case, backend: str, **options: Any) -> Side:
    return in_loop(backend, partial(orch.run, made.plan), made.check_run, **options)


def with_cache(made: Case, backend: str, cache: Any, **options: Any) -> Side:
    return in_loop(backend, partial(orch.AsyncRunner(cache=cache).run, made.plan), made.check_run, **options)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[orch.DiskCache]:
    cache = orch.DiskCache(tmp_path / "cache", key=bytes(32))
    yield cache
    cache.clear()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", ["chain", "layered"])
def bench_hits_from_memory(ratio: Ratio, shape: str, backend: str) -> None:
    made, cache = case(shape, SIZE), orch.MemoryCache()
    subject = with_cache(made, backend, cache)
    subject()
    ratio(
        "P10 hit, memory", ("no cache", without(made, backend)), subject,
        shape=shape, size=SIZE, backend=backend, per=SIZE, bound=MEMORY,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", ["chain", "layered"])
@pytest.mark.parametrize("clock", CLOCKS)
def bench_hits_from_disk(ratio: Ratio, disk: orch.DiskCache, clock: str, shape: str, backend: str) -> None:
    made, by = case(shape, SIZE), CLOCKS[clock]
    subject = with_cache(made, backend, disk, clock=by)
    subject()
    ratio(
        f"P10 hit, disk, {clock}", ("no cache", without(made, backend, clock=by)), subject,
        shape=shape, size=SIZE, backend=backend, per=SIZE, bound=DISK, rounds=3,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def bench_misses(ratio: Ratio, disk: orch.DiskCache, kind: str, backend: str) -> None:
    made, cache = case("layered", SIZE), orch.MemoryCache() if kind == "memory" else disk
    found = with_cache(made, backend, cache)

    def subject() -> float:
        cache.clear()
        return found()

    ratio(
        f"P10 miss, {kind}", ("no cache", without(made, backend)), subject,
        shape="layered", size=SIZE, backend=backend, per=SIZE, rounds=3,
    )  # fmt: skip
