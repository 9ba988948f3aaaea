"""Where an argument comes from: decision 1 line by line. Each source is shown to win over all that come after it."""

from collections.abc import Mapping
from typing import Any

import pytest

from orch import Context, DefinitionError, Graph, Parallel, Sequence, Task
from orch.errors import InputError
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.plan.wired import after, asking, constant, run, value


async def required(x: Any) -> Any:
    return x


async def optional(x: Any = "default") -> Any:
    return x


async def keyword(*, x: Any) -> Any:
    return x


async def keyword_optional(*, x: Any = "default") -> Any:
    return x


async def only(x: Any, /) -> Any:
    return x


async def only_optional(x: Any = "default", /) -> Any:
    return x


EVERY_KIND = [required, optional, keyword, keyword_optional, only, only_optional]
every_kind = pytest.mark.parametrize("fn", EVERY_KIND, ids=lambda fn: fn.__name__)


# -- 1. a Context annotation -------------------------------------------------------------------------------------------


async def context_named_x(x: Context[str]) -> Any:
    return x


def test_the_context_wins_over_dependency_piped_and_input() -> None:
    step = Task(context_named_x, name="step")
    steps = [
        step,
        Graph(constant("output", name="x"), step.evolve(deps=["x"])),
        Sequence(constant("piped", name="x"), step),
    ]
    for workflow in steps:
        got = run(workflow, Context("data"))["step"]
        assert isinstance(got, Context)
        assert (got.data, got.task) == ("data", "step")

    with pytest.raises(InputError, match="unexpected input: 'x'"):
        run(step, Context("data"), x="input")


# -- 2. upstream -------------------------------------------------------------------------------------------------------


async def merge(upstream: Mapping[str, Any]) -> Any:
    return upstream


async def upstream_and_x(upstream: Mapping[str, Any], x: Any = "default") -> Any:
    return dict(upstream), x


def test_upstream_maps_the_names_of_dependencies_to_values() -> None:
    graph = Graph(constant(1, name="a"), constant(None, name="b"), Task(merge, deps=["b", "a"]))

    assert run(graph)["merge"] == {"b": None, "a": 1}
    assert list(run(graph)["merge"]) == ["b", "a"]  # in the order of deps
    assert after(graph)["merge"] == ["a", "b"]


def test_upstream_of_a_step_without_dependencies_is_empty() -> None:
    assert value(Task(merge)) == {}
    assert value(Sequence(constant("piped"), merge)) == ["piped", {}]
    assert value(Graph(constant(1, name="a"), merge)) == {"a": 1, "merge": {}}


def test_upstream_wins_over_output_piped_and_input() -> None:
    step = Task(merge, deps=["a"], name="step")

    assert run(Graph(constant(1, name="a"), constant(2, name="upstream"), step))["step"] == {"a": 1}
    assert run(Sequence(constant(1, name="a"), constant("piped"), step))["step"] == {"a": 1}
    with pytest.raises(InputError, match="unexpected input: 'upstream'"):
        run(Graph(constant(1, name="a"), step), upstream="input")


def test_upstream_switches_injection_by_name_off() -> None:
    graph = Graph(constant(1, name="a"), constant(2, name="x"), Task(upstream_and_x, deps=["a", "x"], name="step"))

    assert run(graph)["step"] == ({"a": 1, "x": 2}, "default")
    assert run(graph, x="input")["step"] == ({"a": 1, "x": 2}, "input")
    assert compile(graph).inputs == ("x",)


def test_the_other_parameters_of_a_step_with_upstream_are_bound_piped_or_inputs() -> None:
    async def step(upstream: Mapping[str, Any], handed: Any, *, given: Any, bound: Any) -> Any:
        return dict(upstream), handed, given, bound

    workflow = Sequence(constant(1, name="a"), constant(2, name="b"), Task(step, deps=["a"], bound=4))

    assert run(workflow, given=3)["step"] == ({"a": 1}, 2, 3, 4)


def test_upstream_by_keyword_only_and_with_a_default() -> None:
    async def step(*, upstream: Mapping[str, Any] | None = None) -> Any:
        return upstream

    assert run(Graph(constant(1, name="a"), Task(step, deps=["a"])))["step"] == {"a": 1}
    assert value(step) == {}


