"""What hardly ever happens: steps that lie about themselves, limiters that fail late, an engine that is broken."""

import asyncio
import functools
import signal
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import orch
from orch import Context, State, Task
from orch.errors import ForeignCancellationError, InternalError
from orch.event import Event, LogEvent, TaskEvent
from orch.execution import Run
from orch.execution._deliver import Delivery
from orch.execution._failure import bare
from orch.execution._lane import alone
from orch.execution._resources import Resources
from orch.execution._run import Lane
from tests.execution.resilient import settle, virtual
from tests.execution.robust import Gate, immediate, on_trio, recorded, trio_runs, within

pytestmark = pytest.mark.timeout(20)


def mistaken(*_: object) -> None:
    raise LookupError("a mistake")


# -- steps that are not what they seem ---------------------------------------------------------------------------------


async def test_a_coroutine_function_that_cannot_be_called_is_a_failed_step() -> None:
    async def honest(x: int = 1) -> int:
        return x

    async def another() -> None: ...

    step = Task(honest, name="honest")
    plan = orch.plan.compile(orch.Sequence(step, immediate("next"), on_failure="continue"))
    honest.__code__ = another.__code__  # it takes nothing any more
    result = await settle(plan)
    assert "positional arguments but 1 was given" in str(result.tasks["honest"].error)


async def test_the_cancellation_of_another_event_loop_is_a_failure() -> None:
    async def other() -> None:
        if trio_runs():
            raise asyncio.CancelledError
        raise trio.Cancelled._create(source="explicit") if trio_needs_source() else trio.Cancelled._create()

    result = await settle(Task(other))
    assert isinstance(result.errors[0], ForeignCancellationError)


def trio_needs_source() -> bool:
    return hasattr(trio.Cancelled, "source") or "source" in getattr(trio.Cancelled, "__slots__", ())


async def test_a_limiter_that_fails_after_its_step_has_failed_adds_nothing() -> None:
    gate = Gate()

    class Broken:
        async def acquire(self) -> None: ...

        async def release(self) -> None:
            raise OSError("the line is dead")

    async def opens() -> None:
        await anyio.sleep(0.02)
        gate.open()

    with gate, within(5):
        late = Task(gate, name="late", limiter=Broken(), timeout=0.01)
        result = await settle(orch.Parallel(late, opens, on_failure="continue"))
    (error,) = result.errors
    assert isinstance(error, orch.TaskTimeoutError)


async def test_only_the_step_that_is_called_again_gets_another_view() -> None:
    seen: list[tuple[str, int]] = []

    async def first(context: Context[Any]) -> None:
        seen.append((str(context.task), context.attempt))
        if context.attempt == 1:
            raise LookupError

    async def other(context: Context[Any]) -> None:
        seen.append((str(context.task), context.attempt))

    steps: list[Any] = [Task(other, name="before"), Task(first, name="first", retry=orch.Retry(2, delay=0)), other]
    await settle(orch.Sequence(*steps), Context(None))
    assert seen == [("before", 1), ("first", 1), ("first", 2), ("other", 1)]


@virtual
async def test_a_compensation_that_comes_back_late_has_been_made() -> None:
    async def undo() -> None:
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            pass  # it swallows it, and returns

    async def fails() -> None:
        raise LookupError

    booked = Task(immediate(), name="booked", compensate=Task(undo, timeout=5))
    result = await settle(orch.Sequence(booked, fails, on_failure="compensate"))
    assert result.tasks["booked"].state is State.COMPENSATED
    said = [event.message for event in result.trace if isinstance(event, LogEvent)]
    assert said == ["returned a value after its timeout of 5 s"]


# -- coroutines that are thrown away -----------------------------------------------------------------------------------


def test_a_coroutine_that_is_closed_closes_what_it_awaits() -> None:
    """As an event loop does that ends in the middle of a run."""
    ended: list[str] = []

    @types.coroutine
    def suspended() -> Iterator[None]:
        yield

    async def step() -> None:
        try:
            await suspended()
        finally:
            ended.append("closed")

    coroutine = alone(step())
    coroutine.send(None)
    coroutine.close()
    assert ended == ["closed"]


def test_a_lane_that_has_no_task_yet_is_marked() -> None:
    lane = Lane()
    lane.stop()
    assert lane.stopped


async def test_a_run_that_is_over_reacts_to_nothing() -> None:
    with recorded() as story:
        await orch.run(immediate())
        (run,) = story.runs
        before = len(run.schedule)
        run.spread()
        run.react()
        run.leave()
    assert len(run.schedule) == before


# -- subscribers -------------------------------------------------------------------------------------------------------


async def test_a_reader_that_is_far_behind_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orch.execution._deliver.CAPACITY", 10)
    events: list[Event] = []
    with within(10):
        async with orch.AsyncRunner().iter(orch.Sequence([immediate()] * 100)) as run:
            async for event in run:
                events.append(event)
                await anyio.lowlevel.checkpoint()
        assert run.result.state is State.SUCCEEDED
    assert [event.seq for event in events] == list(range(1, 203))


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_of_a_subscriber_ends_the_run_and_comes_bare(interrupt: type[BaseException]) -> None:
    def raises(event: Event) -> None:
        if isinstance(event, TaskEvent):
            raise interrupt

    with within(5), pytest.raises(interrupt):
        await orch.run(orch.Parallel(anyio.sleep_forever, anyio.sleep_forever), subscribers=[raises])


# -- an engine that is broken ------------------------------------------------------------------------------------------


