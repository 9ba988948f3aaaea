"""Where a resource fills a parameter, and where something else does: API decision 1, line by line."""

import functools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

import orch
from orch import Context, DefinitionError, Graph, Parallel, Resource, Sequence, Task, resource
from orch.errors import InputError
from orch.plan import compile, values_for  # noqa: A004 (the verb under test)


@resource
async def database() -> AsyncIterator[str]:
    yield "connection"


@resource
def cache() -> Iterator[str]:
    yield "cache"


@resource
def anything() -> Iterator[Any]:
    yield None


def load(rows: int, connection: str = orch.use(database), *, kept: str = orch.use(cache)) -> str:
    return f"{rows} {connection} {kept}"


def connection() -> str:
    return "a step of the name of a parameter"


def filled(workflow: Any, node: int = 0) -> list[Resource[Any]]:
    """The resources that fill parameters of a step, in order of the parameters."""
    plan = compile(workflow)
    return [resource for _, resource in plan.rules[node].resources] if node in plan.rules else []


# -- precedence --------------------------------------------------------------------------------------------------------


def test_a_default_asks_for_a_resource() -> None:
    plan = compile(load)
    assert filled(load) == [database, cache]
    assert plan.inputs == ("rows",)
    assert [slot for slot, _ in plan.rules[0].resources] == list(plan.wiring.slots[0][1:])


def test_a_step_without_resources_has_no_rules() -> None:
    assert compile(Graph(connection)).rules == {}


def test_the_context_goes_before_a_resource() -> None:
    def both(connection: Context[Any] = orch.use(anything)) -> None: ...

    assert filled(both) == []


def test_upstream_goes_before_a_resource() -> None:
    def both(upstream: Mapping[str, Any] = orch.use(anything)) -> None: ...

    assert filled(both) == []


def test_a_bound_value_goes_before_a_resource() -> None:
    assert filled(Task(load).bind(connection="fake")) == [cache]
    assert filled(Task(load, 1, "fake", kept="fake")) == []
    assert filled(functools.partial(load, kept="fake")) == [database]
    assert filled(Task(functools.partial(load, connection="fake"))) == [cache]


def test_a_resource_goes_before_steps_inputs_and_what_is_handed_on() -> None:
    assert filled(Graph(connection, load), 1) == [database, cache]
    assert filled(Sequence(connection, load), 1) == [database, cache]
    with pytest.raises(InputError) as raised:
        values_for(compile(load), {"rows": 1, "connection": "mine"}, None)
    assert str(raised.value).endswith(
        "'connection' of task 'load' is filled with resource 'database'; to replace it, bind another value"
        " (.bind(connection=…))"
    )


def test_an_input_of_that_name_is_for_the_others() -> None:
    def ask(connection: str) -> None: ...

    plan = compile(Parallel(load, ask))
    assert plan.inputs == ("rows", "connection")
    values = values_for(plan, {"rows": 1, "connection": "mine"}, None)
    assert [values[slot] for slot in plan.wiring.slots[1]] == ["mine"]
    assert values[plan.wiring.slots[0][1]] is None


def test_a_resource_may_be_bound() -> None:
    def plain(connection: str, times: int = 2) -> None: ...

    bound = Task(plain).bind(connection=orch.use(database))
    assert filled(bound) == [database]
    assert compile(bound).inputs == ("times",)
    assert filled(Graph(plain).bind(connection=orch.use(database))) == [database]
    assert filled(Task(load).bind(connection=orch.use(cache))) == [cache, cache]


LOOSE = [Task(lambda *args: None, orch.use(database)), Task(lambda **kwargs: None, it=orch.use(database))]


@pytest.mark.parametrize("loose", LOOSE, ids=["args", "kwargs"])
def test_a_resource_that_no_parameter_takes_is_refused(loose: Task[..., Any]) -> None:
    with pytest.raises(
        DefinitionError, match=r"expected plain values for \*args and \*\*kwargs, found use\(database\)"
    ):
        compile(loose)


