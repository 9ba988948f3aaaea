"""P12: what does an item of a map cost, beside the bare loop over the items, and beside a task group with a task each?

The body does nothing, so all of it is the price of mapping: async, in place, in threads; as a verb, as a step, one by
one. And of being looked at: an event of an item for a subscriber, beside one of a step.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest

import orch
from benches._loops import BACKENDS, in_loop
from benches._ratio import Bound, Ratio

SIZE: Final = 10_000
HOPS: Final = 2_000
BOUND = Bound(10.0, "µs")
PER_EVENT = Bound(2.0)  # times that of a step


async def body(x: int) -> int:
    return x


def plain(x: int) -> int:
    return x


IN_PLACE = orch.Task(plain, thread=False)
PAIR = orch.Sequence(body, orch.Task(plain, name="second", thread=False), name="pair")
STEP = orch.Map(body, over="x", name="xs")
STEPS = orch.Parallel([orch.Task(body).bind(x=x) for x in range(SIZE + SIZE // 2)])
RUNNER = orch.AsyncRunner()
SUBJECTS: Final[dict[str, Callable[[], Awaitable[Any]]]] = {
    "async": lambda: RUNNER.map(body, {"x": range(SIZE)}, "x"),
    "in place": lambda: RUNNER.map(IN_PLACE, {"x": range(SIZE)}, "x"),
    "two steps": lambda: RUNNER.map(PAIR, {"x": range(SIZE)}, "x"),
    "limit 10": lambda: RUNNER.map(body, {"x": range(SIZE)}, "x", limit=10),
    "a step": lambda: RUNNER.run(STEP, x=range(SIZE)),
    "one by one": lambda: one_by_one(),  # noqa: PLW0108 (it is defined below)
}


async def bare_loop() -> list[int]:
    return [await body(x) for x in range(SIZE)]


async def task_group() -> list[int]:
    found = [0] * SIZE

    async def put(x: int) -> None:
        found[x] = await body(x)

    async with anyio.create_task_group() as group:
        for x in range(SIZE):
            group.start_soon(put, x)
    return found


async def hops() -> list[int]:
    return [await anyio.to_thread.run_sync(plain, x) for x in range(HOPS)]


async def one_by_one() -> list[int]:
    found = [0] * SIZE
    async with RUNNER.map_iter(body, {"x": range(SIZE)}, "x", limit=10) as results:
        async for index, result in results:
            found[index] = result.value
    return found


async def told(workflow: orch.Workflow) -> Any:
    events = list[orch.Event]()
    given = {"x": range(SIZE)} if workflow is STEP else {}
    result = await RUNNER.run(workflow, given, subscribers=[events.append])
    return result.value[:SIZE]


def check(result: Any) -> None:
    values = result if isinstance(result, list) else getattr(result, "values", None) or result.value
    assert [value[-1] if isinstance(value, list) else value for value in values] == list(range(len(values)))
    assert len(values) in {SIZE, HOPS}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SUBJECTS)
def bench_items(ratio: Ratio, shape: str, backend: str) -> None:
    sides = in_loop(backend, bare_loop, check), in_loop(backend, SUBJECTS[shape], check)
    bound = BOUND if shape != "one by one" else None
    ratio("P12 map", ("bare loop", sides[0]), sides[1],
          shape=shape, size=SIZE, backend=backend, per=SIZE, bound=bound)  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def bench_beside_a_task_group(ratio: Ratio, backend: str) -> None:
    sides = in_loop(backend, task_group, check), in_loop(backend, SUBJECTS["async"], check)
    ratio("P12 map", ("task group", sides[0]), sides[1],
          shape="async", size=SIZE, backend=backend, per=SIZE, bound=BOUND)  # fmt: skip


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def bench_threads(ratio: Ratio, backend: str) -> None:
    subject = in_loop(backend, partial(RUNNER.map, plain, {"x": range(HOPS)}, "x"), check)
    ratio("P12 map", ("to_thread", in_loop(backend, hops, check)), subject,
          shape="threads", size=HOPS, backend=backend, per=HOPS, rounds=3)  # fmt: skip


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def bench_events(ratio: Ratio, backend: str) -> None:
    """A watched run in events: of an item there are three, of a step two, so there are half as many steps again."""
    subject = in_loop(backend, partial(told, STEP), check)
    ratio("P12 map, an event", ("of a step", in_loop(backend, partial(told, STEPS), check)), subject,
          shape="watched", size=SIZE, backend=backend, per=3 * SIZE, rounds=3, bound=PER_EVENT)  # fmt: skip