def test_upstream_has_the_one_output_that_was_named_as_dependency() -> None:
    both = constant((1, 2), name="both", output=("q", "r"))

    assert run(Graph(both, Task(merge, deps=["q"])))["merge"] == {"q": 1}
    assert run(Graph(both, Task(merge, deps=["r", "q"])))["merge"] == {"r": 2, "q": 1}
    assert run(Graph(both, Task(merge, deps=["both"])))["merge"] == {"both": (1, 2)}


def test_upstream_has_the_value_of_a_group() -> None:
    graph = Graph(
        Sequence(constant(1), constant(2), name="sequence"),
        Parallel(constant(3), name="parallel"),
        Graph(constant(4, name="x"), name="graph"),
        Task(merge, deps=["sequence", "parallel", "graph"]),
    )

    assert run(graph)["merge"] == {"sequence": [1, 2], "parallel": [3], "graph": {"x": 4}}


def test_upstream_is_a_mapping_of_its_own_in_every_step() -> None:
    async def greedy(upstream: dict[str, Any]) -> int:
        upstream["mine"] = True
        return len(upstream)

    graph = Graph(constant(1, name="a"), *(Task(greedy, deps=["a"], name=f"step{k}") for k in range(3)))

    assert [run(graph)[f"step{k}"] for k in range(3)] == [2, 2, 2]


# -- 3. bound values ---------------------------------------------------------------------------------------------------


@every_kind
def test_a_bound_value_wins_over_output_dependency_earlier_step_piped_and_default(fn: Any) -> None:
    step = Task(fn, name="step").bind(x="bound")

    assert run(Graph(constant(1, name="x"), step))["step"] == "bound"
    assert run(Graph(constant(1, name="x"), step.evolve(deps=["x"])))["step"] == "bound"
    assert run(Sequence(constant(1, name="x"), step))["step"] == "bound"
    assert run(Sequence(constant(1), step))["step"] == "bound"
    assert value(step) == "bound"


@every_kind
def test_an_input_that_only_bound_parameters_carry_is_refused_and_says_where_it_is_bound(fn: Any) -> None:
    workflow = Sequence(Graph(Task(fn, name="step").bind(x="bound"), name="inner"))

    with pytest.raises(InputError, match=r"unexpected input: 'x'.*'x' is bound already in task 'inner/step'") as caught:
        run(workflow, x="input")
    assert (caught.value.unexpected, caught.value.missing, caught.value.known) == (("x",), (), ())
    assert compile(workflow).inputs == ()


def test_an_input_fills_the_parameters_that_are_not_bound() -> None:
    workflow = Parallel(Task(required, x="bound", name="bound"), Task(required, name="free"))

    assert value(workflow, x="input") == ["bound", "input"]


def test_a_bound_value_makes_no_edge() -> None:
    assert after(Graph(constant(1, name="x"), Task(required, x=2))) == {"x": [], "required": []}


def test_none_is_a_bound_value() -> None:
    assert value(Task(optional, x=None)) is None
    assert value(Sequence(constant(1, name="x"), Task(required, x=None))) == [1, None]


def test_bound_values_are_given_as_they_are_not_copied() -> None:
    mine: list[int] = []

    assert value(Task(required, mine)) is mine


# -- 4. names: a dependency, an output of the graph, an earlier step ---------------------------------------------------


@every_kind
def test_an_output_of_the_graph_wins_over_piped_input_and_default(fn: Any) -> None:
    graph = Graph(constant("output", name="x"), Task(fn, name="step"))

    assert run(graph)["step"] == "output"
    assert run(Sequence(constant("piped"), graph))["graph/step"] == "output"
    assert compile(graph).inputs == ()
    with pytest.raises(InputError, match="unexpected input: 'x'"):
        run(graph, x="input")


@every_kind
def test_an_earlier_step_wins_over_piped_input_and_default(fn: Any) -> None:
    workflow = Sequence(constant("earlier", name="x"), constant("piped"), Task(fn, name="step"))

    assert run(workflow)["step"] == "earlier"
    with pytest.raises(InputError, match="unexpected input: 'x'"):
        run(workflow, x="input")


@every_kind
def test_a_dependency_wins_over_an_output_of_the_same_name(fn: Any) -> None:
    named = constant("dependency", name="x", output="y")
    giving = constant("output", name="z", output="x")

    assert run(Graph(named, giving, Task(fn, deps=["x"], name="step")))["step"] == "dependency"
    assert run(Graph(named, giving, Task(fn, name="step")))["step"] == "output"


