"""Registries: tasks collected where they are written, in namespaces, each of which makes a graph of its own."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import CycleError, DefinitionError, Graph, Parallel, Retry, Sequence, Task, TaskRegistry
from orch.errors import DuplicateNameError, MissingDependencyError
from tests.plan.wired import after, asking, constant, value


@pytest.fixture
def registry() -> TaskRegistry:
    return TaskRegistry()


REGISTRY = TaskRegistry()


@REGISTRY.task(dag="etl")
def extract(url: str) -> str:
    return f"rows of {url}"


@REGISTRY.task(dag="etl", deps=[extract], retry=Retry(2), output="loaded")
async def load(extract: str) -> str:
    return f"{extract}, loaded"


# -- what is collected -------------------------------------------------------------------------------------------------


def test_a_decorated_function_is_a_task_and_callable_as_before(registry: TaskRegistry) -> None:
    @registry.task
    def bare(a: int, b: int = 2) -> int:
        return a + b

    @registry.task(name="other", output="sum", thread=False, dag="etl")
    def given(a: int) -> int:
        return a

    assert (bare(1), bare(1, b=3), given(4)) == (3, 4, 4)
    assert isinstance(bare, Task)
    assert (given.name, given.outputs, given.thread) == ("other", ("sum",), False)
    assert bare == orch.task(bare.fn)
    assert (registry.names("default"), registry.names("etl")) == (("bare",), ("other",))


def test_what_is_added_is_given_back(registry: TaskRegistry) -> None:
    step, group = Task(len, name="size"), Sequence(abs, name="rest")

    assert registry.add(step) is step
    assert registry.add(group, dag="etl") is group
    assert registry.add(sum) == Task(sum)
    assert registry.graph().steps == (step, Task(sum))
    assert registry.graph("etl").steps == (group,)


def test_names_and_numbers(registry: TaskRegistry) -> None:
    assert (len(registry), registry.names(), registry.dags) == (0, (), ())
    for name, dag in [("b", "etl"), ("a", "etl"), ("b", "ml"), ("c", "default")]:
        registry.add(constant(1, name=name), dag=dag)

    assert len(registry) == 4
    assert registry.names() == ("b", "a", "b", "c")
    assert registry.names(dag="etl") == ("b", "a")
    assert registry.dags == ("etl", "ml", "default")
    assert "a" in registry
    assert "d" not in registry
    assert 1 not in registry
    assert repr(registry) == "<TaskRegistry: 'etl' (2), 'ml' (1), 'default' (1)>"
    assert repr(TaskRegistry()) == "<TaskRegistry: empty>"


@given(st.text(min_size=1, max_size=1000).filter(lambda text: "\0" not in text))
def test_any_text_names_a_namespace(dag: str) -> None:
    registry = TaskRegistry()
    registry.add(len, dag=dag)

    assert registry.graph(dag) == Graph(len, name=dag)
    assert repr(registry).isprintable()


def test_registries_share_nothing(registry: TaskRegistry) -> None:
    registry.add(len)

    assert len(TaskRegistry()) == 0
    assert "len" not in TaskRegistry()


# -- graphs ------------------------------------------------------------------------------------------------------------


def test_a_graph_is_what_would_have_been_written_by_hand() -> None:
    graph = REGISTRY.graph("etl", limit=2, on_failure="continue", timeout=5)

    assert graph == Graph(extract, load, name="etl", limit=2, on_failure="continue", timeout=5)
    assert graph == REGISTRY.graph("etl", limit=2, on_failure="continue", timeout=5)
    assert value(REGISTRY.graph("etl"), url="u") == {"extract": "rows of u", "loaded": "rows of u, loaded"}
    assert REGISTRY.graph("etl", name="mine").name == "mine"


def test_a_graph_does_not_see_what_is_added_later(registry: TaskRegistry) -> None:
    registry.add(constant(1, name="a"))
    graph = registry.graph()
    registry.add(constant(2, name="b"))

    assert graph.outputs == ("a",)
    assert registry.graph().outputs == ("a", "b")


def test_families_of_tasks_from_loops(registry: TaskRegistry) -> None:
    def reader(table: str) -> Task[[], str]:
        @registry.task(name=f"read_{table}")
        def read() -> str:
            return table  # of the call, so each member of the family has its own

        return read

    for table in ("users", "orders"):
        read = reader(table)

        @registry.task(name=f"count_{table}", deps=[read])
        def count(upstream: dict[str, str], size: int = len(table)) -> tuple[Any, ...]:
            return *upstream.items(), size

    graph = registry.graph()
    assert after(graph) == {
        "read_users": [],
        "count_users": ["read_users"],
        "read_orders": [],
        "count_orders": ["read_orders"],
    }
    assert value(graph)["count_orders"] == (("read_orders", "orders"), 6)
    assert value(graph)["count_users"] == (("read_users", "users"), 5)


def test_one_function_bound_for_each_of_a_family(registry: TaskRegistry) -> None:
    async def fetch(part: int) -> int:
        return part

    steps = [registry.add(Task(fetch, k, name=f"fetch_{k}")) for k in range(3)]
    registry.add(asking("merge", ["upstream"], deps=steps))

    assert value(registry.graph())["merge"] == ("merge", {"upstream": {"fetch_0": 0, "fetch_1": 1, "fetch_2": 2}})


@pytest.mark.parametrize("means", ["name", "output", "task", "function", "part of a group"])
def test_deps_are_named_in_many_ways(registry: TaskRegistry, means: str) -> None:
    first = registry.add(constant(1, name="first", output="one"))
    registry.add(Parallel(constant(2, name="inner"), name="group"))
    ways: dict[str, Any] = {
        "name": "first",
        "output": "one",
        "task": first,
        "function": first.fn,
        "part of a group": "inner",
    }
    registry.add(asking("last", deps=[ways[means]]))

    assert after(registry.graph())["last"] == (["group/inner"] if means == "part of a group" else ["first"])


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_check_1_one_name_stands_for_one_task_of_a_namespace(registry: TaskRegistry) -> None:
    first, second = Task(extract.fn, name="load"), Task(load.fn)
    registry.add(first)
    registry.add(second, dag="etl")

    with pytest.raises(DuplicateNameError) as caught:
        registry.add(second)

    assert (caught.value.name, caught.value.places) == ("load", (first.place, second.place))
    assert first.place.startswith(__file__)
    assert registry.names() == ("load", "load")


def test_a_step_is_added_once(registry: TaskRegistry) -> None:
    group = registry.add(Sequence(name="caf\u00e9"))

    with pytest.raises(DuplicateNameError, match=r"<Sequence 'café', 0 steps> in 'default'"):
        registry.add(group)
    with pytest.raises(DuplicateNameError):
        registry.task(len, name="cafe\u0301")


def test_check_2_a_missing_dependency_is_named_with_what_may_have_been_meant(registry: TaskRegistry) -> None:
    registry.add(constant(1, name="extract"))
    registry.add(asking("load", deps=["extrct"]))

    with pytest.raises(MissingDependencyError) as caught:
        registry.graph()

    assert (caught.value.task, caught.value.missing) == ("load", "extrct")
    assert (caught.value.suggestions, caught.value.elsewhere) == (("extract",), ())


@pytest.mark.parametrize("named", [True, False], ids=["by name", "as a task"])
def test_a_dependency_of_another_namespace_is_refused_and_says_which(registry: TaskRegistry, *, named: bool) -> None:
    other = registry.add(constant(1, name="extract"), dag="common")
    registry.add(constant(1, name="extract"), dag="spare")
    registry.add(asking("load", deps=["extract" if named else other]), dag="etl")

    with pytest.raises(MissingDependencyError) as caught:
        registry.graph("etl")

    elsewhere = ("common", "spare") if named else ("common",)
    assert caught.value.elsewhere == elsewhere
    assert str(caught.value) == (
        "task 'load' depends on 'extract', which is no step here but one of namespace "
        f"{', '.join(map(repr, elsewhere))}: a dependency has to be in that of the task"
    )
    assert pickle.loads(pickle.dumps(caught.value)).elsewhere == elsewhere


def test_a_task_of_another_namespace_is_not_mistaken_for_its_namesake(registry: TaskRegistry) -> None:
    other = registry.add(constant("theirs", name="extract"), dag="common")
    own = registry.add(constant("ours", name="extract"), dag="etl")
    registry.add(asking("load", deps=[other]), dag="etl")
    registry.add(asking("save", deps=[own.evolve(retain=False)]), dag="etl")

    with pytest.raises(MissingDependencyError, match=r"'load' depends on 'extract', .*namespace 'common'"):
        registry.graph("etl")


def test_all_missing_dependencies_are_said_at_once(registry: TaskRegistry) -> None:
    registry.add(asking("a", deps=["x", "y"]))
    registry.add(asking("b", deps=["x"]))

    with pytest.raises(DefinitionError) as caught:
        registry.graph()

    assert [type(problem) for problem in caught.value.problems] == [MissingDependencyError] * 3


def test_check_3_a_circle_is_a_matter_of_the_plan(registry: TaskRegistry) -> None:
    registry.add(asking("a", ["b"]))
    registry.add(asking("b", deps=["a"]))

    with pytest.raises(CycleError):
        orch.plan.compile(registry.graph())


def test_two_producers_of_one_output_are_refused_by_the_graph(registry: TaskRegistry) -> None:
    registry.add(constant(1, name="a", output="x"))
    registry.add(constant(1, name="b", output="x"))

    with pytest.raises(DuplicateNameError, match=r"two steps give the output 'x' \('a' at .*, 'b' at "):
        registry.graph()


def test_an_unknown_namespace(registry: TaskRegistry) -> None:
    with pytest.raises(DefinitionError, match=r"^the registry has no namespace 'default'; it is empty$"):
        registry.graph()
    registry.add(len, dag="etl")

    with pytest.raises(DefinitionError, match=r"no namespace 'elt'; did you mean 'etl'\?"):
        registry.graph("elt")
    with pytest.raises(DefinitionError, match=r"no namespace 'training'; it has 'etl'"):
        registry.names(dag="training")


WRONG: list[tuple[Callable[[TaskRegistry], Any], str]] = [
    (lambda registry: registry.add(1), "expected a callable or a workflow"),  # type: ignore[call-overload]
    (lambda registry: registry.add(len, dag=1), "dag: expected str, found int"),  # type: ignore[call-overload]
    (lambda registry: registry.task(dag=None)(len), "dag: expected str, found None"),  # type: ignore[call-overload]
    (lambda registry: registry.graph(1), "dag: expected str"),  # type: ignore[arg-type]
    (lambda registry: registry.task(dg="etl"), "no parameter 'dg'; did you mean 'dag'"),  # type: ignore[call-overload]
    (lambda registry: registry.task(Task(len)), "is a workflow already"),
]


@pytest.mark.parametrize("call,message", WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_arguments_leave_nothing_behind(
    registry: TaskRegistry, call: Callable[[TaskRegistry], Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call(registry)
    assert (len(registry), registry.dags) == (0, ())
    with pytest.raises(ValueError, match=r"^dag: expected a text"):
        registry.add(len, dag="")
    assert registry.dags == ()


# -- values ------------------------------------------------------------------------------------------------------------


def test_what_is_made_of_a_registry_survives_pickling_and_copying() -> None:
    graph = REGISTRY.graph("etl")

    assert pickle.loads(pickle.dumps(graph)) == copy.deepcopy(graph) == graph
    assert pickle.loads(pickle.dumps(extract)) == extract
    again = pickle.loads(pickle.dumps(REGISTRY))
    assert (again.names(), again.graph("etl")) == (REGISTRY.names(), graph)


def test_a_decorated_function_can_be_inspected() -> None:
    assert inspect.signature(extract) == inspect.signature(extract.fn)
    assert inspect.getsource(load).startswith('@REGISTRY.task(dag="etl"')


def test_methods_can_be_registered(registry: TaskRegistry) -> None:
    class Shop:
        @registry.task
        async def sell(self, price: int) -> int:
            return price * 2

    assert value(Graph(Shop().sell), price=2) == {"sell": 4}
    assert registry.names() == ("sell",)
