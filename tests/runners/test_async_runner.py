"""`AsyncRunner` and `orch.run`: their arguments, and that one runner serves many runs."""

import functools
import inspect
import re
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Context, Event, Graph, Parallel, RunResult, Sequence, State, Task
from orch.errors import InputError
from tests.runners.truth import check_trace, settle, states


async def double(x: int) -> int:
    return 2 * x


async def shared(context: Context[Any]) -> Any:
    return context.data


def test_run_is_that_of_a_plain_runner() -> None:
    assert inspect.signature(orch.run) == inspect.signature(AsyncRunner().run)
    assert inspect.iscoroutinefunction(orch.run)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_can_run_it_with_positional_arguments(backend: str) -> None:
    assert anyio.run(orch.run, double, {"x": 21}, backend=backend).value == 42
    assert anyio.run(orch.run, shared, Context("data"), backend=backend).value == "data"
    assert anyio.run(functools.partial(orch.run, double, x=1), backend=backend).value == 2


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([3], {}, "inputs: expected a mapping of names to values or a Context, found int"),
        ([], {"inputs": [1]}, "inputs: expected a mapping"),
        ([], {"context": {}}, "context: expected an orch.Context"),
        ([Context()], {"context": Context()}, "context: given twice"),
        ([{"x": 1}], {"x": 2}, "inputs: given twice: 'x'"),
        ([{"x": 1}], {"inputs": {"x": 2}}, "inputs: given twice: 'x'"),
        ([{"x": 1}], {"run_id": 3}, "run_id: expected"),
        ([{"x": 1}], {"subscribers": [3]}, "subscribers: expected callables"),
        ([{"x": 1}], {"select": 3}, "select"),
    ],
    ids=["position", "inputs", "context", "two contexts", "twice", "twice too", "run_id", "subscribers", "select"],
)
async def test_wrong_types_are_refused_before_anything_runs(given: Any, options: Any, message: str) -> None:
    ran: list[int] = []

    async def step(x: int = 0) -> None:
        ran.append(x)

    with pytest.raises(TypeError, match=message):
        await orch.run(Graph(step), *given, **options)
    assert ran == []


@pytest.mark.parametrize("default", [", *", ""], ids=["required", "optional"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("run_id", "r"), ("select", "step"), ("context", Context()), ("subscribers", [print])],
    ids=str,
)
async def test_an_option_that_may_be_meant_as_an_input_is_refused(name: str, value: Any, default: str) -> None:
    ran: list[Any] = []
    known: dict[str, Any] = {"ran": ran}
    exec(f"def step({name}{'' if default else '=None'}): ran.append({name})", known)
    workflow: Any = Graph(known["step"])
    runner: Any = AsyncRunner()
    cure = f"{name!r} is an option here and an input of the workflow: give the input in a mapping, inputs="
    for verb in (runner.run, runner.iter):
        with pytest.raises(InputError, match=re.escape(cure)):
            await verb(workflow, **{name: value})
    assert ran == []

    await runner.run(workflow, {name: 1}, **{name: value})
    await runner.run(workflow, inputs={name: 2})
    assert ran == [1, 2]


@pytest.mark.parametrize("wrong", [None, 3, "double", {"a": 1}], ids=repr)
async def test_what_is_no_workflow_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a callable or a workflow"):
        await orch.run(wrong)


