"""Limits of groups and of the run: a count taken inside the bodies never exceeds them, and everything finishes."""

import threading
import time
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch.event import State
from tests.execution.robust import Gate, recorded, run_quietly, ticks, until

pytestmark = pytest.mark.timeout(20)


class Meter:
    """How many bodies are active, by name of what limits them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, int] = {}
        self.peaks: dict[str, int] = {}
        self.total = 0

    def enter(self, names: tuple[str, ...]) -> None:
        with self._lock:
            self.total += 1
            for name in names:
                self._active[name] = self._active.get(name, 0) + 1
                self.peaks[name] = max(self.peaks.get(name, 0), self._active[name])

    def leave(self, names: tuple[str, ...]) -> None:
        with self._lock:
            for name in names:
                self._active[name] -= 1

    def step(self, kind: str, *names: str) -> orch.Task[..., Any]:
        """A step that is counted under all these names: on the loop, in a thread, in place, or failing."""

        async def on_loop() -> None:
            self.enter(names)
            try:
                for _ in range(3):
                    await checkpoint()
                if kind == "fails":
                    raise ValueError
            finally:
                self.leave(names)

        def plain() -> None:
            self.enter(names)
            if kind == "thread":
                time.sleep(0.0002)
            self.leave(names)

        fn = plain if kind in {"thread", "in place"} else on_loop
        return orch.Task(fn, name="step", thread=False if kind == "in place" else None)


KINDS = ["loop", "thread", "in place", "mixed"]


def steps(meter: Meter, kind: str, number: int, *names: str) -> list[orch.Task[..., Any]]:
    kinds = ["loop", "thread", "in place"] if kind == "mixed" else [kind]
    return [meter.step(kinds[k % len(kinds)], *names) for k in range(number)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("where", ["group", "runner", "sequence around"])
async def test_a_limit_holds_and_everything_finishes(kind: str, limit: int, where: str) -> None:
    meter = Meter()
    workflow: orch.Workflow = orch.Parallel(*steps(meter, kind, 40, "all"), limit=limit if where == "group" else None)
    if where == "sequence around":
        workflow = orch.Sequence(workflow, meter.step("thread", "all"), limit=limit)
    runner = orch.AsyncRunner(limit=limit if where == "runner" else None)
    with recorded() as story:
        await runner.run(workflow)
    assert meter.total in {40, 41}
    assert meter.peaks["all"] <= limit
    assert set(story.states().values()) == {State.SUCCEEDED}


@pytest.mark.parametrize("limit", [2, 7])
async def test_a_limit_is_made_use_of(limit: int) -> None:
    meter = Meter()
    await orch.run(orch.Parallel(*steps(meter, "loop", 40, "all"), limit=limit))
    assert meter.peaks["all"] == limit


@pytest.mark.parametrize("kind", KINDS)
async def test_nested_limits_all_hold(kind: str) -> None:
    meter = Meter()
    inner = [
        orch.Parallel(*steps(meter, kind, 12, "outer", f"inner {k}", "run"), limit=2 + k % 2, name=f"inner {k}")
        for k in range(4)
    ]
    free = steps(meter, kind, 8, "run")
    workflow = orch.Parallel(orch.Parallel(*inner, limit=4), *free)
    with recorded() as story:
        await orch.AsyncRunner(limit=6, threads=5).run(workflow)
    assert meter.total == 56
    assert meter.peaks["run"] <= 6
    assert meter.peaks["outer"] <= 4
    assert all(meter.peaks[f"inner {k}"] <= 2 + k % 2 for k in range(4))
    assert story.state() is State.SUCCEEDED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("runner_limit", [None, 1])
async def test_limit_one_fifty_levels_deep_is_no_deadlock(kind: str, runner_limit: int | None) -> None:
    meter = Meter()
    workflow: orch.Workflow = meter.step("loop", "all")
    for _ in range(50):
        workflow = orch.Parallel(workflow, *steps(meter, kind, 2, "all"), limit=1)
    with recorded() as story:
        await orch.AsyncRunner(limit=runner_limit).run(workflow)
    assert meter.total == 101
    assert meter.peaks == {"all": 1}
    assert story.state() is State.SUCCEEDED


@pytest.mark.parametrize("strategy", ["abort", "continue"])
@pytest.mark.parametrize("limit", [1, 3])
async def test_failures_give_their_slots_back(strategy: str, limit: int) -> None:
    meter = Meter()
    kinds = ["loop", "fails", "thread", "in place", "fails"] * 6
    groups = [
        orch.Parallel(*[meter.step(kind, "all") for kind in kinds], limit=limit, on_failure=strategy) for _ in range(3)
    ]
    workflow = orch.Parallel(*groups, *steps(meter, "mixed", 6, "all"), limit=limit, on_failure="continue")
    with recorded() as story:
        result = await run_quietly(workflow)
    assert meter.peaks["all"] <= limit
    states = [record.state for record in result.tasks.values()]
    assert states[-6:] == [State.SUCCEEDED] * 6
    assert story.state() is State.FAILED
    if strategy == "continue":
        assert meter.total == 96


async def test_a_cancelled_step_gives_its_slot_back_when_its_cleanup_is_over() -> None:
    meter = Meter()

    async def careful() -> None:
        meter.enter(("all",))
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await ticks()
            meter.leave(("all",))

    async def fails() -> None:
        meter.enter(("all",))
        await ticks()
        meter.leave(("all",))
        raise ValueError

    aborted = orch.Parallel(careful, fails, name="aborted")
    workflow = orch.Parallel(aborted, *steps(meter, "loop", 10, "all"), limit=2, on_failure="continue")
    result = await run_quietly(workflow)
    assert meter.peaks["all"] == 2
    assert result.tasks["aborted/careful"].state is State.CANCELLED
    assert meter.total == 12


async def test_a_thread_that_was_told_to_stop_holds_its_slot_until_it_ends() -> None:
    meter = Meter()
    with Gate() as gate:

        def holds() -> None:
            meter.enter(("all",))
            gate()
            meter.leave(("all",))

        async def fails() -> None:
            await until(lambda: gate.entered)
            threading.Timer(0.05, gate.open).start()
            raise ValueError

        aborted = orch.Parallel(holds, fails, name="aborted")
        workflow = orch.Parallel(aborted, *steps(meter, "loop", 6, "all"), limit=2, on_failure="continue")
        result = await run_quietly(workflow)
    assert meter.peaks["all"] <= 2
    assert result.tasks["aborted/holds"].state is State.SUCCEEDED
    assert meter.total == 7


async def test_a_limit_of_a_sequence_counts_what_is_parallel_inside() -> None:
    meter = Meter()
    chains = [orch.Sequence(*steps(meter, "loop", 3, "all")) for _ in range(10)]
    await orch.run(orch.Sequence(orch.Parallel(*chains), limit=3))
    assert meter.peaks["all"] == 3
    assert meter.total == 30


async def test_the_longest_chain_goes_first_under_a_limit_and_definition_order_decides_among_equals() -> None:
    order: list[str] = []

    def named(name: str) -> orch.Task[..., Any]:
        async def step() -> None:
            order.append(name)
            await checkpoint()

        return orch.Task(step, name=name)

    chain = orch.Sequence(named("c1"), named("c2"), named("c3"))
    await orch.run(orch.Parallel(named("a"), named("b"), chain, named("d"), limit=1))
    assert order[:2] == ["c1", "c2"]
    assert [name for name in order if name != "c3"] == ["c1", "c2", "a", "b", "d"]


async def test_a_limited_group_of_ten_thousand_never_has_more_tasks_than_its_limit_and_a_few() -> None:
    meter = Meter()
    living: list[int] = []

    async def step() -> None:
        meter.enter(("all",))
        await checkpoint()
        if meter.total % 1_000 == 0:
            living.append(meter.peaks["all"])
        meter.leave(("all",))

    await orch.run(orch.Parallel([orch.Task(step, name="step")] * 10_000, limit=100))
    assert meter.peaks["all"] == 100
    assert meter.total == 10_000
