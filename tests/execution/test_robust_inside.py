"""What steps may do inside: scopes, groups, threads, further runs; and contexts, which belong to one step alone."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio
from anyio.lowlevel import checkpoint

import orch
from orch.event import Event, State
from tests.execution.robust import (
    immediate,
    on_asyncio,
    on_trio,
    recorded,
    run_quietly,
    ticks,
    trio_runs,
    until,
)

pytestmark = pytest.mark.timeout(20)
FAILED, SUCCEEDED = State.FAILED, State.SUCCEEDED

GROUPS = [orch.Sequence, orch.Parallel]
groups = pytest.mark.parametrize("group", GROUPS)


# -- cancel scopes and task groups -------------------------------------------------------------------------------------


async def gives_up() -> str:
    with anyio.move_on_after(0.002) as scope:
        await anyio.sleep(60)
    return f"gave up: {scope.cancelled_caught}"


async def times_out() -> str:
    try:
        with anyio.fail_after(0.002):
            await anyio.sleep(60)
    except TimeoutError:
        return "timed out"
    return ""


async def nests_scopes() -> list[bool]:
    with anyio.CancelScope() as outer, anyio.CancelScope() as middle, anyio.CancelScope() as inner:
        middle.cancel()
        await anyio.sleep(60)
    return [outer.cancelled_caught, middle.cancelled_caught, inner.cancelled_caught]


async def gathers() -> list[int]:
    found: list[int] = []

    async def child(number: int) -> None:
        await anyio.sleep(0.001)
        found.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(child, number)
    return sorted(found)


async def cancels_its_group() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        await checkpoint()
        group.cancel_scope.cancel()
    return "cancelled its group"


async def serves_itself() -> int:
    send, receive = anyio.create_memory_object_stream[int](0)

    async def produce() -> None:
        async with send:
            for number in range(3):
                await send.send(number)

    total = 0
    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        async for number in receive:
            total += number
    return total


@asynccontextmanager
async def resource() -> AsyncIterator[str]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        yield "resource"
        group.cancel_scope.cancel()


async def opens_a_resource() -> str:
    async with resource() as opened:
        await anyio.sleep(0.001)
        return opened


async def hops_into_a_thread() -> bool:
    return await anyio.to_thread.run_sync(threading.get_ident) != threading.get_ident()


INSIDE: list[tuple[Callable[[], Any], Any]] = [
    (gives_up, "gave up: True"),
    (times_out, "timed out"),
    (nests_scopes, [False, True, False]),
    (gathers, [0, 1, 2]),
    (cancels_its_group, "cancelled its group"),
    (serves_itself, 3),
    (opens_a_resource, "resource"),
    (hops_into_a_thread, True),
]


@groups
async def test_scopes_and_groups_of_a_step_concern_nobody_else(group: Callable[..., orch.Workflow]) -> None:
    steps = [step for step, _ in INSIDE] * 3
    with recorded() as story:
        result = await orch.run(group(*steps))
    assert result.value == [expected for _, expected in INSIDE] * 3
    assert story.state() is SUCCEEDED


async def test_a_failing_task_group_is_the_failure_of_its_step() -> None:
    async def fails() -> None:
        await checkpoint()
        raise ValueError

    async def group() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            group.start_soon(anyio.sleep, 60)

    result = await run_quietly(orch.Parallel(group, gives_up, on_failure="continue"))
    assert result.value == [None, "gave up: True"]
    (error,) = result.errors
    assert isinstance(error, ExceptionGroup)
    assert [type(each) for each in error.exceptions] == [ValueError]


@on_trio
@groups
async def test_the_tools_of_trio_work_inside_steps(group: Callable[..., orch.Workflow]) -> None:
    async def nursery() -> list[str]:
        found: list[str] = []

        async def child(name: str, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started(name)
            await trio.sleep(0.001)
            found.append(name)

        async with trio.open_nursery() as nursery:
            assert await nursery.start(child, "a") == "a"
            nursery.start_soon(child, "b")
        return sorted(found)

    async def moves_on() -> bool:
        with trio.move_on_after(0.001) as scope:
            await trio.sleep_forever()
        return scope.cancelled_caught

    async def thread() -> int:
        return await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(lambda: 5))

    assert (await orch.run(group(nursery, moves_on, thread))).value == [["a", "b"], True, 5]


async def test_a_step_that_cancels_the_scope_it_was_given_cancels_the_run() -> None:
    with recorded() as story, anyio.CancelScope() as scope:

        async def gives_all_up() -> None:
            scope.cancel()
            await anyio.sleep(60)

        await orch.run(orch.Parallel(gives_up, gives_all_up))
    assert scope.cancelled_caught
    assert story.state() is State.CANCELLED


# -- from threads back to the loop -------------------------------------------------------------------------------------


async def slowly(value: Any) -> Any:
    await anyio.sleep(0.001)
    return value


async def test_plain_functions_can_call_back_into_the_loop() -> None:
    loop_thread = threading.get_ident()

    def asks() -> tuple[Any, bool, bool]:
        value = anyio.from_thread.run(slowly, 5)
        on_loop = anyio.from_thread.run_sync(threading.get_ident)
        return value, on_loop == loop_thread, threading.get_ident() == loop_thread

    result = await orch.run(orch.Parallel([asks] * 10))
    assert result.value == [(5, True, False)] * 10


async def test_what_is_called_back_may_fail() -> None:
    async def fails() -> None:
        await checkpoint()
        raise ValueError("on the loop")

    def asks() -> None:
        anyio.from_thread.run(fails)

    result = await run_quietly(orch.Sequence(asks, immediate(1), on_failure="continue"))
    assert [type(error) for error in result.errors] == [ValueError]
    assert result.value == [None, 1]


async def test_plain_functions_can_call_back_a_whole_run() -> None:
    def asks() -> Any:
        return anyio.from_thread.run(orch.run, orch.Sequence(immediate(1), lambda: 2)).value

    assert (await orch.run(orch.Parallel(asks, asks))).value == [[1, 2], [1, 2]]


async def test_a_portal_of_their_own_is_open_to_plain_functions() -> None:
    def opens() -> Any:
        with anyio.from_thread.start_blocking_portal() as portal:
            return portal.call(slowly, 5)

    assert (await orch.run(opens)).value == 5


@on_asyncio
async def test_plain_functions_can_run_a_loop_of_their_own() -> None:
    def runs() -> Any:
        return asyncio.run(slowly(5))

    assert (await orch.run(runs)).value == 5


@on_trio
async def test_plain_functions_can_run_a_trio_of_their_own() -> None:
    def runs() -> Any:
        return trio.run(slowly, 5)

    assert (await orch.run(runs)).value == 5


# -- runs in runs ------------------------------------------------------------------------------------------------------


async def test_runs_nest_in_steps() -> None:
    async def level(depth: int) -> int:
        if depth == 0:
            return 0
        inner = orch.Parallel(orch.Task(level, name="level").bind(depth=depth - 1), lambda: None, immediate())
        return 1 + (await orch.run(inner)).value[0]  # type: ignore[no-any-return]

    assert (await orch.run(level, depth=15)).value == 15


async def test_a_run_in_a_step_does_not_take_part_in_the_limit_of_the_outer_one() -> None:
    async def inner() -> Any:
        return (await orch.AsyncRunner(limit=1).run(orch.Parallel([slow] * 3))).value

    async def slow() -> int:
        await checkpoint()
        return 1

    result = await orch.AsyncRunner(limit=1).run(orch.Parallel([inner] * 3, limit=1))
    assert result.value == [[1, 1, 1]] * 3


async def test_the_failure_of_an_inner_run_is_the_error_of_the_step() -> None:
    async def fails() -> None:
        raise ValueError

    async def inner() -> None:
        await orch.run(orch.Parallel(fails, immediate()))

    with recorded() as story, pytest.raises(orch.WorkflowError) as caught:
        await orch.run(orch.Sequence(inner, immediate()))
    (error,) = caught.value.exceptions
    assert isinstance(error, orch.WorkflowError)
    assert [type(each) for each in error.exceptions] == [ValueError]
    assert [story.state(0), story.state(1)] == [FAILED, FAILED]


@pytest.mark.parametrize("threads", [1, 2])
async def test_a_synchronous_runner_works_inside_a_plain_step(threads: int) -> None:
    def leaf() -> str:
        return "leaf"

    def inner() -> Any:
        return orch.Runner(threads=1).run(orch.Sequence(leaf, immediate("loop"))).value

    def middle() -> Any:
        return orch.Runner(backend="trio", threads=1).run(inner).value

    result = await orch.AsyncRunner(threads=threads).run(orch.Parallel(middle, middle, leaf))
    assert result.value == [["leaf", "loop"], ["leaf", "loop"], "leaf"]


async def test_a_synchronous_runner_in_a_coroutine_says_what_to_use_instead() -> None:
    async def wrong() -> None:
        orch.Runner().run(immediate())

    (error,) = (await run_quietly(wrong)).errors
    assert isinstance(error, orch.errors.UnsupportedError)
    assert "AsyncRunner" in str(error)


@pytest.mark.parametrize("kind", ["same plan", "same definition", "definitions apart"])
async def test_runs_at_the_same_time_do_not_know_of_each_other(kind: str) -> None:
    def make() -> orch.Workflow:
        async def first(x: int) -> int:
            await anyio.sleep(0.001 * (x % 3))
            return x

        def second(first: int) -> int:
            return first * 10

        async def third(second: int) -> int:
            await checkpoint()
            if second == 50:
                raise ValueError
            return second + 1

        return orch.Graph(first, second, third)

    shared = make()
    workflow: Any = orch.plan.compile(shared) if kind == "same plan" else shared
    found: dict[int, Any] = {}

    async def one(x: int) -> None:
        found[x] = await run_quietly(make() if kind == "definitions apart" else workflow, inputs={"x": x})

    with recorded() as story:
        async with anyio.create_task_group() as group:
            for x in range(20):
                group.start_soon(one, x)
    assert {x: result.value.get("third") for x, result in found.items()} == {
        x: None if x == 5 else x * 10 + 1 for x in range(20)
    }
    assert [x for x, result in found.items() if result.state is FAILED] == [5]
    assert len({result.run_id for result in found.values()}) == 20
    assert len(story.runs) == 20


async def test_a_run_may_be_begun_in_one_that_is_being_told() -> None:
    heard: list[Event] = []

    async def inner() -> Any:
        return (await orch.run(orch.Parallel(slowly_one, slowly_one), subscribers=[heard.append])).value

    async def slowly_one() -> int:
        return int(await slowly(1))

    result = await orch.run(orch.Parallel(inner, inner), subscribers=[heard.append])
    assert result.value == [[1, 1], [1, 1]]
    runs: dict[str, list[int]] = {}
    for event in heard:
        runs.setdefault(event.run_id, []).append(event.seq)
    assert sorted(runs.values()) == [list(range(1, 7))] * 3


# -- context variables -------------------------------------------------------------------------------------------------

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def plain() -> tuple[str, str]:
    before = var.get()
    var.set("plain")
    return before, var.get()


async def at_once() -> tuple[str, str]:
    before = var.get()
    var.set("at once")
    return before, var.get()


async def suspends() -> tuple[str, str]:
    before = var.get()
    var.set("suspends")
    await anyio.sleep(0.001)
    await checkpoint()
    return before, var.get()


async def set_after_suspension() -> tuple[str, str]:
    await checkpoint()
    before = var.get()
    var.set("later")
    await checkpoint()
    return before, var.get()


async def spawns() -> tuple[str, str]:
    seen: list[str] = []

    async def child() -> None:
        seen.append(var.get())
        var.set("child")
        await checkpoint()

    before = var.get()
    var.set("spawns")
    async with anyio.create_task_group() as group:
        group.start_soon(child)
    assert seen == ["spawns"]
    assert await anyio.to_thread.run_sync(var.get) == "spawns"
    return before, var.get()


async def fails_after_setting() -> None:
    var.set("failed")
    await checkpoint()
    var.set("failed later")
    raise ValueError


async def given_up_after_setting() -> tuple[str, str]:
    before = var.get()
    with anyio.move_on_after(0.001):
        var.set("in a scope")
        await anyio.sleep(60)
    return before, var.get()


VARIED: list[tuple[Any, Any]] = [
    (plain, ("caller", "plain")),
    (orch.Task(plain, name="in place", thread=False), ("caller", "plain")),
    (at_once, ("caller", "at once")),
    (suspends, ("caller", "suspends")),
    (set_after_suspension, ("caller", "later")),
    (spawns, ("caller", "spawns")),
    (given_up_after_setting, ("caller", "in a scope")),
    (fails_after_setting, None),
]


@groups
@pytest.mark.parametrize("limit", [None, 1])
async def test_a_step_sees_what_the_caller_set_and_nothing_of_other_steps(
    group: Callable[..., orch.Workflow], limit: int | None
) -> None:
    var.set("caller")
    steps = [step for step, _ in VARIED]
    workflow = group(*steps, *steps[::-1], *steps, on_failure="continue", limit=limit)
    result = await run_quietly(workflow)
    expected = [outcome for _, outcome in VARIED]
    assert result.value == expected + expected[::-1] + expected
    assert var.get() == "caller"


async def test_a_thread_is_as_clean_for_its_next_step_as_for_its_first() -> None:
    var.set("caller")
    result = await orch.AsyncRunner(threads=1).run(orch.Sequence([plain] * 50))
    assert result.value == [("caller", "plain")] * 50


async def test_a_context_variable_can_be_reset_after_suspension() -> None:
    async def resets() -> str:
        token = var.set("for a moment")
        await anyio.sleep(0.001)
        var.reset(token)
        return var.get()

    var.set("caller")
    assert (await orch.run(orch.Parallel(resets, resets))).value == ["caller", "caller"]


async def test_a_plain_function_that_returns_an_awaitable_keeps_its_context() -> None:
    def begins() -> Any:
        var.set("begun")

        async def ends() -> str:
            await checkpoint()
            return var.get()

        return ends()

    def after() -> str:
        return var.get()

    steps: list[Any] = [begins, orch.Task(begins, name="in place", thread=False), after]
    var.set("caller")
    assert (await orch.run(orch.Sequence(*steps))).value == ["begun", "begun", "caller"]


async def test_a_strategy_and_a_subscriber_do_not_see_the_variables_of_steps() -> None:
    seen: set[str] = set()

    class Strategy:
        def on_failure(self, _event: object, _group: object, /) -> orch.FailureStrategy:
            seen.add(var.get())
            return orch.FailureStrategy.CONTINUE

    var.set("caller")
    workflow = orch.Sequence(fails_after_setting, suspends, at_once, on_failure=Strategy())
    await run_quietly(workflow, subscribers=[lambda _: seen.add(var.get())])
    assert seen == {"caller"}


async def test_a_copy_of_the_context_taken_in_a_step_can_be_entered_later() -> None:
    async def copies() -> contextvars.Context:
        var.set("copied")
        await checkpoint()
        return contextvars.copy_context()

    result = await orch.run(copies)
    assert result.value.run(var.get) == "copied"


# -- odd awaitables and callables --------------------------------------------------------------------------------------


class Awaitable:
    def __await__(self) -> Any:
        yield from checkpoint().__await__()
        return "awaited"


async def test_a_plain_function_may_return_anything_that_can_be_awaited() -> None:
    def coroutine() -> Any:
        return slowly("coroutine")

    def custom() -> Any:
        return Awaitable()

    def fails() -> Any:
        async def fails() -> None:
            await checkpoint()
            raise ValueError

        return fails()

    steps: list[Any] = [coroutine, custom, fails]
    steps += [orch.Task(step, name=f"{step.__name__} in place", thread=False) for step in steps]
    for group in GROUPS:
        result = await run_quietly(group(*steps, on_failure="continue"))
        assert result.value == ["coroutine", "awaited", None] * 2
        assert [type(error) for error in result.errors] == [ValueError] * 2


@on_asyncio
async def test_a_plain_function_may_return_a_future_of_the_loop() -> None:
    loop = asyncio.get_running_loop()

    def begins() -> Any:
        return asyncio.run_coroutine_threadsafe(slowly(1), loop).result()

    def in_place() -> Any:
        return asyncio.ensure_future(slowly(2))

    steps: list[Any] = [begins, orch.Task(in_place, name="in place", thread=False)]
    assert (await orch.run(orch.Sequence(*steps))).value == [1, 2]


async def test_what_a_plain_function_returned_is_cancelled_like_any_step() -> None:
    begun: list[int] = []

    async def endless() -> None:
        begun.append(1)
        await anyio.sleep(60)

    def begins() -> Any:
        return endless()

    async def fails() -> None:
        await until(lambda: len(begun) == 2)
        raise ValueError

    in_place = orch.Task(begins, name="in_place", thread=False)
    with recorded() as story:
        await run_quietly(orch.Parallel(begins, in_place, fails))
    assert story.states() == {"begins": State.CANCELLED, "in_place": State.CANCELLED, "fails": FAILED}


async def test_a_step_that_yields_the_wrong_thing_to_the_loop_fails_alone() -> None:
    class Wrong:
        def __await__(self) -> Any:
            yield "no such instruction"

    async def wrong() -> None:
        await Wrong()

    if trio_runs():
        pytest.skip("trio ends its whole run over this, whoever did it")
    result = await run_quietly(orch.Sequence(wrong, immediate(1), on_failure="continue"))
    assert result.value == [None, 1]
    assert isinstance(result.errors[0], RuntimeError)


async def test_a_task_that_a_step_left_running_is_not_the_business_of_the_run() -> None:
    async with anyio.create_task_group() as group:

        async def leaves() -> str:
            group.start_soon(anyio.sleep, 60)
            return "left"

        assert (await orch.run(orch.Sequence(leaves, leaves))).value == ["left", "left"]
        await ticks()
        group.cancel_scope.cancel()