# -- groups ------------------------------------------------------------------------------------------------------------


def test_a_group_binds_another_value() -> None:
    graph = Graph(load)
    assert filled(graph.bind(connection="fake")) == [cache]
    assert graph.bind(connection="fake").bind(kept="fake", rows=1).inputs == ()
    assert filled(Sequence(Graph(load, name="inner").bind(kept="fake"))) == [database]
    assert filled(Sequence(graph).bind(connection="outer")) == [cache]
    with pytest.raises(TypeError, match="did you mean 'connection'"):
        graph.bind(conection="fake")


def test_what_a_group_binds_is_for_its_own_steps() -> None:
    both = Parallel(Graph(load, name="one").bind(connection="fake"), Graph(load, name="two"))
    plan = compile(both)
    assert [len(plan.rules[node].resources) for node in plan.nodes] == [1, 2]


def test_a_border_that_renames_is_crossed() -> None:
    def ask(connection: str) -> None: ...

    inner = Graph(load, ask, name="inner").as_task(inputs={"link": "connection"})
    assert filled(Sequence(inner).bind(link="fake")) == [cache]
    assert filled(Sequence(inner)) == [database, cache]


def test_a_selection_keeps_its_resources() -> None:
    assert filled(Graph(load, connection).select("load")) == [database, cache]


# -- the context -------------------------------------------------------------------------------------------------------


def test_a_run_without_a_context_says_who_needs_it() -> None:
    @resource
    def needy(context: Context[Any]) -> Iterator[Any]:
        yield context

    def step(it: Any = orch.use(needy)) -> None: ...
    def undo(value: Any, it: Any = orch.use(needy)) -> None: ...

    for workflow in (step, Task(connection, compensate=undo)):
        with pytest.raises(DefinitionError, match="a parameter takes the Context, and this run has none"):
            values_for(compile(workflow), {}, None)
        values_for(compile(workflow), {}, Context())


# -- compensations -----------------------------------------------------------------------------------------------------


def undo_of(workflow: Any) -> Any:
    undo = compile(workflow).rules[0].undo
    assert undo is not None
    return undo


def test_a_compensation_asks_for_a_resource() -> None:
    def undo(value: str, link: str = orch.use(database), connection: str = orch.use(cache)) -> None: ...

    found = undo_of(Task(connection, compensate=undo))
    assert found.resources == (database, cache)
    called = found.arguments([], "value", None, None, {database: "one", cache: "two"})
    assert called == (["value", "one", "two"], {})


def test_what_the_task_has_used_its_compensation_gets() -> None:
    def undo(value: str, link: str = orch.use(database)) -> None: ...

    for task in (Task(load, 1), Task(load, 1).bind(connection="fake")):
        found = undo_of(task.evolve(compensate=undo))
        assert found.resources == ()
        assert found.arguments([1, "fake", "kept"], "value", None, None) == (["value", "fake"], {})


def test_what_is_bound_in_a_compensation_goes_first() -> None:
    def undo(value: str, link: str = orch.use(database)) -> None: ...

    found = undo_of(Task(load, 1, compensate=Task(undo, link="mine")))
    assert found.resources == ()
    assert found.arguments([1, "fake", "kept"], "value", None, None) == (["value", "mine"], {})
    assert undo_of(Task(connection, compensate=Task(undo, link=orch.use(cache)))).resources == (cache,)


def test_a_resource_is_no_leftover_parameter() -> None:
    def undo(receipt: str, value: str = orch.use(database)) -> None: ...

    found = undo_of(Task(connection, compensate=undo))
    assert found.arguments([], "it", None, None, {database: "one"}) == (["it", "one"], {})


# -- maps --------------------------------------------------------------------------------------------------------------


def test_every_copy_of_the_body_of_a_map_asks() -> None:
    plan = compile(orch.Map(load, over="rows"))
    assert plan.inputs == ("rows",)
