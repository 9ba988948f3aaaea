"""Decision 2: in a Sequence a step hands its value on, into the next step's first required positional parameter."""

from typing import Any

import pytest

from orch import Context, Graph, Parallel, Sequence, Task, Workflow
from orch.errors import InputError
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.plan.wired import after, asking, constant, run, value


async def inc(x: int) -> int:
    return x + 1


async def echo(handed: Any) -> Any:
    return handed


SOURCE = constant("value")


# -- which parameter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "got"),
    [
        (["a"], {"a": "value"}),
        (["a", "b=0"], {"a": "value", "b": 0}),
        (["a=0"], {"a": 0}),
        (["a", "/"], {"a": "value"}),
        (["*", "a=0"], {"a": 0}),
        ([], {}),
        (["*a"], {"a": ()}),
        (["**a"], {"a": {}}),
    ],
    ids=str,
)
def test_the_value_goes_into(parameters: list[str], got: dict[str, Any]) -> None:
    names = [each for each in parameters if each != "/"]
    step = asking("step", names) if names == parameters else Task(_positional_only, name="step")

    assert run(Sequence(SOURCE, step))["step"] == ("step", got)


async def _positional_only(a: Any, /) -> Any:
    return "step", {"a": a}


def test_only_the_first_required_positional_parameter_is_filled() -> None:
    workflow = Sequence(SOURCE, asking("step", ["a", "b", "c=0", "*", "d"]))

    assert run(workflow, b=1, d=2)["step"] == ("step", {"a": "value", "b": 1, "c": 0, "d": 2})
    assert compile(workflow).inputs == ("b", "d", "c")
    with pytest.raises(InputError) as caught:
        run(workflow)
    assert caught.value.missing == ("b", "d")


def test_keyword_only_parameters_take_inputs_instead() -> None:
    workflow = Sequence(SOURCE, asking("fetch", ["*", "url"]))

    assert run(workflow, url="there")["fetch"] == ("fetch", {"url": "there"})
    with pytest.raises(InputError, match="missing input: 'url'"):
        run(workflow)


def test_what_is_filled_otherwise_is_passed_over() -> None:
    async def step(context: Context[str], bound: Any, named: Any, handed: Any, rest: Any = 0) -> Any:
        return context.data, bound, named, handed, rest

    workflow = Sequence(constant("earlier", name="named"), SOURCE, Task(step).bind(bound=1))

    assert run(workflow, Context("data"))["step"] == ("data", 1, "earlier", "value", 0)


def test_a_parameter_filled_by_name_leaves_the_piped_value_to_the_next() -> None:
    assert run(Sequence(SOURCE, asking("step", ["source", "b"])))["step"] == ("step", {"source": "value", "b": "value"})


# -- along a Sequence --------------------------------------------------------------------------------------------------


def test_the_first_step_takes_inputs_and_the_others_what_is_handed_on() -> None:
    assert value(Sequence(inc, inc, inc), x=0) == [1, 2, 3]
    assert compile(Sequence(inc, inc)).inputs == ("x",)


def test_a_step_without_parameters_hands_on_its_own_value() -> None:
    assert value(Sequence(inc, constant(10), inc), x=0) == [1, 10, 11]


def test_none_is_handed_on() -> None:
    assert value(Sequence(constant(None), echo, echo)) == [None, None, None]


def test_a_parallel_does_not_pipe_by_itself() -> None:
    assert value(Parallel(inc, inc), x=0) == [1, 1]


def test_a_graph_does_not_pipe_by_itself() -> None:
    assert value(Graph(inc, constant(5)), x=0) == {"inc": 1, "source": 5}


# -- into groups -------------------------------------------------------------------------------------------------------


def test_into_a_sequence_its_first_step_takes_it() -> None:
    assert value(Sequence(SOURCE, Sequence(echo, constant(2), echo)))[1] == ["value", 2, 2]


def test_into_a_parallel_every_step_takes_it() -> None:
    workflow = Sequence(SOURCE, Parallel(echo, Sequence(echo, constant(1)), constant(2), Parallel(echo)))

    assert value(workflow)[1] == ["value", ["value", 1], 2, ["value"]]
    assert after(workflow)["parallel/sequence/echo"] == ["source"]


def test_into_a_graph_one_input_takes_it_in_all_its_steps() -> None:
    graph = Graph(asking("a", ["x"]), asking("b", ["a", "x"]), Parallel(asking("c", ["x"])))

    got = run(Sequence(SOURCE, graph))
    assert got["a"] == ("a", {"x": "value"})
    assert got["b"] == ("b", {"a": got["a"], "x": "value"})
    assert got["c"] == ("c", {"x": "value"})


