"""Checks 74 to 79: the events of a run, whole and in order whatever happens, and those who listen."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Context, Event, EventBus, Graph, Parallel, Sequence, State, Task
from orch.event import LogEvent, RunEvent, TaskEvent
from tests.runners.truth import PATIENCE, check_trace, of, settle, tasks_of, told


async def a() -> int:
    return 1


async def b() -> int:
    await anyio.lowlevel.checkpoint()
    return 2


async def fails() -> None:
    raise ValueError("no")


async def forever() -> None:
    await anyio.sleep_forever()


class Ears:
    """A subscriber that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)

    @property
    def told(self) -> list[str]:
        return told(self.heard)


@pytest.fixture
def ears() -> Ears:
    return Ears()


# -- 74: every run has a whole trace -----------------------------------------------------------------------------------


async def test_check_74_success_event_by_event() -> None:
    before = datetime.now(UTC)
    result = await settle(Graph(Task(b, deps=["a"]), a, name="job"), run_id="mine")
    after = datetime.now(UTC)

    assert [(event.seq, event.path, event.run_id) for event in result.trace] == [
        (1, "", "mine"), (2, "a", "mine"), (3, "a", "mine"), (4, "b", "mine"), (5, "b", "mine"), (6, "", "mine"),
    ]  # fmt: skip
    assert told(result.trace) == ["running", "a running", "a succeeded", "b running", "b succeeded", "succeeded"]
    first, *tasks, last = result.trace
    assert isinstance(first, RunEvent)
    assert isinstance(last, RunEvent)
    assert (first.workflow, first.tasks, first.error) == ("job", 2, None)
    assert (last.workflow, last.tasks, last.error) == ("job", 2, None)
    assert [(event.name, event.attempt, event.value) for event in tasks_of(tasks)] == [
        ("a", 1, None), ("a", 1, 1), ("b", 1, None), ("b", 1, 2),
    ]  # fmt: skip
    assert all(before <= event.time <= after for event in result.trace)
    assert (result.started, result.finished) == (first.time, last.time)
    assert result.duration == (last.time - first.time).total_seconds()


async def test_check_74_failure_event_by_event() -> None:
    result = await settle(Sequence(a, fails, Task(b, name="never")))

    assert told(result.trace) == [
        "running", "a running", "a succeeded", "fails running", "fails failed", "never skipped", "failed",
    ]  # fmt: skip
    failed, skipped, last = list(result.trace)[-3:]
    assert isinstance(failed, TaskEvent)
    assert isinstance(skipped, TaskEvent)
    assert isinstance(last, RunEvent)
    assert (failed.error, failed.attempt, failed.value) == (result.errors[0], 1, None)
    assert (skipped.reason, skipped.cause, skipped.attempt, skipped.error) == ("aborted", "fails", 0, None)
    assert last.error is result.errors[0]


async def test_check_74_an_aborted_run() -> None:
    async def early() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError

    result = await settle(Parallel(forever, early, Sequence(forever, a, name="s")))
    assert told(result.trace)[:5] == [
        "running",
        "forever running",
        "early running",
        "s/forever running",
        "early failed",
    ]
    assert sorted(told(result.trace)[5:]) == ["failed", "forever cancelled", "s/a skipped", "s/forever cancelled"]


async def cancelled(workflow: Any, ears: Ears, when: Callable[[], Awaitable[object]], **options: Any) -> str:
    """Run something in a scope that is cancelled once `when` is over; give the run's id after a look at its trace."""

    async def run() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await orch.run(workflow, subscribers=[ears], **options)
        over.append(scope.cancelled_caught)

    scopes: list[anyio.CancelScope] = []
    over: list[bool] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await when()
            scopes[0].cancel()
    assert over == [True]  # the cancellation went on to the caller
    check_trace(ears.heard, ears.heard[0].run_id)
    return ears.heard[0].run_id


async def test_check_74_cancellation_from_outside(ears: Ears) -> None:
    workflow = Sequence(a, Parallel(forever, Task(forever, name="other"), name="p"), b)
    await cancelled(workflow, ears, anyio.wait_all_tasks_blocked)

    assert ears.told[:5] == ["running", "a running", "a succeeded", "p/forever running", "p/other running"]
    assert sorted(ears.told[5:8]) == ["b cancelled", "p/forever cancelled", "p/other cancelled"]
    assert ears.told[8:] == ["cancelled"]