async def test_a_run_that_ends_too_early_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def host(*_: object) -> None: ...

    monkeypatch.setattr("orch.execution._engine._host", host)
    with pytest.raises(InternalError, match="ended with unsettled steps"):
        await orch.run(immediate())


async def test_a_mistake_of_delivery_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Delivery, "_catch_up", mistaken)
    with within(5), pytest.raises(InternalError, match="a mistake"):
        await orch.run(anyio.sleep_forever, subscribers=[print])


async def test_a_mistake_beside_a_compensation_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orch.execution._undo._quiet", mistaken)

    async def fails() -> None:
        raise ValueError

    booked = Task(immediate(), compensate=lambda: None)
    with within(5), pytest.raises(InternalError, match="a mistake"):
        await orch.run(orch.Sequence(booked, fails, on_failure="compensate"))


@on_trio
@pytest.mark.parametrize("policies", [{}, {"timeout": 60}], ids=["plain", "with a desk"])
async def test_an_interrupt_in_the_code_of_the_engine_comes_bare(
    monkeypatch: pytest.MonkeyPatch, policies: dict[str, Any]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "exit", interrupted)
    with within(5), pytest.raises(KeyboardInterrupt):
        await orch.run(orch.Parallel(Task(anyio.lowlevel.checkpoint, **policies), anyio.sleep_forever))


@pytest.mark.parametrize("policies", [{}, {"timeout": 60}], ids=["plain", "with a desk"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, LookupError])
async def test_an_engine_that_is_interrupted_beside_a_suspended_step_lets_it_end(
    monkeypatch: pytest.MonkeyPatch, policies: dict[str, Any], error: type[BaseException]
) -> None:
    """Else its cancel scopes would be closed after its task, and trio calls that a corrupted stack."""
    ended: list[str] = []
    enter = Run.enter

    def interrupted(run: Run, node: int, lane: Lane) -> None:
        monkeypatch.setattr(Run, "enter", enter)
        raise error

    async def step() -> None:
        with anyio.fail_after(50):
            try:
                await anyio.Event().wait()
            finally:
                ended.append("step")

    booked = Task(immediate(), compensate=lambda: ended.append("undone"))
    beside = orch.Parallel(Task(step, **policies), anyio.sleep_forever)
    monkeypatch.setattr(Run, "enter", interrupted)
    with within(5), pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else InternalError):
        await orch.run(orch.Sequence(booked, beside, on_failure="compensate"))
    assert ended == ["step", "undone"]


@pytest.mark.parametrize("policies", [{}, {"timeout": 60}], ids=["plain", "with a desk"])
@pytest.mark.parametrize("where", ["enter", "exit"])
def test_on_trio_control_c_waits_until_a_step_is_in_the_hands_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, where: str, policies: dict[str, Any]
) -> None:
    """Trio raises it wherever the main thread is; in a lane, the coroutine of its step would be lost."""
    original, ended = getattr(Run, where), list[str]()

    def pressed(*args: Any) -> None:
        monkeypatch.setattr(Run, where, original)
        signal.raise_signal(signal.SIGINT)
        ended.append("not raised here")
        original(*args)

    async def step() -> None:
        with anyio.move_on_after(50):
            try:
                await anyio.sleep(0.01 if where == "exit" else 50)
            finally:
                ended.append("step")

    monkeypatch.setattr(Run, where, pressed)
    with pytest.raises(KeyboardInterrupt):
        anyio.run(orch.run, orch.Sequence(Task(step, **policies), anyio.sleep_forever), backend="trio")
    assert sorted(ended) == ["not raised here", "step"]


def test_on_trio_control_c_is_raised_in_a_step_that_keeps_the_loop_busy() -> None:
    async def busy() -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        anyio.run(orch.run, busy, backend="trio")


def test_on_trio_control_c_beside_the_owner_of_a_resource_does_not_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the resource to be closed would wait for ever."""
    closed: list[str] = []
    original = Resources._failed

    @orch.resource
    async def broken() -> AsyncIterator[int]:
        closed.append("opened")
        yield int("not a number")

    def pressed(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        original(*args)
        closed.append("seen to its end")

    async def step(value: int = orch.use(broken)) -> None: ...

    monkeypatch.setattr(Resources, "_failed", pressed)
    with pytest.raises(KeyboardInterrupt):
        anyio.run(orch.run, step, backend="trio")
    assert closed == ["opened", "seen to its end"]


def test_of_what_the_engine_ended_with_an_interrupt_matters_most() -> None:
    stop = KeyboardInterrupt()
    assert bare(BaseExceptionGroup("", [LookupError(), BaseExceptionGroup("", [stop])])) is stop
    assert isinstance(bare(ExceptionGroup("", [LookupError()])), InternalError)


# -- Ctrl-C twice ------------------------------------------------------------------------------------------------------


def test_c17_on_trio_a_second_control_c_gives_compensations_up() -> None:
    """Where trio itself hears it, as it does while it waits, whoever waits in the main task is interrupted."""
    press: Callable[[], None] = trio.lowlevel.enable_ki_protection(lambda: signal.raise_signal(signal.SIGINT))
    undone: list[str] = []

    async def step() -> None:
        press()
        await anyio.sleep(20)

    def undo(name: str) -> Callable[[], Any]:
        async def undoes() -> None:
            undone.append(name)
            press()
            await anyio.sleep(20)
            undone.append("not reached")

        return undoes

    booked = [Task(immediate(), name=name, compensate=undo(name)) for name in ("a", "b")]
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        anyio.run(functools.partial(orch.run, orch.Sequence(*booked, step, on_failure="compensate")), backend="trio")
    assert time.monotonic() - begin < 10
    assert undone == ["b"]
