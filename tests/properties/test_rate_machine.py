"""`RateLimit` beside its rule, step by step: some come, some go, time passes, and now and then the loop changes."""

import asyncio
from collections import deque

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import orch.policies._limit as module
from orch import RateLimit
from orch.testing._loop import VirtualLoop
from tests.properties.rates import UNIT, Rate
from tests.properties.test_random_runs import CI


class RateMachine(RuleBasedStateMachine):
    """Times are counted in units from the beginning; each loop has a clock of its own, which begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0  # of all loops together
        self.began = 0  # the loop
        self.numbers = 0
        self.waiting = deque[int]()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.expected: list[tuple[int, int]] = []
        self.started: list[tuple[int, int]] = []
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "time", self)

    def monotonic(self) -> float:
        """The clock of the process, in place of `time`: it goes with the virtual ones."""
        return 1000 + (self.began / UNIT) + self.runner.get_loop().time()

    def teardown(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        self.turns()
        self.runner.close()
        self.patch.undo()

    @initialize(rate=st.integers(1, 4), interval=st.integers(1, 6), burst=st.none() | st.integers(1, 4))
    def make(self, rate: int, interval: int, burst: int | None) -> None:
        self.limit = RateLimit(rate, per=rate * interval / UNIT, burst=burst)
        self.model = Rate(rate, interval / UNIT, burst)

    def turns(self, seconds: float = 0) -> None:
        """Let the loop do what there is to do, and so much time pass."""

        async def wait() -> None:
            await anyio.sleep(seconds)
            for _ in range(10):
                await asyncio.sleep(0)

        self.runner.run(wait())

    def serve(self, until: int) -> None:
        """Let those that wait start, in the model, one after another, as soon as they may."""
        while self.waiting:
            found = self.model.next_start(max(self.now, self.model.history[-1] if self.model.history else 0), until + 1)
            if found is None:
                break
            self.model.history.append(found)
            self.expected.append((found, self.waiting.popleft()))
        self.now = until

    @rule(some=st.integers(1, 3))
    def some_come(self, some: int) -> None:
        async def call(number: int) -> None:
            await self.limit.acquire()
            self.started.append((self.began + round(anyio.current_time() * UNIT), number))

        for _ in range(some):
            self.tasks[self.numbers] = self.runner.get_loop().create_task(call(self.numbers))
            self.waiting.append(self.numbers)
            self.numbers += 1
        self.turns()
        self.serve(self.now)

    @rule()
    def one_does_not_wait(self) -> None:
        async def call() -> bool:
            try:
                self.limit.acquire_nowait()
            except anyio.WouldBlock:
                return False
            return True

        may = not self.waiting and self.model.may_start(self.now)
        assert self.runner.run(call()) == may
        if may:
            self.model.history.append(self.now)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 99))
    def one_goes(self, pick: int) -> None:
        number = self.waiting[pick % len(self.waiting)]
        self.waiting.remove(number)
        self.tasks.pop(number).cancel()
        self.turns()

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 99))
    def one_goes_when_the_first_may_start(self, pick: int) -> None:
        """In one tick, whoever is first: the one that goes has started, or it takes nothing."""
        due = self.model.next_start(self.now, None)
        assert due is not None
        number = self.waiting[pick % len(self.waiting)]
        self.runner.get_loop().call_at((due - self.began) / UNIT, self.tasks[number].cancel)
        self.turns((due - self.now) / UNIT)
        if (due, number) not in self.started:
            self.waiting.remove(number)
        self.serve(due)

    @rule(some=st.integers(1, 20))
    def time_passes(self, some: int) -> None:
        self.turns(some / UNIT)
        self.serve(self.now + some)

    @precondition(lambda self: not self.waiting)
    @rule(some=st.integers(0, 8))
    def another_loop(self, some: int) -> None:
        """A new event loop, some time later."""
        self.runner.close()
        self.now += some
        self.began = self.now
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.tasks.clear()

    @invariant()
    def both_say_the_same(self) -> None:
        assert self.started == self.expected
        assert [number for number, task in self.tasks.items() if not task.done()] == list(self.waiting)
        if hasattr(self, "limit"):
            assert len(self.limit._waiting) == len(self.waiting)


TestRate = RateMachine.TestCase
TestRate.settings = settings(CI, stateful_step_count=40)
