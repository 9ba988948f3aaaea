"""Groups: what they accept, what they refuse, and that depth is no matter."""

import copy
import gc
import pickle
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import FailureStrategy, Graph, Parallel, Sequence, Task, Workflow, task
from orch.definition import Group
from orch.errors import DefinitionError, DuplicateNameError

GROUPS = [Sequence, Parallel, Graph]


def extract() -> None: ...


def load(extract: None) -> None: ...


@task
def decorated() -> None: ...


class Lenient:
    def on_failure(self, _event: Any, _group: Any) -> FailureStrategy:
        return FailureStrategy.CONTINUE


WRONG_STRATEGIES: list[Any] = [None, 1, Lenient, len]


@pytest.fixture(params=GROUPS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[Group]:
    return request.param  # type: ignore[no-any-return]


# -- steps -------------------------------------------------------------------------------------------------------------


def test_steps_are_workflows_and_callables_become_tasks(kind: type[Group]) -> None:
    inner = Sequence(name="inner")
    expected = (Task(extract), decorated, inner)

    assert kind(extract, decorated, inner).steps == expected
    assert kind([extract, decorated, inner]).steps == expected
    assert kind(step for step in (extract, decorated, inner)).steps == expected
    assert kind(extract).steps == expected[:1]
    assert kind().steps == kind([]).steps == ()


@pytest.mark.parametrize("step", [1, None, "extract", [extract], object()], ids=range(5))
def test_what_is_no_step_is_refused_with_its_position(kind: type[Group], step: Any) -> None:
    with pytest.raises(TypeError, match=rf"^step 2 of {kind.__name__}: expected a callable or a workflow as a step"):
        kind(extract, step)


@pytest.mark.parametrize("steps", [3, "steps", None, {"a": 1}], ids=repr)
def test_a_single_argument_that_is_no_step(kind: type[Group], steps: Any) -> None:
    with pytest.raises(TypeError, match=rf"^step 1 of {kind.__name__}: "):
        kind(steps)


def test_coroutines_are_refused_and_all_closed(kind: type[Group]) -> None:
    async def download() -> None: ...

    refused: list[Any] = [download(), load, download()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match=r"step 2 of .*pass the function, not the call"):
            kind(extract, *refused)
        gc.collect()


def test_names(kind: type[Group]) -> None:
    assert kind().name == kind(name=None).name == kind.__name__.lower() == kind.kind
    assert kind(name="etl ✓").name == "etl ✓"
    with pytest.raises(ValueError, match=r"^name: expected a text"):
        kind(name="")
    with pytest.raises(TypeError, match=r"^name: expected str"):
        kind(name=1)  # type: ignore[arg-type]


# -- limit and strategy ------------------------------------------------------------------------------------------------


def test_a_limit_is_a_positive_whole_number(kind: type[Group]) -> None:
    assert (kind().limit, kind(limit=1).limit, kind(limit=10**9).limit) == (None, 1, 10**9)
    for limit in (0, -1):
        with pytest.raises(ValueError, match=f"limit: expected at least 1, found {limit}"):
            kind(limit=limit)
    for wrong in (True, 1.0, "1", [1]):
        with pytest.raises(TypeError, match=r"limit: expected int or None, found"):
            kind(limit=wrong)  # type: ignore[arg-type]


def test_a_strategy_is_a_member_its_value_or_an_object(kind: type[Group]) -> None:
    own = Lenient()

    assert kind().on_failure is FailureStrategy.ABORT
    assert kind(on_failure="continue").on_failure is FailureStrategy.CONTINUE
    assert kind(on_failure=FailureStrategy.CONTINUE).on_failure is FailureStrategy.CONTINUE
    assert kind(on_failure=own).on_failure is own
    with pytest.raises(ValueError, match=r"expected one of 'abort', 'continue', 'compensate', found 'give up'"):
        kind(on_failure="give up")
    for wrong in WRONG_STRATEGIES:
        with pytest.raises(TypeError, match="on_failure: expected a FailureStrategy"):
            kind(on_failure=wrong)


# -- Graph -------------------------------------------------------------------------------------------------------------


def test_two_steps_of_one_name_are_refused_with_both_places() -> None:
    first, second = Task(extract), Task(load, name="extract")

    with pytest.raises(DuplicateNameError) as caught:
        Graph(first, load, second)

    assert (caught.value.name, caught.value.places) == ("extract", (first.place, second.place))
    assert str(caught.value) == (
        f"two steps are named 'extract' ({first.place}, {second.place}): give one of them another name="
    )


def test_groups_are_steps_of_a_graph_by_their_names() -> None:
    with pytest.raises(DuplicateNameError, match=r"\(step 1 of the graph, step 2 of the graph\)"):
        Graph(Sequence(), Sequence())
    assert Graph(Sequence(), Parallel(), Sequence(name="s")).outputs == ("sequence", "parallel", "s")


def test_names_that_look_the_same_are_the_same() -> None:
    with pytest.raises(DuplicateNameError):
        Graph(Task(extract, name="\u00e9"), Task(load, name="e\u0301"))


def test_two_producers_of_one_output_are_named() -> None:
    one, two = Task(extract, output=["x", "y"]), Task(load, output="y")

    with pytest.raises(DuplicateNameError) as caught:
        Graph(one, two)

    assert caught.value.output
    assert str(caught.value) == (
        f"two steps give the output 'y' ('extract' at {one.place}, 'load' at {two.place}): "
        "give one of them another output="
    )


def test_a_name_and_an_output_may_meet_in_one_task_only() -> None:
    assert Graph(Task(extract, output="load"), Task(load, output="extract")).outputs == ("load", "extract")
    with pytest.raises(DuplicateNameError):
        Graph(Task(extract, output="load"), load)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph(extract, extract, Task(load, output="extract"), load)

    assert [type(problem) for problem in caught.value.problems] == [DuplicateNameError] * 3
    assert str(caught.value).startswith("3 problems:\n  - two steps are named 'extract'")


def test_names_may_repeat_elsewhere() -> None:
    assert len(Sequence(extract, extract).steps) == len(Parallel(extract, extract).steps) == 2
    assert Graph(Graph(extract, name="a"), Graph(extract, name="b")).outputs == ("a", "b")


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda kind: kind(extract, load, name="n"),
        lambda kind: kind(extract, load, limit=1),
        lambda kind: kind(extract, load, on_failure="continue"),
        lambda kind: kind(load, extract),
        lambda kind: kind(extract),
        lambda kind: kind(extract, Task(load, retain=False)),
    ],
    ids=["name", "limit", "on_failure", "order", "steps", "step"],
)
def test_every_part_is_part_of_the_value(kind: type[Group], change: Callable[[type[Group]], Group]) -> None:
    assert kind(extract, load) == kind(extract, load) != change(kind)
    assert hash(kind(extract, load)) == hash(kind(extract, load))
    assert change(kind) == change(kind)
    assert hash(change(kind)) == hash(change(kind))


