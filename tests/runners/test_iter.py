"""`AsyncRunner.iter`: the events of a run under way, its result, and what leaving its block does (74, 76, 100)."""

import asyncio
import gc
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Context, Event, Graph, Parallel, Retry, Sequence, State, Task
from orch.event import LogEvent, RunEvent, TaskEvent
from tests.execution.resilient import states
from tests.runners.iterated import PATIENCE, Stand, events_of, iterated, until


async def one() -> int:
    return 1


async def double(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * x


def plain() -> str:
    return "plain"


async def fails() -> None:
    raise ValueError("no")


def in_words(events: list[Event]) -> list[str]:
    return [f"{event.path} {event.state.value}".strip() for event in events if isinstance(event, RunEvent | TaskEvent)]


# -- events ------------------------------------------------------------------------------------------------------------


async def test_events_come_in_order_from_the_beginning_of_the_run_to_its_end() -> None:
    async with iterated(Sequence(one, double)) as run:
        seen = await events_of(run)
    told = ["running", "one running", "one succeeded", "double running", "double succeeded", "succeeded"]
    assert in_words(seen) == told
    assert seen == list(run.result.trace)
    assert run.result.value == [1, 2]


@pytest.mark.parametrize(
    "workflow",
    [
        Sequence(one, double, double),
        Parallel(*[one] * 300),
        Parallel(plain, one, plain, Sequence(plain, plain)),
        Sequence(one, fails, one),
        Parallel(Sequence(fails, one), one, on_failure="continue"),
        Sequence(Task(one, compensate=plain), fails, on_failure="compensate"),
        Sequence(Task(fails, retry=Retry(3, delay=0)), one),
        Graph(),
        Sequence(),
    ],
    ids=["chain", "wide", "threads", "abort", "continue", "compensate", "retry", "empty graph", "empty sequence"],
)
async def test_all_kinds_of_runs_are_told_as_their_trace_tells_them(workflow: Any) -> None:
    async with iterated(workflow) as run:
        seen = await events_of(run)
    assert seen == list(run.result.trace)


async def test_an_event_is_there_as_soon_as_its_fact_is() -> None:
    stand = Stand()
    async with iterated(Sequence(one, stand, double)) as run:
        seen = in_words(await until(run, "stand", "running"))
        assert seen == ["running", "one running", "one succeeded", "stand running"]
        assert stand.entered.is_set()
        stand.let_go.set()
        assert in_words(await events_of(run))[0] == "stand succeeded"


async def test_what_steps_say_comes_among_the_events() -> None:
    async def says(context: Context[Any]) -> None:
        context.log("halfway")

    async with iterated(says, Context()) as run:
        seen = await events_of(run)
    assert [type(event) for event in seen] == [RunEvent, TaskEvent, LogEvent, TaskEvent, RunEvent]


async def test_a_loop_may_end_and_another_goes_on_where_it_stopped() -> None:
    async with iterated(Sequence(one, double)) as run:
        seen = [await anext(run)]
        async for event in run:
            seen.append(event)
            if event.path == "one":
                break
        seen += await events_of(run)
        assert await events_of(run) == []
        with pytest.raises(StopAsyncIteration):
            await anext(run)
    assert seen == list(run.result.trace)


async def test_after_the_block_nothing_more_comes_but_what_was_not_read() -> None:
    async with iterated(Sequence(one, double)) as run:
        await events_of(run)
    assert await events_of(run) == []


async def test_waiting_for_an_event_in_vain_loses_none() -> None:
    stand = Stand()
    async with iterated(Sequence(stand, one)) as run:
        seen = await until(run, "stand", "running")
        for _ in range(3):
            with anyio.move_on_after(0.005) as scope:
                seen.append(await anext(run))
            assert scope.cancelled_caught
        stand.let_go.set()
        seen += await events_of(run)
    assert seen == list(run.result.trace)


async def test_whoever_reads_without_ever_waiting_lets_the_run_and_others_go_on() -> None:
    """No step here suspends, nor does the loop that reads; a neighbour in the event loop has its turns all the same."""
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(neighbour)
        async with iterated(Sequence(*[one] * 5000)) as run:
            seen = await events_of(run)
        group.cancel_scope.cancel()
    assert len(seen) == 10_002
    assert turns > 5


async def test_other_subscribers_hear_the_same() -> None:
    heard, slowly = list[Event](), list[Event]()

    async def slow(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        slowly.append(event)

    runner = AsyncRunner(subscribers=[heard.append])
    async with iterated(Parallel(*[double] * 5), {"x": 1}, runner=runner, subscribers=[slow]) as run:
        seen = await events_of(run)
        assert slowly == seen, "the result is there when everybody has had every event"
    assert heard == seen == slowly == list(run.result.trace)


async def test_a_subscriber_that_raises_is_no_concern_of_the_reader() -> None:
    def refuses(event: Event) -> None:
        raise RuntimeError(f"do not like {event.seq}")

    async with iterated(Sequence(one, double), subscribers=[refuses]) as run:
        seen = await events_of(run)
    assert seen == list(run.result.trace)


async def test_a_strict_subscriber_ends_the_run_and_is_raised_by_the_block() -> None:
    def refuses(event: Event) -> None:
        if event.path == "one":
            raise LookupError("strictly")

    stand = Stand()
    with pytest.raises(LookupError, match="strictly"):
        async with AsyncRunner(strict_subscribers=True).iter(Sequence(one, stand), subscribers=[refuses]) as run:
            seen = await events_of(run)
    assert seen[-1].path == ""
    assert stand.starts == stand.ends


async def test_two_runs_at_once_each_have_their_own_events() -> None:
    async with iterated(Sequence(one, double), run_id="A") as a, iterated(Sequence(one, one), run_id="B") as b:
        seen = {"A": list[Event](), "B": list[Event]()}
        for _ in range(6):
            seen["A"].append(await anext(a))
            seen["B"].append(await anext(b))
    assert seen == {"A": list(a.result.trace), "B": list(b.result.trace)}
    assert {event.run_id for event in seen["A"]} == {"A"}


# -- result ------------------------------------------------------------------------------------------------------------


async def test_the_result_before_the_end_is_an_error_that_says_what_to_do() -> None:
    stand = Stand()
    async with iterated(stand) as run:
        with pytest.raises(RuntimeError, match=r"not over: read its events to the end, or await run.wait\(\)"):
            _ = run.result
        await until(run, "stand", "running")
        with pytest.raises(RuntimeError, match="not over"):
            _ = run.result
        stand.let_go.set()
        await run.wait()
        assert run.result.state is State.SUCCEEDED


async def test_waiting_gives_the_result_without_reading_as_often_as_asked() -> None:
    async with iterated(Sequence(one, double)) as run:
        result = await run.wait()
        assert (await run.wait(), run.result) == (result, result)
        assert result.value == [1, 2]
    assert await run.wait() is run.result is result


async def test_waiting_can_be_given_up_and_the_run_goes_on() -> None:
    stand = Stand()
    async with iterated(stand) as run:
        with anyio.move_on_after(0.005) as scope:
            await run.wait()
        assert scope.cancelled_caught
        assert not stand.ends
        stand.let_go.set()
        assert (await run.wait()).state is State.SUCCEEDED


async def test_the_run_id_is_known_at_once() -> None:
    async with iterated(one, run_id="mine") as run:
        assert run.run_id == "mine"
        result = await run.wait()
    assert result.run_id == "mine"
    async with iterated(one) as first, iterated(one) as second:
        assert first.run_id != second.run_id


async def test_inputs_context_and_selection_are_those_of_run() -> None:
    async def shared(context: Context[str], x: int, y: int) -> str:
        return f"{context.data} {x} {y}"

    async with AsyncRunner(context=Context("data")).iter(shared, {"x": 1}, inputs={"y": 2}) as run:
        assert (await run.wait()).value == "data 1 2"
    async with AsyncRunner().iter(Graph(one, double), {"x": 4}, select="double") as run:
        assert [event.path for event in await events_of(run)] == ["", "double", "double", ""]


async def test_wrong_arguments_are_refused_before_anything_runs() -> None:
    with pytest.raises(orch.DefinitionError, match="x"):
        AsyncRunner().iter(double)
    with pytest.raises(TypeError, match="expected a callable or a workflow"):
        AsyncRunner().iter(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="run_id"):
        AsyncRunner().iter(one, run_id="")


async def test_a_run_that_was_never_begun_leaves_nothing() -> None:
    run = AsyncRunner().iter(one)
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["to the end", "not at all", "waiting"])
async def test_a_failed_run_raises_when_the_block_is_left(reading: str) -> None:
    run = AsyncRunner().iter(fails)

    async def block() -> None:
        async with run:
            if reading == "to the end":
                await events_of(run)
            elif reading == "waiting":
                assert (await run.wait()).state is State.FAILED
            else:
                await anyio.sleep(0.02)

    with pytest.raises(orch.WorkflowError, match="failed") as caught:
        await block()
    assert caught.value.result is run.result
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_unless_it_is_told_not_to() -> None:
    async with AsyncRunner().iter(fails, raise_on_failure=False) as run:
        assert in_words(await events_of(run)) == ["running", "fails running", "fails failed", "failed"]
    assert run.result.state is State.FAILED
    assert str(run.result.errors[0]) == "no"


@pytest.mark.parametrize("moment", ["at once", "under way", "at the end"])
async def test_what_the_block_raises_comes_out_as_it_is_and_the_run_is_settled(moment: str) -> None:
    stand, mistake = Stand(), KeyError("mine")
    run = AsyncRunner().iter(Sequence(stand, fails))

    async def block() -> None:
        async with run:
            if moment == "under way":
                await stand.entered.wait()
            elif moment == "at the end":
                stand.let_go.set()
                await run.wait()
            raise mistake

    with pytest.raises(KeyError) as caught:
        await block()
    assert caught.value is mistake
    assert mistake.__context__ is None
    assert stand.starts == stand.ends == (0 if moment == "at once" else 1)
    assert run.result.state is (State.FAILED if moment == "at the end" else State.CANCELLED)


async def test_a_group_that_the_block_raises_stays_a_group() -> None:
    with pytest.raises(ExceptionGroup, match="mine") as caught:
        async with AsyncRunner().iter(Stand()):
            raise ExceptionGroup("mine", [ValueError("a"), KeyError("b")])
    assert len(caught.value.exceptions) == 2


@pytest.mark.parametrize("grave", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("reading", ["to the end", "not at all", "waiting", "asking"])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_an_interrupt_in_a_step_surfaces_bare_whatever_the_block_does(
    grave: type[BaseException], reading: str, kind: str
) -> None:
    async def coroutine() -> None:
        await anyio.lowlevel.checkpoint()
        raise grave("stop")

    def thread() -> None:
        raise grave("stop")

    stand = Stand()

    async def block() -> None:
        async with AsyncRunner().iter(Parallel(stand, coroutine if kind == "coroutine" else thread)) as run:
            if reading == "to the end":
                assert in_words(await events_of(run))[-1] == "cancelled"
            elif reading == "waiting":
                await run.wait()
            elif reading == "asking":
                await events_of(run)
                _ = run.result
            else:
                await anyio.sleep(0.05)

    with pytest.raises(grave, match="stop"), anyio.fail_after(PATIENCE):
        await block()
    assert stand.starts == stand.ends


async def test_an_interrupt_in_a_step_wins_over_what_the_block_raises_because_of_it() -> None:
    async def interrupts() -> None:
        raise KeyboardInterrupt("stop")

    async def block() -> None:
        async with AsyncRunner().iter(interrupts) as run:
            await events_of(run)
            raise LookupError("no result")

    with pytest.raises(KeyboardInterrupt, match="stop") as caught:
        await block()
    assert isinstance(caught.value.__context__, LookupError)


# -- leaving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subscribed", [False, True])
async def test_leaving_early_cancels_and_settles(subscribed: bool) -> None:
    stand, heard = Stand(), list[Event]()
    async with iterated(Sequence(one, stand, double), subscribers=[heard.append] if subscribed else []) as run:
        async for event in run:
            if event.path == "stand":
                break
    assert states(run.result) == {"one": "succeeded", "stand": "cancelled", "double": "cancelled"}
    assert run.result.state is State.CANCELLED
    assert (stand.starts, stand.ends) == (1, 1)
    if subscribed:
        assert heard == list(run.result.trace)


async def test_leaving_at_once_starts_nothing() -> None:
    stand = Stand()
    async with iterated(Sequence(stand, one)) as run:
        pass
    assert run.result.state is State.CANCELLED
    assert states(run.result) == {"stand": "cancelled", "one": "cancelled"}
    assert stand.starts == 0


async def test_leaving_after_the_end_changes_nothing() -> None:
    async with iterated(one) as run:
        await run.wait()
    assert run.result.state is State.SUCCEEDED


async def test_leaving_waits_for_what_steps_still_have_to_do() -> None:
    ended = list[str]()

    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
                ended.append("clean")

    async with iterated(careful) as run:
        await until(run, "careful", "running")
        await anyio.lowlevel.checkpoint()
    assert ended == ["clean"]


async def test_leaving_early_compensates() -> None:
    undone, stand = list[int](), Stand()

    def undo(value: int) -> None:
        undone.append(value)

    workflow = Sequence(Task(one, compensate=undo), stand, on_failure="compensate")
    async with iterated(workflow) as run:
        await until(run, "stand", "running")
    assert undone == [1]
    assert states(run.result) == {"one": "compensated", "stand": "cancelled"}
    assert run.result.state is State.CANCELLED


@pytest.mark.parametrize("doing", ["reading", "waiting", "something else"])
async def test_the_caller_is_cancelled_and_so_is_the_run(doing: str) -> None:
    stand, left = Stand(), list[str]()
    with anyio.CancelScope() as scope:
        async with iterated(Sequence(one, stand)) as run:
            await until(run, "stand", "running")
            await stand.entered.wait()
            scope.cancel()
            if doing == "reading":
                await events_of(run)
            elif doing == "waiting":
                await run.wait()
            else:
                await anyio.sleep_forever()
            left.append("went on")
    assert left == []
    assert scope.cancelled_caught
    assert (stand.starts, stand.ends) == (1, 1)
    assert run.result.state is State.CANCELLED
    assert states(run.result) == {"one": "succeeded", "stand": "cancelled"}


async def test_the_caller_is_cancelled_before_the_block_is_entered() -> None:
    stand, entered = Stand(), list[str]()
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with AsyncRunner().iter(stand) as run:
            entered.append("entered")
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert stand.starts == 0
    assert run.result.state is State.CANCELLED


async def test_the_caller_is_cancelled_while_the_run_settles() -> None:
    """Clean-up and compensation are finished first; then the cancellation goes on to the caller."""
    done = list[str]()

    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
                done.append("cleaned")

    async def undo() -> None:
        await anyio.sleep(0.01)
        done.append("undone")

    with anyio.CancelScope() as scope:
        workflow = Sequence(Task(one, compensate=undo), careful, on_failure="compensate")
        async with AsyncRunner().iter(workflow) as run:
            await until(run, "careful", "running")
            await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        done.append("went on")
    assert done == ["cleaned", "undone"]
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_of_the_reader_is_what_he_gets() -> None:
    stand = Stand()

    async def reads() -> None:
        async with AsyncRunner().iter(stand) as run:
            await events_of(run)

    task = asyncio.get_running_loop().create_task(reads())
    await stand.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert (stand.starts, stand.ends) == (1, 1)


async def test_a_timeout_around_the_block_is_raised_as_such() -> None:
    stand = Stand()
    with pytest.raises(TimeoutError):  # noqa: PT012 (what is around the block is the point)
        with anyio.fail_after(0.02):
            async with AsyncRunner().iter(stand) as run:
                await events_of(run)
    assert (stand.starts, stand.ends) == (1, 1)


async def test_a_run_is_begun_once() -> None:
    async with iterated(one) as run:
        with pytest.raises(RuntimeError, match="begun already"):
            await run.__aenter__()
        await run.wait()
    with pytest.raises(RuntimeError, match="begun already"):
        await run.__aenter__()


async def test_what_is_left_of_a_run_is_its_result() -> None:
    """Neither the engine nor the event loop is kept alive by what a caller keeps."""
    async with iterated(Sequence(one, double)) as run:
        seen = await events_of(run)
    lanes = run._run.lanes
    assert not lanes
    assert seen[-1].state is State.SUCCEEDED  # type: ignore[attr-defined]


async def test_two_tasks_cannot_read_one_run_at_the_same_time() -> None:
    stand = Stand()
    async with iterated(stand) as run:
        await until(run, "stand", "running")
        async with anyio.create_task_group() as group:
            group.start_soon(events_of, run)
            await anyio.sleep(0.01)
            with pytest.raises(RuntimeError, match="two tasks read the events of one run"):
                await anext(run)
            stand.let_go.set()
    assert run.result.state is State.SUCCEEDED


async def test_one_may_read_while_another_waits_and_misses_nothing() -> None:
    seen = list[Event]()

    async def reads() -> None:
        async for event in run:
            seen.append(event)
            await anyio.lowlevel.checkpoint()

    async with iterated(Sequence(*[double] * 50), {"x": 1}) as run, anyio.create_task_group() as group:
        group.start_soon(reads)
        await run.wait()
    assert seen == list(run.result.trace)
