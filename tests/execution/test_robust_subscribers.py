"""Whoever is told of a run gets everything in order before the run returns, and cannot hurt it."""

import asyncio
import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch.event import Event, EventBus, RunEvent, State, TaskEvent
from tests.execution.robust import (
    foreign_cancellation,
    immediate,
    recorded,
    run_quietly,
    ticks,
    until,
    within,
)
from tests.properties.invariants import check

pytestmark = pytest.mark.timeout(30)


async def waits() -> int:
    await checkpoint()
    return 1


def threaded() -> int:
    return 2


async def at_once() -> int:
    return 3


def mixed(number: int = 5) -> orch.Workflow:
    return orch.Sequence(*[orch.Parallel(waits, threaded, at_once)] * number)


class Ear:
    """A subscriber that can be told how to behave, plain or async."""

    def __init__(self, reaction: Callable[[Event], Awaitable[None] | None] = lambda _: None) -> None:
        self.heard: list[Event] = []
        self._reaction = reaction

    def __call__(self, event: Event) -> Awaitable[None] | None:
        self.heard.append(event)
        return self._reaction(event)


def raises(_: Event) -> None:
    raise ValueError("a subscriber")


async def raises_later(_: Event) -> None:
    await checkpoint()
    raise ValueError("a subscriber")


async def slow(_: Event) -> None:
    await anyio.sleep(0.002)


@pytest.mark.blocks("a subscriber that blocks the loop is what this is about")
async def test_all_kinds_of_subscribers_get_everything_in_order_before_the_run_returns() -> None:
    bus, ears = EventBus(), [Ear(), Ear(slow), Ear(lambda _: time.sleep(0.001)), Ear()]
    for ear in ears[2:]:
        bus.subscribe(ear)
    result = await orch.run(mixed(), subscribers=[ears[0], raises, ears[1], raises_later, bus])
    check(result.trace, orch.plan.compile(mixed()))
    for ear in ears:
        assert ear.heard == list(result.trace)
    assert result.state is State.SUCCEEDED


async def test_a_subscriber_of_the_runner_hears_every_run_and_one_of_a_run_that_run_only() -> None:
    always, once = Ear(), Ear()
    runner = orch.AsyncRunner(subscribers=[always])
    first = await runner.run(mixed(), subscribers=[once])
    second = await runner.run(waits)
    assert once.heard == list(first.trace)
    assert always.heard == [*first.trace, *second.trace]


