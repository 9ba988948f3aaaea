"""Cancel a case at every single checkpoint: before every step of every task that a clean run of it makes."""

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import trio

from orch.testing import _loop, _trio
from tests.simulation.drive import simulate
from tests.simulation.generate import FEATURES, generate
from tests.simulation.invariants import violations
from tests.simulation.plans import Case, leaves, show
from tests.simulation.seen import Crash, Seen

__all__ = ("corpus", "report", "sweep")

SIZE = 100


class Counter(trio.abc.Instrument):
    """Counts the steps of tasks while a run is on, and cancels its caller before one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.count = 0
        self._cancel: Callable[[], object] | None = None

    def arm(self, cancel: Callable[[], object] | None) -> None:
        """From now on count, with None no more."""
        self._cancel = cancel

    def before_task_step(self, task: object) -> None:
        """Another one: what trio calls, and the loop below."""
        if self._cancel is not None:
            self.count += 1
            if self.count == self.last:
                self._cancel()


class _SteppingLoop(_loop.VirtualLoop):
    """As its base, but it says before every callback that it is about to make it."""

    def __init__(self, seed: int, counter: Counter) -> None:
        super().__init__(seed)
        self._counter = counter

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False
        self.select(0 if self._ready or self._stopping else None)  # type: ignore[attr-defined] # of BaseEventLoop
        while self._scheduled and self._scheduled[0].when() <= self.time():
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            self._ready.append(timer)
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                self._counter.before_task_step(handle)
                handle._run()


def cancelled_at(case: Case, backend: str, step: int) -> tuple[Seen | Crash, int]:
    """Run a case, cancel it before the so-manieth step (0: never); return what was seen and how many steps it had."""
    counter = Counter(step)

    def drive(function: Callable[..., Any], *args: Any, backend: str, seed: int) -> Any:
        body = partial(function, arm=counter.arm)
        if backend == "trio":
            return _trio.run_virtually(body, args, seed, counter)
        return _loop.run_virtually(body, args, _SteppingLoop(seed, counter))

    return simulate(case, backend, drive), counter.count


def sweep(case: Case, backend: str, stride: int = 1) -> Iterator[tuple[int, str, str]]:
    """Cancel at every checkpoint, or every so many; tell what does not hold, with the number of the checkpoint."""
    _, steps = cancelled_at(case, backend, 0)
    for step in range(1, steps + 2, stride):
        seen, _ = cancelled_at(case, backend, step)
        yield from ((step, name, what) for name, what in violations(seen))
    yield from ((0, "sweep", "no checkpoint") for _ in range(not steps))


def corpus(size: int = SIZE) -> Iterator[Case]:
    """So many cases of two to eight steps that nobody cancels, without threads, which have no checkpoints."""
    seed = 0
    while size:
        case = generate(seed, FEATURES - {"cancel", "threads"})
        seed += 1
        if 2 <= len(list(leaves(case.root))) <= 8:
            yield case
            size -= 1


def report(backends: list[str]) -> int:
    """Sweep the corpus; print what does not hold, and how much was tried."""
    tried, wrong = 0, 0
    for backend in backends:
        for case in corpus():
            tried += cancelled_at(case, backend, 0)[1]
            for step, name, what in sweep(case, backend):
                wrong += 1
                print(f"seed {case.seed} on {backend}, cancelled at checkpoint {step}: {name}: {what}\n{show(case)}")  # noqa: T201
    print(f"{SIZE} cases, cancelled at each of {tried} checkpoints, {wrong} violations")  # noqa: T201 (its job)
    return int(wrong > 0)
