"""What does a chunk of a step that streams cost, and an event that somebody reads with `iter`?

Beside a generator that is gone through and each of its values appended to a list, which is what the step itself does.
The reader is fast: it counts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest

import orch
from benches._loops import BACKENDS, in_loop
from benches._ratio import Bound, Ratio
from benches._shapes import case

SIZE: Final = 50_000
CHUNK = Bound(3.0, "µs")
EVENT = Bound(4.0, "µs")


async def streams() -> AsyncIterator[int]:
    for k in range(SIZE):
        yield k


def streams_plainly() -> Iterator[int]:
    yield from range(SIZE)


KINDS: Final[dict[str, orch.Task[..., Any]]] = {
    "async": orch.Task(streams),
    "thread": orch.Task(streams_plainly),
    "in place": orch.Task(streams_plainly, thread=False),
}


async def bare() -> list[int]:
    """Go through the generator."""
    chunks = []
    async for chunk in streams():
        chunks.append(chunk)  # noqa: PERF401 (a comprehension is not what anybody does with a stream)
    return chunks


async def unread(task: orch.Task[..., Any]) -> int:
    result = await orch.run(task)
    return len(result.value)


async def read(workflow: Any) -> int:
    """Read every event of a run."""
    events = 0
    async with orch.AsyncRunner().iter(workflow) as run:
        async for _ in run:
            events += 1
    return events


async def heard(task: orch.Task[..., Any]) -> int:
    """Have every event told to a subscriber."""
    events = list[orch.Event]()
    await orch.AsyncRunner(subscribers=[events.append]).run(task)
    return len(events)


WAYS: Final[dict[str, tuple[Callable[[Any], Awaitable[int]], Bound | None]]] = {
    "unread": (unread, CHUNK),
    "read": (read, EVENT),
    "heard": (heard, None),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def bench_chunks(ratio: Ratio, kind: str, way: str, backend: str) -> None:
    work, bound = WAYS[way]
    baseline = in_loop(backend, bare, partial(_expect, list(range(SIZE))))
    subject = in_loop(backend, partial(work, KINDS[kind]), _expect_at_least)
    ratio(
        f"stream, {way}", ("bare", baseline), subject,
        shape=kind, size=SIZE, backend=backend, per=SIZE, bound=bound, rounds=3,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", ["chain", "layered"])
def bench_iter(ratio: Ratio, shape: str, backend: str) -> None:
    """What reading adds to a run, an event: there are two a step."""
    made = case(shape, 10_000)
    without = in_loop(backend, partial(orch.run, made.plan), made.check_run)
    subject = in_loop(backend, partial(read, made.plan), _expect_at_least)
    ratio(
        "iter, run included", ("unread", without), subject,
        shape=shape, size=10_000, backend=backend, per=20_002, bound=EVENT,
    )  # fmt: skip


def _expect(expected: Any, found: Any) -> None:
    assert found == expected


def _expect_at_least(events: int) -> None:
    assert events >= 10_000