def test_only_earlier_steps_of_a_sequence_are_meant() -> None:
    workflow = Sequence(Task(required, name="first"), constant("later", name="x"), Task(required, name="last"))

    assert value(workflow, x="input") == ["input", "later", "later"]


def test_a_step_is_no_input_of_its_own() -> None:
    async def x(x: int) -> int:
        return x + 1

    assert value(Graph(x), x=1) == {"x": 2}
    assert value(Graph(x, Task(required, name="reader")), x=1) == {"x": 2, "reader": 2}
    assert value(Sequence(x, x), x=1) == [2, 3]


# -- 5. the value handed on; test_piping.py has the rest ---------------------------------------------------------------


def test_a_piped_value_wins_over_an_input_of_that_name() -> None:
    workflow = Sequence(constant("piped"), required)

    assert value(workflow) == ["piped", "piped"]
    with pytest.raises(InputError, match="unexpected input: 'x'"):
        run(workflow, x="input")


@pytest.mark.parametrize("fn", [optional, keyword, keyword_optional, only_optional], ids=lambda fn: fn.__name__)
def test_what_is_not_piped_into_takes_an_input(fn: Any) -> None:
    assert value(Sequence(constant("piped"), fn), x="input") == ["piped", "input"]


# -- 6. to 8. inputs, defaults, and nothing ----------------------------------------------------------------------------


@every_kind
def test_an_input_wins_over_a_default(fn: Any) -> None:
    assert value(fn, x="input") == "input"
    assert value(fn, x=None) is None
    assert value(Graph(fn), x="input") == {fn.__name__: "input"}


@pytest.mark.parametrize("fn", [optional, keyword_optional, only_optional], ids=lambda fn: fn.__name__)
def test_a_default_is_what_is_left(fn: Any) -> None:
    assert value(fn) == "default"
    assert value(Sequence(constant("piped"), Graph(fn))) == ["piped", {fn.__name__: "default"}]


@pytest.mark.parametrize("fn", [required, keyword, only], ids=lambda fn: fn.__name__)
def test_without_any_source_the_input_is_missing(fn: Any) -> None:
    with pytest.raises(InputError, match="missing input: 'x'") as caught:
        run(fn)
    assert (caught.value.missing, caught.value.unexpected, caught.value.known) == (("x",), (), ("x",))


def test_a_default_is_the_object_itself_also_if_it_compares_strangely() -> None:
    class Strange:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError(other)

        __hash__ = None  # type: ignore[assignment]

    strange = Strange()

    async def step(x: object = strange) -> Any:
        return x

    assert value(step) is strange


def test_one_input_serves_every_parameter_of_its_name() -> None:
    async def sum_up(a: int, x: int = 100) -> int:
        return a + x

    workflow = Parallel(required, Task(optional), Sequence(Task(sum_up, a=1)))

    assert value(workflow, x=1) == [1, 1, [2]]
    assert compile(workflow).inputs == ("x",)
    with pytest.raises(InputError, match="missing input: 'x'"):  # one of them requires it
        run(workflow)


# -- what a signature may look like ------------------------------------------------------------------------------------


def test_args_and_kwargs_need_nothing_and_take_what_is_bound() -> None:
    async def step(a: Any, *args: Any, k: Any = 0, **kwargs: Any) -> Any:
        return a, args, k, kwargs

    assert value(Task(step), a=1) == (1, (), 0, {})
    assert value(Task(step, 1, 2, 3)) == (1, (2, 3), 0, {})
    assert value(Task(step, 1, 2, k=4, z=5)) == (1, (2,), 4, {"z": 5})
    assert value(Task(step, z=5), a=1, k=2) == (1, (), 2, {"z": 5})
    with pytest.raises(InputError, match="unexpected input: 'args', 'kwargs'"):
        run(Task(step), a=1, args=1, kwargs=2)


def test_args_behind_parameters_with_defaults() -> None:
    async def step(a: Any, b: Any = "b", *args: Any) -> Any:
        return a, b, args

    assert value(Task(step, 1)) == (1, "b", ())
    assert value(Task(step, 1), b=2) == (1, 2, ())
    assert value(Task(step, 1, 2, 3, 4)) == (1, 2, (3, 4))
    assert value(Sequence(constant("piped"), step)) == ["piped", ("piped", "b", ())]