@pytest.mark.parametrize("reaction", [raises, raises_later])
async def test_a_subscriber_that_raises_is_reported_once_and_detached_after_ten_errors(
    reaction: Callable[[Event], Any], caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Ear(reaction), Ear()
    result = await orch.run(mixed(10), subscribers=[bad, good])
    assert result.state is State.SUCCEEDED
    assert len(bad.heard) == 10
    assert good.heard == list(result.trace)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "detached" in caplog.text


async def test_errors_of_a_subscriber_do_not_add_up_over_runs() -> None:
    bad = Ear(raises)
    runner = orch.AsyncRunner(subscribers=[bad])
    for _ in range(5):
        await runner.run(waits)
    assert len(bad.heard) == 20


async def test_a_cancellation_that_a_subscriber_raises_is_an_error_of_its_own() -> None:
    foreign = await foreign_cancellation()

    async def reaction(_: Event) -> None:
        raise foreign

    bad, good = Ear(reaction), Ear()
    result = await orch.run(mixed(10), subscribers=[bad, good])
    assert result.state is State.SUCCEEDED
    assert len(bad.heard) == 10
    assert good.heard == list(result.trace)


async def test_a_subscriber_may_return_anything() -> None:
    odd = Ear(lambda _: object())  # type: ignore[arg-type, return-value]
    result = await orch.run(mixed(), subscribers=[odd])
    assert odd.heard == list(result.trace)


@pytest.mark.parametrize("reaction", [raises, raises_later])
@pytest.mark.parametrize("at", [1, 3, "last"])
async def test_a_strict_runner_ends_the_run_with_what_the_subscriber_raised(
    reaction: Callable[[Event], Any], at: Any
) -> None:
    def when(event: Event) -> Any:
        last = isinstance(event, RunEvent) and event.state.is_final
        return reaction(event) if event.seq == at or (at == "last" and last) else None

    bad, good = Ear(when), Ear()
    runner = orch.AsyncRunner(strict_subscribers=True, subscribers=[bad, good])
    steps = [waits, anyio.sleep_forever] if at != "last" else [waits]
    with recorded() as story, within(5), pytest.raises(ValueError, match="a subscriber"):
        await runner.run(orch.Parallel(*steps))
    assert good.heard == list(story.trace())
    assert bad.heard == good.heard


# -- what they may do --------------------------------------------------------------------------------------------------


async def test_a_subscriber_may_cancel_the_run() -> None:
    with recorded() as story, anyio.CancelScope() as scope:

        def cancels(event: Event) -> None:
            if event.seq == 3:
                scope.cancel()

        ear = Ear(cancels)
        await orch.run(orch.Parallel(waits, anyio.sleep_forever), subscribers=[ear])
    assert scope.cancelled_caught
    assert ear.heard == list(story.trace())
    assert story.state() is State.CANCELLED


@pytest.mark.parametrize("nested", ["told too", "not told"])
async def test_a_subscriber_may_run_a_workflow(nested: str) -> None:
    values: list[Any] = []

    async def runs(event: Event) -> None:
        if isinstance(event, TaskEvent) and len(values) < 3:
            place = len(values)
            values.append(None)
            inner = await orch.run(mixed(1), subscribers=[ear] if nested == "told too" else [])
            values[place] = inner.value

    ear = Ear(runs)
    result = await orch.run(orch.Sequence(waits, waits, threaded), subscribers=[ear])
    assert result.value == [1, 1, 2]
    assert values == [[[1, 2, 3]]] * 3
    assert [event for event in ear.heard if event.run_id == result.run_id] == list(result.trace)


async def test_a_bus_may_change_while_it_is_told() -> None:
    bus = EventBus()
    late = Ear()

    def changes(event: Event) -> None:
        if event.seq == 5:
            bus.subscribe(late)
        if event.seq == 9:
            bus.unsubscribe(early)

    early = Ear(changes)
    stays = Ear()
    bus.subscribe(early)
    bus.subscribe(stays)
    result = await orch.run(orch.Sequence([waits] * 20), subscribers=[bus])
    trace = list(result.trace)
    assert stays.heard == trace
    assert early.heard == trace[:9]
    assert late.heard == trace[len(trace) - len(late.heard) :]
    assert late.heard
    assert 5 <= late.heard[0].seq - 1 <= 12


async def test_who_comes_to_a_bus_in_the_middle_of_a_run_hears_what_happens_from_then_on() -> None:
    bus, ear, positions = EventBus(), Ear(), list[int]()

    async def subscribes(ctx: orch.Context[Any]) -> None:
        await checkpoint()
        positions.append(len(ctx.trace))
        bus.subscribe(ear)
        await checkpoint()

    result = await orch.run(orch.Sequence(waits, subscribes, waits), orch.Context(), subscribers=[bus])
    assert ear.heard == list(result.trace)[positions[0] :]


async def test_who_leaves_a_bus_hears_nothing_more_even_of_what_has_happened() -> None:
    bus, ear = EventBus(), Ear()
    bus.subscribe(ear)

    async def unsubscribes() -> None:
        await ticks()
        bus.unsubscribe(ear)
        await ticks()

    await orch.run(orch.Sequence(waits, unsubscribes, waits, waits), subscribers=[bus])
    assert [event.seq for event in ear.heard] == list(range(1, len(ear.heard) + 1))
    assert len(ear.heard) == 4
    bus.unsubscribe(ear)


async def test_a_bus_may_be_changed_from_threads_during_a_run() -> None:
    bus, ears = EventBus(), [Ear() for _ in range(20)]

    def changes(number: int) -> None:
        bus.subscribe(ears[number])
        if number % 2:
            bus.unsubscribe(ears[number])

    steps = [orch.Task(changes, name=str(number)).bind(number=number) for number in range(20)]
    result = await orch.run(orch.Sequence(orch.Parallel(*steps), waits), subscribers=[bus])
    for number, ear in enumerate(ears):
        seqs = [event.seq for event in ear.heard]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else number % 2
        assert bool(seqs and seqs[-1] == len(result.trace)) is not bool(number % 2)


async def test_the_bus_of_the_process_is_told_of_every_run_that_begins_while_somebody_listens() -> None:
    ear = Ear()

    async def subscribes() -> None:
        await checkpoint()
        orch.event_bus.subscribe(ear)
        await checkpoint()

    try:
        result = await orch.run(orch.Sequence(subscribes, waits))
        again = await orch.run(waits)
    finally:
        orch.event_bus.unsubscribe(ear)
    assert result.state is State.SUCCEEDED
    assert ear.heard == list(again.trace)  # no subscriber at the start, no cost: the first run is told to nobody


async def test_two_runs_at_once_are_told_to_one_bus_each_in_its_own_order() -> None:
    bus, ear = EventBus(), Ear(slow)
    bus.subscribe(ear)
    found: list[Any] = []

    async def one() -> None:
        found.append(await orch.run(mixed(2), subscribers=[bus]))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)
    for result in found:
        assert [event for event in ear.heard if event.run_id == result.run_id] == list(result.trace)