async def test_a_coroutine_is_no_workflow_and_is_closed() -> None:
    with pytest.raises(TypeError, match="pass the function, not the call"):
        await orch.run(double(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": 0}, ValueError, "limit: expected at least 1"),
        ({"limit": True}, TypeError, "limit: expected"),
        ({"limit": 1.5}, TypeError, "limit: expected"),
        ({"threads": -1}, ValueError, "threads: expected at least 1"),
        ({"threads": "4"}, TypeError, "threads: expected"),
        ({"grace": -0.1}, ValueError, "grace: expected"),
        ({"grace": "1"}, TypeError, "grace: expected"),
        ({"context": {}}, TypeError, "context: expected an orch.Context"),
        ({"subscribers": print}, TypeError, "subscribers: expected several"),
        ({"retries": 3}, TypeError, "retries"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_at_construction(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AsyncRunner(**options)


async def test_one_runner_serves_many_runs_also_at_once() -> None:
    heard: list[Event] = []
    runner = AsyncRunner(limit=2, subscribers=[heard.append])
    results: list[RunResult] = []

    async def one(x: int) -> None:
        results.append(await settle(Parallel(*[double] * 5), runner=runner, x=x))

    async with anyio.create_task_group() as group:
        for x in range(5):
            group.start_soon(one, x)
    assert sorted(result.value[0] for result in results) == [0, 2, 4, 6, 8]
    for result in results:
        mine = [event for event in heard if event.run_id == result.run_id]
        check_trace(mine, result.run_id)
        assert mine == list(result.trace)


async def test_the_limit_of_a_runner_is_for_each_run() -> None:
    """Two runs of one runner with limit 1 meet each other: neither takes the other's slot."""
    meet = [anyio.Event(), anyio.Event()]
    runner = AsyncRunner(limit=1)

    async def one(k: int) -> None:
        async def step() -> None:
            meet[k].set()
            await meet[1 - k].wait()

        await settle(Parallel(step), runner=runner)

    async with anyio.create_task_group() as group:
        group.start_soon(one, 0)
        group.start_soon(one, 1)


async def test_a_run_within_a_step_of_a_run() -> None:
    async def inner(x: int) -> int:
        return x + 1

    async def outer(x: int) -> int:
        result = await orch.run(Sequence(inner, inner), x=x)
        return result["inner#2"]  # type: ignore[no-any-return]

    assert (await settle(Sequence(outer, outer), runner=AsyncRunner(limit=1), x=0)).value == [2, 4]


async def test_a_run_within_a_plain_step_opens_a_loop_of_its_own() -> None:
    def outer(x: int) -> Any:
        return orch.Runner().run(Parallel(double, double), x=x).value

    assert (await settle(Parallel(outer, outer), runner=AsyncRunner(threads=1), x=1)).value == [[2, 2], [2, 2]]


async def test_a_runner_keeps_no_values_between_runs() -> None:
    runner = AsyncRunner()
    seen: list[Any] = []

    async def step(x: list[int] | None = None) -> Any:
        seen.append(x)
        return x

    await settle(step, runner=runner, x=[1])
    await settle(step, runner=runner)
    assert seen == [[1], None]


# -- the result --------------------------------------------------------------------------------------------------------


async def test_the_result_of_a_run() -> None:
    workflow = Sequence(double, Graph(Task(double, name="twice"), name="g"), name="job")
    result = await settle(workflow, x=1, run_id="r1")

    assert (result.run_id, result.name, result.state) == ("r1", "job", State.SUCCEEDED)
    assert (result.value, dict(result.outputs)) == ([2, {"twice": 4}], {})
    assert (result["double"], result["g/twice"], result["twice"]) == (2, 4, 4)
    assert list(result.groups) == ["", "g"]
    assert (result.groups[""].kind, result.groups["g"].kind) == ("sequence", "graph")
    with pytest.raises(KeyError, match="did you mean 'twice'"):
        result["twise"]


async def test_the_value_of_each_kind_of_workflow() -> None:
    assert (await settle(double, x=1)).value == 2
    assert (await settle(Sequence(double), x=1)).value == [2]
    assert (await settle(Parallel(double), x=1)).value == [2]
    result = await settle(Graph(double), x=1)
    assert result.value == dict(result.outputs) == {"double": 2}


async def test_a_name_that_several_tasks_have_is_asked_for_by_path() -> None:
    result = await settle(Sequence(double, Parallel(double, double, name="p")), x=1)

    assert (result["double"], result["p/double"], result["p/double#2"]) == (2, 4, 4)  # an exact path comes first
    result = await settle(Parallel(Sequence(double, name="a"), Sequence(double, name="b")), x=1)
    with pytest.raises(KeyError, match=r"2 tasks are named 'double', ask by path: .*'a/double', 'b/double'"):
        result["double"]


async def test_a_result_can_be_read_long_after_and_in_another_loop() -> None:
    result = await settle(Parallel(double, double), x=1)
    assert anyio.to_thread is not None
    assert await anyio.to_thread.run_sync(lambda: [record.value for record in result.tasks.values()]) == [2, 2]


async def test_times_of_records_and_groups_lie_within_the_run() -> None:
    async def slow() -> None:
        await anyio.lowlevel.checkpoint()

    result = await settle(Sequence(slow, Parallel(slow, slow, name="p")))
    for each in (*result.tasks.values(), *result.groups.values()):
        assert result.started is not None
        assert result.finished is not None
        assert each.started is not None
        assert each.finished is not None
        assert result.started <= each.started <= each.finished <= result.finished
        assert each.duration == (each.finished - each.started).total_seconds()


async def test_definitions_shared_by_two_workflows() -> None:
    part = Parallel(double, name="part")

    assert states(await settle(Sequence(part, name="one"), x=1)) == {"part/double": "succeeded"}
    assert states(await settle(Graph(part, name="two"), x=1)) == {"part/double": "succeeded"}
    assert states(await settle(part, x=1)) == {"double": "succeeded"}
