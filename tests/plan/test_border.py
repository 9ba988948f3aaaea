"""Borders of groups: steps that call their inputs and outputs something else, values for whole groups, and parts."""

import pickle
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import orch
from orch import CycleError, DefinitionError, Graph, Parallel, Sequence, State, Task, Workflow
from orch.definition import Group
from orch.errors import DuplicateNameError, InputError
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.plan.wired import after, asking, constant, run, value


async def inc(x: int) -> int:
    return x + 1


async def rows(raw: Any) -> Any:
    return [raw]


async def clean(rows: list[Any], sep: str = "-") -> str:
    return sep.join(map(str, [*rows, "clean"]))


PREPARE = Graph(rows, clean, name="prepare")


# -- a graph as one step -----------------------------------------------------------------------------------------------


def test_a_step_takes_and_gives_what_it_says() -> None:
    step = PREPARE.as_task("users", inputs={"page": "raw"}, outputs={"clean": "text"})
    graph = Graph(asking("use", ["text"]), step, constant("html", name="page"), name="outer")

    assert value(graph) == {
        "use": ("use", {"text": "html-clean"}),
        "rows": ["html"],
        "text": "html-clean",
        "page": "html",
    }
    assert graph.outputs == ("use", "rows", "text", "page")
    assert graph.inputs == ("sep",)
    assert after(graph) == {
        "use": ["users/rows", "users/clean"],
        "users/rows": ["page"],
        "users/clean": ["users/rows"],
        "page": [],
    }


def test_one_graph_is_many_steps() -> None:
    names = ["a", "b", "c"]
    steps = [
        PREPARE.as_task(name, inputs={f"{name}_in": "raw"}, outputs={"rows": f"{name}_rows", "clean": f"{name}_out"})
        for name in names
    ]
    graph = Graph(*steps, asking("join", [f"{name}_out" for name in names]))

    given = {f"{name}_in": name for name in names}
    assert value(graph, **given)["join"] == ("join", {f"{name}_out": f"{name}-clean" for name in names})
    assert graph.inputs == (*given, "sep")
    assert run(graph, **given)["b/rows"] == ["b"]


def test_a_step_runs_by_itself_with_its_new_names() -> None:
    step = PREPARE.as_task(inputs={"page": "raw", "by": "sep"}, outputs={"rows": "list"})

    assert (step.name, step.inputs, step.outputs) == ("prepare", ("page", "by"), ("list", "clean"))
    assert value(step, page=1, by="+") == {"list": [1], "clean": "1+clean"}
    with pytest.raises(InputError, match=r"missing input: 'page'; unexpected input: 'raw'; inputs: 'page', 'by'"):
        run(step, raw=1)


def test_names_can_change_places() -> None:
    step = Graph(asking("both", ["a", "b"])).as_task(inputs={"a": "b", "b": "a"})

    assert value(step, a=1, b=2) == {"both": ("both", {"a": 2, "b": 1})}
    assert value(step.as_task(inputs={"a": "b", "b": "a"}), a=1, b=2) == {"both": ("both", {"a": 1, "b": 2})}


def test_two_inputs_may_be_called_the_same() -> None:
    step = Graph(asking("both", ["a", "b"])).as_task(inputs={"b": "a"})

    assert step.inputs == ("b",)
    assert value(step, b=1) == {"both": ("both", {"a": 1, "b": 1})}


def test_what_is_called_otherwise_is_not_found_by_its_old_name() -> None:
    step = PREPARE.as_task("step", inputs={"page": "raw"}, outputs={"clean": "text"})
    graph = Graph(constant("wrong", name="raw"), step, asking("use", ["clean"]))

    assert graph.inputs == ("page", "clean", "sep")
    assert value(graph, page=1, clean=2)["use"] == ("use", {"clean": 2})


def test_names_inside_mean_what_they_did() -> None:
    step = PREPARE.as_task("step", inputs={"rows": "raw"}, outputs={"rows": "list"})
    graph = Graph(constant("outer", name="rows"), constant("wrong", name="clean2"), step)

    assert value(graph)["clean"] == "outer-clean"
    assert value(graph)["list"] == ["outer"]


