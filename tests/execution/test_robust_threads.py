"""Worker threads: bounded, waited for within the grace, and gone when the run is; late values change nothing."""

import gc
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch.event import State
from orch.execution._threads import Threads
from orch.result import RunResult
from tests.execution.robust import Gate, immediate, on_asyncio, recorded, run_quietly, ticks, until, watched, within

pytestmark = pytest.mark.timeout(20)
CANCELLED, SUCCEEDED, FAILED, SKIPPED = State.CANCELLED, State.SUCCEEDED, State.FAILED, State.SKIPPED


def gated(gate: Gate, name: str = "gate") -> orch.Task[..., Any]:
    return orch.Task(gate, name=name)


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("orch")]


class Meter:
    """Counts bodies that are active at one time, on the loop and in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.active = self.peak = self.total = 0
        self.threads: set[int] = set()

    def __enter__(self) -> None:
        with self._lock:
            self.active += 1
            self.total += 1
            self.peak = max(self.peak, self.active)
            self.threads.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.active -= 1


def measured(meter: Meter) -> Callable[[], None]:
    def step() -> None:
        with meter:
            time.sleep(0.0005)

    return step


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, None])
async def test_a_run_has_no_more_threads_than_it_may(size: int | None) -> None:
    meter = Meter()
    result = await orch.AsyncRunner(threads=size).run(orch.Parallel([measured(meter)] * 100))
    assert result.state is SUCCEEDED
    assert meter.total == 100
    assert meter.peak <= (size or 40)
    assert len(meter.threads) <= (size or 40)
    assert threading.get_ident() not in meter.threads
    assert workers() == []


async def test_as_many_threads_as_allowed_work_at_the_same_time() -> None:
    barrier = threading.Barrier(3)
    result = await orch.AsyncRunner(threads=3).run(orch.Parallel([lambda: barrier.wait(5)] * 3))
    assert sorted(result.value) == [0, 1, 2]


async def test_a_chain_of_plain_functions_uses_one_thread() -> None:
    idents = [orch.Task(lambda: threading.get_ident(), name="ident")] * 200  # noqa: PLW0108 (a built-in says nothing)
    result = await orch.run(orch.Sequence(*idents))
    assert len(set(result.value)) == 1


async def test_a_thread_that_waits_for_nothing_ends_while_the_run_goes_on_with_others() -> None:
    with Gate() as gate:

        async def opens() -> None:
            await until(lambda: gate.entered)
            gate.open()
            await anyio.sleep(0.01)

        result = await orch.run(orch.Sequence(orch.Parallel(gate, opens), immediate(1), lambda: 2))
    assert result.value == [["through", None], 1, 2]


@pytest.mark.parametrize("size", [1, 3])
async def test_loop_steps_and_threads_hand_values_to_each_other(size: int) -> None:
    async def on_loop(x: int) -> int:
        await checkpoint()
        return x + 1

    async def at_once(x: int) -> int:
        return x + 1

    def in_thread(x: int) -> int:
        return x + 1

    steps: list[Any] = [orch.Task(fn, name="step") for fn in (in_thread, on_loop, at_once)] * 50
    result = await orch.AsyncRunner(threads=size).run(orch.Sequence(*steps), x=0)
    assert result.value[-1] == 150


async def test_a_wide_mixture_of_threads_and_loop_steps_finishes() -> None:
    async def on_loop() -> None:
        await checkpoint()

    def in_thread() -> None:
        pass

    chains = [orch.Sequence(*([in_thread, on_loop] * 5)[k % 2 :]) for k in range(60)]
    with recorded() as story:
        await orch.AsyncRunner(threads=3).run(orch.Parallel(*chains))
    assert set(story.states().values()) == {SUCCEEDED}


# -- abort and the grace -----------------------------------------------------------------------------------------------


async def fails_when(condition: Callable[[], Any]) -> None:
    await until(condition)
    raise ValueError


@watched
async def test_under_abort_a_thread_that_ends_within_the_grace_keeps_its_value(watched: str) -> None:
    with Gate() as gate, recorded() as story:

        async def fails() -> None:
            await until(lambda: gate.entered)
            threading.Timer(0.02, gate.open).start()
            raise ValueError

        workflow = orch.Sequence(orch.Parallel(gated(gate), fails, name="both"), immediate())
        result = await run_quietly(workflow, subscribers=story.listeners(watched))
    assert story.states() == {"both/gate": SUCCEEDED, "both/fails": FAILED, "step": SKIPPED}
    assert result["gate"] == "through"
    assert result.abandoned == ()


@watched
async def test_under_abort_a_thread_that_outlasts_the_grace_is_abandoned(
    watched: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Gate() as gate, recorded() as story:
        runner = orch.AsyncRunner(grace=0.05)
        workflow = orch.Parallel(gated(gate), orch.Task(fails_when, name="fails").bind(condition=lambda: gate.entered))
        with within(2):
            result = await runner.run(workflow, raise_on_failure=False, subscribers=story.listeners(watched))
        assert story.states() == {"gate": CANCELLED, "fails": FAILED}
        assert [record.path for record in result.abandoned] == ["gate"]
        assert result.value == [None, None]
        assert len(workers()) == 1
        gate.open()
        await until(lambda: not workers())
    assert result.tasks["gate"].state is CANCELLED
    assert result.value == [None, None]
    assert "gate" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


async def test_an_abandoned_thread_that_fails_late_is_logged_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with Gate() as gate:

        def fails_late() -> None:
            gate()
            raise KeyError("late")

        runner = orch.AsyncRunner(grace=0)
        workflow = orch.Parallel(fails_late, orch.Task(fails_when, name="fails").bind(condition=lambda: gate.entered))
        result = await runner.run(workflow, raise_on_failure=False)
        gate.open()
        await until(lambda: not workers())
    assert [type(error) for error in result.errors] == [ValueError]
    assert result.tasks["fails_late"].state is CANCELLED
    assert "KeyError" in caplog.text


async def test_an_abandoned_function_that_returns_a_coroutine_late_is_no_leak(recwarn: pytest.WarningsRecorder) -> None:
    with Gate() as gate:

        def returns_late() -> Any:
            gate()
            return anyio.sleep(1)

        runner = orch.AsyncRunner(grace=0)
        workflow = orch.Parallel(returns_late, orch.Task(fails_when, name="fails").bind(condition=lambda: gate.entered))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await runner.run(workflow, raise_on_failure=False)
            gate.open()
            await until(lambda: not workers())
            gc.collect()
        assert [str(each.message) for each in caught if "never awaited" in str(each.message)] == []


async def test_what_a_function_returns_after_its_group_was_aborted_is_cancelled_at_once() -> None:
    with Gate() as gate, recorded() as story:

        def returns_an_awaitable() -> Any:
            gate()
            return anyio.sleep(3)

        async def fails() -> None:
            await until(lambda: gate.entered)
            threading.Timer(0.02, gate.open).start()
            raise ValueError

        with within(1):
            await run_quietly(orch.Parallel(returns_an_awaitable, fails))
    assert story.states() == {"returns_an_awaitable": CANCELLED, "fails": FAILED}


@pytest.mark.blocks("so that the thread returns before the loop hears of anything")
async def test_an_awaitable_that_was_returned_at_the_end_of_the_grace_is_cancelled_like_any_other() -> None:
    with Gate() as gate, recorded() as story:

        def returns_an_awaitable() -> Any:
            gate()
            return anyio.sleep(3)

        async def fails() -> None:
            await until(lambda: gate.entered)
            gate.open()
            time.sleep(0.05)  # noqa: ASYNC251 (see above)
            raise ValueError

        with within(1):
            await orch.AsyncRunner(grace=0).run(orch.Parallel(returns_an_awaitable, fails), raise_on_failure=False)
    assert story.states() == {"returns_an_awaitable": CANCELLED, "fails": FAILED}


async def test_a_thread_of_another_group_is_not_concerned_by_an_abort() -> None:
    with Gate() as gate, recorded() as story:

        async def fails() -> None:
            await until(lambda: gate.entered)
            raise ValueError

        async def opens() -> None:
            await anyio.sleep(0.1)
            gate.open()

        inner = orch.Parallel(fails, immediate(), name="inner")
        workflow = orch.Parallel(inner, gated(gate), opens, on_failure="continue")
        result = await orch.AsyncRunner(grace=0).run(workflow, raise_on_failure=False)
    assert story.states()["gate"] is SUCCEEDED
    assert result["gate"] == "through"
    assert result.abandoned == ()


async def test_the_rest_goes_on_after_a_thread_was_abandoned() -> None:
    with Gate() as gate, recorded() as story:
        fails = orch.Task(fails_when, name="fails").bind(condition=lambda: gate.entered)
        both = orch.Parallel(gated(gate), fails, name="both")
        workflow = orch.Sequence(both, lambda: "thread", immediate("loop"), on_failure="continue")
        result = await orch.AsyncRunner(grace=0.02, threads=2).run(workflow, raise_on_failure=False)
        assert result.value == [[None, None], "thread", "loop"]
        assert story.states()["both/gate"] is CANCELLED


async def test_a_slot_of_an_abandoned_thread_is_not_given_to_another_before_it_ends() -> None:
    """With one thread, and that abandoned, what comes after has to wait for it: never two at a time."""
    meter = Meter()
    with Gate() as gate:

        def holds() -> None:
            with meter:
                gate()

        async def fails() -> None:
            await until(lambda: gate.entered)
            threading.Timer(0.1, gate.open).start()
            raise ValueError

        after = orch.Task(measured(meter), name="after")
        workflow = orch.Sequence(orch.Parallel(holds, fails), after, on_failure="continue")
        result = await orch.AsyncRunner(grace=0.02, threads=1).run(workflow, raise_on_failure=False)
    assert result.tasks["after"].state is SUCCEEDED
    assert meter.peak == 1


async def test_the_grace_is_measured_from_each_abort() -> None:
    with Gate() as first, Gate() as second, recorded() as story:

        async def fails_later() -> None:
            await until(lambda: second.entered)
            await anyio.sleep(0.15)
            threading.Timer(0.1, second.open).start()
            raise ValueError

        fails = orch.Task(fails_when, name="fails").bind(condition=lambda: first.entered)
        one = orch.Parallel(gated(first), fails, name="one")
        two = orch.Parallel(gated(second), fails_later, name="two")
        result = await orch.AsyncRunner(grace=0.2).run(
            orch.Parallel(one, two, on_failure="continue"), raise_on_failure=False
        )
    assert story.states()["one/gate"] is CANCELLED
    assert story.states()["two/gate"] is SUCCEEDED
    assert result["two/gate"] == "through"


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_threads_that_fail_at_one_moment_are_all_told() -> None:
    barrier = threading.Barrier(5)

    def fails() -> None:
        barrier.wait(5)
        raise ValueError

    with recorded() as story:
        result = await run_quietly(orch.Parallel([fails] * 5, on_failure="continue"))
    assert len(result.errors) == 5
    assert set(story.states().values()) == {FAILED}


async def test_after_a_failure_in_a_thread_nothing_new_is_begun_in_threads() -> None:
    ran: list[int] = []

    def fails() -> None:
        raise ValueError

    with recorded() as story:
        await orch.AsyncRunner(threads=1).run(
            orch.Sequence(fails, *[lambda: ran.append(1)] * 50), raise_on_failure=False
        )
    assert ran == []
    assert list(story.states().values()) == [FAILED, *[SKIPPED] * 50]


async def test_a_thread_can_use_its_view_of_the_context() -> None:
    def logs(ctx: orch.Context[Any]) -> str | None:
        ctx.log("from a thread")
        ctx.data.append(ctx.task)
        return ctx.task

    steps = [orch.Task(logs, name=str(number)) for number in range(20)]
    data: list[str] = []
    with recorded() as story:
        result = await orch.run(orch.Parallel(*steps), orch.Context(data))
    assert sorted(data) == sorted(result.value) == sorted(str(number) for number in range(20))
    assert len(story.trace()) == 62


# -- under a short switch interval -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8])
async def test_a_thousand_small_functions_survive_any_interleaving(size: int) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        meter = Meter()

        def step() -> None:
            with meter:
                pass

        async def on_loop() -> None:
            with meter:
                await checkpoint()

        layers = [orch.Parallel(*[step, on_loop, step] * 5) for _ in range(20)]
        with recorded() as story:
            await orch.AsyncRunner(threads=size, limit=4).run(orch.Sequence(*layers))
    finally:
        sys.setswitchinterval(interval)
    assert meter.total == 300
    assert meter.peak <= 4
    assert story.state() is SUCCEEDED


async def test_many_short_runs_leave_no_thread_behind() -> None:
    for _ in range(50):
        result = await orch.AsyncRunner(threads=2).run(orch.Parallel(*[lambda: 1] * 3))
        assert result.state is SUCCEEDED
        assert workers() == []


# -- threads that wait for the loop ------------------------------------------------------------------------------------


def test_no_thread_touches_the_loop_but_by_the_ways_that_are_meant_for_it() -> None:
    """In debug mode asyncio refuses what is called from the wrong thread."""
    heard: list[Any] = []

    async def on_loop() -> None:
        await checkpoint()

    def in_thread() -> int:
        return 1

    def returns_awaitable() -> Any:
        return checkpoint()

    def fails_in_thread() -> None:
        raise ValueError

    async def main() -> Any:
        layer = orch.Parallel(on_loop, in_thread, returns_awaitable, fails_in_thread, on_failure="continue")
        return await run_quietly(orch.Sequence([layer] * 10, on_failure="continue"), subscribers=[heard.append])

    result = anyio.run(main, backend_options={"debug": True})
    assert len(result.errors) == 10
    assert heard == list(result.trace)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_in_a_thread_that_is_not_the_main_one_runs_workflows_too(backend: str) -> None:
    found: list[Any] = []

    async def on_loop() -> int:
        await checkpoint()
        return 1

    def runs() -> None:
        workflow = orch.Parallel(on_loop, lambda: 2, lambda: anyio.from_thread.run(on_loop))
        found.append(orch.Runner(backend=backend).run(workflow).value)

    threads = [threading.Thread(target=runs) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1, 2, 1]] * 4


async def test_a_run_does_not_end_before_the_thread_of_a_failing_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure ends the run while its thread is held up: that is no abandoned one, so it is waited for."""
    failed, release, done = threading.Event(), threading.Event(), list[RunResult]()
    original = Threads._failed

    def held_up(self: Threads, step: int, error: BaseException) -> None:
        original(self, step, error)
        failed.set()
        release.wait(5)

    def fails() -> None:
        raise ValueError

    async def call() -> None:
        done.append(await orch.run(fails, raise_on_failure=False))

    monkeypatch.setattr(Threads, "_failed", held_up)
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await until(failed.is_set)
        await ticks(20)
        early = list(done)
        release.set()
    assert early == []
    assert done[0].state is FAILED
    assert workers() == []


