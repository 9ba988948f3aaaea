"""Checks 92 to 95, and what of 24, 28 and 74 is about maps: a workflow once for each item."""

import gc
import tracemalloc
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, Context, Graph, Map, Parallel, Sequence, State, Task, WorkflowError
from orch.event import MapEvent, TaskEvent
from tests.execution.maps import Counter, double, ends, forever, giving, mapped, refusing, settle
from tests.execution.resilient import virtual


async def pair(x: Any, y: Any) -> Any:
    return x, y


# -- 92: zip and product -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [list, tuple, iter, dict.fromkeys, lambda it: (each for each in it)])
async def test_check_92_any_iterable_is_accepted_and_order_is_kept(make: Any) -> None:
    runner = AsyncRunner()
    result = await runner.map(pair, {"x": make([3, 1, 2]), "y": make([6, 4, 5])}, ["x", "y"])

    assert result.values == [(3, 6), (1, 4), (2, 5)]
    assert (await runner.map(pair, {"x": make([1, 2]), "y": make([3, 4])}, ["y", "x"], "product")).values == [
        (1, 3), (2, 3), (1, 4), (2, 4),
    ]  # fmt: skip
    assert (await settle(mapped(double), {"x": make([3, 1, 2])})).value == [6, 2, 4]


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        ((list, 2), (iter, 1), "2 for 'x' and 1 for 'y'"),
        ((list, 1), (iter, 3), "1 for 'x' and at least 2 for 'y'"),
        ((iter, 3), (iter, 2), "at least 3 for 'x' and 2 for 'y'"),
    ],
)
async def test_check_92_unequal_lengths_of_iterators_say_how_long_each_is(x: Any, y: Any, found: str) -> None:
    ran = list[Any]()
    body = Task(lambda x, y: ran.append((x, y)), name="body")
    given = {name: make(range(size)) for name, (make, size) in (("x", x), ("y", y))}
    with pytest.raises(WorkflowError) as caught:
        await AsyncRunner().map(body, given, ["x", "y"])

    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
    assert found in str(error)
    assert 'mode="product"' in str(error)
    assert (ran, caught.value.index, list(caught.value.result)) == ([], None, [])


async def test_check_92_unequal_lengths_are_refused_with_both_lengths() -> None:
    ran = list[Any]()
    body = Task(lambda x, y: ran.append((x, y)), name="body")
    found = "found 3 for 'x' and 1 for 'y'; give equally many, or write mode=\"product\""
    with pytest.raises(ValueError, match=found):
        await AsyncRunner().map(body, {"x": [1, 2, 3], "y": [4]}, ["x", "y"])
    result = await settle(Map(body, over=("x", "y"), name="xs"), {"x": [1, 2, 3], "y": [4]})
    (error,) = result.errors
    assert isinstance(error, ValueError)
    assert found in str(error)
    assert ran == []


async def test_check_92_an_unknown_mode_is_refused() -> None:
    mode: Any = "prodct"
    with pytest.raises(ValueError, match="mode: expected 'zip' or 'product', found 'prodct'; did you mean 'product'"):
        await AsyncRunner().map(double, {"x": [1]}, "x", mode)


@pytest.mark.parametrize("value", ["abc", b"xyz", 3, None])
async def test_check_92_what_is_no_collection_of_items_is_refused_by_name(value: Any) -> None:
    result = await settle(mapped(double), {"x": value})
    (error,) = result.errors

    assert isinstance(error, TypeError)
    assert "map 'xs': 'x' takes " in str(error)


async def test_product_draws_the_first_lazily_and_nothing_if_another_is_empty() -> None:
    assert (await AsyncRunner().map(pair, {"x": count(), "y": []}, ["x", "y"], "product")).values == []


# -- 93: broadcast, nothing --------------------------------------------------------------------------------------------


async def test_check_93_fixed_inputs_are_for_all_items() -> None:
    body = Graph(
        Task(lambda x, k: x * k, name="scaled", thread=False),
        Task(lambda scaled, k=10: scaled + k, name="moved", thread=False),
    )
    assert [each["moved"] for each in (await AsyncRunner().map(body, {"x": [1, 2], "k": 3}, "x")).values] == [6, 9]
    optional = Task(lambda x, k=7: x + k, thread=False)
    assert (await AsyncRunner().map(optional, {"x": [1, 2]}, "x")).values == [8, 9]
    assert (await settle(mapped(optional).bind(k=1), {"x": [1, 2]})).value == [2, 3]