async def test_check_74_cancellation_while_a_thread_works(ears: Ears) -> None:
    go = threading.Event()

    def in_thread() -> None:
        go.wait(PATIENCE)

    def release(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.CANCELLED:
            go.set()

    async def working() -> None:
        while ears.told[-1:] != ["in_thread running"]:  # noqa: ASYNC110 (told from a thread)
            await anyio.sleep(0.001)

    bus = EventBus()
    bus.subscribe(ears)
    bus.subscribe(release)
    scopes: list[anyio.CancelScope] = []

    async def run() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await orch.run(Sequence(in_thread, a), subscribers=[bus])

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await working()
            scopes[0].cancel()
    check_trace(ears.heard, ears.heard[0].run_id)
    assert ears.told[-1] == "cancelled"
    assert "a cancelled" in ears.told


async def test_check_74_cancellation_before_anything_has_started(ears: Ears) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await orch.run(Sequence(a, b), subscribers=[ears])

    assert scope.cancelled_caught
    assert ears.heard == [] or ears.told == ["running", "a cancelled", "b cancelled", "cancelled"]


@pytest.mark.parametrize("size", [1, 50])
async def test_check_74_cancellation_of_many(size: int, ears: Ears) -> None:
    started = 0

    async def sleeper() -> None:
        nonlocal started
        started += 1
        await anyio.sleep_forever()

    async def all_asleep() -> None:
        while started < size:
            await anyio.lowlevel.checkpoint()

    await cancelled(Parallel(*[sleeper] * size), ears, all_asleep)
    assert ears.told.count("cancelled") == 1
    assert len(ears.heard) == 2 + 2 * size


EVERY_MOMENT = {
    "sequence": Sequence(b, a, b, Parallel(b, b), b),
    "failing": Sequence(Parallel(b, fails, b, on_failure="continue"), b, on_failure="continue"),
    "aborting": Sequence(Parallel(forever, Sequence(b, fails)), b, on_failure="continue"),
    "limited": Parallel(*[b] * 5, Sequence(b, b), limit=2),
    "threads": Sequence(Parallel(b, lambda: 1, b), lambda: 2, b),
}


@pytest.mark.parametrize("shape", EVERY_MOMENT)
async def test_check_74_cancellation_at_every_moment(shape: str) -> None:
    """After 0, 1, 2, … turns of the loop, until the run is over by itself: the trace is whole and tells the truth."""
    for turns in range(200):
        ears, over = Ears(), list[bool]()
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(_cancelled_run, EVERY_MOMENT[shape], ears, over)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        if ears.heard:
            check_trace(ears.heard, ears.heard[0].run_id)
        assert ears.told[-1:] != ["succeeded"] or not any(each.endswith(" cancelled") for each in ears.told)
        if over:
            assert ears.told[-1] in {"succeeded", "failed"}
            break
    else:
        raise AssertionError("the run does not end")


async def _cancelled_run(workflow: Any, ears: Ears, over: list[bool]) -> None:
    await orch.run(workflow, subscribers=[ears], raise_on_failure=False)
    over.append(True)


async def test_check_74_steps_clean_up_when_they_are_cancelled(ears: Ears) -> None:
    cleaned: list[str] = []

    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            cleaned.append("yes")

    await cancelled(Parallel(careful, careful), ears, anyio.wait_all_tasks_blocked)
    assert cleaned == ["yes", "yes"]


async def test_check_74_a_timeout_of_the_callers_is_a_cancellation(ears: Ears) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            await orch.run(forever, subscribers=[ears])
    assert ears.told == ["running", "forever running", "forever cancelled", "cancelled"]


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"])
async def test_check_74_a_task_of_asyncio_that_is_cancelled(ears: Ears) -> None:
    async def call() -> None:
        await orch.run(Parallel(forever, forever), subscribers=[ears])

    task = asyncio.get_running_loop().create_task(call())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    check_trace(ears.heard, ears.heard[0].run_id)
    assert ears.told[-1] == "cancelled"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("kind", ["coroutine", "suspended", "thread", "in place"])
async def test_check_74_an_interrupt_in_a_step_ends_the_run_and_comes_out_bare(
    kind: str, error: BaseException, ears: Ears
) -> None:
    async def coroutine() -> None:
        if kind == "suspended":
            await anyio.lowlevel.checkpoint()
        raise error

    def plain() -> None:
        raise error

    fn: Any = plain if kind in {"thread", "in place"} else coroutine
    step = Task(fn, name="step", thread=False if kind == "in place" else None)
    with anyio.fail_after(PATIENCE), pytest.raises(type(error)) as caught:
        await orch.run(Sequence(a, Parallel(forever, step, name="p"), b), subscribers=[ears])
    assert caught.value is error
    check_trace(ears.heard, ears.heard[0].run_id)
    assert ears.told[-1] == "cancelled"
    assert "b cancelled" in ears.told


async def test_check_74_a_cancellation_that_nobody_asked_for_is_a_failure(anyio_backend_name: str) -> None:
    async def foreign() -> None:
        if anyio_backend_name == "asyncio":
            raise asyncio.CancelledError
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            except BaseException as error:
                kept.append(error)
                raise
        raise kept[0]

    kept: list[BaseException] = []
    result = await settle(Sequence(foreign, a, on_failure="continue"))
    assert told(result.trace)[2:] == ["foreign failed", "a running", "a succeeded", "failed"]
    assert isinstance(result.errors[0], orch.errors.ForeignCancellationError)


async def test_check_74_the_trace_of_a_large_run_is_whole() -> None:
    result = await settle(
        Sequence(Parallel(*[a, b] * 100), *[b] * 1_000, Graph(*(Task(b, name=f"s{k}") for k in range(300))))
    )

    assert len(result.trace) == 2 + 2 * 1_500


async def test_check_74_events_of_threads_and_loop_are_in_one_order() -> None:
    def plain() -> int:
        return 1

    kinds: list[Any] = [plain, a, b, Task(plain, thread=False)]
    result = await settle(Parallel(*kinds * 50))
    assert len(result.trace) == 2 + 2 * 200


# -- 75: subscribers ---------------------------------------------------------------------------------------------------


WORKFLOW = Sequence(
    a, Parallel(a, b, Task(fails, name="bad"), on_failure="continue", name="p"), b, on_failure="continue"
)


async def test_check_75_every_subscriber_gets_every_event_in_order() -> None:
    plain, later = Ears(), Ears()

    async def asynchronous(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        later(event)

    result = await settle(WORKFLOW, subscribers=[plain, asynchronous])
    assert plain.heard == later.heard == list(result.trace)
    assert result.state is State.FAILED


async def test_check_75_of_the_runner_of_the_run_of_a_bus_and_of_the_process() -> None:
    ears = [Ears() for _ in range(4)]
    bus = EventBus()
    bus.subscribe(ears[2])
    orch.event_bus.subscribe(ears[3])
    try:
        result = await settle(WORKFLOW, runner=AsyncRunner(subscribers=[ears[0]]), subscribers=[ears[1], bus])
    finally:
        orch.event_bus.unsubscribe(ears[3])
    assert all(each.heard == list(result.trace) for each in ears)


async def test_check_75_a_raising_subscriber_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    before, after = Ears(), Ears()
    calls: list[Event] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise RuntimeError("broken subscriber")

    async def broken_later(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("broken later")

    with caplog.at_level(logging.ERROR, logger="orch"):
        result = await settle(WORKFLOW, subscribers=[before, broken, broken_later, after])
    assert before.heard == after.heard == list(result.trace)
    assert [type(error) for error in result.errors] == [ValueError]
    assert calls == list(result.trace)[:10]  # then it is detached
    once = [record for record in caplog.records if record.exc_info and "broken subscriber" in str(record.exc_info[1])]
    assert len(once) == 1
    assert "broken later" in caplog.text


async def test_check_75_a_subscriber_that_raises_now_and_then_goes_on_listening(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[int] = []

    def moody(event: Event) -> None:
        heard.append(event.seq)
        if event.seq % 3 == 0:
            raise RuntimeError

    result = await settle(Sequence(*[a] * 10), subscribers=[moody])
    assert heard == list(range(1, len(result.trace) + 1))


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_check_75_strict_subscribers_end_the_run(asynchronous: bool) -> None:
    error = RuntimeError("strict")
    ears = Ears()

    def broken(event: Event) -> None:
        if isinstance(event, TaskEvent):
            raise error

    async def broken_later(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        broken(event)

    runner = AsyncRunner(strict_subscribers=True, subscribers=[ears, broken_later if asynchronous else broken])
    with anyio.fail_after(PATIENCE), pytest.raises(RuntimeError) as caught:
        await runner.run(Sequence(b, forever))
    assert caught.value is error
    check_trace(ears.heard, ears.heard[0].run_id)


async def test_check_75_subscribers_are_called_on_the_loop() -> None:
    threads: set[int] = set()

    def plain() -> None: ...

    await settle(Parallel(plain, a), subscribers=[lambda _: threads.add(threading.get_ident())])
    assert threads == {threading.get_ident()}


async def test_check_75_a_bus_gives_each_handler_the_types_it_wants() -> None:
    bus, runs, logs, tasks = EventBus(), Ears(), Ears(), Ears()
    bus.subscribe(runs, RunEvent)
    bus.subscribe(logs, LogEvent)
    bus.subscribe(tasks, TaskEvent)

    async def talks(context: Context[None]) -> None:
        context.log("hello")

    result = await settle(talks, Context(), subscribers=[bus])
    assert runs.told == ["running", "succeeded"]
    assert [event.seq for event in (*logs.heard, *tasks.heard)] == [3, 2, 4]
    assert len(result.trace) == 5


@pytest.mark.parametrize(
    ("subscribers", "message"),
    [(print, "expected several callables, as a list"), ([1], "expected callables that take an event, found int")],
    ids=["single", "number"],
)
async def test_check_75_what_is_no_subscriber_is_refused(subscribers: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        await orch.run(a, subscribers=subscribers)
    with pytest.raises(TypeError, match=message):
        AsyncRunner(subscribers=subscribers)


# -- 76: slow subscribers ----------------------------------------------------------------------------------------------


async def test_check_76_run_returns_only_after_the_last_event_is_heard() -> None:
    gate, heard, log = anyio.Event(), Ears(), list[str]()

    async def slow(event: Event) -> None:
        if isinstance(event, RunEvent) and event.state.is_final:
            await gate.wait()
        heard(event)

    async def call() -> None:
        result = await settle(Sequence(a, b), subscribers=[slow])
        log.append("returned")
        assert heard.heard == list(result.trace)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert log == []
        assert heard.told[-1] == "b succeeded"
        gate.set()
    assert log == ["returned"]


async def test_check_76_a_slow_subscriber_does_not_hold_up_the_steps() -> None:
    gate, ran = anyio.Event(), list[str]()

    async def slow(event: Event) -> None:
        await gate.wait()

    async def last() -> None:
        ran.append("last")

    async def call() -> None:
        await settle(Sequence(a, b, last), subscribers=[slow])

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert ran == ["last"]
        gate.set()


async def test_check_76_a_slow_subscriber_does_not_hold_up_the_others() -> None:
    gate, quick = anyio.Event(), Ears()

    async def slow(event: Event) -> None:
        await gate.wait()

    async def call() -> None:
        await settle(Sequence(a, b), subscribers=[slow, quick])

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert quick.told == ["running", "a running", "a succeeded", "b running", "b succeeded", "succeeded"]
        gate.set()


async def test_check_76_the_run_waits_for_who_is_ten_thousand_events_behind() -> None:
    gate, heard, ran = anyio.Event(), Ears(), 0

    async def slow(event: Event) -> None:
        await gate.wait()
        heard(event)

    async def step() -> None:
        nonlocal ran
        ran += 1

    async def call() -> None:
        with anyio.fail_after(PATIENCE):
            result = await orch.run(Sequence(*[step] * 12_000), subscribers=[slow])
        assert heard.heard == list(result.trace)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert 4_000 < ran < 10_000
        gate.set()
    assert ran == 12_000


async def test_check_76_events_come_while_the_run_goes_on() -> None:
    """The step waits for the subscriber to have heard of the step before it."""
    heard_a = anyio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and (event.name, event.state) == ("a", State.SUCCEEDED):
            heard_a.set()

    async def waits() -> None:
        await heard_a.wait()

    await settle(Sequence(a, waits), subscribers=[listen])


async def test_check_76_events_of_threads_come_while_the_run_goes_on() -> None:
    heard = threading.Event()

    def first() -> None: ...

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and (event.name, event.state) == ("first", State.SUCCEEDED):
            heard.set()

    def waits() -> bool:
        return heard.wait(PATIENCE / 4)

    result = await settle(Sequence(first, waits), subscribers=[listen])
    assert result["waits"] is True


async def test_check_76_that_a_thread_has_begun_is_told_while_it_works() -> None:
    begun = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, TaskEvent) and (event.name, event.state) == ("waits", State.RUNNING):
            begun.set()

    def waits() -> bool:
        return begun.wait(PATIENCE / 4)

    assert (await settle(Sequence(waits, a), subscribers=[listen]))["waits"] is True


async def test_check_76_a_cancelled_run_does_not_wait_for_ever_for_a_stuck_subscriber() -> None:
    async def stuck(event: Event) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await AsyncRunner(grace=0.01).run(forever, subscribers=[stuck])
    assert scope.cancelled_caught


# -- 77: two runs at once ----------------------------------------------------------------------------------------------


async def test_check_77_a_subscriber_of_one_run_hears_of_that_run_only() -> None:
    mine, everybodys = Ears(), Ears()
    meet = [anyio.Event(), anyio.Event()]

    def step(k: int) -> Task[..., Any]:
        async def step() -> None:
            meet[k].set()
            await meet[1 - k].wait()

        return Task(step, name=f"s{k}")

    runner = AsyncRunner(subscribers=[everybodys])

    async def other() -> None:
        await settle(step(1), runner=runner, run_id="theirs")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        result = await settle(Sequence(step(0), name="s"), runner=runner, run_id="mine", subscribers=[mine])
    assert mine.heard == list(result.trace)
    assert {event.run_id for event in mine.heard} == {"mine"}
    assert {event.run_id for event in everybodys.heard} == {"mine", "theirs"}
    assert [event for event in everybodys.heard if event.run_id == "mine"] == mine.heard


async def test_check_77_every_event_carries_run_id_and_path() -> None:
    result = await settle(Parallel(Sequence(a, a, name="s"), a, name="p"))

    assert len(result.run_id) > 8
    assert [event.path for event in of(result.trace, "s/a#2")] == ["s/a#2"] * 2
    assert {event.path for event in result.trace} == {"", "s/a", "s/a#2", "a"}


async def test_check_77_a_run_id_may_be_given() -> None:
    assert (await settle(a, run_id="the third")).run_id == "the third"
    for wrong, error in (("", ValueError), ("a\0b", ValueError), (3, TypeError)):
        with pytest.raises(error, match="run_id"):
            await orch.run(a, run_id=wrong)  # type: ignore[arg-type]


# -- 79: unsubscribing -------------------------------------------------------------------------------------------------


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


async def test_check_79_who_has_unsubscribed_hears_nothing_more(bus: EventBus) -> None:
    left, stays = Ears(), Ears()

    def leaves(event: Event) -> None:
        left(event)
        if event.seq == 3:
            bus.unsubscribe(leaves)
            bus.unsubscribe(leaves)  # harmless

    bus.subscribe(leaves)
    bus.subscribe(stays)
    result = await settle(Sequence(a, b), subscribers=[bus])
    assert [event.seq for event in left.heard] == [1, 2, 3]
    assert stays.heard == list(result.trace)
    again = await settle(a, subscribers=[bus])
    assert len(left.heard) == 3
    assert len(stays.heard) == len(result.trace) + len(again.trace)


async def test_check_79_who_subscribes_during_a_run_hears_what_follows(bus: EventBus) -> None:
    late = Ears()

    async def invites() -> None:
        bus.subscribe(late)
        await anyio.lowlevel.checkpoint()

    result = await settle(Sequence(a, invites, b), subscribers=[bus])
    assert late.heard == list(result.trace)[-len(late.heard) :]
    assert late.told[-3:] == ["b running", "b succeeded", "succeeded"]


async def test_check_79_nobody_listens_and_the_trace_is_there_all_the_same() -> None:
    result = await settle(WORKFLOW)
    assert told(result.trace)[-1] == "failed"
