"""Which names a step can see: those of the Graphs and steps around it, the innermost first; and what deps mean."""

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from orch import CycleError, DefinitionError, Graph, Parallel, Sequence, Task, Workflow
from orch.errors import InputError, MissingDependencyError
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.plan.wired import after, asking, constant, run, value


async def reader(x: Any) -> Any:
    return x


# -- who sees whom -----------------------------------------------------------------------------------------------------


def test_the_steps_of_a_graph_see_each_other_wherever_they_stand() -> None:
    graph = Graph(asking("c", ["a", "b"]), asking("b", ["a"]), constant(1, name="a"))

    assert value(graph)["c"] == ("c", {"a": 1, "b": ("b", {"a": 1})})
    assert after(graph) == {"c": ["b", "a"], "b": ["a"], "a": []}


def test_the_steps_of_a_parallel_do_not_see_each_other() -> None:
    workflow = Parallel(constant("sibling", name="x"), reader)

    assert value(workflow, x="input") == ["sibling", "input"]
    assert after(workflow) == {"x": [], "reader": []}


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
def test_a_step_in_a_group_reads_the_outputs_of_the_graph_around(kind: Any) -> None:
    graph = Graph(kind(reader, name="group"), constant("outer", name="x"))

    assert run(graph)["group/reader"] == "outer"
    assert after(graph) == {"group/reader": ["x"], "x": []}


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
def test_a_step_in_a_group_reads_the_earlier_steps_around(kind: Any) -> None:
    workflow = Sequence(constant("outer", name="x"), constant("piped"), kind(reader, name="group"))

    assert run(workflow)["group/reader"] == "outer"


def test_names_are_seen_through_any_number_of_groups() -> None:
    step: Workflow = Task(reader)
    for kind in (Parallel, Sequence, Parallel, Sequence) * 10:
        step = kind(step)
    graph = Graph(constant("outer", name="x"), Sequence(constant("piped"), step, name="deep"))

    assert run(graph)["reader"] == "outer"
    assert [each.split("/")[-1] for each in compile(graph).order()] == ["x", "source", "reader"]


COMPOSED, APART = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("name,other", [(COMPOSED, APART), (APART, COMPOSED)], ids=["composed", "apart"])
def test_names_that_look_the_same_are_the_same(name: str, other: str) -> None:
    wired = Graph(constant(1, name=name), asking("by name", [COMPOSED]))
    depending = Graph(constant(1, name=name), asking("by deps", deps=[other]))
    output = Graph(constant(1, output=name), asking("by output", [COMPOSED], deps=[other]))
    group = Graph(Parallel(constant(1), name=name), asking("by group", deps=[constant(1, name=other)]))

    assert after(wired)["by name"] == [name]
    assert value(wired)["by name"] == ("by name", {COMPOSED: 1})
    assert after(depending)["by deps"] == [name]
    assert value(output)["by output"] == ("by output", {COMPOSED: 1})
    assert after(group)["by group"] == [f"{name}/source"]


def test_names_of_mappings_stay_as_they_were_written() -> None:
    async def merge(upstream: Mapping[str, Any]) -> Any:
        return dict(upstream)

    graph = Graph(constant(1, name=COMPOSED), Task(merge, deps=[APART]))
    assert value(graph) == {COMPOSED: 1, "merge": {APART: 1}}


def test_a_step_that_depends_on_itself_by_a_name_that_looks_like_its_own_is_a_cycle() -> None:
    with pytest.raises(CycleError):
        compile(Graph(constant(1, name=COMPOSED, deps=[APART])))


def test_the_innermost_name_is_meant() -> None:
    inner = Graph(constant("inner", name="x"), reader, name="inner")
    workflow = Graph(Parallel(inner), Task(reader, name="beside"), constant("outer", name="x"))

    result = run(workflow)
    assert (result["reader"], result["beside"]) == ("inner", "outer")


def test_an_earlier_step_hides_an_output_of_the_graph_around() -> None:
    sequence = Sequence(
        Task(reader, name="before"), constant("step", name="x"), constant("piped"), Task(reader, name="behind")
    )
    result = run(Graph(constant("outer", name="x"), Sequence(sequence, name="group")))

    assert (result["before"], result["behind"]) == ("outer", "step")


def test_names_are_gone_behind_their_group() -> None:
    sequence = Sequence(constant(1, name="hidden"), constant(2, name="x"))
    deep = Parallel(Parallel(sequence))  # a group offers what its own steps give, and nothing deeper

    assert value(Parallel(deep, asking("step", ["hidden"])), hidden="input")[1] == ("step", {"hidden": "input"})
    assert value(Sequence(deep, asking("step", ["*", "hidden"])), hidden="input")[1] == ("step", {"hidden": "input"})
    assert run(Graph(deep, asking("step", ["hidden"])), hidden="input")["step"] == ("step", {"hidden": "input"})