def test_kinds_differ() -> None:
    assert len({kind(name="n") for kind in GROUPS}) == 3
    assert Sequence(name="n") != Parallel(name="n")
    assert Sequence() != "sequence"


def test_groups_are_frozen_and_plans_are_no_part_of_them(kind: type[Group]) -> None:
    group = kind(extract)
    object.__setattr__(group, "_plan", object())

    assert group == kind(extract)
    assert pickle.loads(pickle.dumps(group))._plan is None
    assert weakref.ref(group)() is group
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        group.name = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        group.other = 1  # type: ignore[attr-defined]


def test_groups_survive_pickling_and_copying(kind: type[Group]) -> None:
    group = kind(extract, Sequence(decorated, load), name="n", limit=3, on_failure="continue")

    assert pickle.loads(pickle.dumps(group)) == copy.deepcopy(group) == copy.copy(group) == group


@given(st.text(min_size=1, max_size=1000).filter(lambda text: "\0" not in text))
def test_a_repr_is_one_short_line(name: str) -> None:
    shown = repr(Sequence(extract, load, name=name))

    assert shown.isprintable()
    assert len(shown) < 700
    assert shown.endswith(", 2 steps>")
    assert repr(Sequence(extract)) == "<Sequence 'sequence', 1 step>"


# -- depth -------------------------------------------------------------------------------------------------------------

DEPTH = 100_000


def nested(depth: int = DEPTH, innermost: Any = extract) -> Group:
    group: Group = Sequence(innermost)
    for i in range(depth):
        group = GROUPS[i % 3](group)
    return group


def within(workflow: Workflow) -> Workflow:
    while isinstance(workflow, Group):
        workflow = workflow.steps[0]
    return workflow


def test_depth_is_no_matter() -> None:
    one, two = nested(), nested()

    assert one == two
    assert one != nested(innermost=load)
    assert hash(one) == hash(two)
    assert repr(one) == "<Sequence 'sequence', 1 step>"
    assert copy.copy(one) == two


def test_deep_groups_are_freed() -> None:
    group = nested()
    innermost = weakref.ref(within(group))

    del group
    gc.collect()

    assert innermost() is None


def test_sharing_costs_no_more_than_it_saves() -> None:
    def doubled() -> Group:
        group: Group = Parallel(extract)
        for _ in range(200):
            group = Sequence(group, group)
        return group

    assert doubled() == doubled()
    assert hash(doubled()) == hash(doubled())


def test_a_graph_of_tasks_that_name_one_another_is_pickled_without_recursion() -> None:
    steps = [Task(extract, name="0")]
    for i in range(1, sys.getrecursionlimit() * 2):
        steps.append(Task(extract, name=str(i), deps=[steps[-1]]))
    graph = Graph(steps)

    assert pickle.loads(pickle.dumps(graph)) == graph