def test_only_inputs_are_filled_from_outside() -> None:
    group = Sequence(inc, inc, name="twice")
    around = Graph(
        constant(10, name="x"), group.as_task(), group.as_task("other", inputs={"x2": "x"}), group.as_task("z")
    )

    assert value(around, x2=0) == {"x": 10, "twice": [11, 12], "other": [1, 2], "z": [11, 12]}
    assert value(Graph(constant(10, name="x"), group))["twice"] == [11, 11]  # there names go before what is piped


def test_the_name_of_a_step_is_the_mapping_of_its_outputs() -> None:
    step = PREPARE.as_task("step", inputs={"page": "raw"}, outputs={"clean": "text"})
    graph = Graph(step, asking("use", ["step"]))

    assert value(graph, page=1)["use"] == ("use", {"step": {"rows": [1], "text": "1-clean"}})
    assert "step" not in graph.outputs
    named = Graph(PREPARE.as_task("step", outputs={"clean": "step"}), asking("use", ["step"]))
    assert value(named, raw=1)["use"] == ("use", {"step": "1-clean"})


def test_steps_within_steps() -> None:
    inner = PREPARE.as_task("inner", inputs={"page": "raw"}, outputs={"clean": "text"})
    middle = Graph(inner, asking("count", ["text"])).as_task(
        "middle", inputs={"url": "page"}, outputs={"text": "story"}
    )
    graph = Graph(constant("u", name="url"), middle, asking("use", ["story", "count"]))

    text = "u-clean"
    assert value(graph) == {
        "url": "u",
        "rows": ["u"],
        "story": text,
        "count": ("count", {"text": text}),
        "use": ("use", {"story": text, "count": ("count", {"text": text})}),
    }
    assert list(run(graph).tasks)[1:4] == ["middle/inner/rows", "middle/inner/clean", "middle/count"]


@pytest.mark.parametrize("kind", [Sequence, Parallel])
def test_other_groups_give_one_value_and_take_what_they_say(kind: type[Group]) -> None:
    step = kind(asking("a", ["x"]), asking("b", ["*", "y"])).as_task("step", inputs={"one": "x", "two": "y"})
    graph = Graph(constant(1, name="one"), constant(2, name="two"), step)

    assert value(graph)["step"] == [("a", {"x": 1}), ("b", {"y": 2})]
    assert graph.outputs == ("one", "two", "step")
    with pytest.raises(DefinitionError, match="has no output 'a'; it has none"):
        step.as_task(outputs={"a": "z"})


def test_a_value_is_piped_into_a_step() -> None:
    step = PREPARE.as_task(inputs={"page": "raw"})

    assert value(Sequence(constant("html"), step))[1] == {"rows": ["html"], "clean": "html-clean"}
    assert value(Sequence(constant("html"), step, len))[2] == 2
    assert value(Sequence(constant("html", name="page"), constant("no"), step))[2]["rows"] == ["html"]
    piped = Sequence(inc, inc).as_task(inputs={"start": "x"})
    assert piped.inputs == ("start",)
    assert value(piped, start=1) == [2, 3]
    assert value(Sequence(constant(5), piped, inc)) == [5, [6, 7], 8]


def test_dependencies_on_a_step() -> None:
    step = PREPARE.as_task("step", outputs={"clean": "text"})
    graph = Graph(step, asking("by", ["upstream"], deps=["step", "text"]), asking("after", deps=[step]))

    assert value(graph, raw=1)["by"][1] == {"upstream": {"step": {"rows": [1], "text": "1-clean"}, "text": "1-clean"}}
    assert after(graph)["after"] == ["step/rows", "step/clean"]


def test_who_takes_upstream_takes_inputs_by_the_names_outside() -> None:
    step = Graph(constant(1, name="a"), asking("m", ["upstream", "x"], deps=["a"])).as_task("s", inputs={"a2": "x"})

    assert value(Graph(step), a2=3)["m"] == ("m", {"upstream": {"a": 1}, "x": 3})


def test_several_outputs_of_one_task() -> None:
    pair = Graph(constant((1, 2), name="pair", output=["a", "b"]))
    graph = Graph(pair.as_task("p", outputs={"b": "z"}), asking("use", ["a", "z"]))

    assert value(graph) == {"a": 1, "z": 2, "use": ("use", {"a": 1, "z": 2})}


def test_a_group_in_a_step_gives_its_value() -> None:
    inner = Graph(Parallel(constant(1), constant(2), name="both"))
    graph = Graph(inner.as_task("step", outputs={"both": "pair"}), asking("use", ["pair"]))

    assert value(graph) == {"pair": [1, 2], "use": ("use", {"pair": [1, 2]})}


