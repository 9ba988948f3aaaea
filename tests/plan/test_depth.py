"""Size: depth costs no recursion, and neither depth nor width costs more than its share."""

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import orch
from orch import Graph, Parallel, Sequence, Task, Workflow
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.plan.wired import asking, constant

DEEP = 10_000
GROUPS = [Sequence, Parallel, Graph]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if it takes longer than many times of what it should; a quadratic algorithm would take minutes."""
    begin = time.perf_counter()
    yield
    assert time.perf_counter() - begin < seconds


@contextmanager
def shallow(frames: int = 60) -> Iterator[None]:
    """Leave Python so few frames that whoever recurses over a workflow fails."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


async def echo(x: Any) -> Any:
    return x


def nested(*kinds: Callable[..., Workflow], depth: int = DEEP, step: Workflow | None = None) -> Workflow:
    workflow = step or Task(echo)
    for k in range(depth):
        workflow = kinds[k % len(kinds)](workflow)
    return workflow


def innermost(value: Any) -> Any:
    while isinstance(value, list | dict):
        (value,) = value.values() if isinstance(value, dict) else value
    return value


# -- deep --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kinds", [[Sequence], [Parallel], [Graph], GROUPS], ids=["Sequence", "Parallel", "Graph", "mixed"]
)
def test_ten_thousand_groups_in_each_other(kinds: list[Any]) -> None:
    workflow = nested(*kinds)
    with within(5), shallow():
        plan = compile(workflow)
    assert (len(plan), plan.inputs) == (1, ("x",))
    with within(5):
        result = orch.Runner().run(plan, x=42)
        assert innermost(result.value) == 42


def test_paths_at_depth_cost_what_the_tasks_need() -> None:
    workflow = nested(Sequence)
    with within(1):  # a path for each of the groups would be 450 MB
        result = orch.Runner().run(workflow, x=1)
        assert [record.path.count("/") for record in result.tasks.values()] == [DEEP - 1]
        assert len(result.trace) == 4
        assert compile(workflow).order() == list(result.tasks)


def test_a_name_is_read_through_ten_thousand_groups() -> None:
    for kinds in ([Sequence], [Parallel], GROUPS):
        graph = Graph(constant("outer", name="x"), nested(*kinds))
        with within(5):
            assert innermost(orch.Runner().run(graph)["echo"]) == "outer"


def test_a_value_is_piped_into_ten_thousand_groups_and_handed_out_of_them() -> None:
    for kinds in ([Sequence], [Parallel], GROUPS):
        with within(5):
            value = orch.Runner().run(Sequence(constant("piped"), nested(*kinds), Task(echo, name="last"))).value
            assert (innermost(value[1]), innermost(value[2])) == ("piped", "piped")


def test_deep_on_the_right_and_on_the_left() -> None:
    """Every level has a step of its own before or behind: the whole is a chain of ten thousand."""
    for before in (True, False):
        workflow: Workflow = Task(echo)
        for _ in range(DEEP):
            workflow = Sequence(echo, workflow) if before else Sequence(workflow, echo)
        with within(10), shallow():
            plan = compile(workflow)
        assert len(plan) == DEEP + 1
        with within(5):
            assert orch.Runner().run(plan, x=0).state is orch.State.SUCCEEDED


def test_a_failure_in_the_depth_reaches_the_top() -> None:
    async def fails() -> None:
        raise ValueError

    workflow = nested(Sequence, Parallel, step=Task(fails))
    with within(5):
        result = orch.Runner().run(workflow, raise_on_failure=False)
    assert (result.state, len(result.errors)) == (orch.State.FAILED, 1)


def test_problems_in_the_depth_are_found() -> None:
    with within(5), pytest.raises(orch.DefinitionError, match="depends on 'nobody'"):
        compile(nested(*GROUPS, step=Task(echo, deps=["nobody"])))


def test_a_cycle_in_the_depth_is_found() -> None:
    cycle = Graph(asking("a", ["b"]), asking("b", ["a"]))
    with within(5), pytest.raises(orch.CycleError):
        compile(nested(*GROUPS, step=cycle))


# -- wide --------------------------------------------------------------------------------------------------------------


def test_a_chain_of_a_hundred_thousand() -> None:
    size = 100_000
    step = Task(echo)
    with within(15):
        plan = compile(Sequence(*[step] * size))
    assert (len(plan), plan.dag.edges) == (size, size - 1)
    with within(10):
        assert orch.Runner().run(plan, x=7).value[-1] == 7


def test_a_chain_by_names() -> None:
    size = 20_000
    with within(10):
        tasks = [Task(_free, name=f"s{k}", deps=[f"s{k - 1}"] if k else []) for k in range(size)]
        plan = compile(Graph(*reversed(tasks)))
    assert plan.order() == [f"s{k}" for k in range(size)]
    assert len(plan.critical_path()) == size


def test_two_wide_groups_in_a_row_need_a_join_and_not_their_product_of_edges() -> None:
    size = 50_000
    step = Task(_free)
    with within(20):
        plan = compile(Sequence(Parallel(*[step] * size), Parallel(*[step] * size)))
    assert len(plan) == 2 * size
    assert plan.dag.edges <= 3 * size + 10
    with within(20):
        assert orch.Runner().run(plan).state is orch.State.SUCCEEDED


async def _free() -> None: ...


def test_many_readers_of_one_step_and_one_reader_of_many() -> None:
    size = 20_000
    readers = [Task(echo, name=f"r{k}") for k in range(size)]
    with within(10):
        plan = compile(Graph(constant(1, name="x"), *readers, Task(_free, name="end", deps=[r.name for r in readers])))
    assert plan.dag.edges == 2 * size


def test_many_groups_of_one_name_get_paths_in_linear_time() -> None:
    size = 20_000
    with within(10):
        plan = compile(Parallel(*[Sequence(_free)] * size))
        order = plan.order()
    assert order[:2] == ["sequence/_free", "sequence#2/_free"]
    assert order[-1] == f"sequence#{size}/_free"


def test_many_inputs_and_many_bound_values() -> None:
    size = 10_000
    tasks = [asking(f"t{k}", [f"p{k}", "shared", "bound"]).bind(bound=k) for k in range(300)]
    with within(10):
        plan = compile(Parallel(*tasks * (size // 300)))
    assert len(plan.inputs) == 301


@pytest.mark.parametrize("shape", ["sequence", "parallel", "graph", "nested", "readers"])
def test_time_to_compile_grows_with_size_and_not_faster(shape: str) -> None:
    """Eight times the steps in less than thirty times the time: a quadratic walk would need sixty-four."""

    def make(size: int) -> Workflow:
        if shape == "graph":
            return Graph(*(Task(_free, name=f"s{k}", deps=[f"s{k // 2}"] if k else []) for k in range(size)))
        if shape == "nested":
            return nested(*GROUPS, depth=size)
        if shape == "readers":
            return Graph(constant(1, name="x"), *(Task(echo, name=f"r{k}") for k in range(size)))
        step = Task(_free)
        return (Sequence if shape == "sequence" else Parallel)(*[step] * size)

    def seconds(size: int) -> float:
        best = float("inf")
        for _ in range(5):
            workflow = make(size)
            begin = time.thread_time()  # what neighbours do on the machine is no cost of ours
            compile(workflow)
            best = min(best, time.thread_time() - begin)
        return best

    assert seconds(8_000) < 30 * seconds(1_000) + 0.01
