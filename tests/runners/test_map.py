"""`map` and `map_iter`: results as sequences, item by item, and what is refused before anything runs."""

import json
import pickle
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    AsyncRunner,
    Context,
    DefinitionError,
    Event,
    Graph,
    Map,
    Runner,
    Sequence,
    State,
    Task,
    WorkflowError,
)
from orch.errors import InputError, UnsupportedError
from orch.event import MapEvent, RunEvent, TaskEvent
from orch.result import MapResult
from tests.execution.maps import check, check_items, double, refusing


async def total(x: int, y: int = 1, *, z: int = 0) -> int:
    return x + y + z


GRAPH = Graph(Task(double, name="up"), Task(lambda up: -up, name="down", thread=False), name="g")


async def test_the_result_is_a_sequence_of_results() -> None:
    result = await AsyncRunner().map(GRAPH, {"x": [1, 2, 3]}, "x", run_id="r")

    assert (len(result), result.run_id, result.name, result.state) == (3, "r", "g", State.SUCCEEDED)
    assert [item.run_id for item in result] == ["r[0]", "r[1]", "r[2]"]
    assert [item["down"] for item in result] == [-2, -4, -6]
    assert [item["up"] for item in result[1:]] == [4, 6]
    assert (result[-1].outputs, result[-1].name) == ({"up": 6, "down": -6}, "g")
    assert repr(result).startswith("<MapResult 'g' succeeded in 0.")
    assert repr(result).endswith(" s, items: 3, run 'r'>")
    with pytest.raises(IndexError, match="the map has 3 items, there is no number 3"):
        result[3]
    name: Any = "down"
    with pytest.raises(TypeError, match=r"found by number: result\[0\]\['down'\], found 'down'"):
        result[name]
    for item in result:
        check(item)
        assert list(item.tasks) == ["up", "down"]
        assert item.started is not None
        assert result.started is not None
        assert result.started <= item.started
        assert 0 <= (item.duration or 0) <= (result.duration or 0)
    check_items(result.trace)


async def test_a_result_survives_pickling_and_reports_itself() -> None:
    result = await AsyncRunner().map(GRAPH, {"x": [1, 2]}, "x")
    again: MapResult = pickle.loads(pickle.dumps(result))

    assert [item.value for item in again] == [item.value for item in result]
    assert (again.values, again.failed, len(again.trace)) == (result.values, (), len(result.trace))
    told = json.loads(result.to_json())
    assert (told["size"], told["values"][1]["down"], told["items"][0]["state"]) == (2, -4, "succeeded")
    assert json.loads(again.to_json()) == told


async def test_inputs_come_as_for_run() -> None:
    runner = AsyncRunner()
    assert (await runner.map(total, {"x": [1, 2]}, "x", y=5)).values == [6, 7]
    assert (await runner.map(total, map_over="x", inputs={"x": [1]}, z=3)).values == [5]
    assert (await runner.map(total, {"x": [1, 2], "y": [10, 20]}, ("x", "y"), z=1)).values == [12, 23]
    assert (await runner.map(orch.plan.compile(total), {"x": [1]}, "x")).values == [2]

    def data(x: int, ctx: Context[int]) -> int:
        return x + ctx.data

    assert (await runner.map(data, Context(5), "x", x=[1])).values == [6]
    assert (await runner.map(data, {"x": [1]}, "x", context=Context(7))).values == [8]