async def test_a_subscriber_in_a_nursery_of_its_own_and_with_scopes_is_its_own_affair() -> None:
    async def reaction(_: Event) -> None:
        with anyio.move_on_after(0.001):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)

    ear = Ear(reaction)
    result = await orch.run(mixed(1), subscribers=[ear])
    assert ear.heard == list(result.trace)


async def test_a_subscriber_gets_values_and_errors_as_they_were() -> None:
    error, value = ValueError("mine"), object()

    async def fails() -> None:
        raise error

    ear = Ear()
    await run_quietly(orch.Parallel(immediate(value), fails, on_failure="continue"), subscribers=[ear])
    ended = [event for event in ear.heard if isinstance(event, TaskEvent) and event.state.is_final]
    assert [event.value for event in ended if event.state is State.SUCCEEDED] == [value]
    assert [event.error for event in ended if event.state is State.FAILED] == [error]


# -- back-pressure -----------------------------------------------------------------------------------------------------

BREATH = 1_024
"""So many steps that never suspend are taken before anybody looks whether there is room."""


class Holding:
    """Takes no second event before it is let go; says how far the run has come meanwhile."""

    def __init__(self) -> None:
        self.let_go = anyio.Event()
        self.heard = 0

    async def __call__(self, event: Event) -> None:
        self.heard += 1
        if event.seq > 1:
            await self.let_go.wait()


def counting(kind: str, ran: list[None]) -> orch.Task[..., Any]:
    async def suspends() -> None:
        ran.append(None)
        await checkpoint()

    async def at_once() -> None:
        ran.append(None)

    def plain() -> None:
        ran.append(None)

    fn = {"suspends": suspends, "at once": at_once}.get(kind, plain)
    return orch.Task(fn, name="step", thread=False if kind == "in place" else None)


async def held_back(workflow: orch.Workflow, ran: list[None], holding: Holding) -> int:
    """Run with a subscriber that hangs until nothing goes on any more; say how many steps had run by then."""

    async def call() -> None:
        await orch.AsyncRunner(threads=3).run(workflow, subscribers=[holding])

    with recorded() as story:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await _standstill(ran)
            held = len(ran)
            holding.let_go.set()
    assert story.state() is State.SUCCEEDED
    return held


