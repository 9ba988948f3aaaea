"""Maps in the middle of everything: nested, with policies, in threads, cancelled at any time, undone."""

import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, Graph, Parallel, Retry, Sequence, State, Task, TaskTimeoutError, WorkflowError
from orch.event import ChunkEvent, CircuitEvent, LogEvent, MapEvent, TaskEvent
from tests.execution.maps import Counter, check, double, ends, forever, giving, mapped, refusing, settle
from tests.execution.resilient import virtual


class Flaky:
    """A body that fails so many times for each item."""

    def __init__(self, times: int) -> None:
        self.left: dict[int, int] = {}
        self.times = times

    async def __call__(self, x: int) -> int:
        await checkpoint()
        left = self.left.setdefault(x, self.times)
        if left:
            self.left[x] -= 1
            raise ConnectionError(x)
        return x


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True])
async def test_maps_in_maps_have_paths_of_both(watched: bool) -> None:
    inner = mapped(double, name="ys", over="x")
    body = Graph(inner, _total(), name="row")
    result = await settle(mapped(body), {"x": [[1, 2], [], [3]]}, watched=watched)

    assert [each["total"] for each in result.value] == [6, 0, 6]
    assert list(result.tasks) == [
        "xs", "xs[0]/ys", "xs[0]/ys[0]", "xs[0]/ys[1]", "xs[0]/total", "xs[1]/ys", "xs[1]/total",
        "xs[2]/ys", "xs[2]/ys[0]", "xs[2]/total",
    ]  # fmt: skip
    assert (result["xs[0]/ys[1]"], result["xs[2]/total"]) == (4, 6)
    assert set(result.groups) == {"", "xs[0]", "xs[1]", "xs[2]"}
    assert ends(result, "xs[0]/ys") == [(0, "succeeded"), (1, "succeeded")]


def _total() -> Task[..., Any]:
    return Task(lambda ys: sum(ys), name="total", thread=False)  # noqa: PLW0108 (its parameter is what it is about)


async def test_a_name_finds_a_step_outside_of_items_only() -> None:
    result = await settle(Sequence(giving([1], "x"), Parallel(mapped(double, name="double"), name="p"), name="s"))

    assert result["double"] == [2]
    assert result.tasks["double"].path == "p/double"
    with pytest.raises(KeyError):
        result["double[1]"]


@pytest.mark.parametrize("place", ["thread", "in place", "loop"])
async def test_bodies_run_where_they_belong(place: str) -> None:
    async def on_loop(x: int) -> tuple[int, str]:
        return x, threading.current_thread().name

    def plain(x: int) -> tuple[int, str]:
        return x, threading.current_thread().name

    fn: Any = on_loop if place == "loop" else plain
    here = threading.current_thread().name
    result = await settle(mapped(Task(fn, thread=False if place == "in place" else None)), {"x": range(50)})

    assert [x for x, _ in result.value] == list(range(50))
    assert {name == here for _, name in result.value} == {place != "thread"}


async def test_what_items_say_goes_through_with_their_paths() -> None:
    breaker = orch.CircuitBreaker("b", fail_max=1)

    def stream(x: int) -> Any:
        yield x
        yield x + 1

    async def guarded(x: int) -> None:
        raise ValueError(x)

    one = await settle(mapped(Task(stream, thread=False)), {"x": [1]})
    two = await settle(mapped(Task(guarded, breaker=breaker), on_error="collect", limit=1), {"x": [1, 2]})

    assert [(event.path, event.chunk) for event in one.trace if isinstance(event, ChunkEvent)] == [
        ("xs[0]", 1), ("xs[0]", 2),
    ]  # fmt: skip
    assert [event.path for event in two.trace if isinstance(event, CircuitEvent)] == ["xs[0]"]
    assert isinstance(two.tasks["xs[1]"].error, orch.CircuitOpenError)


# -- policies ----------------------------------------------------------------------------------------------------------


async def test_items_have_attempts_of_their_own() -> None:
    result = await settle_attempts(mapped(Task(Flaky(2), name="flaky", retry=Retry(3, delay=0))), {"x": range(4)})

    assert result.value == list(range(4))
    assert {record.attempts for path, record in result.tasks.items() if "[" in path} == {3}
    assert result.tasks["xs"].attempts == 1