@pytest.mark.parametrize(
    ("given", "over", "error", "message"),
    [
        ({"x": [1]}, "xx", DefinitionError, r"has no input 'xx'; did you mean 'x'\?"),
        ({"x": [1]}, (), ValueError, "over: expected at least one input"),
        ({"x": [1]}, 3, TypeError, "map_over: expected Iterable, found int"),
        ({}, "x", InputError, "missing input: 'x'"),
        ({"x": [1], "w": 2}, "x", InputError, "unexpected input: 'w'"),
        ([1], "x", TypeError, "inputs: expected a mapping"),
    ],
)
async def test_wrong_calls_are_refused_before_anything_runs(given: Any, over: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        await AsyncRunner().map(total, given, over)
    with pytest.raises(error, match=message):
        AsyncRunner().map_iter(total, given, over)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": [1, 2, 3], "y": (1, 2)}, ValueError, "found 3 for 'x' and 2 for 'y'; give equally many"),
        ({"x": 3, "y": [1]}, TypeError, r"'x' takes something that can be iterated, found int \(3\)"),
        ({"x": [1], "y": "abc"}, TypeError, r"'y' takes the items to go over, found a str: write \[value\]"),
    ],
    ids=["lengths", "no items", "text"],
)
@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_items_that_cannot_be_drawn_are_refused_before_the_run(
    given: Any, error: Any, message: str, on_error: Any
) -> None:
    heard: list[Event] = []
    runner = AsyncRunner(subscribers=[heard.append])
    with pytest.raises(error, match=message):
        await runner.map(total, given, ["x", "y"], on_error=on_error, raise_on_failure=False)
    with pytest.raises(error, match=message):
        runner.map_iter(total, given, ["x", "y"], on_error=on_error)
    assert heard == []


async def test_items_may_be_anything_that_can_be_iterated() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            return [1, 2][index]

    assert (await AsyncRunner().map(total, {"x": Old()}, "x")).values == [2, 3]


async def test_an_option_of_map_that_may_be_meant_as_an_input_is_refused() -> None:
    def search(x: int, limit: int = 10) -> int:
        return x * limit

    cure = "'limit' is an option here and an input of the workflow"
    with pytest.raises(InputError, match=cure):
        await AsyncRunner().map(search, {"x": [1]}, "x", limit=3)
    with pytest.raises(InputError, match=cure):
        AsyncRunner().map_iter(search, {"x": [1]}, "x", limit=3)
    assert (await AsyncRunner().map(search, {"x": [1], "limit": 3}, "x", limit=2)).values == [3]


def test_anyio_can_run_it_and_so_can_a_runner_for_callers_that_are_not_async() -> None:
    for backend in ("asyncio", "trio"):
        assert anyio.run(AsyncRunner().map, total, {"x": [1, 2]}, "x", backend=backend).values == [2, 3]
        assert Runner(backend=backend).map(total, {"x": [1, 2]}, "x", limit=1).values == [2, 3]
    assert Runner(strict=True).map(abs, {"x": [-1]}, "x").values == [1]
    with pytest.raises(UnsupportedError, match="total"):
        Runner(strict=True).map(total, {"x": [1]}, "x")
    with pytest.raises(UnsupportedError, match=r"xs\[…\]/total"):
        Runner(strict=True).run(Sequence(Map(total, over="x", name="xs")), x=[1])


async def test_runner_map_inside_a_loop_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="map called inside a running event loop"):
        Runner().map(abs, {"x": [1]}, "x")


async def test_a_failed_map_may_be_returned() -> None:
    result = await AsyncRunner().map(refusing(1), {"x": range(3)}, "x", raise_on_failure=False)
    assert (result.state, result.failed) == (State.FAILED, (1,))
    with pytest.raises(WorkflowError, match="map of 'body' failed at item 1") as caught:
        result.raise_for_failure()
    again = pickle.loads(pickle.dumps(caught.value.split(ValueError)[0]))
    assert (again.index, again.result.failed) == (1, (1,))


async def test_items_of_maps_in_items_are_seen_from_there() -> None:
    body = Graph(Map(double, over="x", name="ys"), Task(lambda ys: sum(ys), name="sum"), name="row")  # noqa: PLW0108 (of a name)
    result = await AsyncRunner().map(body, {"x": [[1, 2], [3]]}, "x")

    assert [item["sum"] for item in result] == [6, 6]
    assert [list(item.tasks) for item in result] == [["ys", "ys[0]", "ys[1]", "sum"], ["ys", "ys[0]", "sum"]]
    for item in result:
        check(item)
        assert {event.path for event in item.trace if isinstance(event, MapEvent)} == {"ys"}
        assert {event.run_id for event in item.trace} == {item.run_id}


