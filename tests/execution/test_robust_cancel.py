"""Cancellation from outside, through a cancel scope, at every phase of a run: it stops, it is told, it propagates."""

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch.event import Event, RunEvent, State, TaskEvent
from tests.execution.robust import Gate, immediate, recorded, ticks, until, watched, within

pytestmark = pytest.mark.timeout(20)
CANCELLED, SUCCEEDED, SKIPPED, FAILED = State.CANCELLED, State.SUCCEEDED, State.SKIPPED, State.FAILED


async def sleeper() -> None:
    await anyio.sleep(60)


def marking(seen: list[str], name: str, body: Callable[[], Any] = checkpoint) -> orch.Task[..., Any]:
    async def step() -> str:
        seen.append(name)
        await body()
        return name

    return orch.Task(step, name=name)


async def run_until(begun: Callable[[], Any], workflow: Any, **options: Any) -> anyio.CancelScope:
    """Run a workflow, and cancel it as soon as the condition holds; the scope says whether that came back out."""
    runner = orch.AsyncRunner(**{"grace": 0.05} | options)
    scope = anyio.CancelScope()

    async def call() -> None:
        with scope:
            await runner.run(workflow)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await until(begun)
        scope.cancel()
    return scope


# -- before anything ---------------------------------------------------------------------------------------------------


@watched
@pytest.mark.parametrize("place", ["thread", "loop"])
async def test_a_run_cancelled_before_it_starts_runs_nothing(watched: str, place: str) -> None:
    ran: list[int] = []
    plain = orch.Task(lambda: ran.append(1), name="plain", thread=None if place == "thread" else False)
    with recorded() as story, anyio.CancelScope() as scope:
        scope.cancel()
        await orch.run(orch.Sequence(plain, immediate(), plain), subscribers=story.listeners(watched))
    assert ran == []
    assert scope.cancelled_caught
    assert set(story.states().values()) == {CANCELLED}
    assert story.state() is CANCELLED


async def test_an_empty_run_is_a_checkpoint_too() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await orch.run(orch.Sequence())
    assert scope.cancelled_caught


# -- while steps are suspended -----------------------------------------------------------------------------------------


@watched
async def test_suspended_steps_are_cancelled_once_each_and_the_rest_never_starts(watched: str) -> None:
    hits: list[str] = []
    begun: list[str] = []

    def suspended(name: str) -> orch.Task[..., Any]:
        async def step() -> None:
            begun.append(name)
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                hits.append(name)
                raise

        return orch.Task(step, name=name)

    together = orch.Parallel([suspended(str(number)) for number in range(10)], name="together")
    workflow = orch.Sequence(immediate(), together, marking(begun, "after"))
    with recorded() as story:
        scope = await run_until(lambda: len(begun) == 10, workflow, subscribers=story.listeners(watched))
    assert scope.cancelled_caught
    assert sorted(hits) == [str(number) for number in range(10)]
    assert "after" not in begun
    assert story.states() == {"step": SUCCEEDED, "after": CANCELLED} | {f"together/{n}": CANCELLED for n in range(10)}
    assert story.state() is CANCELLED
    reasons = {event.error for event in story.trace() if isinstance(event, TaskEvent)}
    assert reasons == {None}, "a cancellation is no error"


@pytest.mark.parametrize("lane", ["first", "last"])
async def test_it_does_not_matter_which_lane_the_suspended_step_is_on(lane: str) -> None:
    begun: list[str] = []
    long, short = marking(begun, "long", sleeper), marking(begun, "short")
    steps = [long, short, short] if lane == "first" else [short, short, long]
    with recorded() as story:
        scope = await run_until(lambda: len(begun) == 3, orch.Sequence(orch.Parallel(*steps), short))
    assert scope.cancelled_caught
    assert story.state() is CANCELLED
    assert len(begun) == 3


async def test_steps_that_wait_for_a_slot_are_cancelled_without_starting() -> None:
    begun: list[str] = []
    steps = [marking(begun, str(number), sleeper) for number in range(20)]
    with recorded() as story:
        await run_until(lambda: len(begun) == 3, orch.Parallel(*steps, limit=3))
    assert len(begun) == 3
    assert set(story.states().values()) == {CANCELLED}


async def test_five_hundred_sleeping_steps_end_at_once() -> None:
    begun: list[str] = []
    steps = [marking(begun, str(number), sleeper) for number in range(500)]
    with recorded() as story:
        await run_until(lambda: len(begun) == 500, orch.Parallel(*steps))
    assert set(story.states().values()) == {CANCELLED}


async def test_a_deadline_around_a_run_is_a_cancellation() -> None:
    with recorded() as story, pytest.raises(TimeoutError), anyio.fail_after(0.02):
        await orch.run(orch.Parallel(sleeper, sleeper))
    assert story.state() is CANCELLED