@on_asyncio  # trio does not know which step is waiting
@pytest.mark.parametrize("how", ["abort", "outside"])
async def test_what_a_thread_awaits_on_the_loop_is_cancelled_when_its_step_is_to_end(how: str) -> None:
    begun: list[str] = []

    async def endless() -> None:
        begun.append("begun")
        try:
            await anyio.sleep(3)
        finally:
            begun.append("ended")

    def asks() -> None:
        anyio.from_thread.run(endless)

    async def ends_it() -> None:
        await until(lambda: begun)
        if how == "abort":
            raise ValueError
        scope.cancel()
        await anyio.sleep(3)

    with recorded() as story, within(2), anyio.CancelScope() as scope:
        await orch.AsyncRunner(grace=1).run(orch.Parallel(asks, ends_it), raise_on_failure=False)
    assert begun == ["begun", "ended"]
    assert story.states()["asks"] is CANCELLED
    assert story.runs[0].abandoned == []


@pytest.mark.parametrize("policies", [{}, {"timeout": 60}], ids=["plain", "with a policy"])
async def test_a_thread_can_ask_whether_its_step_is_to_end(policies: dict[str, Any]) -> None:
    asked: list[int] = []

    def polite() -> str:
        while len(asked) < 3_000:
            asked.append(1)
            anyio.from_thread.check_cancelled()
            time.sleep(0.001)
        return "nobody said so"

    async def fails() -> None:
        await until(lambda: asked)
        raise ValueError

    with recorded() as story, within(2):
        result = await orch.AsyncRunner(grace=1).run(
            orch.Parallel(orch.Task(polite, **policies), fails), raise_on_failure=False
        )
    assert story.states() == {"polite": CANCELLED, "fails": FAILED}
    assert result.abandoned == ()
    assert [type(error) for error in result.errors] == [ValueError]


async def test_a_thread_that_asks_ends_soon_after_its_timeout() -> None:
    asked: list[int] = []

    def polite() -> str:
        while len(asked) < 3_000:
            asked.append(1)
            anyio.from_thread.check_cancelled()
            time.sleep(0.001)
        return "nobody said so"

    def next_one() -> str:
        anyio.from_thread.check_cancelled()  # what was said to the one before is forgotten
        return "done"

    workflow = orch.Sequence(orch.Task(polite, timeout=0.02), next_one, on_failure="continue")
    with within(2):
        result = await orch.AsyncRunner(threads=1).run(workflow, raise_on_failure=False)
    assert [type(error) for error in result.errors] == [orch.TaskTimeoutError]
    assert result["next_one"] == "done"