@pytest.mark.parametrize("watched", [False, True])
async def test_check_93_an_empty_list_gives_an_empty_result_in_a_graph_too(watched: bool) -> None:
    result = await AsyncRunner().map(double, {"x": []}, "x")
    assert (len(result), result.values, result.state, list(result)) == (0, [], State.SUCCEEDED, [])

    graph = Graph(giving([], "x"), mapped(double), Task(lambda xs: ("got", xs), name="after"))
    run = await settle(graph, watched=watched)
    assert run.value == {"x": [], "xs": [], "after": ("got", [])}
    assert list(run.tasks) == ["x", "xs", "after"]


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 1001, 2500])
async def test_a_map_goes_over_what_only_the_run_knows(size: int) -> None:
    workflow = Sequence(giving(range(size), "numbers"), mapped(double), name="s")
    result = await settle(workflow, watched=size < 10)

    assert result.value[1] == [2 * x for x in range(size)]
    assert result[f"xs[{size - 1}]"] == 2 * size - 2
    assert workflow.inputs == ()


# -- 94: failing items -------------------------------------------------------------------------------------------------


async def test_check_94_raise_cancels_the_others_and_says_which_item_it_was() -> None:
    began = list[int]()

    async def body(x: int) -> int:
        began.append(x)
        if x == 2:
            for _ in range(20):
                await checkpoint()
            raise ValueError(x)
        await anyio.sleep_forever()
        return x

    with pytest.raises(WorkflowError) as caught, anyio.fail_after(10):
        await AsyncRunner().map(body, {"x": range(4)}, "x")

    error, result = caught.value, caught.value.result
    assert (error.index, sorted(began), [str(each) for each in error.exceptions]) == (2, [0, 1, 2, 3], ["2"])
    assert error.exceptions[0].__notes__[0] == "in task 'body[2]', attempt 1"
    assert [each.state.value for each in result] == ["cancelled", "cancelled", "failed", "cancelled"]
    assert (result.state, result.values, result.failed) == (State.FAILED, [None] * 4, (2,))
    assert (result[0].tasks["body"].reason, result[2].errors) == ("aborted", error.exceptions)


async def test_check_94_as_a_step_it_fails_with_the_error_itself() -> None:
    error = KeyError("mine")

    async def body(x: int) -> None:
        if x:
            raise error
        await anyio.sleep_forever()

    result = await settle(Sequence(giving([0, 1], "x"), mapped(body), giving(1, "after"), name="s"))

    assert result.errors == (error,)
    assert error.__notes__ == ["in task 'xs[1]', attempt 1", "in task 'xs', attempt 1"]
    assert {path: record.state.value for path, record in result.tasks.items()} == {
        "x": "succeeded", "xs": "failed", "xs[0]": "cancelled", "xs[1]": "failed", "after": "skipped",
    }  # fmt: skip
    assert ends(result, "xs") == [(0, "cancelled"), (1, "failed")]


@pytest.mark.parametrize("watched", [False, True])
async def test_check_94_collect_tries_all_and_keeps_the_alignment(watched: bool) -> None:
    result = await settle(mapped(refusing(1, 3), on_error="collect"), {"x": range(5)}, watched=watched)

    assert (result.value, result.state, result.errors) == ([0, None, 2, None, 4], State.SUCCEEDED, ())
    assert [str(record.error) for record in result.tasks.values() if record.state is State.FAILED] == ["1", "3"]
    assert dict(ends(result, "xs")) == {0: "succeeded", 1: "failed", 2: "succeeded", 3: "failed", 4: "succeeded"}
    assert result.groups[""].state is State.SUCCEEDED


async def test_check_94_collect_of_a_runner_has_a_report_of_every_item() -> None:
    body = Graph(Task(refusing(1), name="first"), Task(lambda first: -first, name="second"), name="g")
    result = await AsyncRunner().map(body, {"x": range(3)}, "x", on_error="collect")

    assert result.values == [{"first": 0, "second": 0}, None, {"first": 2, "second": -2}]
    assert [each.state.value for each in result] == ["succeeded", "failed", "succeeded"]
    assert [each.report()["tasks"][1]["state"] for each in result] == ["succeeded", "skipped", "succeeded"]
    assert (result.failed, [str(error) for error in result.errors]) == ((1,), ["1"])
    assert [each.groups[""].state.value for each in result] == ["succeeded", "failed", "succeeded"]


async def test_check_94_later_tiles_are_not_drawn_after_a_failure() -> None:
    drawn = list[int]()

    def items() -> Iterator[int]:
        for x in range(5000):
            drawn.append(x)
            yield x

    with pytest.raises(WorkflowError) as caught:
        await AsyncRunner().map(refusing(1500), {"x": items()}, "x")
    assert (caught.value.index, len(drawn), len(caught.value.result)) == (1500, 2000, 2000)
    assert caught.value.result.values[:1000] == list(range(1000))


# -- 95: as many as you like -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_check_95_a_hundred_thousand_items_with_bounded_memory() -> None:
    taken, furthest, peaks = 0, 0, list[int]()

    def items(most: int) -> Iterator[int]:
        nonlocal furthest
        for x in range(most):
            furthest = max(furthest, x - taken)
            yield x

    counter = Counter(turns=1)
    for most in (4_000, 20_000, 100_000):
        taken = 0
        gc.collect()
        if most < 100_000:  # for it takes five times as long
            tracemalloc.start()
        async with AsyncRunner().map_iter(counter, {"x": items(most)}, "x", limit=10) as results:
            async for index, result in results:
                assert result.value == index
                taken += 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert taken == most

    assert counter.most == 10
    assert furthest <= 1000
    assert peaks[1] < 1.2 * peaks[0], peaks


