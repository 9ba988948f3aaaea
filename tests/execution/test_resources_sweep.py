"""Resources when a run ends early: cancelled, or aborted by a failure, after every number of turns of the loop.

Whatever was opened is closed, in full, once; what was being opened is undone; nothing is opened twice at a time.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, Parallel, Resource, Retry, Sequence, Task, resource
from orch.testing import VirtualClock, run

MOST = 60  # turns; every scene is over by then, and a test checks that
SEEDS = (0, 1, 2)

backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Books:
    """What each resource did, counted; and what is open now."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.now: Counter[str] = Counter()
        self.used = 0

    def make(self, name: str, *uses: Resource[Any], turns: int = 2) -> Resource[str]:
        """A resource whose opening and closing take turns, with a task group and a scope inside."""

        @resource(name=name)
        async def made(it: Any = orch.use(uses[0]) if uses else None) -> AsyncIterator[str]:
            self.counts[f"{name} begun"] += 1
            self.now[name] += 1
            assert self.now[name] == 1, "opened twice at a time"
            try:
                await self._lived(name, turns)
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 3600)
                    self.counts[f"{name} opened"] += 1
                    yield name
                    self.counts[f"{name} left"] += 1
                    for _ in range(turns):
                        await checkpoint()  # not shielded: what was opened has its time to close
                    self.counts[f"{name} closed"] += 1
                    group.cancel_scope.cancel()
            finally:
                self.now[name] -= 1
                self.counts[f"{name} ended"] += 1

        return made

    async def _lived(self, name: str, turns: int) -> None:
        for _ in range(turns):
            await checkpoint()

    def check(self) -> None:
        """Nothing is open; what was opened was closed in full."""
        assert not +self.now, self.now
        for name in {key.split()[0] for key in self.counts}:
            assert self.counts[f"{name} opened"] == self.counts[f"{name} left"] == self.counts[f"{name} closed"]
            assert self.counts[f"{name} begun"] == self.counts[f"{name} ended"]


def scene(books: Books) -> Any:
    """Several steps, in turn and together, with resources that share another; one is undone with one of them."""
    base = books.make("base", turns=3)
    one, two, undoer = books.make("one", base), books.make("two", base, turns=1), books.make("undoer")

    async def step(it: str, turns: int = 2) -> str:
        for _ in range(turns):
            await checkpoint()
        books.used += 1
        return it

    async def undo(value: str, it: str = orch.use(undoer)) -> None:
        await checkpoint()

    def using(made: Resource[str], name: str, **options: Any) -> Any:
        return Task(step, name=name, **options).bind(it=orch.use(made))

    return Sequence(
        using(base, "first", compensate=undo),
        Parallel(using(one, "a"), using(two, "b"), using(one, "c", retry=Retry(2, delay=0))),
        Sequence(using(two, "d"), timeout=100),
        on_failure="compensate",
    )


async def cancelled(after: int, books: Books) -> bool:
    """Run the scene and cancel it after so many turns; say whether it was over before."""
    over = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel, scope, after)
            await AsyncRunner(clock=VirtualClock()).run(scene(books))
            over = True
            group.cancel_scope.cancel()
    return over


async def _cancel(scope: anyio.CancelScope, after: int) -> None:
    for _ in range(after):
        await checkpoint()
    scope.cancel()


async def failing(after: int, books: Books) -> bool:
    """Run the scene beside a step that fails after so many turns; say whether the scene was over before."""

    async def fail() -> None:
        for _ in range(after):
            await checkpoint()
        raise ValueError("the other one")

    result = await AsyncRunner(clock=VirtualClock()).run(Parallel(scene(books), fail), raise_on_failure=False)
    assert [str(error) for error in result.errors] == ["the other one"]
    return books.used == 5


async def left_early(after: int, books: Books) -> bool:
    """Look at the events of the scene and leave after so many of them."""
    seen = 0
    with suppress(orch.WorkflowError):
        async with AsyncRunner(clock=VirtualClock()).iter(scene(books)) as going:
            async for _ in going:
                seen += 1
                if seen > after:
                    break
    return seen <= after


async def one_step_cancelled(after: int, books: Books) -> bool:
    """Cancel one of the steps that share a resource after so many turns."""
    async with AsyncRunner(clock=VirtualClock()).iter(scene(books), raise_on_failure=False) as going:
        for _ in range(after):
            await checkpoint()
        stopped = going.cancel("a")
        await going.wait()
    return not stopped


ENDS: list[Callable[[int, Books], Coroutine[Any, Any, bool]]] = [cancelled, failing, left_early, one_step_cancelled]


@backends
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_stays_open_however_early_a_run_ends(backend: Any, end: Any, seed: int) -> None:
    over = []
    for after in range(MOST):
        books = Books()
        over.append(run(end, after, books, backend=backend, seed=seed))
        books.check()
    assert over[-1], "the sweep did not reach the end of the scene"
    assert not over[0]


# -- in threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(12))
async def test_nothing_stays_open_in_threads(after: int) -> None:
    now: Counter[str] = Counter()

    def make(name: str, *uses: Resource[Any]) -> Resource[str]:
        @resource(name=name)
        def made(it: Any = orch.use(uses[0]) if uses else None) -> Iterator[str]:
            now[name] += 1
            yield name
            now[name] -= 1

        return made

    base = make("base")
    one = make("one", base)

    async def step(it: str = orch.use(one)) -> None:
        await anyio.sleep(0.002)

    def plain(it: str = orch.use(base)) -> None: ...

    with anyio.move_on_after(after * 0.0004):
        await orch.run(Sequence(step, plain))
    assert not +now
