"""Checks 33 to 37: what a run gives to a step, and what it refuses to be given."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Optional

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Context, DefinitionError, Graph, Parallel, Sequence, Task
from orch.errors import InputError
from orch.event import LogEvent
from tests.execution import future
from tests.runners.truth import settle


async def first(context: Context) -> Any:  # type: ignore[type-arg]
    return context


async def last(x: int, /, context: Context[str]) -> Any:
    return context


async def keyword(x: int = 0, *, c: Context[Any]) -> Any:
    return c


async def optional(c: Context[Any] | None = None) -> Any:
    return c


async def old_optional(c: Optional[Context[Any]] = None) -> Any:  # noqa: UP045 (as older code has it)
    return c


async def annotated(c: Annotated[Context[Any], "mine"]) -> Any:
    return c


async def quoted(c: "Context[Any]") -> Any:
    return c


def in_a_thread(c: Context[Any]) -> Any:
    return c


ALL = [first, last, keyword, optional, old_optional, annotated, quoted, in_a_thread, *future.CONTEXTS]


# -- 33 and 35: the context --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", ALL, ids=lambda fn: f"{fn.__module__[-6:]}.{fn.__name__}")
async def test_check_33_a_parameter_annotated_context_gets_it(fn: Any) -> None:
    inputs = {"x": 1} if any(p.name == "x" and p.required for p in Task(fn).signature.parameters) else {}
    data = ["data"]
    result = await settle(Sequence(Task(fn, name="step"), name="s"), Context(data, metadata={"k": 1}), inputs=inputs)

    context = result["step"]
    assert isinstance(context, Context)
    assert context.data is data
    assert (context.metadata, context.run_id, context.task, context.attempt) == ({"k": 1}, result.run_id, "step", 1)


async def test_check_33_what_only_looks_like_a_context_is_an_input() -> None:
    async def step(context: int, ctx: str) -> Any:
        return context, ctx

    assert (await settle(step, Context("data"), inputs={"context": 1}, ctx="c")).value == (1, "c")
    assert (await settle(future.other_strings, Context(), x={"a": 1})).value == ({"a": 1}, 1)


async def test_check_33_data_is_shared_and_changed_in_place() -> None:
    async def one(context: Context[dict[str, int]]) -> None:
        context.data["one"] = 1

    def two(context: Context[dict[str, int]]) -> int:
        context.data["two"] = context.one + 1
        return context.two  # type: ignore[no-any-return]

    mine: dict[str, int] = {}
    result = await settle(Sequence(one, two), Context(mine))
    assert (result["two"], mine) == (2, {"one": 1, "two": 2})
    assert result.context.data is mine


async def test_check_33_each_step_has_a_view_of_its_own() -> None:
    result = await settle(Parallel(first, Sequence(Task(first, name="other"), name="s")), Context("data"))

    assert (result.value[0].task, result.value[1][0].task) == ("first", "s/other")


async def test_check_33_one_context_serves_several_runs() -> None:
    context = Context({"n": 1})
    one, two = await settle(first, context), await settle(first, context=context)

    assert (one.value.run_id, two.value.run_id) == (one.run_id, two.run_id)
    assert one.run_id != two.run_id
    assert (context.run_id, context.task, context.attempt) == (None, None, 0)


async def test_check_33_the_runner_may_hold_the_context() -> None:
    runner = AsyncRunner(context=Context("runners"))

    assert (await settle(first, runner=runner)).value.data == "runners"
    assert (await settle(first, Context("runs"), runner=runner)).value.data == "runs"


async def test_check_33_a_step_knows_what_has_happened_so_far() -> None:
    async def looks(context: Context[None]) -> Any:
        await anyio.lowlevel.checkpoint()
        return context.completed_steps, [(event.seq, event.path) for event in context.trace]

    async def a() -> None: ...

    result = await settle(Sequence(a, looks), Context())
    completed, trace = result["looks"]
    assert completed == ("a",)
    assert trace == [(1, ""), (2, "a"), (3, "a"), (4, "looks")]


async def test_check_33_what_a_step_logs_is_in_the_trace() -> None:
    async def talks(context: Context[None]) -> None:
        context.log("hello")
        await anyio.lowlevel.checkpoint()
        context.log("careful", "warning")

    def talks_in_a_thread(context: Context[None]) -> None:
        context.log("from a thread", level="debug")

    result = await settle(Sequence(talks, talks_in_a_thread), Context())
    logs = [(event.path, event.level, event.message) for event in result.trace if isinstance(event, LogEvent)]
    assert logs == [
        ("talks", "info", "hello"),
        ("talks", "warning", "careful"),
        ("talks_in_a_thread", "debug", "from a thread"),
    ]


@pytest.mark.parametrize(
    "fn", [first, keyword, annotated, quoted, in_a_thread, future.plain], ids=lambda fn: fn.__name__
)
async def test_check_35_a_run_without_the_context_that_is_required_does_not_start(fn: Any) -> None:
    ran: list[int] = []

    async def before() -> None:
        ran.append(1)

    with pytest.raises(DefinitionError, match=r"'group/step'.*takes the Context.*orch\.Context\(data\)"):
        await orch.run(Sequence(before, Sequence(Task(fn, name="step"), name="group")))
    assert ran == []


@pytest.mark.parametrize(
    "fn",
    [optional, old_optional, future.optional, future.old_optional],
    ids=lambda fn: fn.__name__ + fn.__module__[-6:],
)
async def test_check_35_an_optional_context_is_none_without_one(fn: Any) -> None:
    assert (await settle(fn)).value is None


async def test_check_35_something_else_given_as_the_context_is_refused() -> None:
    with pytest.raises(TypeError, match=r"context: expected an orch.Context, found dict: wrap it"):
        await orch.run(first, context={"a": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="given twice"):
        await orch.run(first, Context(), context=Context())


# -- 34: names and upstream --------------------------------------------------------------------------------------------


async def one() -> int:
    return 1


async def two() -> int:
    return 2


async def test_check_34_a_parameter_named_like_a_dependency_gets_its_result() -> None:
    async def add(one: int, *, two: int, three: int = 3) -> int:
        return one + two + three

    assert (await settle(Graph(add, two, one)))["add"] == 6
    assert (await settle(Sequence(one, two, add)))["add"] == 6


async def test_check_34_upstream_maps_dependencies_to_results_and_switches_names_off() -> None:
    async def merge(upstream: Mapping[str, Any], one: Any = "default") -> Any:
        return dict(upstream), one

    result = await settle(Graph(one, two, Task(merge, deps=["one", "two"])))
    assert result["merge"] == ({"one": 1, "two": 2}, "default")


async def test_check_34_under_continue_a_step_with_a_failed_parent_does_not_run_at_all() -> None:
    async def merge(upstream: Mapping[str, Any]) -> Any:
        return dict(upstream)

    async def fails() -> None:
        raise ValueError

    result = await settle(
        Graph(
            one, fails, Task(merge, deps=["one", "fails"]), Task(merge, name="ok", deps=["one"]), on_failure="continue"
        )
    )
    assert result.tasks["merge"].reason == "upstream_failed"
    assert result["ok"] == {"one": 1}


# -- 36 and 37: inputs -------------------------------------------------------------------------------------------------


async def test_check_36_precedence_in_one_workflow() -> None:
    """Every source at once; tests/plan/test_parameters.py shows them one by one."""

    async def step(  # noqa: PLR0917 (as many as there are sources)
        c: Context[str], bound: Any, one: Any, piped: Any, given: Any, default: Any = "default", **more: Any
    ) -> Any:
        return c.data, bound, one, piped, given, default, more

    workflow = Sequence(one, two, Task(step, bound="bound", more="more"))
    result = await settle(workflow, Context("context"), given="given")
    assert result["step"] == ("context", "bound", 1, 2, "given", "default", {"more": "more"})


async def test_check_36_an_input_that_only_bound_parameters_carry_is_refused() -> None:
    async def step(url: str) -> str:
        return url

    with pytest.raises(InputError, match=r"unexpected input: 'url'.*'url' is bound already in task 's/step'"):
        await orch.run(Graph(Sequence(Task(step, url="bound"), name="s")), url="given")
    assert (await settle(Parallel(Task(step, url="bound"), Task(step, name="free")), url="given")).value == [
        "bound", "given",
    ]  # fmt: skip


async def test_check_37_an_input_that_no_task_uses_is_refused_with_a_suggestion() -> None:
    async def step(url: str = "") -> str:
        return url

    with pytest.raises(InputError) as caught:
        await orch.run(step, urll="u")
    assert (caught.value.unexpected, caught.value.suggestions) == (("urll",), ("url",))
    assert str(caught.value) == "unexpected input: 'urll' (did you mean 'url'?); inputs: 'url'"
    with pytest.raises(InputError, match="unexpected input: 'x'; it has no inputs"):
        await orch.run(one, x=1)


def test_check_37_a_binding_for_an_unknown_name_is_refused_with_a_suggestion() -> None:
    async def step(url: str) -> str:
        return url

    makes: list[Callable[[], object]] = [lambda: Task(step, urll="u"), lambda: Task(step).bind(urll="u")]
    for make in makes:
        with pytest.raises(TypeError, match=r"'urll'.*did you mean 'url'"):
            make()


async def test_check_37_inputs_come_by_position_by_mapping_and_by_keyword() -> None:
    async def step(x: int, inputs: int = 0, select: int = 0) -> Any:
        return x, inputs, select

    assert (await settle(step, {"x": 1})).value == (1, 0, 0)
    assert (await settle(step, x=1)).value == (1, 0, 0)
    assert (await settle(step, {"x": 1}, inputs={"inputs": 2, "select": 3})).value == (1, 2, 3)
    assert (await settle(step, Context(), x=1)).value == (1, 0, 0)
    with pytest.raises(TypeError, match="inputs: given twice: 'x'"):
        await orch.run(step, {"x": 1}, x=2)
    with pytest.raises(TypeError, match="inputs: expected a mapping of names to values or a Context, found list"):
        await orch.run(step, [1])  # type: ignore[arg-type]


async def test_check_37_the_given_mapping_is_left_alone() -> None:
    async def step(x: list[int]) -> Any:
        return x

    mine = {"x": [1]}
    result = await settle(step, mine)
    assert result.value is mine["x"]
    assert mine == {"x": [1]}