async def settle_attempts(workflow: Any, *given: Any) -> orch.RunResult:
    """As `settle`, for steps with several attempts."""
    return await AsyncRunner().run(workflow, *given, raise_on_failure=False)


async def test_a_map_that_is_tried_again_goes_over_all_items_again() -> None:
    result = await settle_attempts(mapped(Flaky(1), retry=Retry(9, delay=0), limit=1), {"x": [1, 2, 3]})

    assert (result.value, result.tasks["xs"].attempts) == ([1, 2, 3], 4)
    assert list(result.tasks) == ["xs", "xs[0]", "xs[1]", "xs[2]"]

    once = await settle_attempts(mapped(double, retry=Retry(2, delay=0)), {"x": iter([1])})
    assert "would be empty for a second attempt" in str(once.errors[0])


@pytest.mark.parametrize("watched", [False, True])
@virtual
async def test_a_timeout_ends_the_items(watched: bool) -> None:
    result = await settle(mapped(forever, timeout=0.02), {"x": range(3)}, watched=watched)

    (error,) = result.errors
    assert isinstance(error, TaskTimeoutError)
    assert (error.task, result.tasks["xs"].state) == ("xs", State.FAILED)
    assert ends(result, "xs") == [(k, "cancelled") for k in range(3)]
    assert {result.tasks[f"xs[{k}]"].reason for k in range(3)} == {"cancelled"}


@virtual
async def test_the_timeout_of_an_item_names_it() -> None:
    body = Sequence(Task(forever, name="wait"), timeout=0.02, name="body")
    result = await settle(mapped(body, on_error="collect"), {"x": [1, 2]})

    errors = [result.groups[f"xs[{k}]"].error for k in range(2)]
    assert [error.task for error in errors if isinstance(error, TaskTimeoutError)] == ["xs[0]", "xs[1]"]
    assert result.value == [None, None]