def test_a_failed_step_gives_what_there_is_of_it() -> None:
    def fail(rows: object) -> None:
        raise ValueError

    step = Graph(rows, fail).as_task("step", outputs={"rows": "list", "fail": "nothing"})
    result = run(Graph(step, asking("use", ["list"]), on_failure="continue"), raw=1)

    assert result.tasks["use"].state is State.SKIPPED
    assert result.value == {"list": [1]}


def test_a_value_that_is_not_kept_is_no_output() -> None:
    step = Graph(Task(rows, retain=False), clean).as_task("step", outputs={"rows": "list"})

    assert value(Graph(step), raw=1) == {"clean": "1-clean"}
    assert value(Graph(step, asking("use", ["step"])), raw=1)["use"] == (
        "use",
        {"step": {"list": [1], "clean": "1-clean"}},
    )


def test_circles_through_steps_are_found() -> None:
    step = PREPARE.as_task("step", inputs={"used": "raw"}, outputs={"clean": "text"})

    with pytest.raises(CycleError):
        compile(Graph(step, asking("used", ["text"])))


def test_outputs_meet_in_the_graph_around() -> None:
    step = Graph(rows, name="a").as_task()
    with pytest.raises(DuplicateNameError, match=r"two steps give the output 'rows' \('a' at step 1 .*'b' at step 2"):
        Graph(step, step.as_task("b"))
    assert Graph(Graph(rows, name="a"), Graph(rows, name="b")).outputs == ("a", "b")


def test_steps_of_steps_of_steps() -> None:
    graph = Graph(constant(1, name="a"))
    for _ in range(20_000):
        graph = Graph(graph.as_task())
    assert (graph.outputs, graph.inputs, list(compile(graph).outputs)) == (("a",), (), ["a"])

    graph = Graph(rows)
    for k in range(100):
        graph = Graph(graph.as_task(inputs={f"x{k}": graph.inputs[0]}, outputs={graph.outputs[0]: f"y{k}"}))
    assert value(graph, x99=1) == {"y99": [1]}


def test_names_that_two_steps_before_give_are_ambiguous() -> None:
    step = PREPARE.as_task("a", outputs={"clean": "text"})

    with pytest.raises(DefinitionError, match="'text' is ambiguous, it could mean 'a/clean' or 'b/clean'"):
        compile(Sequence(step, step.as_task("b"), asking("use", ["*", "text"])))


async def test_check_9_a_step_is_used_by_many_runs_at_once() -> None:
    step = PREPARE.as_task("step", inputs={"page": "raw"}, outputs={"clean": "text"})
    graph = Graph(step, asking("use", ["text"]), name="g")
    before, found = pickle.dumps(PREPARE), dict[int, Any]()

    async def once(k: int) -> None:
        found[k] = (await orch.run(graph, page=k)).value["text"]

    async with anyio.create_task_group() as group:
        for k in range(20):
            group.start_soon(once, k)

    assert found == {k: f"{k}-clean" for k in range(20)}
    assert pickle.dumps(PREPARE) == before


# -- values for a group ------------------------------------------------------------------------------------------------


def test_a_bound_group_takes_its_values_for_all_steps_that_ask() -> None:
    group = Parallel(asking("a", ["x"]), Sequence(asking("b", ["x", "y"])), asking("c", ["*", "x=1"]))
    bound = group.bind(x=5)

    assert value(bound, y=2) == [("a", {"x": 5}), [("b", {"x": 5, "y": 2})], ("c", {"x": 5})]
    assert (group.inputs, bound.inputs) == (("x", "y"), ("y",))
    assert value(bound.bind(y=3)) == value(group.bind(x=5, y=3)) == value(bound, y=3)
    assert value(bound.bind(x=6), y=0)[0] == ("a", {"x": 6})


def test_what_is_nearer_goes_before_a_bound_value() -> None:
    graph = Graph(constant("step", name="x"), asking("a", ["x"]), Task(rows, raw=1))
    with pytest.raises(TypeError, match=r"^<Graph 'graph', 3 steps> has no input 'x'"):
        graph.bind(x=1)

    inner = Sequence(asking("first", ["x"]), constant("step", name="x"), asking("then", ["*", "x"]))
    assert value(inner.bind(x=0))[::2] == [("first", {"x": 0}), ("then", {"x": "step"})]
    assert value(Parallel(Parallel(asking("a", ["x"])).bind(x=1), asking("b", ["x"])).bind(x=2))[0] == [("a", {"x": 1})]
    assert value(Sequence(inc, inc).bind(x=0)) == [1, 2]


