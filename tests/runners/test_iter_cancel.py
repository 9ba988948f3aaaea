"""`run.cancel()` and `run.cancel(step)` at every moment, from the event loop and from threads. C1, C2, C11 to C15."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from orch import AsyncRunner, Event, FailureStrategy, Graph, Parallel, RateLimit, Retry, Sequence, State, Task
from orch.event import RunEvent, TaskEvent
from orch.runners._iter import GraphRun
from tests.execution.resilient import by_path, states
from tests.runners.iterated import Stand, events_of, iterated, until


async def one() -> int:
    return 1


async def after(stand: str) -> str:
    return stand


async def later() -> str:
    return "later"


async def fails() -> None:
    raise ValueError("no")


def by_loop(run: GraphRun, *step: str) -> Callable[[], Any]:
    async def call() -> bool:
        return run.cancel(*step)

    return call


def by_thread(run: GraphRun, *step: str) -> Callable[[], Any]:
    """From a thread that knows nothing of event loops."""

    async def call() -> bool:
        said = list[bool | BaseException]()

        def work() -> None:
            try:
                said.append(run.cancel(*step))
            except BaseException as error:  # noqa: BLE001 (shown below)
                said.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():  # noqa: ASYNC110 (nobody announces it)
            await anyio.sleep(0.001)
        thread.join()
        (found,) = said
        assert isinstance(found, bool), found
        return found

    return call


def by_worker(run: GraphRun, *step: str) -> Callable[[], Any]:
    async def call() -> bool:
        return await anyio.to_thread.run_sync(partial(run.cancel, *step))

    return call


callers = pytest.mark.parametrize("by", [by_loop, by_thread, by_worker])


def reason(events: list[Event], path: str) -> tuple[str | None, str | None]:
    last = by_path(events)[path][-1]
    return last.reason, last.cause


# -- the run -----------------------------------------------------------------------------------------------------------


@callers
@pytest.mark.parametrize("then", ["read", "wait", "leave"])
async def test_cancel_ends_the_run_and_is_no_error(by: Any, then: str) -> None:
    a, b = Stand("a"), Stand("b")
    async with iterated(Sequence(one, Parallel(a, b), later)) as run:
        seen = await until(run, "parallel/b", "running")
        assert await by(run)() is True
        if then == "read":
            seen += await events_of(run)
            assert seen == list(run.result.trace)
        elif then == "wait":
            assert (await run.wait()).state is State.CANCELLED
    assert run.result.state is State.CANCELLED
    assert states(run.result) == {
        "one": "succeeded",
        "parallel/a": "cancelled",
        "parallel/b": "cancelled",
        "later": "cancelled",
    }
    assert (a.ends, b.ends) == (a.starts, b.starts)
    assert reason(list(run.result.trace), "later") == ("cancelled", None)
    assert run.result.errors == ()


@callers
async def test_only_the_first_cancel_finds_something_to_do(by: Any) -> None:
    stand = Stand()
    async with iterated(stand) as run:
        await stand.entered.wait()
        assert [await by(run)(), run.cancel(), run.cancel("stand")] == [True, False, False]
        await run.wait()
        assert [await by(run)(), await by(run, "stand")(), run.cancel()] == [False, False, False]
    assert await by(run)() is False
    assert await by(run, "stand")() is False


async def test_many_threads_cancel_at_once_and_one_of_them_did_it() -> None:
    stand, said = Stand(), list[bool]()
    async with iterated(stand) as run:
        await stand.entered.wait()
        threads = [threading.Thread(target=lambda: said.append(run.cancel())) for _ in range(20)]
        for thread in threads:
            thread.start()
        await run.wait()
        while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110 (nobody announces it)
            await anyio.sleep(0.001)
    assert sorted(said) == [False] * 19 + [True]


def test_cancel_of_a_run_whose_event_loop_is_gone() -> None:
    kept = list[GraphRun]()

    async def main() -> None:
        async with AsyncRunner().iter(one) as run:
            await run.wait()
        kept.append(run)

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
    said = list[bool]()
    thread = threading.Thread(target=lambda: said.extend([run.cancel() for run in kept] + [kept[0].cancel("one")]))
    thread.start()
    thread.join()
    assert [run.cancel() for run in kept] == [False, False]
    assert said == [False, False, False]


@pytest.mark.parametrize("step", [False, True])
async def test_cancel_before_anything_has_begun_starts_nothing(step: bool) -> None:
    stand = Stand()
    async with iterated(Sequence(stand, one)) as run:
        assert run.cancel(*["stand"] * step) is True
        seen = await events_of(run)
    assert stand.starts == 0
    assert run.result.state is State.CANCELLED
    assert states(run.result)["stand"] == "cancelled"
    assert seen == list(run.result.trace)


async def test_cancel_before_the_block_is_entered() -> None:
    stand = Stand()
    run = AsyncRunner().iter(Sequence(stand, one))
    assert [run.cancel(), run.cancel()] == [True, False]
    async with run:
        assert (await run.wait()).state is State.CANCELLED
    assert stand.starts == 0


async def test_cancel_while_iterating_goes_on_with_what_then_happens() -> None:
    stand = Stand()
    async with iterated(Sequence(one, stand, later)) as run:
        seen = list[Event]()
        async for event in run:
            seen.append(event)
            if event.path == "stand" and event.state is State.RUNNING:  # type: ignore[attr-defined]
                assert run.cancel()
    assert [event.path for event in seen] == ["", "one", "one", "stand", "later", "stand", ""]
    assert isinstance(seen[-1], RunEvent)
    assert seen[-1].state is State.CANCELLED


async def test_whoever_cancels_after_the_last_step_is_too_late() -> None:
    """The core has recorded the end before; that its events are not read yet does not matter. C2."""
    heard = list[bool]()

    async def last() -> None:
        await anyio.lowlevel.checkpoint()

    def told(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.SUCCEEDED:
            heard.append(run.cancel())

    async with iterated(last, subscribers=[told]) as run:
        await run.wait()
    assert heard == [False]
    assert run.result.state is State.SUCCEEDED


@pytest.mark.parametrize("on_failure", list(FailureStrategy), ids=lambda each: each.value)
async def test_cancel_counts_as_no_failure_under_any_strategy(on_failure: FailureStrategy) -> None:
    undone, stand = list[int](), Stand()

    def undo(value: int) -> None:
        undone.append(value)

    workflow = Parallel(Task(one, compensate=undo), stand, on_failure=on_failure)
    async with iterated(workflow) as run:
        await until(run, "one", "succeeded")
        await stand.entered.wait()
        assert run.cancel()
        assert (await run.wait()).state is State.CANCELLED
    assert states(run.result)["stand"] == "cancelled"
    assert undone == ([1] if on_failure is FailureStrategy.COMPENSATE else [])
    assert not run.result.errors


async def test_cancel_lets_clean_up_end_and_keeps_what_it_raises() -> None:
    async def untidy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("while cleaning up")

    async with iterated(Parallel(untidy, on_failure="continue")) as run:
        await until(run, "untidy", "running")
        await anyio.lowlevel.checkpoint()
        run.cancel()
        await run.wait()
    assert isinstance(run.result.tasks["untidy"].error, OSError)


async def test_cancel_of_a_run_that_has_failed_while_a_step_cleans_up() -> None:
    cleaning, go_on = anyio.Event(), anyio.Event()

    async def tidy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                cleaning.set()
                await go_on.wait()

    async with iterated(Parallel(tidy, Sequence(one, fails)), raise_on_failure=True) as run:
        await cleaning.wait()
        assert run.cancel() is True
        go_on.set()
        result = await run.wait()
    assert result.state is State.CANCELLED, "nothing is raised, though it could have been"
    assert [type(error) for error in result.errors] == [ValueError]


async def test_cancel_during_compensation_lets_it_end() -> None:
    began, go_on, done = anyio.Event(), anyio.Event(), list[str]()

    async def undo() -> None:
        began.set()
        await go_on.wait()
        await anyio.lowlevel.checkpoint()
        done.append("undone")

    workflow = Sequence(Task(one, compensate=undo), Task(later, compensate=undo), fails, on_failure="compensate")
    async with iterated(workflow) as run:
        await began.wait()
        assert run.cancel("one") is False, "it has ended"
        assert run.cancel() is False, "so have all steps"
        go_on.set()
        result = await run.wait()
    assert result.state is State.FAILED
    assert done == ["undone", "undone"]
    assert states(result) == {"one": "compensated", "later": "compensated", "fails": "failed"}


async def test_cancel_ends_a_wait_for_the_next_attempt() -> None:
    calls = list[int]()

    async def flaky() -> None:
        calls.append(1)
        raise ConnectionError

    async with iterated(Task(flaky, retry=Retry(5, delay=30))) as run:
        await until(run, "flaky", "retrying")
        assert run.cancel()
        await run.wait()
    assert calls == [1]
    record = run.result.tasks["flaky"]
    assert (record.state, record.attempts) == (State.CANCELLED, 1)


@pytest.mark.parametrize("kind", ["capacity", "semaphore", "rate"])
@pytest.mark.parametrize("step", [False, True])
async def test_cancel_ends_a_wait_for_a_limiter_and_leaves_it_as_it_was(kind: str, step: bool) -> None:
    limiter: Any = {"capacity": anyio.CapacityLimiter(1), "semaphore": anyio.Semaphore(1), "rate": RateLimit(1, 3600)}[
        kind
    ]
    if kind == "capacity":
        limiter.acquire_on_behalf_of_nowait("somebody")
    else:
        limiter.acquire_nowait()
    calls, sibling = list[int](), Stand("sibling")

    async def limited() -> None:
        calls.append(1)

    async with iterated(Parallel(Task(limited, limiter=limiter), sibling)) as run:
        await until(run, "limited", "running")
        await sibling.entered.wait()
        assert run.cancel(*["limited"] * step)
        await until(run, "limited", "cancelled")
        sibling.let_go.set()
        await run.wait()
    assert calls == []
    assert states(run.result) == {"limited": "cancelled", "sibling": "succeeded" if step else "cancelled"}
    if kind == "capacity":
        limiter.release_on_behalf_of("somebody")
        assert (limiter.borrowed_tokens, limiter.statistics().tasks_waiting) == (0, 0)
    elif kind == "semaphore":
        limiter.release()
        assert limiter.value == 1


# -- one step ----------------------------------------------------------------------------------------------------------


@callers
async def test_one_step_is_cancelled_what_needs_it_is_skipped_and_others_go_on(by: Any) -> None:
    stand, sibling = Stand("stand"), Stand("sibling")
    async with iterated(Graph(stand, after, sibling, later)) as run:
        seen = await until(run, "sibling", "running")
        await stand.entered.wait()
        assert await by(run, "stand")() is True
        seen += await until(run, "after", "skipped")
        assert sibling.ends == 0
        sibling.let_go.set()
        seen += await events_of(run)
    assert states(run.result) == {
        "stand": "cancelled",
        "after": "skipped",
        "sibling": "succeeded",
        "later": "succeeded",
    }
    assert reason(seen, "stand") == ("requested", None)
    assert reason(seen, "after") == ("upstream_cancelled", "stand")
    assert seen == list(run.result.trace)
    assert run.result.value["sibling"] == "sibling"
    assert not run.result.errors


@callers
async def test_a_step_that_has_not_begun_never_begins(by: Any) -> None:
    stand, second = Stand(), Stand("second")
    async with iterated(Sequence(stand, second, later)) as run:
        await stand.entered.wait()
        assert [await by(run, "second")(), await by(run, "second")()] == [True, False]
        stand.let_go.set()
        await run.wait()
    assert second.starts == 0
    assert states(run.result) == {"stand": "succeeded", "second": "cancelled", "later": "succeeded"}


async def test_a_step_that_has_ended_stays_what_it_is() -> None:
    stand = Stand()
    async with iterated(Parallel(one, fails, stand, on_failure="continue")) as run:
        await stand.entered.wait()
        await until(run, "fails", "failed")
        assert [run.cancel("one"), run.cancel("fails")] == [False, False]
        stand.let_go.set()
        await run.wait()
    assert states(run.result)["one"] == "succeeded"
    assert states(run.result)["fails"] == "failed"


@pytest.mark.parametrize("on_failure", list(FailureStrategy), ids=lambda each: each.value)
async def test_a_step_that_is_cancelled_is_no_failure_under_any_strategy(on_failure: FailureStrategy) -> None:
    stand, sibling = Stand("stand"), Stand("sibling")
    async with iterated(Parallel(stand, sibling, on_failure=on_failure)) as run:
        await stand.entered.wait()
        await sibling.entered.wait()
        assert run.cancel("stand")
        await until(run, "stand", "cancelled")
        await anyio.lowlevel.checkpoint()
        assert sibling.ends == 0
        sibling.let_go.set()
        await run.wait()
    assert states(run.result) == {"stand": "cancelled", "sibling": "succeeded"}
    assert not run.result.errors


async def test_a_step_that_waits_for_its_next_attempt() -> None:
    calls, sibling = list[int](), Stand("sibling")

    async def flaky() -> None:
        calls.append(1)
        raise ConnectionError

    async with iterated(Parallel(Task(flaky, retry=Retry(5, delay=30)), sibling)) as run:
        await until(run, "flaky", "retrying")
        assert run.cancel("flaky")
        await until(run, "flaky", "cancelled")
        sibling.let_go.set()
        await run.wait()
    assert calls == [1]
    assert states(run.result) == {"flaky": "cancelled", "sibling": "succeeded"}


async def test_a_step_within_nested_groups() -> None:
    stand, sibling = Stand("stand"), Stand("sibling")
    inner = Sequence(stand, Task(lambda value: value, name="next", thread=False), name="inner")
    workflow = Graph(Parallel(inner, sibling, name="outer"), Task(lambda outer: outer, name="reads", thread=False))
    async with iterated(workflow) as run:
        await stand.entered.wait()
        await sibling.entered.wait()
        assert run.cancel("outer/inner/stand")
        await until(run, "outer/inner/stand", "cancelled")
        sibling.let_go.set()
        seen = await events_of(run)
    found = states(run.result)
    assert found == {
        "outer/inner/stand": "cancelled",
        "outer/inner/next": "skipped",
        "outer/sibling": "succeeded",
        "reads": "skipped",
    }
    assert reason(seen, "reads")[0] == "upstream_cancelled"
    assert run.result.groups["outer/inner"].state is State.CANCELLED
    assert run.result.groups["outer"].state is State.CANCELLED


async def test_a_step_is_known_by_its_path_or_a_name_that_is_unique() -> None:
    a, b = Stand("a"), Stand("b")
    async with iterated(Parallel(Sequence(a, one, name="x"), Sequence(b, one, name="y"))) as run:
        await b.entered.wait()
        with pytest.raises(KeyError, match="2 steps are called 'one', cancel one by its path"):
            run.cancel("one")
        with pytest.raises(KeyError, match="no step is called 'x/aa'; did you mean 'x/a'"):
            run.cancel("x/aa")
        with pytest.raises(KeyError, match="no step is called ''"):
            run.cancel("")
        assert run.cancel("x/one")
        assert run.cancel("b")
        a.let_go.set()
        await run.wait()
    assert states(run.result) == {"x/a": "succeeded", "x/one": "cancelled", "y/b": "cancelled", "y/one": "succeeded"}


async def test_a_step_that_does_not_obey_keeps_what_it_gives() -> None:
    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return "still"
        return "never"

    async with iterated(Graph(stubborn, later)) as run:
        await until(run, "stubborn", "running")
        await anyio.lowlevel.checkpoint()
        assert run.cancel("stubborn")
        await run.wait()
    assert states(run.result) == {"stubborn": "succeeded", "later": "succeeded"}
    assert run.result["stubborn"] == "still"


async def test_a_step_over_a_retry_policy_is_not_tried_again() -> None:
    calls = list[int]()

    async def untidy() -> None:
        calls.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            raise ConnectionError("while cleaning up")

    async with iterated(Task(untidy, retry=Retry(5, delay=0))) as run:
        await until(run, "untidy", "running")
        await anyio.lowlevel.checkpoint()
        assert run.cancel("untidy")
        await run.wait()
    assert calls == [1]
    assert run.result.tasks["untidy"].state is State.FAILED


@pytest.mark.parametrize("policies", [False, True])
@pytest.mark.parametrize("obeys", [False, True])
async def test_a_plain_function_in_a_thread(policies: bool, obeys: bool) -> None:
    """One that asks is told; one that does not is given up after the grace, and what it returns is dropped."""
    entered, let_go, sibling = threading.Event(), threading.Event(), Stand("sibling")

    def blocks() -> str:
        entered.set()
        while not let_go.wait(0.001):
            if obeys:
                anyio.from_thread.check_cancelled()
        return "late"

    step = Task(blocks, timeout=60) if policies else Task(blocks)
    workflow = Graph(step, sibling, Task(lambda blocks: 0, name="needs"))
    try:
        async with iterated(workflow, runner=AsyncRunner(grace=0.05)) as run:
            await sibling.entered.wait()
            while not entered.is_set():  # noqa: ASYNC110 (set in a thread)
                await anyio.sleep(0.001)
            assert run.cancel("blocks")
            seen = await until(run, "blocks", "cancelled")
            assert sibling.ends == 0
            sibling.let_go.set()
            await run.wait()
    finally:
        let_go.set()
    assert states(run.result) == {"blocks": "cancelled", "sibling": "succeeded", "needs": "skipped"}
    assert reason(seen, "blocks") == ("requested", None)
    assert [record.path for record in run.result.abandoned] == ([] if obeys else ["blocks"])


async def test_a_plain_function_that_waits_for_a_thread_never_begins() -> None:
    let_go, calls = threading.Event(), list[str]()

    def first() -> None:
        calls.append("first")
        let_go.wait(10)

    def second() -> None:
        calls.append("second")

    try:
        async with iterated(Parallel(first, second), runner=AsyncRunner(threads=1)) as run:
            await until(run, "first", "running")
            assert run.cancel("second")
            await until(run, "second", "cancelled")
            let_go.set()
            await run.wait()
    finally:
        let_go.set()
    assert calls == ["first"]
    assert states(run.result) == {"first": "succeeded", "second": "cancelled"}


async def test_what_a_plain_function_returned_to_be_awaited() -> None:
    stand = Stand()

    def starts() -> Any:
        return stand()

    async with iterated(Parallel(starts, one)) as run:
        await stand.entered.wait()
        assert run.cancel("starts")
        await run.wait()
    assert states(run.result) == {"starts": "cancelled", "one": "succeeded"}
    assert (stand.starts, stand.ends) == (1, 1)


async def test_every_step_of_many_is_cancelled_one_by_one() -> None:
    async with iterated(Parallel(*[anyio.sleep_forever] * 200)) as run:
        await anyio.sleep(0.02)
        paths = run._run.plan.order()
        assert all(run.cancel(path) for path in paths)
        assert not any(run.cancel(path) for path in paths)
        await run.wait()
    assert {record.reason for record in run.result.tasks.values()} == {"requested"}


async def test_then_the_run() -> None:
    a, b = Stand("a"), Stand("b")
    async with iterated(Parallel(a, b)) as run:
        await a.entered.wait()
        await b.entered.wait()
        assert [run.cancel("a"), run.cancel(), run.cancel("b")] == [True, True, False]
        seen = await events_of(run)
    assert (reason(seen, "a"), reason(seen, "b")) == (("requested", None), ("cancelled", None))


async def test_a_step_may_cancel_another_and_the_run() -> None:
    box = list[GraphRun]()

    async def decides() -> list[bool]:
        await anyio.lowlevel.checkpoint()
        return [box[0].cancel("stand"), box[0].cancel("stand")]

    stand = Stand()
    async with iterated(Parallel(stand, decides)) as run:
        box.append(run)
        await run.wait()
    assert states(run.result) == {"stand": "cancelled", "decides": "succeeded"}
    assert run.result["decides"] == [True, False]


async def test_a_plain_function_may_cancel_the_run_it_is_in() -> None:
    box, stand = list[GraphRun](), Stand()

    def decides() -> bool:
        return box[0].cancel()

    async with iterated(Parallel(stand, decides)) as run:
        box.append(run)
        await run.wait()
    assert run.result.state is State.CANCELLED
    assert states(run.result)["stand"] == "cancelled"
    assert stand.starts == stand.ends


async def test_a_subscriber_may_cancel() -> None:
    stand = Stand()

    def told(event: Event) -> None:
        if event.path == "stand":
            run.cancel()

    async with iterated(Sequence(one, stand), subscribers=[told]) as run:
        await run.wait()
    assert run.result.state is State.CANCELLED
    assert stand.starts == stand.ends


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_that_ends_while_a_thread_asks(backend: str) -> None:
    """The run was active when it was asked first, and is over with its loop; if it is not, the error is not hidden."""

    async def main() -> GraphRun:
        async with AsyncRunner().iter(one) as run:
            await run.wait()
        return run

    run, said = anyio.run(main, backend=backend), list[bool | str]()
    for is_active in ([True, False], [True, True]):
        run._run.schedule = mock.Mock(is_active=mock.Mock(side_effect=is_active))

        def work() -> None:
            try:
                said.append(run.cancel())
            except anyio.RunFinishedError:
                said.append("gone")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert said == [False, "gone"]
