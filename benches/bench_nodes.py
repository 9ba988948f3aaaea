"""P1: what does a node cost in a run of async no-ops, beside the bare loop that awaits them one after another?

Plans are made before. For scale the usual ways to do it by hand: a task per node, in `asyncio.TaskGroup` or in an anyio
task group over the ready set of the same core.
"""

import asyncio
from functools import partial
from typing import Any

import anyio
import pytest

import orch
from benches._loops import BACKENDS, bare_async, in_loop
from benches._ratio import Bound, Ratio
from benches._shapes import SHAPES, SIZES, Case, case
from orch._core import Schedule

BOUND = Bound(3.0)  # the milestone's; in the end 1.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def bench_nodes(ratio: Ratio, shape: str, size: int, backend: str) -> None:
    made = case(shape, size)
    repeat = max(1, 10_000 // size)
    bare = in_loop(backend, partial(bare_async, made, list(range(size))), made.check, repeat=repeat)
    subject = in_loop(backend, partial(orch.run, made.plan), made.check_run, repeat=repeat)
    rounds = 10 if size <= 10_000 else 4
    ratio(
        "P1 nodes", ("bare loop", bare), subject,
        shape=shape, size=size, backend=backend, per=size, bound=BOUND, rounds=rounds,
    )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def bench_task_group(ratio: Ratio, shape: str) -> None:
    made = case(shape, 10_000)
    baseline = in_loop("asyncio", partial(task_per_node, made), made.check)
    subject = in_loop("asyncio", partial(orch.run, made.plan), made.check_run)
    ratio(
        "P1 nodes", ("TaskGroup", baseline), subject,
        shape=shape, size=10_000, backend="asyncio", per=10_000,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", ["layered"])
def bench_anyio_task_group(ratio: Ratio, shape: str, backend: str) -> None:
    made = case(shape, 10_000)
    baseline = in_loop(backend, partial(anyio_task_per_node, made), made.check)
    subject = in_loop(backend, partial(orch.run, made.plan), made.check_run)
    ratio(
        "P1 nodes", ("anyio group", baseline), subject,
        shape=shape, size=10_000, backend=backend, per=10_000,
    )  # fmt: skip


async def task_per_node(made: Case) -> list[Any]:
    """Start a task for each node as soon as the last of its dependencies is there."""
    fns, deps = made.functions, made.deps
    values: list[Any] = [None] * len(fns)
    missing = [len(each) for each in deps]
    dependants: list[list[int]] = [[] for _ in deps]
    for node, each in enumerate(deps):
        for dep in each:
            dependants[dep].append(node)

    async def run(node: int) -> None:
        values[node] = await fns[node](*[values[d] for d in deps[node]])
        for dependant in dependants[node]:
            missing[dependant] -= 1
            if not missing[dependant]:
                group.create_task(run(dependant))

    async with asyncio.TaskGroup() as group:
        for node, each in enumerate(deps):
            if not each:
                group.create_task(run(node))
    return values


async def anyio_task_per_node(made: Case) -> list[Any]:
    """Start a task for each node that the core says is ready."""
    fns, deps = made.functions, made.deps
    values: list[Any] = [None] * len(fns)
    ready = Schedule(made.plan.layout)

    async def run(node: int) -> None:
        values[node] = await fns[node](*[values[d] for d in deps[node]])
        ready.done(node)
        for dependant in ready.get_ready():
            group.start_soon(run, dependant)

    async with anyio.create_task_group() as group:
        for node in ready.get_ready():
            group.start_soon(run, node)
    return values
