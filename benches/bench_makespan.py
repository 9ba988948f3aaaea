"""P7: how far from the shortest possible are ten thousand steps that sleep 10 ms, so many at a time?

No schedule ends before `work / limit`, nor before the longest chain has slept: that is the shortest. Event loops round
their timers up and need time for each step themselves. What they leave possible shows the other baseline: as many tasks
as the limit allows, each of which sleeps through one chain after another. This is time on the wall: when others use the
machine both sides wait for them, and only their ratio is worth reading.
"""

import time
from collections.abc import Iterator
from functools import cache, partial
from typing import Any, Final

import anyio
import attrs
import pytest

import orch
from benches._loops import BACKENDS, in_loop
from benches._ratio import SECONDS, Bound, Ratio

STEPS: Final = 10_000
NAP: Final = 0.01
BOUND = Bound(1.05)


@attrs.frozen(eq=False)
class Chains:
    """Chains of equal length, as many as make ten thousand steps."""

    length: int
    plan: orch.plan.Plan

    def check(self, numbers: list[int]) -> None:
        """Fail unless every step slept and gave its number."""
        assert sorted(numbers) == list(range(STEPS))

    def check_run(self, result: orch.RunResult) -> None:
        """Fail unless the run succeeded with every number."""
        assert result.state is orch.State.SUCCEEDED, result
        self.check(list(result.value.values()))


@cache
def chains(length: int) -> Chains:
    tasks = [step(node, [f"s{node - 1}"] if node % length else []) for node in range(STEPS)]
    return Chains(length, orch.plan.compile(orch.Graph(tasks)))


def step(node: int, deps: list[str]) -> orch.Task[[], Any]:
    return orch.Task(partial(nap, node), name=f"s{node}", deps=deps)


async def nap(number: int) -> int:
    await anyio.sleep(NAP)
    return number


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", ["independent", "chains"])
@pytest.mark.parametrize("limit", [100, 1_000])
def bench_makespan(ratio: Ratio, limit: int, shape: str, backend: str) -> None:
    made = chains(1 if shape == "independent" else STEPS // limit)
    baseline = in_loop(backend, partial(by_hand, made, limit), made.check, clock=time.perf_counter)
    runner = orch.AsyncRunner(limit=limit)
    subject = in_loop(backend, partial(runner.run, made.plan), made.check_run, clock=time.perf_counter)
    row = ratio(
        f"P7 limit {limit}", ("by hand", baseline), subject,
        shape=shape, size=STEPS, backend=backend, unit=SECONDS, rounds=2 if limit < 1_000 else 5,
    )  # fmt: skip
    shortest = NAP * max(STEPS / limit, made.length)
    assert row.subject >= shortest, "nobody can be that fast: the limit was not kept"
    ratio.record(attrs.evolve(row, baseline="shortest", base=shortest, bound=BOUND, rounds=()))


@pytest.mark.parametrize("backend", BACKENDS)
def bench_all_at_once(ratio: Ratio, backend: str) -> None:
    """Without a limit all are asleep together: what does a step cost that waits, beside a task of its own?"""
    made = chains(1)
    baseline = in_loop(backend, partial(by_hand, made, STEPS), made.check)
    subject = in_loop(backend, partial(orch.run, made.plan), made.check_run)
    ratio(
        "P7 no limit, CPU", ("task per node", baseline), subject,
        shape="independent", size=STEPS, backend=backend, per=STEPS, rounds=3,
    )  # fmt: skip


async def by_hand(made: Chains, limit: int) -> list[int]:
    """Sleep with `limit` tasks that share the chains."""
    numbers: list[int] = []
    starts = iter(range(0, STEPS, made.length))
    async with anyio.create_task_group() as group:
        for _ in range(limit):
            group.start_soon(_sleeper, starts, made.length, numbers)
    return numbers


async def _sleeper(starts: Iterator[int], length: int, numbers: list[int]) -> None:
    for start in starts:
        for node in range(start, start + length):
            numbers.append(await nap(node))  # noqa: PERF401 (in the order of time)