async def test_a_run_in_a_task_group_goes_with_the_group() -> None:
    begun: list[str] = []
    with recorded() as story, pytest.raises(ExceptionGroup) as failure:  # noqa: PT012 (the group raises at its end)
        async with anyio.create_task_group() as group:
            group.start_soon(orch.run, orch.Sequence(marking(begun, "long", sleeper), sleeper))
            await until(lambda: begun)
            raise ValueError("a sibling of the run")
    assert isinstance(failure.value.exceptions[0], ValueError)
    assert story.state() is CANCELLED


async def test_cancelling_twice_or_too_late_changes_nothing() -> None:
    begun: list[str] = []
    with recorded() as story:
        scope = await run_until(lambda: begun, orch.Sequence(marking(begun, "long", sleeper)))
        scope.cancel()
        with anyio.CancelScope() as late:
            await orch.run(immediate(1))
            late.cancel()
    assert story.state(0) is CANCELLED
    assert story.state(1) is SUCCEEDED


# -- between steps -----------------------------------------------------------------------------------------------------


async def test_a_step_that_cancels_its_run_is_followed_by_none_that_gets_past_a_checkpoint() -> None:
    passed: list[str] = []
    with recorded() as story, anyio.CancelScope() as scope:

        async def canceller() -> None:
            await checkpoint()
            scope.cancel()

        async def follower() -> None:
            await checkpoint()
            passed.append("follower")

        await orch.run(orch.Sequence(canceller, follower, follower))
    assert scope.cancelled_caught
    assert passed == []
    assert story.states() == {"canceller": SUCCEEDED, "follower": CANCELLED, "follower#2": CANCELLED}


async def test_steps_that_never_suspend_notice_a_cancellation_soon() -> None:
    ran: list[int] = []
    with recorded() as story, anyio.CancelScope() as scope:

        async def step() -> None:
            ran.append(1)
            if len(ran) == 10:
                scope.cancel()

        await orch.run(orch.Sequence([orch.Task(step, name="step")] * 4_000))
    assert scope.cancelled_caught
    assert len(ran) < 2_000
    assert story.state() is CANCELLED


async def test_another_task_can_cancel_steps_that_never_suspend() -> None:
    ran, begun, scope = list[int](), anyio.Event(), anyio.CancelScope()

    async def step() -> None:
        begun.set()
        ran.append(1)

    async def cancels() -> None:
        await begun.wait()
        scope.cancel()

    with recorded() as story:
        async with anyio.create_task_group() as group:
            group.start_soon(cancels)
            with scope:
                await orch.run(orch.Sequence([orch.Task(step, name="step")] * 6_000))
    assert scope.cancelled_caught
    assert len(ran) < 5_000
    assert story.state() is CANCELLED


# -- at the end --------------------------------------------------------------------------------------------------------


@watched
async def test_a_last_step_that_cancels_its_run_and_returns_has_made_it_succeed(watched: str) -> None:
    with recorded() as story, anyio.CancelScope() as scope:

        async def last() -> str:
            await checkpoint()
            scope.cancel()
            return "done"

        await orch.run(orch.Sequence(immediate(), last), subscribers=story.listeners(watched))
    assert story.states() == {"step": SUCCEEDED, "last": SUCCEEDED}
    assert story.state() is SUCCEEDED


@watched
@pytest.mark.parametrize("first", ["cancel", "result"])
async def test_in_the_tick_of_the_last_result_the_core_says_what_came_first(watched: str, first: str) -> None:
    ready, returned, scope = anyio.Event(), list[str](), anyio.CancelScope()

    async def last() -> None:
        await ready.wait()
        returned.append("value")

    async def call() -> None:
        with scope:
            await orch.run(orch.Parallel(immediate(), last), subscribers=story.listeners(watched))

    with recorded() as story:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await ticks(10)
            for act in [scope.cancel, ready.set] if first == "cancel" else [ready.set, scope.cancel]:
                act()
    assert story.states()["last"] is (SUCCEEDED if returned else CANCELLED)
    assert story.state() is (SUCCEEDED if returned else CANCELLED)


# -- cleanup -----------------------------------------------------------------------------------------------------------


@watched
async def test_a_shielded_cleanup_is_finished_before_the_run_is(watched: str) -> None:
    seen: list[str] = []

    async def careful() -> None:
        seen.append("begun")
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
                seen.append("cleaned")

    with recorded() as story:
        workflow = orch.Sequence(orch.Parallel(careful, careful), careful)
        await run_until(lambda: len(seen) == 2, workflow, subscribers=story.listeners(watched))
    assert seen == ["begun", "begun", "cleaned", "cleaned"]
    assert story.state() is CANCELLED