def test_values_bound_by_position_leave_out_context_and_upstream() -> None:
    async def step(context: Context[str], a: Any, upstream: Mapping[str, Any], *rest: Any, k: Any) -> Any:
        return context.data, a, dict(upstream), rest, k

    graph = Graph(constant(0, name="source"), Task(step, 1, 2, 3, deps=["source"]))

    assert run(graph, Context("data"), k=4)["step"] == ("data", 1, {"source": 0}, (2, 3), 4)


def test_names_fill_positional_and_keyword_parameters_alike() -> None:
    async def step(a: Any, /, b: Any, *, c: Any) -> Any:
        return a, b, c

    graph = Graph(step, *(constant(k, name=name) for k, name in enumerate("cba")))

    assert run(graph)["step"] == (2, 1, 0)


def test_parameters_with_strange_names() -> None:
    assert value(asking("step", ["größe", "self", "cls", "_", "__x"]), größe=1, self=2, cls=3, _=4, __x=5) == (
        "step",
        {"größe": 1, "self": 2, "cls": 3, "_": 4, "__x": 5},
    )


def test_a_method_does_not_ask_for_self() -> None:
    class Source:
        async def load(self, x: int) -> int:
            return x

    assert value(Source().load, x=1) == 1


# -- several outputs ---------------------------------------------------------------------------------------------------


def divided(**options: Any) -> Task[..., Any]:
    async def divide(a: int, b: int) -> tuple[int, int]:
        return a // b, a % b

    return Task(divide, output=("quotient", "rest"), **options)


@pytest.mark.parametrize("fn", ["step", "keyword"])
def test_each_output_is_a_name_of_its_own(fn: str) -> None:
    parameters = ["quotient", "rest"] if fn == "step" else ["rest", "*", "quotient"]
    result = run(Graph(asking("step", parameters), divided()), a=7, b=4)

    assert result["step"] == ("step", {"quotient": 1, "rest": 3})
    assert result.value == {"step": result["step"], "quotient": 1, "rest": 3}
    assert (result["quotient"], result["rest"], result["divide"]) == (1, 3, (1, 3))


def test_an_output_serves_as_dependency_and_the_name_of_the_task_gives_all() -> None:
    whole = Task(required, deps=["divide"], name="whole")
    graph = Graph(
        divided(), asking("step", ["divide"], deps=["divide"]), asking("other", ["rest"], deps=["rest"]), whole
    )

    result = run(graph, a=7, b=4, x=0)
    assert (result["step"], result["other"]) == (("step", {"divide": (1, 3)}), ("other", {"rest": 3}))
    assert after(graph)["other"] == after(graph)["whole"] == ["divide"]


def test_an_output_of_one_name_given_as_a_list_is_taken_apart_too() -> None:
    graph = Graph(constant((1,), name="one", output=("x",)), required)

    assert value(graph) == {"x": 1, "required": 1}


def test_a_renamed_output() -> None:
    graph = Graph(constant(1, name="load", output="x"), required)

    result = run(graph)
    assert result.value == {"x": 1, "required": 1}
    assert (result["x"], result["load"], list(result.tasks)) == (1, 1, ["load", "required"])
    with pytest.raises(InputError, match="missing input: 'load'"):  # the output is no longer called like the task
        run(Graph(constant(1, name="load", output="x"), asking("step", ["load"])))


def test_outputs_in_a_sequence() -> None:
    workflow = Sequence(divided(), constant(0), asking("step", ["rest", "handed"]))

    assert run(workflow, a=7, b=4)["step"] == ("step", {"rest": 3, "handed": 0})
    assert run(Sequence(divided(), required), a=7, b=4).value == [(1, 3), (1, 3)]  # handed on: the whole value


# -- one definition error for all --------------------------------------------------------------------------------------


def test_all_problems_of_a_definition_come_in_one_error() -> None:
    graph = Graph(
        asking("a", ["b"]),
        asking("b", ["a"]),
        asking("c", deps=["aa"]),
        asking("d", deps=["nobody"]),
        Sequence(constant(1, name="x"), constant(2, name="x"), required),
    )

    with pytest.raises(DefinitionError) as caught:
        compile(graph)
    problems = [str(each) for each in caught.value.problems]
    assert [each.split(":")[0] for each in problems] == [
        "task 'c' depends on 'aa', which is no step here; did you mean 'a'?",
        "task 'd' depends on 'nobody', which is no step here",
        "task 'required'",
        "cycle",
    ]
    assert str(caught.value).startswith("4 problems:\n  - ")
    assert all(each in str(caught.value) for each in problems)
