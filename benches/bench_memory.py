"""P11: how much memory does a run take for each node besides the values, and do values go after their last reader?

What a run allocates in Python is counted by tracemalloc at the worst moment, and the core's own memory by what the
operating system gives to a `Schedule` driven to its end. The values are constants of the functions and cost nothing.
The second question is answered exactly: by counting the values alive at one time.
"""

import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

import anyio
import pytest

import orch
from benches._loops import bare_async
from benches._memory import in_fresh_process, needs_proc, peak_above
from benches._ratio import BYTES, Bound, Ratio, Unit
from benches._shapes import SHAPES, Deps, case
from orch._core import Layout, Schedule

SIZE: Final = 100_000
BOUND = Bound(250, "B")
ALIVE = Unit("alive")
AS_BY_HAND = Bound(1.1)


@needs_proc
@pytest.mark.parametrize("shape", ["wide", "layered"])
def bench_memory_of_run(ratio: Ratio, shape: str) -> None:
    """The bare loop keeps a list of values, and so must a run."""
    found: dict[str, float] = {}

    def baseline() -> float:
        found.update(in_fresh_process(bytes_of, shape))
        return found["bare"]

    ratio(
        "P11 memory", ("bare loop", baseline), lambda: found["run"] + found["core"],
        shape=shape, size=SIZE, backend="asyncio", per=SIZE, unit=BYTES, bound=BOUND, rounds=1,
    )  # fmt: skip


def bytes_of(shape: str) -> dict[str, float]:
    """Measure all there is to know of a shape; the core first, while memory is still untouched."""
    made = case(shape, SIZE)
    return {
        "core": bytes_of_core(made.plan.layout),
        "run": traced(partial(orch.run, made.plan), made.check_run),
        "bare": traced(partial(bare_async, made, list(range(SIZE))), made.check),
    }


def bytes_of_core(layout: Layout) -> float:
    """Drive a schedule to its end."""

    def drive() -> Schedule:
        schedule = Schedule(layout)
        while schedule.is_active():
            if (node := schedule.take()) >= 0:
                schedule.done(node)
            else:
                schedule.breathe()
        return schedule

    schedule, more = peak_above(drive)
    assert len(schedule) == 2 * SIZE, "each node leaves two entries in the journal"
    return more


def traced(work: Callable[[], Any], check: Callable[[Any], None]) -> float:
    """Return the most bytes that Python held for work at one time."""

    async def run() -> int:
        tracemalloc.start()
        result = await work()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        check(result)
        return peak

    return anyio.run(run)


# -- values that may go ------------------------------------------------------------------------------------------------


class Value:
    """Knows how many there are."""

    alive: ClassVar[int] = 0
    most: ClassVar[int] = 0

    def __init__(self) -> None:
        Value.alive += 1
        Value.most = max(Value.most, Value.alive)

    def __del__(self) -> None:
        Value.alive -= 1


@pytest.mark.parametrize("shape", ["chain", "layered"])
def bench_values_alive(ratio: Ratio, shape: str) -> None:
    """By hand: a value is dropped as soon as its last reader has run; one that nobody reads is a result."""
    size = 10_000
    deps = SHAPES[shape](size)
    plan = orch.plan.compile(orch.Graph([give(node, each) for node, each in enumerate(deps)]))
    ratio(
        "P11 retain=False", ("by hand", lambda: alive_by_hand(deps)), lambda: alive(plan),
        shape=shape, size=size, backend="asyncio", unit=ALIVE, bound=AS_BY_HAND, rounds=1,
    )  # fmt: skip


def give(node: int, deps: tuple[int, ...]) -> orch.Task[..., Any]:
    async def body(upstream: dict[str, Value]) -> Value:
        assert len(upstream) == len(deps)
        assert all(isinstance(each, Value) for each in upstream.values())
        return Value()

    return orch.Task(body, name=f"n{node}", deps=[f"n{dep}" for dep in deps], retain=False)


def alive(plan: orch.plan.Plan) -> float:
    """Run, and return how many values there were at one time."""
    Value.most = Value.alive = 0
    result = anyio.run(orch.run, plan)
    assert result.state is orch.State.SUCCEEDED, result
    return Value.most


def alive_by_hand(deps: Deps) -> float:
    Value.most = Value.alive = 0
    readers = Counter(dep for each in deps for dep in each)
    values: dict[int, Value] = {}
    for node, each in enumerate(deps):
        values[node] = Value()
        for dep in each:
            readers[dep] -= 1
            if not readers[dep]:
                del values[dep]
    assert set(values) == {node for node in range(len(deps)) if node not in readers}
    return Value.most
