"""The plan as users meet it: made once, the same every time, and what it tells about a workflow."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

import orch
from orch import CycleError, DefinitionError, Graph, Parallel, Sequence, Task, Workflow
from orch.errors import DuplicateNameError, InputError, MissingDependencyError
from orch.plan import Plan, compile  # noqa: A004 (the verb under test)
from tests.plan.wired import after, asking, constant, run, value

DIAMOND = Graph(
    asking("d", ["b", "c"]), asking("c", ["a"]), asking("b", ["a"]), asking("a", ["url", "rows=1"]), name="etl"
)


# -- compile -----------------------------------------------------------------------------------------------------------


def test_a_definition_is_compiled_once_and_keeps_its_plan() -> None:
    plan = compile(DIAMOND)

    assert isinstance(plan, Plan)
    assert compile(DIAMOND) is plan
    assert compile(plan) is plan
    assert plan.workflow is DIAMOND
    assert len(plan) == 4


def test_a_plan_belongs_to_one_definition() -> None:
    one, two = Sequence(asking("a"), asking("b")), Sequence(asking("a"), asking("b"))
    task = asking("a")

    assert compile(one) is not compile(two)
    assert compile(task) is not compile(task.evolve(name="b"))
    assert compile(task.evolve(name="b")).order() == ["b"]
    assert compile(task.bind()) is not compile(task)


async def inc(x: int) -> int:
    return x + 1


async def inc_again(inc: int) -> int:
    return inc + 1


def test_the_plan_is_no_part_of_the_value_of_a_definition() -> None:
    one, two = Sequence(inc, inc_again), Sequence(inc, inc_again)
    before = (hash(one), repr(one), pickle.dumps(one))
    compile(one)

    assert one == two
    assert before == (hash(one), repr(one), pickle.dumps(one))
    assert compile(copy.deepcopy(one)).order() == compile(one).order()
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_part_of_a_workflow_can_be_compiled_by_itself() -> None:
    inner = Sequence(inc, name="inner")
    outer = Sequence(constant(1), inner)

    assert compile(outer).order() == ["source", "inner/inc"]
    assert compile(inner).order() == ["inc"]
    assert (compile(outer).inputs, compile(inner).inputs) == ((), ("x",))
    assert (value(outer), value(inner, x=1)) == ([1, [2]], [2])


def test_one_task_object_at_several_places() -> None:
    step = Task(inc)

    assert compile(Sequence(step, step, Parallel(step, step))).order() == [
        "inc", "inc#2", "parallel/inc", "parallel/inc#2"
    ]  # fmt: skip
    assert value(Sequence(step, step, Parallel(step, step)), x=0) == [1, 2, [3, 3]]


def test_one_group_object_at_several_places() -> None:
    group = Sequence(inc, inc)

    assert value(Sequence(group, group, Parallel(group, group)), x=0) == [[1, 2], [3, 4], [[5, 6], [5, 6]]]


def test_a_callable_is_a_workflow_of_one_task() -> None:
    plan = compile(inc)

    assert (plan.order(), plan.inputs, len(plan)) == (["inc"], ("x",), 1)
    assert value(plan, x=1) == 2


@pytest.mark.parametrize("wrong", [None, 1, "inc", [inc], {}], ids=repr)
def test_what_is_no_workflow_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a callable or a workflow as a step"):
        compile(wrong)


def test_a_definition_with_problems_says_so_every_time() -> None:
    graph = Graph(asking("a", deps=["nobody"]))

    for _ in range(2):
        with pytest.raises(MissingDependencyError, match="'a' depends on 'nobody'"):
            compile(graph)


def test_compiling_in_several_threads_at_once() -> None:
    workflow = Graph(*(asking(f"s{k}", [f"s{k - 1}"] if k else []) for k in range(200)))
    together = threading.Barrier(4)
    plans: list[Plan] = []

    def work() -> None:
        together.wait(10)
        plans.append(compile(workflow))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({tuple(plan.order()) for plan in plans}) == 1
    assert compile(workflow) in plans


# -- what it tells -----------------------------------------------------------------------------------------------------


def test_order_is_topological_and_otherwise_that_of_definition() -> None:
    assert compile(DIAMOND).order() == ["a", "c", "b", "d"]
    assert compile(Graph(asking("c"), asking("b"), asking("a"))).order() == ["c", "b", "a"]
    assert compile(Graph(asking("z", ["a"]), asking("y"), asking("a"), asking("b", ["z"]))).order() == [
        "y", "a", "z", "b"
    ]  # fmt: skip


def test_order_has_paths() -> None:
    workflow = Sequence(
        asking("a"), Parallel(asking("a"), asking("a"), name="both"), Sequence(asking("a"), name="both")
    )

    assert compile(workflow).order() == ["a", "both/a", "both/a#2", "both#2/a"]


def test_critical_path_is_a_longest_chain() -> None:
    graph = Graph(asking("d", ["c"]), asking("c", ["b"]), asking("b"), asking("x", ["b"]), asking("y"))

    assert compile(graph).critical_path() == ["b", "c", "d"]
    assert compile(Graph(graph, name="outer")).critical_path() == ["graph/b", "graph/c", "graph/d"]
    assert compile(Sequence()).critical_path() == []


def test_groups_do_not_lengthen_the_critical_path() -> None:
    nested = Parallel(Sequence(Parallel(Graph(asking("x")))))
    graph = Graph(nested, asking("a"), asking("b", ["a"]), asking("c", ["b"]))

    assert compile(graph).critical_path() == ["a", "b", "c"]


def test_describe_is_plain_data() -> None:
    assert compile(DIAMOND).describe() == {
        "name": "etl",
        "tasks": {"d": ["c", "b"], "c": ["a"], "b": ["a"], "a": []},
        "inputs": {"url": {"required": True}, "rows": {"required": False}},
        "edges": 4,
    }


def test_inputs_come_required_ones_first_each_in_order_of_use() -> None:
    assert compile(Parallel(asking("a", ["y", "x=1"]), asking("b", ["z", "y", "w=1"]))).inputs == ("y", "z", "x", "w")
    assert compile(Parallel(asking("a", ["x=1"]), asking("b", ["x"]))).inputs == ("x",)
    assert compile(Parallel(asking("a", ["x=1"]), asking("b", ["x"]))).describe()["inputs"]["x"]["required"]


def test_repr_is_one_short_line() -> None:
    assert repr(compile(DIAMOND)) == "<Plan of 'etl': 4 tasks, 4 edges>"


def test_an_empty_plan() -> None:
    for kind, empty in ((Sequence, []), (Parallel, []), (Graph, {})):
        plan = compile(kind())
        assert (len(plan), plan.order(), plan.inputs, plan.describe()["tasks"]) == (0, [], (), {})
        assert value(plan) == empty


def test_every_verb_takes_a_plan() -> None:
    plan = compile(DIAMOND)

    assert run(plan, url="u").value == run(DIAMOND, url="u").value
    assert orch.Runner().run(plan, url="u", select="b").value == {"b": ("b", {"a": ("a", {"url": "u", "rows": 1})})}


# -- what is wrong with a definition -----------------------------------------------------------------------------------


def cycle(workflow: Workflow) -> tuple[str, ...]:
    with pytest.raises(CycleError) as caught:
        compile(workflow)
    return caught.value.path


def test_a_cycle_is_shown_as_a_path_from_dependency_to_dependent() -> None:
    assert cycle(Graph(asking("a", ["c"]), asking("b", ["a"]), asking("c", ["b"]))) == ("a", "b", "c", "a")
    assert cycle(Graph(asking("a", deps=["a"]))) == ("a", "a")
    assert cycle(Graph(asking("x"), asking("a", ["x", "b"]), asking("b", deps=["a"]))) == ("a", "b", "a")


def test_a_cycle_is_the_shortest_through_its_first_name() -> None:
    names = "abcdefgh"
    graph = Graph(
        *(asking(name, deps=[names[k - 1]]) for k, name in enumerate(names) if k), asking("a", deps=["h", "c"])
    )

    path = cycle(graph)
    assert path[0] == path[-1]
    assert set(path) == {"a", "b", "c"}


def test_a_cycle_through_groups_has_paths() -> None:
    graph = Graph(asking("top", ["group"]), Sequence(asking("inner", ["top"]), name="group"))
    assert cycle(graph) in {("top", "group/inner", "group", "top"), ("top", "group/inner", "top")}

    graph = Graph(
        Sequence(asking("a", ["right"]), name="left"), Sequence(asking("a", ["left"]), name="right"), name="outer"
    )
    assert {each for each in cycle(Parallel(graph)) if each.endswith("/a")} == {"outer/left/a", "outer/right/a"}


def test_a_step_that_waits_for_the_group_it_is_in_is_a_cycle_or_missing() -> None:
    with pytest.raises(DefinitionError):
        compile(Graph(Sequence(asking("a", deps=["group"]), name="group")))


def test_every_separate_cycle_is_a_problem() -> None:
    graph = Graph(
        asking("a", ["b"]), asking("b", ["a"]), asking("c", ["d"]), asking("d", ["c"]), asking("e", deps=["e"])
    )

    with pytest.raises(DefinitionError) as caught:
        compile(graph)
    assert [each.path for each in caught.value.problems if isinstance(each, CycleError)] == [
        ("a", "b", "a"), ("c", "d", "c"), ("e", "e")
    ]  # fmt: skip


def test_a_long_cycle_still_prints() -> None:
    size = 20_000
    graph = Graph(*(Task(_nothing, name=f"s{k}", deps=[f"s{k - 1}"]) for k in range(1, size)),
                  Task(_nothing, name="s0", deps=[f"s{size - 1}"]))  # fmt: skip

    with pytest.raises(CycleError) as caught:
        compile(graph)
    assert len(caught.value.path) == size + 1
    assert len(str(caught.value)) < 1000


async def _nothing() -> None: ...


def test_a_single_problem_is_raised_as_itself() -> None:
    with pytest.raises(MissingDependencyError):
        compile(Graph(asking("a", deps=["b"])))
    with pytest.raises(CycleError):
        compile(Graph(asking("a", ["b"]), asking("b", ["a"])))
    with pytest.raises(DuplicateNameError):
        Graph(asking("a"), asking("a"))


def test_many_problems_still_print() -> None:
    graph = Graph(*(asking(f"s{k}", deps=[f"missing {k}"]) for k in range(300)))

    with pytest.raises(DefinitionError) as caught:
        compile(graph)
    assert len(caught.value.problems) == 300
    assert str(caught.value).startswith("300 problems:")
    assert str(caught.value).endswith("and 200 more")


def test_nothing_of_a_wrong_definition_has_run() -> None:
    calls: list[int] = []

    async def step() -> None:
        calls.append(1)

    attempts: list[Callable[[], object]] = [
        lambda: orch.Runner().run(Graph(step, asking("a", deps=["nobody"]))),
        lambda: orch.Runner().run(Graph(step, asking("a", ["missing"]))),
        lambda: orch.Runner().run(Graph(step), unknown=1),
        lambda: orch.Runner().run(Graph(step), select="nobody"),
    ]
    for attempt in attempts:
        with pytest.raises(DefinitionError):
            attempt()
    assert calls == []


# -- select ------------------------------------------------------------------------------------------------------------


PARTS = Graph(
    asking("report", ["total"]),
    asking("total", ["rows", "tax=0"]),
    asking("rows", ["url"]),
    asking("mail", ["report", "address"]),
    constant((1, 2), name="split", output=("head", "tail")),
    Sequence(constant(3, name="inside"), asking("uses", ["rows"]), name="group"),
    asking("ordered", deps=["split"]),
    name="parts",
)


def selected(*names: str, **inputs: Any) -> orch.RunResult:
    return orch.Runner().run(PARTS, inputs=inputs, select=names)


def test_select_runs_the_outputs_and_what_they_need() -> None:
    result = selected("total", url="u")

    assert list(result.tasks) == ["total", "rows"]
    assert result.value == {"total": ("total", {"rows": ("rows", {"url": "u"}), "tax": 0})}
    assert result["rows"] == ("rows", {"url": "u"})
    assert result.name == "parts"


def test_select_by_the_name_of_a_task_and_of_a_group() -> None:
    assert list(selected("split").tasks) == ["split"]
    assert selected("split").value == {"head": 1, "tail": 2}
    assert list(selected("group", url="u").tasks) == ["rows", "group/inside", "group/uses"]
    assert list(selected("group", url="u").value) == ["group"]


def test_select_one_of_several_outputs() -> None:
    assert selected("tail").value == {"tail": 2}
    assert selected("tail")["split"] == (1, 2)


def test_select_follows_deps() -> None:
    assert list(selected("ordered").tasks) == ["split", "ordered"]
    assert selected("ordered").value == {"ordered": ("ordered", {})}


def test_select_several_keeps_the_order_of_definition() -> None:
    result = selected("tail", "report", url="u", tax=1)

    assert list(result.tasks) == ["report", "total", "rows", "split"]
    assert list(result.value) == ["report", "tail"]


def test_select_takes_one_name_as_text() -> None:
    assert orch.Runner().run(PARTS, select="head").value == {"head": 1}


def test_select_asks_for_the_inputs_of_the_closure_only() -> None:
    with pytest.raises(InputError) as caught:
        selected("total")
    assert (caught.value.missing, caught.value.known) == (("url",), ("url", "tax"))
    with pytest.raises(InputError, match="unexpected input: 'address'"):
        selected("total", url="u", address="there")


def test_select_of_what_is_unknown_says_what_there_is() -> None:
    with pytest.raises(DefinitionError, match=r"select.*'repot'.*did you mean 'report'\?"):
        selected("repot")
    with pytest.raises(DefinitionError, match=r"select.*'nobody'; it gives: 'group', 'head', 'mail'"):
        selected("nobody")
    with pytest.raises(DefinitionError) as caught:
        selected("repot", "nobody")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("workflow", [Sequence(inc), Parallel(inc), Task(inc)], ids=str)
def test_select_needs_a_graph(workflow: Workflow) -> None:
    with pytest.raises(DefinitionError, match="select: only a Graph has outputs"):
        orch.Runner().run(workflow, select="inc", x=1)


def test_select_leaves_the_definition_as_it_is() -> None:
    order = compile(PARTS).order()
    selected("head")

    assert compile(PARTS).order() == order
    assert after(PARTS)["ordered"] == ["split"]


def test_select_in_a_graph_within_a_graph_is_by_the_outer_names() -> None:
    outer = Graph(PARTS, asking("x"))

    with pytest.raises(DefinitionError, match="select"):
        orch.Runner().run(outer, select="head")
    assert set(orch.Runner().run(outer, select="x").tasks) == {"x"}