@pytest.mark.parametrize("shape", [orch.Sequence, orch.Parallel])
@pytest.mark.parametrize("kind", ["at once", "suspends", "thread", "in place"])
async def test_a_run_waits_for_a_subscriber_that_is_too_far_behind(
    kind: str, shape: Callable[..., orch.Workflow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orch.execution._deliver.CAPACITY", 500)
    ran, holding = list[None](), Holding()
    limit = 100 if shape is orch.Parallel else None
    held = await held_back(shape([counting(kind, ran)] * 2_500, limit=limit), ran, holding)
    assert len(ran) == 2_500
    assert holding.heard == 5_002
    assert 200 <= held <= 250 + 2 * BREATH


async def test_too_far_behind_is_ten_thousand_events() -> None:
    ran, holding = list[None](), Holding()
    held = await held_back(orch.Sequence([counting("suspends", ran)] * 5_600), ran, holding)
    assert len(ran) == 5_600
    assert 5_000 <= held <= 5_010


async def _standstill(ran: list[None]) -> None:
    """Wait until nothing happens any more."""
    before = -1
    with anyio.fail_after(10):
        while len(ran) != before or not ran:
            before = len(ran)
            await anyio.sleep(0.05)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_two_hundred_thousand_steps_are_told_one_by_one_in_little_memory() -> None:
    counted: Counter[State] = Counter()
    seqs: list[int] = [0]
    alive: list[int] = []

    def counts(event: Event) -> None:
        assert event.seq == seqs[0] + 1
        seqs[0] = event.seq
        if isinstance(event, TaskEvent):
            counted[event.state] += 1
        if event.seq in {100_000, 300_000}:
            alive.append(sum(isinstance(each, TaskEvent) for each in gc.get_objects()))

    step = orch.Task(at_once, name="step")
    runner = orch.AsyncRunner(strict_subscribers=True, subscribers=[counts])
    result = await runner.run(orch.Sequence([step] * 200_000))
    assert result.state is State.SUCCEEDED
    assert seqs == [400_002]
    assert counted == {State.RUNNING: 200_000, State.SUCCEEDED: 200_000}
    assert max(alive) < 20_000


async def test_a_slow_subscriber_holds_up_no_other() -> None:
    let_go = anyio.Event()

    async def held(_: Event) -> None:
        await let_go.wait()

    fast = Ear()
    async with anyio.create_task_group() as group:

        async def call() -> None:
            await orch.run(orch.Sequence([waits] * 50), subscribers=[held, fast])

        group.start_soon(call)
        await until(lambda: len(fast.heard) == 102)
        let_go.set()


async def test_a_thousand_subscribers_are_told() -> None:
    heard: Counter[int] = Counter()

    def make(number: int) -> Callable[[Event], None]:
        return lambda _: heard.update([number])

    await orch.run(orch.Sequence([waits] * 10), subscribers=[make(number) for number in range(1_000)])
    assert len(heard) == 1_000
    assert set(heard.values()) == {22}


@pytest.mark.parametrize("how", ["raises", "is slow", "leaves"])
async def test_the_record_of_a_run_is_the_same_whoever_listens(how: str) -> None:
    bus = EventBus()

    def leaves(_: Event) -> None:
        bus.unsubscribe(ear)

    reactions: dict[str, Any] = {"raises": raises, "is slow": slow, "leaves": leaves}
    ear: Ear = Ear(reactions[how])
    bus.subscribe(ear)

    def facts(result: Any) -> Any:
        return result.value, [(event.path, getattr(event, "state", None)) for event in result.trace]

    chain = orch.Sequence(waits, at_once, waits, at_once, orch.Task(threaded, thread=False))
    assert facts(await orch.run(chain, subscribers=[bus])) == facts(await orch.run(chain))


async def test_a_subscriber_on_another_thread_is_reached_through_a_queue() -> None:
    heard: list[Event] = []

    async def hops(event: Event) -> None:
        await anyio.to_thread.run_sync(heard.append, event)

    result = await orch.run(mixed(1), subscribers=[hops])
    assert heard == list(result.trace)


async def test_a_subscriber_may_block_on_what_a_thread_asks_of_the_loop() -> None:
    """A plain step that calls back while its own events are being delivered."""

    def asks() -> int:
        return anyio.from_thread.run(waits)

    ear = Ear(slow)
    result = await orch.run(orch.Parallel([asks] * 5), subscribers=[ear])
    assert result.value == [1] * 5
    assert ear.heard == list(result.trace)
    assert threading.active_count() >= 1


async def test_events_that_are_kept_keep_no_run_alive_longer_than_themselves() -> None:
    class Value:
        pass

    ear = Ear()
    result: Any = await orch.run(immediate(Value()), subscribers=[ear])
    del result
    ear.heard.clear()
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Value)]


def test_nothing_of_asyncio_is_needed_to_be_told_on_trio() -> None:
    ear = Ear()
    result = orch.Runner(backend="trio", subscribers=[ear]).run(mixed(1))
    assert ear.heard == list(result.trace)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
