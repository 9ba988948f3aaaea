"""P13: how long from the word to the end, when ten thousand steps that sleep are cancelled?

Beside it a plain task group of ten thousand sleeping tasks, cancelled by its scope. The steps are cancelled by that of
their caller, by `run.cancel()`, or by the failure of one of them; and once more by their caller, each with timeout and
retry. Every sleeper takes note of its cancellation: nobody is forgotten. Each is measured in time on the wall and, of
the same rounds, in time of the process.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import attrs
import pytest

import orch
from benches._loops import BACKENDS
from benches._ratio import SECONDS, Bound, Ratio, Row, Side

STEPS: Final = 10_000
BOUND = Bound(0.5, "s")


@attrs.define(eq=False)
class Sleepers:
    """Ten thousand bodies that sleep until they are cancelled, and the two times that their end takes."""

    asleep: anyio.Event = attrs.field(factory=anyio.Event)
    """Set when all of them are."""
    count: int = 0
    woken: int = 0
    begin: tuple[float, float] = (0.0, 0.0)

    async def sleep(self) -> None:
        self.count += 1
        if self.count == STEPS:
            self.asleep.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.woken += 1

    async def all_asleep(self) -> None:
        """Wait for them; the time begins when this returns."""
        await self.asleep.wait()
        await anyio.wait_all_tasks_blocked()
        self.begin = now()

    def took(self) -> tuple[float, float]:
        """End the time, and see that all have heard."""
        wall, cpu = (end - begin for end, begin in zip(now(), self.begin, strict=True))
        assert self.count == self.woken == STEPS, "somebody has not been cancelled"
        return wall, cpu


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


async def by_hand() -> tuple[float, float]:
    sleepers = Sleepers()
    async with anyio.create_task_group() as group:
        for _ in range(STEPS):
            group.start_soon(sleepers.sleep)
        await sleepers.all_asleep()
        group.cancel_scope.cancel()
    return sleepers.took()


async def by_caller(**policies: Any) -> tuple[float, float]:
    sleepers = Sleepers()
    async with anyio.create_task_group() as group:
        group.start_soon(orch.run, workflow(sleepers, **policies))
        await sleepers.all_asleep()
        group.cancel_scope.cancel()
    return sleepers.took()


async def with_policies() -> tuple[float, float]:
    return await by_caller(timeout=3600, retry=orch.Retry())


async def by_cancel() -> tuple[float, float]:
    sleepers = Sleepers()
    async with orch.AsyncRunner().iter(workflow(sleepers), raise_on_failure=False) as run:
        async with anyio.create_task_group() as group:
            group.start_soon(run.wait)
            await sleepers.all_asleep()
            run.cancel()
        took = sleepers.took()
    assert run.result.state is orch.State.CANCELLED
    return took


async def by_failure() -> tuple[float, float]:
    sleepers = Sleepers()

    async def fail() -> None:
        await sleepers.all_asleep()
        raise ConnectionError

    result = await orch.run(orch.Parallel(workflow(sleepers), fail), raise_on_failure=False)
    took = sleepers.took()
    assert [type(error) for error in result.errors] == [ConnectionError]
    return took


def workflow(sleepers: Sleepers, **policies: Any) -> orch.Parallel:
    return orch.Parallel([orch.Task(sleepers.sleep, **policies)] * STEPS)


HOWS: Final[dict[str, Callable[[], Awaitable[tuple[float, float]]]]] = {
    "by the caller": by_caller,
    "by run.cancel()": by_cancel,
    "by a failure": by_failure,
    "with policies": with_policies,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", HOWS)
def bench_cancel(ratio: Ratio, how: str, backend: str) -> None:
    bases, costs = list[float](), list[float]()
    row = ratio(
        "P13 cancel", ("task group", side(backend, by_hand, bases)), side(backend, HOWS[how], costs),
        shape=how, size=STEPS, backend=backend, unit=SECONDS, bound=BOUND, rounds=3,
    )  # fmt: skip
    ratio.record(in_process_time(row, bases, costs))


def side(backend: str, work: Callable[[], Awaitable[tuple[float, float]]], in_cpu: list[float]) -> Side:
    """Make a side that returns the time on the wall; that of the process goes into a list."""
    name, options = BACKENDS[backend]

    def measure() -> float:
        wall, cpu = anyio.run(work, backend=name, backend_options=options)
        in_cpu.append(cpu)
        return wall

    return measure


def in_process_time(row: Row, bases: list[float], costs: list[float]) -> Row:
    rounds = tuple(zip(bases, costs, strict=True))
    return attrs.evolve(row, question="P13 cancel, CPU", base=min(bases), subject=min(costs), rounds=rounds)