# -- what a group offers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Sequence, [1, 2]), (Parallel, [1, 2]), (Graph, {"a": 1, "b": 2})],
    ids=str,
)
def test_the_name_of_a_group_is_its_value(kind: Any, expected: Any) -> None:
    group = kind(constant(1, name="a"), constant(2, name="b"), name="x")

    assert run(Graph(reader, group))["reader"] == expected
    assert run(Sequence(group, constant("piped"), reader))["reader"] == expected
    assert after(Graph(reader, group)) == {"reader": ["x/a", "x/b"], "x/a": [], "x/b": []} or kind is Sequence


@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
def test_a_group_offers_the_outputs_of_its_own_tasks(kind: Any) -> None:
    group = kind(constant(1, name="x"), constant((2, 3), name="both", output=("y", "z")), name="group")
    step = asking("step", ["x", "y", "z"])

    assert run(Graph(step, group))["step"] == ("step", {"x": 1, "y": 2, "z": 3})
    assert run(Sequence(group, constant("piped"), step))["step"] == ("step", {"x": 1, "y": 2, "z": 3})


def test_who_reads_an_output_of_a_group_waits_for_the_whole_group() -> None:
    graph = Graph(Parallel(constant(1, name="x"), constant(2, name="other"), name="group"), reader)

    assert after(graph)["reader"] == ["group/x", "group/other"]


def test_the_value_of_a_group_of_groups() -> None:
    group = Parallel(
        Sequence(constant(1), constant(2)), Graph(constant(3, name="three"), name="g"), Parallel(), Sequence(), name="x"
    )

    assert run(Graph(group, reader))["reader"] == [[1, 2], {"three": 3}, [], []]


# -- deps --------------------------------------------------------------------------------------------------------------


async def first() -> int:
    return 1


FIRST = Task(first)
GROUP = Sequence(FIRST, name="group")


@pytest.mark.parametrize(
    ("step", "dep"),
    [
        (FIRST, "first"),
        (FIRST, FIRST),
        (FIRST, first),
        (FIRST, Task(first)),
        (FIRST.evolve(name="other"), first),
        (FIRST.evolve(output="out"), "out"),
        (FIRST.evolve(output=("out", "more")), "more"),
        (GROUP, "group"),
        (GROUP, GROUP),
        (GROUP, Sequence(Task(first), name="group")),
    ],
    ids=["name", "task", "function", "equal task", "function of a renamed task", "output", "one of several outputs",
         "group by name", "group", "equal group"],
)  # fmt: skip
def test_a_dependency_may_be_given_as(step: Workflow, dep: Any) -> None:
    graph = Graph(Task(reader, x=0, deps=[dep]), step)

    assert [each.split("/")[-1] for each in compile(graph).order()][-1] == "reader"
    assert len(after(graph)["reader"]) == 1


def test_a_dependency_is_an_edge_and_hands_nothing_over() -> None:
    graph = Graph(Task(reader, deps=["source"]), constant(1))

    assert value(graph, x="input") == {"reader": "input", "source": 1}
    assert after(graph) == {"reader": ["source"], "source": []}


def test_a_dependency_on_an_earlier_step_and_on_one_of_the_graph_around() -> None:
    graph = Graph(
        Sequence(constant(1, name="a"), constant(2, name="b"), Task(reader, x=0, deps=["a", "far"]), name="s"),
        constant(3, name="far"),
    )

    assert after(graph)["s/reader"] == ["s/a", "s/b", "far"]


@pytest.mark.parametrize("kind", [Sequence, Parallel])
def test_a_dependency_on_a_step_that_is_no_earlier_one_is_missing(kind: Any) -> None:
    with pytest.raises(MissingDependencyError, match="task 'reader' depends on 'later'"):
        compile(kind(Task(reader, deps=["later"]), constant(1, name="later")))


def test_several_tasks_of_one_function_are_told_apart_by_the_task() -> None:
    one, two = FIRST.evolve(name="one"), FIRST.evolve(name="two")

    assert after(Graph(one, two, Task(reader, x=0, deps=[two])))["reader"] == ["two"]
    assert after(Graph(one, two, Task(reader, x=0, deps=["one"])))["reader"] == ["one"]
    with pytest.raises(DefinitionError, match=r"ambiguous, it could mean 'one' or 'two'"):
        compile(Graph(one, two, Task(reader, x=0, deps=[first])))


def test_a_task_that_is_equal_to_a_step_means_that_step() -> None:
    one, two = FIRST.evolve(name="one"), FIRST.evolve(name="two")

    assert after(Graph(one, two, Task(reader, x=0, deps=[FIRST.evolve(name="two")])))["reader"] == ["two"]
    graph = Graph(one, two, Task(reader, x=0, deps=[two]))
    assert after(pickle.loads(pickle.dumps(graph)))["reader"] == ["two"]


def test_a_dependency_that_nothing_carries_gets_the_close_names() -> None:
    graph = Graph(constant(1, name="extract"), Task(reader, x=0, deps=["extrct", "x"], name="load"))

    with pytest.raises(DefinitionError) as caught:
        compile(graph)
    one, two = caught.value.problems
    assert isinstance(one, MissingDependencyError)
    assert isinstance(two, MissingDependencyError)
    assert (one.task, one.missing, one.suggestions) == ("load", "extrct", ("extract",))
    assert (two.task, two.missing, two.suggestions) == ("load", "x", ())
    assert "did you mean 'extract'?" in str(one)