async def test_cancellation_stays_on_for_a_cleanup_that_awaits() -> None:
    hits: list[int] = []

    async def stubborn() -> None:
        hits.append(0)
        for attempt in range(1, 4):
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                hits.append(attempt)
                if attempt == 3:
                    raise

    with recorded() as story:
        await run_until(lambda: hits, stubborn)
    assert hits == [0, 1, 2, 3]
    assert story.state() is CANCELLED


@watched
@pytest.mark.parametrize("place", ["first", "last"])
async def test_a_step_that_swallows_the_cancellation_keeps_its_value_but_not_the_run(watched: str, place: str) -> None:
    seen: list[str] = []

    async def swallows() -> str:
        seen.append("begun")
        try:
            await anyio.sleep(60)
        except BaseException:  # noqa: BLE001 (this is what must not harm)
            seen.append("swallowed")
        return "value"

    async def after() -> None:
        seen.append("after")

    steps = [swallows, sleeper] if place == "first" else [sleeper, swallows]
    workflow = orch.Sequence(orch.Parallel(*steps, name="both"), after, on_failure="continue")
    with recorded() as story:
        scope = await run_until(lambda: seen, workflow, subscribers=story.listeners(watched))
    assert seen == ["begun", "swallowed"]
    assert scope.cancelled_caught
    assert story.states() == {"both/swallows": SUCCEEDED, "both/sleeper": CANCELLED, "after": CANCELLED}
    assert story.state() is CANCELLED


async def test_one_step_alone_on_its_lane_that_swallows_the_cancellation_is_the_last_to_run() -> None:
    seen: list[str] = []

    async def swallows() -> None:
        seen.append("begun")
        try:
            await anyio.sleep(60)
        except BaseException:  # noqa: BLE001 (as above)
            seen.append("swallowed")

    with recorded() as story:
        scope = await run_until(lambda: seen, orch.Sequence(swallows, marking(seen, "after"), immediate()))
    assert seen == ["begun", "swallowed"]
    assert scope.cancelled_caught
    assert story.states() == {"swallows": SUCCEEDED, "after": CANCELLED, "step": CANCELLED}


@watched
@pytest.mark.parametrize("strategy", ["abort", "continue"])
async def test_a_cleanup_that_raises_is_recorded_and_does_not_replace_the_cancellation(
    watched: str, strategy: str
) -> None:
    seen: list[str] = []
    error = ValueError("cleanup")

    async def messy() -> None:
        seen.append("begun")
        try:
            await anyio.sleep(60)
        finally:
            raise error

    workflow = orch.Sequence(messy, marking(seen, "after"), on_failure=strategy)
    with recorded() as story:
        scope = await run_until(lambda: seen, workflow, subscribers=story.listeners(watched))
    assert scope.cancelled_caught
    assert seen == ["begun"]
    assert story.states()["messy"] is FAILED
    assert [event.error for event in story.trace() if isinstance(event, TaskEvent) and event.error] == [error]
    assert story.state() is CANCELLED


async def test_a_run_cancelled_while_it_aborts_is_cancelled() -> None:
    begun, cleaning, scope = anyio.Event(), anyio.Event(), anyio.CancelScope()

    async def fails() -> None:
        await begun.wait()
        raise ValueError

    async def slow_to_end() -> None:
        begun.set()
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                cleaning.set()
                await ticks()

    async def call() -> None:
        with scope:
            await orch.run(orch.Sequence(orch.Parallel(fails, slow_to_end), immediate(), on_failure="continue"))

    with recorded() as story:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await cleaning.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert story.states() == {"parallel/fails": FAILED, "parallel/slow_to_end": CANCELLED, "step": CANCELLED}
    assert story.state() is CANCELLED


# -- threads -----------------------------------------------------------------------------------------------------------


@watched
async def test_a_thread_that_ends_within_the_grace_keeps_its_value(watched: str) -> None:
    seen: list[str] = []
    with Gate() as gate, recorded() as story:

        async def open_when_cancelled() -> None:
            seen.append("begun")
            try:
                await anyio.sleep(60)
            finally:
                gate.open()

        both = orch.Parallel(orch.Task(gate, name="gate"), open_when_cancelled, name="both")
        workflow = orch.Sequence(both, marking(seen, "after"))
        listeners = story.listeners(watched)
        scope = await run_until(lambda: gate.entered and seen, workflow, grace=5, subscribers=listeners)
    assert scope.cancelled_caught
    assert seen == ["begun"]
    assert story.states() == {"both/gate": SUCCEEDED, "both/open_when_cancelled": CANCELLED, "after": CANCELLED}
    assert story.state() is CANCELLED
    assert story.runs[0].abandoned == []