def test_a_bound_value_goes_before_what_is_around() -> None:
    graph = Graph(constant("outer", name="x"), Parallel(asking("a", ["x", "y"]), name="p").bind(x=1))
    assert value(graph, y=2)["p"] == [("a", {"x": 1, "y": 2})]

    piped = Sequence(constant("piped"), Parallel(asking("a", ["x", "y"])).bind(x=1))
    assert value(piped)[1] == [("a", {"x": 1, "y": "piped"})]


def test_values_are_bound_by_the_names_outside() -> None:
    step = PREPARE.as_task("step", inputs={"page": "raw"})

    assert value(step.bind(page=1)) == value(PREPARE.bind(raw=1).as_task("step"))
    assert step.bind(page=1).inputs == ("sep",)
    with pytest.raises(TypeError, match="has no input 'raw'; expected one of: page, sep"):
        step.bind(raw=1)
    with pytest.raises(DefinitionError, match="has no input 'raw'"):
        PREPARE.bind(raw=1).as_task(inputs={"page": "raw"})


def test_check_37_a_bound_input_is_none_and_says_where_it_is_bound() -> None:
    graph = Graph(Parallel(rows, name="p").bind(raw=1))

    with pytest.raises(InputError, match=r"it has no inputs; 'raw' is bound already in group 'p'$"):
        run(graph, raw=2)
    with pytest.raises(InputError, match=r"'page' is bound already in group 'prepare'$"):
        run(PREPARE.as_task(inputs={"page": "raw"}).bind(page=1), page=2)
    with pytest.raises(TypeError, match=r"has no input 'rav'; did you mean 'raw'\?"):
        PREPARE.bind(rav=1)


def test_values_of_any_kind_are_bound_by_any_name() -> None:
    marker = object()

    assert value(Graph(asking("a", ["self", "names"])).bind(self=None, names=marker)) == {
        "a": ("a", {"self": None, "names": marker})
    }


# -- parts -------------------------------------------------------------------------------------------------------------


def test_check_30_a_selection_is_a_graph() -> None:
    graph = Graph(*PREPARE.steps, asking("other", ["z"]), name="g", limit=2)
    part = graph.select("rows")

    assert isinstance(part, Graph)
    assert (part.name, part.limit, part.steps, part.inputs) == ("g", 2, (Task(rows),), ("raw",))
    assert graph.select("clean").inputs == ("raw", "sep")
    assert value(graph.select("clean"), raw=1) == {"clean": "1-clean"}
    assert graph.select("clean", "rows").outputs == ("rows", "clean")
    assert list(run(graph.select("clean"), raw=1).tasks) == ["rows", "clean"]
    assert value(part.select("rows"), raw=1) == {"rows": [1]}
    with pytest.raises(DefinitionError, match=r"gives no 'claen'; did you mean 'clean'\?; it gives: "):
        graph.select("claen")
    with pytest.raises(DefinitionError, match="only a Graph has outputs to select; 'sequence' is a sequence"):
        Sequence(rows).select("rows")


def test_a_selection_shows_what_was_selected() -> None:
    part = PREPARE.select("clean")
    graph = Graph(part, asking("use", ["clean"]), asking("not", ["rows"]))

    assert graph.outputs == ("prepare", "use", "not")
    assert graph.inputs == ("raw", "rows", "sep")
    assert value(graph, raw=1, rows=2) == {
        "prepare": {"clean": "1-clean"},
        "use": ("use", {"clean": "1-clean"}),
        "not": ("not", {"rows": 2}),
    }
    assert Graph(part.as_task("step")).outputs == ("clean",)


def test_steps_and_selections_mix() -> None:
    step = PREPARE.as_task("step", inputs={"page": "raw"}, outputs={"clean": "text"})
    graph = Graph(step, asking("use", ["text"]), asking("other"))

    assert value(graph.select("use"), page=1) == {"use": ("use", {"text": "1-clean"})}
    assert value(graph.select("text"), page=1) == {"text": "1-clean"}
    assert value(graph.select("step"), page=1) == {"rows": [1], "text": "1-clean"}
    assert step.select("text").outputs == step.select("clean").outputs == ("text",)
    assert value(Graph(step.select("text")), page=1) == {"text": "1-clean"}
    assert value(step.bind(page=2).select("rows")) == {"rows": [2]}