def test_names_deeper_in_a_group_are_no_dependencies_outside() -> None:
    with pytest.raises(MissingDependencyError, match="depends on 'deep'"):
        compile(Graph(Parallel(Parallel(constant(1, name="deep"))), Task(reader, x=0, deps=["deep"])))


# -- ambiguity ---------------------------------------------------------------------------------------------------------


def test_two_earlier_steps_of_one_name_are_ambiguous() -> None:
    workflow = Sequence(constant(1, name="x"), constant(2, name="x"), reader)

    with pytest.raises(DefinitionError, match=r"^task 'reader': 'x' is ambiguous, it could mean 'x' or 'x#2'"):
        compile(workflow)


def test_ambiguous_names_do_not_matter_to_who_does_not_ask_for_them() -> None:
    assert value(Sequence(constant(1, name="x"), constant(2, name="x"), Task(reader, x=3))) == [1, 2, 3]
    assert value(Sequence(constant(1, name="x"), constant(2, name="x"), asking("y", ["handed"])))[2] == (
        "y",
        {"handed": 2},
    )


def test_two_groups_that_offer_one_name_are_ambiguous_and_named_by_their_paths() -> None:
    graph = Graph(Parallel(constant(1, name="x"), name="one"), Sequence(constant(2, name="x"), name="two"), reader)

    with pytest.raises(DefinitionError, match=r"'x' is ambiguous, it could mean 'one/x' or 'two/x'"):
        compile(graph)


def test_a_name_further_out_does_not_make_an_inner_one_ambiguous() -> None:
    inner = Sequence(constant("inner", name="x"), constant("piped"), reader, name="inner")

    assert run(Graph(constant("outer", name="x"), inner))["reader"] == "inner"


def test_a_step_of_the_graph_itself_wins_over_what_a_group_in_it_offers() -> None:
    for steps in ([constant(1, name="x"), Parallel(constant(2, name="x"), name="group")],
                  [Parallel(constant(2, name="x"), name="group"), constant(1, name="x")]):  # fmt: skip
        assert run(Graph(*steps, reader))["reader"] == 1
        assert after(Graph(reader, *steps))["reader"] == ["x"]
        assert run(Sequence(*steps, constant("piped"), reader))["reader"] == 1


def test_inside_such_a_group_its_own_names_come_first() -> None:
    inner = Sequence(constant(2, name="x"), constant("piped"), reader, name="inner")

    assert run(Graph(constant(1, name="x"), inner))["reader"] == 2


# -- names as text -----------------------------------------------------------------------------------------------------


def test_any_text_is_a_name() -> None:
    names = ["a/b", "größe", "日本語", " ", "\n", "a" * 1000, "#2", "\U0001f600", "<b>", "..", "\ud800"]
    graph = Graph(*(constant(k, name=name) for k, name in enumerate(names)), Task(reader, x=0, deps=names))

    assert after(graph)["reader"] == names
    assert run(Graph(*graph.steps[:-1])).value == {name: k for k, name in enumerate(names)}


def test_paths_are_distinct_also_where_names_hold_slashes_and_numbers() -> None:
    workflow = Sequence(
        constant(0, name="a"),
        constant(1, name="a"),
        constant(2, name="a#2"),
        constant(3, name="a"),
        Sequence(constant(4, name="b"), name="a"),
        constant(5, name="a#4/b"),
    )
    order = compile(workflow).order()

    assert len(set(order)) == len(order) == 6
    assert order[:2] == ["a", "a#2"]
    result = run(workflow)
    assert [result.tasks[path].value for path in order] == [0, 1, 2, 3, 4, 5]


def test_an_unknown_input_gets_the_close_names() -> None:
    with pytest.raises(InputError) as caught:
        run(Graph(asking("load", ["url", "rows=1"])), urll=1, columns=2)
    error = caught.value
    assert (error.missing, error.unexpected) == (("url",), ("urll", "columns"))
    assert (error.suggestions, error.known) == (("url",), ("url", "rows"))
    assert str(error) == (
        "missing input: 'url'; unexpected input: 'urll' (did you mean 'url'?), 'columns'; "
        "inputs: 'url', 'rows'; 'url' is asked for by task 'load'"
    )


def test_a_missing_input_called_like_its_own_step_is_no_misspelling() -> None:
    with pytest.raises(InputError) as caught:
        run(Graph(asking("load", ["load"])))
    assert str(caught.value) == "missing input: 'load'; inputs: 'load'; 'load' is asked for by task 'load'"


def test_an_unknown_input_may_be_a_misspelt_option_or_one_of_the_runner() -> None:
    with pytest.raises(InputError, match=r"unexpected input: 'handler'; .*; or did you mean the option 'handlers'\?$"):
        run(Graph(asking("load", ["rows=1"])), handler={})
    with pytest.raises(InputError, match=r"'limit' is an option of the runner, AsyncRunner\(limit=…\)$"):
        run(Graph(asking("load", ["rows=1"])), limit=3)