async def test_items_that_fail_undo_what_their_own_groups_did() -> None:
    undone = list[int]()

    async def undo(value: int) -> None:
        undone.append(value)

    body = Sequence(
        Task(double, compensate=undo), Task(lambda value: 1 // (value - 4), thread=False), on_failure="compensate"
    )
    result = await AsyncRunner().run(mapped(body, on_error="collect"), {"x": [1, 2, 3]}, raise_on_failure=False)

    assert undone == [4]
    assert result.value == [[2, -1], None, [6, 0]]
    assert result.tasks["xs[1]/double"].state is State.COMPENSATED
    assert dict(ends(result, "xs")) == {0: "succeeded", 1: "failed", 2: "succeeded"}


async def test_a_map_is_undone_as_one_step() -> None:
    undone = list[Any]()
    workflow = Sequence(mapped(double, compensate=undone.append), _failing(), on_failure="compensate")
    await AsyncRunner().run(workflow, {"x": [1, 2]}, raise_on_failure=False)

    assert undone == [[2, 4]]


def _failing() -> Task[..., Any]:
    async def fail() -> None:
        raise ValueError("later")

    return Task(fail)


async def test_a_compensation_in_an_item_is_told_only_to_the_run_it_belongs_to() -> None:
    async def broken(value: int) -> None:
        raise OSError(value)

    body = Sequence(Task(double, compensate=broken), _failing(), on_failure="compensate", name="body")
    with pytest.raises(WorkflowError) as caught:
        await AsyncRunner().map(body, {"x": [5]}, "x")
    result = caught.value.result
    assert (result.failed, [type(error).__name__ for error in result[0].errors]) == (
        (0,),
        ["ValueError", "CompensationError"],
    )
    assert isinstance(result[0].tasks["double"].compensation_error, OSError)


# -- cancellation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_cancelled_at_any_time_everything_settles(turns: int, watched: bool) -> None:
    counter, told = Counter(turns=3), list[Any]()
    body = Sequence(counter, mapped(counter, name="in").bind(x=range(3)))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                for _ in range(turns):
                    await checkpoint()
                scope.cancel()

            group.start_soon(stop)
            workflow = Parallel(mapped(body), Task(forever, name="f").bind(x=1), limit=8)
            await AsyncRunner().run(workflow, {"x": range(6)}, subscribers=[told.append] if watched else [])

    assert scope.cancelled_caught
    assert counter.active == 0
    if watched and told:
        assert told[-1].state is State.CANCELLED
        begun = [event.path for event in told if isinstance(event, TaskEvent) and event.state is State.RUNNING]
        final = [event.path for event in told if isinstance(event, TaskEvent) and event.state.is_final]
        assert set(begun) <= set(final)
        assert len(final) == len(set(final))


async def test_one_step_can_be_cancelled_while_it_maps() -> None:
    async with AsyncRunner().iter(Parallel(mapped(forever), giving(1, "other")), x=range(3)) as run:
        async for event in run:
            if isinstance(event, TaskEvent) and (event.path, event.state) == ("xs[2]", State.RUNNING):
                assert run.cancel("xs")
    check(run.result)
    assert (run.result.state, run.result.tasks["xs"].reason) == (State.CANCELLED, "requested")
    assert ends(run.result, "xs") == [(k, "cancelled") for k in range(3)]


async def test_an_interrupt_of_python_surfaces_bare() -> None:
    async def body(x: int) -> None:
        if x == 1:
            raise KeyboardInterrupt
        await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        await orch.run(mapped(body), x=range(3))


async def test_a_generator_that_raises_fails_the_map_with_its_error() -> None:
    error, ran = RuntimeError("no more"), list[int]()

    def items() -> Any:
        yield from range(1500)
        raise error

    result = await settle(mapped(_noting(ran)), {"x": items()}, watched=False)
    assert (result.errors, len(ran), len(result.tasks)) == ((error,), 1000, 1001)


def _noting(ran: list[int]) -> Task[..., Any]:
    async def body(x: int) -> None:
        ran.append(x)

    return Task(body)


async def test_what_outlives_the_grace_is_named() -> None:
    gate, began = threading.Event(), list[int]()

    def stuck(x: int) -> None:
        began.append(x)
        gate.wait(20)

    async def fail() -> None:
        while len(began) < 2:
            await checkpoint()
        raise ValueError("enough")

    try:
        runner = AsyncRunner(grace=0.01)
        result = await runner.run(Parallel(mapped(stuck), fail), {"x": [1, 2]}, raise_on_failure=False)
        assert [record.path for record in result.abandoned] == ["xs[0]", "xs[1]"]
    finally:
        gate.set()


# -- limits and speed of events ----------------------------------------------------------------------------------------


async def test_slots_are_given_back_on_every_way_out() -> None:
    counter = Counter()
    steps: list[Any] = [
        mapped(counter, name="fine"),
        mapped(refusing(2), name="fails", on_error="collect"),
        mapped(forever, name="late", timeout=0.01),
        Task(counter, name="after").bind(x=1),
    ]
    result = await settle(Sequence(*steps, on_failure="continue", limit=3), {"x": range(5)})

    assert [result.tasks[name].state.value for name in ("fine", "fails", "late", "after")] == [
        "succeeded", "succeeded", "failed", "succeeded",
    ]  # fmt: skip
    assert counter.most == 3


async def test_events_of_ten_thousand_items_reach_a_slow_subscriber_in_order() -> None:
    told = list[int]()

    async def slow(event: orch.Event) -> None:
        told.append(event.seq)
        if len(told) % 500 == 0:
            await checkpoint()

    async def body(x: int) -> int:
        return x

    await AsyncRunner().run(mapped(body), {"x": range(10_000)}, subscribers=[slow])
    assert told == list(range(1, 30_005))


async def test_the_trace_within_a_run_has_the_items_so_far() -> None:
    async def body(x: int, ctx: orch.Context[None]) -> int:
        await checkpoint()
        return sum(isinstance(event, TaskEvent) and event.path == f"xs[{x}]" for event in ctx.trace)

    assert (await settle(mapped(body), orch.Context(None), x=range(3), watched=False)).value == [1, 1, 1]


async def test_logs_of_threads_reach_subscribers() -> None:
    def body(x: int, ctx: orch.Context[None]) -> None:
        ctx.log(f"at {x}")

    result = await settle(mapped(body), orch.Context(None), x=range(3))
    assert sorted(event.message for event in result.trace if isinstance(event, LogEvent)) == ["at 0", "at 1", "at 2"]
    assert len([event for event in result.trace if isinstance(event, MapEvent)]) == 3