def test_into_a_graph_the_first_required_input_takes_it_the_others_are_inputs_of_the_run() -> None:
    workflow = Sequence(
        SOURCE, Graph(asking("a", ["k=0", "*", "only"]), asking("b", ["x", "y"]), asking("c", ["y", "x"]))
    )

    assert compile(workflow).inputs == ("only", "y", "k")
    result = run(workflow, only=1, y=2)
    assert result["a"] == ("a", {"k": 0, "only": 1})
    assert result["b"] == ("b", {"x": "value", "y": 2})
    assert result["c"] == ("c", {"y": 2, "x": "value"})


def test_into_a_graph_of_groups() -> None:
    graph = Graph(
        Sequence(asking("a", ["x"]), asking("b", ["handed"]), name="s"), Parallel(asking("c", ["x"]), name="p")
    )

    result = run(Sequence(SOURCE, graph))
    assert result["a"] == ("a", {"x": "value"})
    assert result["b"] == ("b", {"handed": result["a"]})
    assert result["c"] == ("c", {"x": "value"})


def test_steps_of_a_graph_wait_for_the_step_before_it_whether_they_take_its_value_or_not() -> None:
    workflow = Sequence(SOURCE, Graph(asking("a"), asking("b", ["a"]), asking("c", ["x"])))

    assert after(workflow) == {"source": [], "graph/a": ["source"], "graph/b": ["graph/a"], "graph/c": ["source"]}


# -- out of groups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "handed"),
    [
        (Sequence(constant(1), constant(2)), 2),
        (Sequence(constant(1), Sequence(constant(2), constant(3))), 3),
        (Sequence(constant(1), Parallel(constant(2), constant(3))), [2, 3]),
        (Parallel(constant(1), constant(2)), [1, 2]),
        (Parallel(Sequence(constant(1), constant(2)), constant(3)), [[1, 2], 3]),
        (Parallel(), []),
        (Graph(constant(1, name="a"), constant((2, 3), name="b", output=("c", "d"))), {"a": 1, "c": 2, "d": 3}),
        (Graph(Sequence(constant(1), name="s")), {"s": [1]}),
        (Graph(), {}),
    ],
    ids=lambda each: str(each) if not isinstance(each, Workflow) else "",
)
def test_what_a_group_hands_on(group: Workflow, handed: Any) -> None:
    result = run(Sequence(SOURCE, group, Task(echo, name="last")))

    assert (result["last"], result.value[2]) == (handed, handed)


def test_the_value_of_a_sequence_is_the_list_whatever_it_hands_on() -> None:
    assert value(Sequence(Sequence(constant(1), constant(2)), echo)) == [[1, 2], 2]


@pytest.mark.parametrize(
    "steps",
    [
        [SOURCE, Sequence()],
        [SOURCE, Sequence(), Sequence(Sequence())],
        [Sequence(SOURCE, Sequence())],
        [Sequence(SOURCE), Sequence(Sequence(Sequence(), Sequence()))],
        [Sequence(Sequence(SOURCE, Sequence()), Sequence())],
    ],
    ids=["behind", "two behind", "last in a group", "nested", "last in the last"],
)
def test_an_empty_sequence_hands_on_what_it_was_handed(steps: list[Workflow]) -> None:
    assert value(Sequence(*steps, echo))[-1] == "value"


def test_in_front_of_everything_an_empty_sequence_hands_on_nothing() -> None:
    assert value(Sequence(Sequence(), inc), x=0) == [[], 1]


def test_an_empty_group_still_waits_for_what_stands_before_it() -> None:
    for group in (Sequence(), Parallel(), Graph()):
        assert after(Sequence(SOURCE, group, asking("last")))["last"] == ["source"]


# -- the order of a Sequence -------------------------------------------------------------------------------------------


def test_steps_run_one_after_another_without_any_values() -> None:
    assert after(Sequence(*(asking(name) for name in "abc"))) == {"a": [], "b": ["a"], "c": ["b"]}


def test_all_of_a_group_is_over_before_the_next_begins() -> None:
    workflow = Sequence(Parallel(asking("a"), asking("b"), name="one"), Parallel(asking("c"), asking("d"), name="two"))

    assert after(workflow)["two/c"] == after(workflow)["two/d"] == ["one/a", "one/b"]
