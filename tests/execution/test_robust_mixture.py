"""Everything at once, at random, with real threads and in real time: what holds of the record holds whatever happens.

The simulation does the same in virtual time and knows what to expect; here nobody knows, but nothing may hang, be left
taken, run twice at a time, or be told wrongly.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, CircuitBreaker, FailureStrategy, Graph, Parallel, RateLimit, Retry, Sequence, Task
from orch.event import Event
from tests.execution.resilient import check

pytestmark = pytest.mark.timeout(60)
SHORT = (0.0, 0.0, 0.0005, 0.002, 0.004)


class Mixture:
    """A random workflow, its limiters, and what its bodies have noticed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.broken: list[str] = []
        self.active: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._number = 0
        self.limiters: list[Any] = [anyio.CapacityLimiter(1), anyio.CapacityLimiter(2), anyio.Semaphore(1)]
        self.breaker = CircuitBreaker(fail_max=2, reset_timeout=0.002)
        self.rate = RateLimit(3, per=0.002)
        self.workflow = self.group(2)

    def likely(self, chance: float) -> bool:
        return self.rng.random() < chance

    def on_failure(self, _event: Any, _group: Any) -> FailureStrategy:
        """Be a strategy of the user's own."""
        return self.rng.choice(list(FailureStrategy))

    def body(self, name: str) -> tuple[Callable[[], Any], bool | None]:
        kind, seconds, failures = (
            self.rng.choice("ccppsil"),
            self.rng.choice(SHORT),
            self.rng.choice((0, 0, 0, 1, 2, 9)),
        )

        def enter() -> None:
            with self._lock:
                self.active[name] += 1
                if self.active[name] > 1:
                    self.broken.append(f"two attempts of {name} at one time")

        def leave() -> None:
            nonlocal failures
            with self._lock:
                self.active[name] -= 1
            failures -= 1
            if failures >= 0:
                raise ValueError(name)

        async def coroutine() -> None:
            enter()
            try:
                await (anyio.sleep(seconds) if seconds else checkpoint())
            finally:
                leave()

        async def shielded() -> None:
            enter()
            try:
                await anyio.sleep(seconds)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.0005)
                leave()

        def plain() -> None:
            enter()
            time.sleep(seconds)
            leave()

        def in_place() -> None:
            enter()
            leave()

        if kind == "l":
            return lambda: coroutine(), None  # noqa: PLW0108 (a plain function that returns an awaitable)
        bodies: dict[str, Callable[[], Any]] = {"c": coroutine, "s": shielded, "p": plain, "i": in_place}
        return bodies[kind], False if kind == "i" else None

    def task(self) -> Task[..., Any]:
        self._number += 1
        name, options = f"t{self._number}", dict[str, Any]()
        if self.likely(0.4):
            options["timeout"] = self.rng.choice((0.0005, 0.001, 0.003, 1))
        if self.likely(0.5):
            options["retry"] = Retry(self.rng.choice((2, 3)), delay=self.rng.choice((0, 0, 0.001, 0.003)))
        if self.likely(0.4):
            options["limiter"] = self.rng.choice([*self.limiters, self.rate])
        if self.likely(0.2):
            options["breaker"] = self.breaker
        if self.likely(0.5):
            options |= {"compensate": self.undo(name), "compensate_unknown": self.likely(0.5)}
        fn, thread = self.body(name)
        return Task(fn, name=name, thread=thread, **options)

    def undo(self, name: str) -> Task[..., Any]:
        options: dict[str, Any] = {}
        if self.likely(0.3):
            options["timeout"] = self.rng.choice((0.0005, 0.002))
        if self.likely(0.3):
            options["retry"] = Retry(2, delay=self.rng.choice((0, 0.001)))
        if self.likely(0.2):
            options["limiter"] = self.rng.choice(self.limiters)
        fn, thread = self.body(f"undo {name}")
        return Task(fn, name="undo", thread=thread, **options)

    def group(self, depth: int) -> Any:
        steps = [self.group(depth - 1) if depth and self.likely(0.35) else self.task() for _ in range(self._few())]
        self._number += 1
        options: dict[str, Any] = {"name": f"g{self._number}"}
        options["on_failure"] = self.rng.choice(["abort", "continue", "compensate", "compensate", self])
        if self.likely(0.25):
            options["timeout"] = self.rng.choice((0.001, 0.004, 1))
        if self.likely(0.15):
            options["breaker"] = self.breaker
        if self.likely(0.3):
            options["limit"] = self.rng.choice((1, 2))
        return self.rng.choice((Sequence, Parallel, Parallel, Graph))(*steps, **options)

    def _few(self) -> int:
        return self.rng.randint(1, 5)

    def runner(self, heard: list[Event]) -> AsyncRunner:
        return AsyncRunner(
            threads=self.rng.choice((None, 1, 2)),
            limit=self.rng.choice((None, None, 1, 3)),
            grace=self.rng.choice((0.003, 1)),
            compensation_timeout=self.rng.choice((0.003, 1)),
            subscribers=[heard.append] if self.likely(0.5) else [],
        )

    async def free(self) -> None:
        """Wait for the limiters to come back, of abandoned threads, too."""
        with anyio.fail_after(5):
            while +self.active or not all(map(_is_free, self.limiters)):  # noqa: ASYNC110 (threads announce nothing)
                await anyio.sleep(0.001)


def _is_free(limiter: Any) -> bool:
    taken = limiter.borrowed_tokens if isinstance(limiter, anyio.CapacityLimiter) else 1 - limiter.value
    return not taken and not limiter.statistics().tasks_waiting


async def carry_out(mixture: Mixture, runner: AsyncRunner) -> orch.RunResult:
    """Run it in one of several ways, or cancel it at some time."""
    rng, workflow = mixture.rng, mixture.workflow
    way = rng.choice(("run", "cancel", "cancel", "iter", "step"))
    if way == "run":
        return await runner.run(workflow, raise_on_failure=False)
    run = runner.iter(workflow, raise_on_failure=False)
    with anyio.move_on_after(rng.choice((0, 0.0005, 0.001, 0.003, 0.006)) if way == "cancel" else None):
        async with run:
            if way != "cancel":
                await anyio.sleep(rng.choice((0, 0, 0.0005, 0.002, 0.005)))
                run.cancel(rng.choice(orch.plan.compile(workflow).order()) if way == "step" else None)
            await run.wait()
    return run.result


@pytest.mark.parametrize("seed", range(40))
async def test_everything_at_once(seed: int) -> None:
    mixture, heard = Mixture(seed), list[Event]()
    with anyio.fail_after(20):
        result = await carry_out(mixture, mixture.runner(heard))
    check(result, orch.plan.compile(mixture.workflow))
    assert len(heard) in {0, len(result.trace)}
    await mixture.free()
    assert mixture.broken == []