@watched
async def test_a_thread_that_outlasts_the_grace_is_abandoned_and_its_late_value_dropped(
    watched: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Gate() as gate, recorded() as story:
        with within(2):
            scope = await run_until(
                lambda: gate.entered, orch.Sequence(gate, gate), subscribers=story.listeners(watched)
            )
        assert scope.cancelled_caught
        assert list(story.states().values()) == [CANCELLED, CANCELLED]
        before = story.trace()
        gate.open()
        await until(lambda: "abandoned" in caplog.text)
        assert story.trace() == before
    assert story.state() is CANCELLED
    assert gate.entered == 1


async def test_threads_that_never_started_are_not_waited_for() -> None:
    with Gate() as gate, recorded() as story:
        scope = await run_until(lambda: gate.entered == 2, orch.Parallel([gate] * 10), threads=2)
    assert scope.cancelled_caught
    assert gate.entered == 2
    assert len(story.runs[0].abandoned) == 2
    assert set(story.states().values()) == {CANCELLED}


async def test_threads_begin_nothing_new_while_a_step_on_the_loop_is_shielded() -> None:
    ran, counts = list[int](), list[int]()

    def step() -> None:
        ran.append(1)
        time.sleep(0.002)

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await until(lambda: len(ran) > 3)
            scope.cancel()
            await ticks()
            counts.append(len(ran))
            await anyio.sleep(0.1)
            counts.append(len(ran))

    with recorded() as story, anyio.CancelScope() as scope:
        await orch.AsyncRunner(threads=1).run(orch.Parallel(shielded, orch.Sequence([step] * 100)))
    assert counts[1] - counts[0] <= 1
    assert story.state() is CANCELLED


# -- subscribers -------------------------------------------------------------------------------------------------------


async def test_a_subscriber_gets_the_last_event_of_a_cancelled_run_before_the_caller_knows() -> None:
    heard: list[Event] = []
    begun: list[str] = []

    async def slow(event: Event) -> None:
        await anyio.sleep(0.002)
        heard.append(event)

    with recorded() as story:
        scope = await run_until(lambda: begun, marking(begun, "long", sleeper), subscribers=[slow], grace=5)
    assert scope.cancelled_caught
    assert heard == list(story.trace())


async def test_a_subscriber_that_hangs_holds_a_cancelled_run_no_longer_than_the_grace() -> None:
    begun: list[str] = []

    async def hangs(event: Event) -> None:
        if isinstance(event, TaskEvent):
            await anyio.sleep(60)

    with recorded() as story, within(2):
        await run_until(lambda: begun, marking(begun, "long", sleeper), subscribers=[hangs], grace=0.05)
    assert story.state() is CANCELLED


async def test_a_run_that_only_waits_for_a_hanging_subscriber_can_be_cancelled() -> None:
    hanging: list[str] = []

    async def hangs(event: Event) -> None:
        if isinstance(event, RunEvent) and event.state.is_final:
            hanging.append("hangs")
            await anyio.sleep(3)

    with recorded() as story, within(2):
        await run_until(lambda: hanging, immediate(), subscribers=[hangs], grace=0.05)
    assert story.state() is SUCCEEDED


@pytest.mark.parametrize("place", ["loop", "thread"])
@pytest.mark.parametrize("shape", [orch.Sequence, orch.Parallel])
async def test_a_run_that_waits_for_room_can_be_cancelled(
    place: str, shape: Callable[..., orch.Workflow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orch.execution._deliver.CAPACITY", 500)
    ran: list[int] = []

    async def step() -> None:
        ran.append(1)
        await checkpoint()

    async def hangs(event: Event) -> None:
        await anyio.sleep(60)

    fn: Callable[[], Any] = step if place == "loop" else lambda: ran.append(1)
    workflow = shape([orch.Task(fn, name="step")] * 3_000, limit=50)
    with recorded() as story, within(5):
        await run_until(lambda: len(ran) >= 250, workflow, subscribers=[hangs], threads=2)
    assert len(ran) < 3_000
    assert story.state() is CANCELLED


# -- runs in runs ------------------------------------------------------------------------------------------------------


async def test_cancelling_a_run_cancels_the_runs_inside_it() -> None:
    begun: list[str] = []

    async def inner() -> None:
        await orch.run(orch.Parallel(marking(begun, "a", sleeper), marking(begun, "b", sleeper)))

    with recorded() as story:
        await run_until(lambda: len(begun) == 4, orch.Parallel(inner, inner))
    assert [story.state(number) for number in range(3)] == [CANCELLED] * 3


async def test_a_step_can_be_given_a_run_that_it_cancels_without_harm() -> None:
    async def patient() -> str:
        with anyio.move_on_after(0.01) as scope:
            await orch.run(sleeper)
        return f"cancelled: {scope.cancelled_caught}"

    with recorded() as story:
        result = await orch.run(orch.Sequence(patient, immediate(1)))
    assert result.value == ["cancelled: True", 1]
    assert [story.state(0), story.state(1)] == [SUCCEEDED, CANCELLED]