async def test_check_95_results_come_as_items_end_and_a_slow_reader_holds_the_map_up() -> None:
    gate, drawn = anyio.Event(), list[int]()

    def items() -> Iterator[int]:
        for x in count():
            drawn.append(x)
            yield x

    async def body(x: int) -> int:
        if x == 0:
            await gate.wait()
        return x

    with anyio.fail_after(10):
        async with AsyncRunner().map_iter(body, {"x": items()}, "x", limit=4) as results:
            index, _ = await anext(results)
            assert index != 0
            gate.set()
            for _ in range(50):
                await checkpoint()
            assert len(drawn) == 1000
            found = {index}
            while len(found) < 2500:
                found.add((await anext(results))[0])
            assert 0 in found
    assert len(drawn) <= 4000


# -- what other checks say about maps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("where", ["runner", "group", "nested", "own", "siblings"])
async def test_check_24_the_limit_is_shared_by_all_items(limit: int, where: str) -> None:
    counter = Counter()
    xs = mapped(counter, name="xs")
    runner = AsyncRunner(limit=limit if where == "runner" else None)
    workflow: Any = {
        "runner": Sequence(giving(range(30), "x"), Parallel(xs, counter_step(counter))),
        "group": Parallel(xs.bind(x=range(30)), counter_step(counter), limit=limit),
        "nested": Parallel(mapped(mapped(counter, name="in")).bind(x=[range(5)] * 6), limit=limit),
        "own": xs.evolve(limit=limit).bind(x=range(30)),
        "siblings": Parallel(*(xs.bind(x=range(10)) for _ in range(3)), limit=limit),
    }[where]
    result = await settle(workflow, runner=runner)

    assert result.state is State.SUCCEEDED
    assert counter.most <= limit
    assert counter.done >= 30
    assert where not in {"own", "siblings"} or counter.most == limit


def counter_step(counter: Counter) -> Task[..., Any]:
    return Task(partial(counter, -1), name="beside")


async def test_check_24_others_get_their_turn_between_tiles() -> None:
    order = list[str]()

    async def body(x: int) -> None:
        order.append("item")
        await checkpoint()

    async def beside() -> None:
        order.append("beside")

    xs = mapped(body).bind(x=range(3000))
    await settle(Parallel(xs, *[Task(beside, name="beside")] * 3, limit=2), watched=False)

    assert order.index("beside") < 1500


async def test_check_28_a_join_behind_two_maps_runs_once_with_both_results() -> None:
    graph = Graph(
        giving([1, 2, 3], "x"),
        Map(double, over="x", name="left"),
        Map(Task(lambda x: -x, thread=False), over="x", name="right"),
        Task(lambda left, right: list(zip(left, right, strict=True)), name="join"),
    )
    result = await settle(graph)

    assert result["join"] == [(2, -1), (4, -2), (6, -3)]
    assert len([event for event in result.trace if event.path == "join"]) == 2


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("end", ["success", "failure", "cancellation"])
@virtual
async def test_check_74_every_item_that_started_ends_once(end: str, watched: bool) -> None:
    inner = Sequence(double, Task(refusing(*([4] if end == "failure" else [])), name="check"), name="in")
    body: Any = forever if end == "cancellation" else inner
    workflow = Parallel(
        mapped(body).bind(x=range(5)), giving(1, "beside"), timeout=0.05 if end == "cancellation" else 60
    )
    result = await settle(workflow, watched=watched)

    assert result.state is (State.SUCCEEDED if end == "success" else State.FAILED)
    started = {e.path for e in result.trace if isinstance(e, TaskEvent) and e.state is State.RUNNING}
    assert {f"xs[{k}]" + ("" if end == "cancellation" else "/double") for k in range(5)} <= started
    assert len([event for event in result.trace if isinstance(event, MapEvent)]) == 5


async def test_a_context_is_shared_and_knows_the_item() -> None:
    async def body(x: int, ctx: Context[dict[str, int]]) -> str | None:
        ctx.data["sum"] += x
        ctx.log(f"seen {x}")
        return ctx.task

    result = await settle(mapped(body), Context({"sum": 0}), x=[1, 2, 3])

    assert (result.value, result.context.data) == (["xs[0]", "xs[1]", "xs[2]"], {"sum": 6})
    assert [event.path for event in result.trace if isinstance(event, orch.event.LogEvent)] == result.value
    with pytest.raises(orch.DefinitionError, match="'xs': a parameter takes the Context, and this run has none"):
        await orch.run(mapped(body), x=[1])