# -- any renaming ------------------------------------------------------------------------------------------------------


@st.composite
def renamed(draw: st.DrawFn) -> tuple[Graph, Graph, Mapping[str, str], Mapping[str, str]]:
    """Draw a graph, it as a step with other names, and what its inputs and outputs have become."""
    names = [f"s{k}" for k in range(draw(st.integers(1, 5)))]
    inputs, steps = ["i", "j"], list[Workflow]()
    for k, name in enumerate(names):
        asked = draw(st.lists(st.sampled_from(inputs + names[:k]), unique=True, max_size=3))
        steps.append(asking(name, asked if draw(st.booleans()) or not asked else ["*", *asked]))
    graph = Graph(*draw(st.permutations(steps)), name="inner")
    fresh = draw(st.permutations([*"ijxy", *names, *(f"t{k}" for k in range(6))]))
    takes = dict(zip(graph.inputs, fresh, strict=False))
    gives = dict(zip(graph.outputs, fresh[len(takes) :], strict=False))
    return graph, graph.as_task("step", inputs={o: i for i, o in takes.items()}, outputs=gives), takes, gives


@given(renamed())
@settings(deadline=None, max_examples=100)
def test_any_renaming_changes_names_and_nothing_else(
    drawn: tuple[Graph, Graph, Mapping[str, str], Mapping[str, str]],
) -> None:
    graph, step, takes, gives = drawn
    inputs = {name: f"value of {name}" for name in graph.inputs}
    expected = {gives[name]: each for name, each in value(graph, **inputs).items()}
    outer = {takes[name]: each for name, each in inputs.items()}
    sources = [constant(each, name=name, output=name) for name, each in outer.items()]

    assert value(step, **outer) == expected
    assert value(Graph(*sources, step)) == {**outer, **expected}
    assert value(Graph(Parallel(Sequence(step, name="s"), name="p")), **outer)["p"] == [[expected]]
    assert value(step.bind(**outer)) == expected
    back = step.as_task("inner", inputs=dict(takes), outputs={o: i for i, o in gives.items()})
    assert value(back, **inputs) == value(graph, **inputs)


ASKED = [["x"], ["y"], ["x=0"], ["*", "x"], ["*", "y=0"], ["x", "y"], ["y", "*", "x=0"], []]


@st.composite
def trees(draw: st.DrawFn, depth: int = 2) -> Group:
    """Draw groups in groups whose steps ask for `x` and `y`, are piped to, or are called `x` and `y` themselves."""
    steps: list[Workflow] = [asking(name) for name in draw(st.sets(st.sampled_from("xy"), max_size=1))]
    for k in range(draw(st.integers(1, 3))):
        inner = draw(trees(depth=depth - 1)) if depth and draw(st.booleans()) else None
        name = f"{'t' if inner is None else 'g'}{depth}{k}"
        steps.append(asking(name, draw(st.sampled_from(ASKED))) if inner is None else Sequence(inner, name=name))
    return draw(st.sampled_from([Sequence, Parallel, Graph]))(*draw(st.permutations(steps)))


@given(trees(), st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
def test_binding_is_giving_and_renaming_is_giving_by_another_name(group: Group, both: bool) -> None:
    try:
        names = group.inputs if both else group.inputs[:1]
    except DefinitionError:
        reject()  # it is ambiguous, or a circle
    inputs = {name: f"given {name}" for name in group.inputs}
    expected = value(group, **inputs)
    rest = {name: inputs[name] for name in inputs if name not in names}
    other = {f"{name}2": inputs[name] for name in names}

    assert value(group.bind(**{name: inputs[name] for name in names}), **rest) == expected
    step = group.as_task(inputs={f"{name}2": name for name in names})
    assert value(step, **rest, **other) == expected
    assert value(step.bind(**other), **rest) == expected
    around = Parallel(Sequence(step, name="x"), name="y").bind(**other)  # which are not what the steps inside mean
    assert value(around, **rest) == [[expected]]
    fed = Graph(Parallel(step, name="p"), *(constant(each, name=name) for name, each in {**rest, **other}.items()))
    assert value(fed)["p"] == [expected]