async def test_one_event_stream_for_a_whole_map() -> None:
    told = list[Event]()
    result = await AsyncRunner(subscribers=[told.append]).map(GRAPH, {"x": range(3)}, "x")

    assert told == list(result.trace)
    assert [event.state.value for event in told if isinstance(event, RunEvent)] == ["running", "succeeded"]
    assert len([event for event in told if isinstance(event, MapEvent)]) == 3


# -- map_iter ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True])
async def test_one_by_one_every_item_comes_once_and_subscribers_see_one_run(watched: bool) -> None:
    told = list[Event]()
    runner = AsyncRunner(subscribers=[told.append] if watched else [])
    found = {}
    async with runner.map_iter(GRAPH, {"x": iter(range(2500))}, "x", run_id="r") as results:
        async for index, result in results:
            assert index not in found
            found[index] = result["down"]
            if index % 500 == 0:
                check(result)
                assert result.run_id == f"r[{index}]"

    assert found == {x: -2 * x for x in range(2500)}
    if watched:
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        assert len([event for event in told if isinstance(event, MapEvent)]) == 2500
        check_items(told)


async def test_results_that_are_kept_stay_what_they_were() -> None:
    async with AsyncRunner().map_iter(GRAPH, {"x": range(1500)}, "x") as results:
        kept = {index: result async for index, result in results}
    assert all(kept[x]["up"] == 2 * x for x in (0, 999, 1000, 1499))
    check(kept[1499])


async def test_leaving_early_cancels_and_settles() -> None:
    active = 0

    async def body(x: int) -> int:
        nonlocal active
        active += 1
        try:
            if x:
                await anyio.sleep_forever()
        finally:
            active -= 1
        return x

    with anyio.fail_after(10):
        async with AsyncRunner().map_iter(body, {"x": range(5)}, "x") as results:
            async for index, _ in results:
                assert index == 0
                break
    assert active == 0


async def test_a_failure_comes_as_a_result_and_then_from_the_block() -> None:
    seen = dict[int, State]()

    async def read() -> None:
        async with AsyncRunner().map_iter(refusing(2), {"x": range(4)}, "x", limit=1) as results:
            async for index, result in results:
                seen[index] = result.state

    with pytest.raises(WorkflowError, match="map of 'body' failed at item 2") as caught:
        await read()
    assert (caught.value.index, [str(error) for error in caught.value.exceptions]) == (2, ["2"])
    assert seen == {0: State.SUCCEEDED, 1: State.SUCCEEDED, 2: State.FAILED}

    async with AsyncRunner().map_iter(refusing(1), {"x": range(2)}, "x", raise_on_failure=False) as results:
        assert [result.state async for _, result in results][-1] is State.FAILED


async def test_an_error_of_the_reader_goes_first() -> None:
    async def read() -> None:
        async with AsyncRunner().map_iter(refusing(0), {"x": range(2)}, "x") as results:
            async for _ in results:
                raise KeyError("mine")

    with pytest.raises(KeyError):
        await read()


async def test_a_cancelled_reader_takes_the_map_with_it() -> None:
    told, began = list[Event](), list[int]()

    async def body(x: int) -> None:
        began.append(x)
        if len(began) == 3:
            scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with AsyncRunner(subscribers=[told.append]).map_iter(body, {"x": range(3)}, "x") as results:
            async for _ in results:
                pass
    assert scope.cancelled_caught
    assert isinstance(told[-1], RunEvent)
    assert told[-1].state is State.CANCELLED
    states = [event.state for event in told if isinstance(event, TaskEvent) and event.path.startswith("body[")]
    assert states.count(State.CANCELLED) == 3


async def test_misuse_is_named() -> None:
    results = AsyncRunner().map_iter(double, {"x": [1]}, "x")
    with pytest.raises(RuntimeError, match="the map has not begun"):
        await anext(results)
    async with results:
        await checkpoint()
    with pytest.raises(RuntimeError, match="has begun already"):
        async with results:
            pass


async def test_nothing_to_map_over_ends_at_once() -> None:
    async with AsyncRunner().map_iter(double, {"x": []}, "x") as results:
        assert [pair async for pair in results] == []
