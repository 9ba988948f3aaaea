"""`Map` as a value: what it takes, what it refuses, how it is compared, changed, pickled; `as_task(over=…)`."""

import copy
import pickle
from typing import Any

import anyio
import pytest

import orch
from orch import Context, DefinitionError, Graph, Map, Retry, Sequence, Task


def area(width: int, height: int = 2) -> int:
    return width * height


def split(row: str) -> tuple[str, str]:
    return row[:1], row[1:]


AREAS = Map(area, over="width", name="areas")
LIMITER = anyio.CapacityLimiter(2)


def run(workflow: Any, **inputs: Any) -> Any:
    return orch.Runner().run(workflow, **inputs).value


def test_its_inputs_are_those_of_the_body_and_what_it_goes_over_is_required() -> None:
    assert (AREAS.inputs, AREAS.outputs, AREAS.name, AREAS.over) == (
        ("width", "height"),
        ("areas",),
        "areas",
        ("width",),
    )
    assert Map(area, over="height").inputs == ("height", "width")
    assert [each.required for each in Map(area, over=["height", "width"]).signature.parameters] == [True, True]
    assert Map(area, over="width").name == "area"


def test_what_is_handed_on_goes_into_the_first_input_it_goes_over() -> None:
    step = Map(lambda scale, x: scale * x, over="x", name="scaled").bind(scale=3)
    assert run(Sequence(Task(lambda: [1, 2], name="numbers"), step)) == [[1, 2], [3, 6]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"over": "widht"}, DefinitionError, r"has no input 'widht'; did you mean 'width'\?"),
        ({"over": "depth"}, DefinitionError, "has no input 'depth'; its inputs: 'width', 'height'"),
        ({"over": []}, ValueError, "over: expected at least one input and none twice"),
        ({"over": ["width", "width"]}, ValueError, "none twice"),
        ({"over": 3}, TypeError, "over: expected str or Sequence, found int"),
        ({"over": [3]}, TypeError, "over: expected str, found int"),
        ({"mode": "cross"}, ValueError, "mode: expected 'zip' or 'product', found 'cross'"),
        ({"mode": None}, TypeError, "mode: expected str"),
        ({"on_error": "collcet"}, ValueError, "did you mean 'collect'"),
        ({"limit": 0}, ValueError, "limit: expected at least 1, found 0"),
        ({"limit": True}, TypeError, "limit: expected int or None"),
        ({"thread": False}, TypeError, "Map has no option 'thread'"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"output": ["a", "b"]}, ValueError, "output: expected one name, or one for each output of the body"),
    ],
)
def test_wrong_options_are_refused_with_what_was_meant(options: Any, error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"over": "width", **options}
    with pytest.raises(error, match=message):
        Map(area, **given)


def test_a_body_with_a_mistake_is_refused_at_once() -> None:
    with pytest.raises(orch.CycleError):
        Map(Graph(Task(lambda b: b, name="a"), Task(lambda a: a, name="b")), over="x")


def test_it_is_run_and_not_called() -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        AREAS([1])

    class Holder:
        step = AREAS

    assert Holder().step is AREAS


def test_equal_maps_are_equal_and_others_are_not() -> None:
    same = Map(Task(area), over=["width"], name="areas")
    assert (same, hash(same)) == (AREAS, hash(AREAS))
    others = [
        AREAS.evolve(mode="product"),
        AREAS.evolve(limit=2),
        AREAS.evolve(on_error="collect"),
        AREAS.evolve(over="height"),
        AREAS.evolve(body=split, over="row"),
        AREAS.evolve(timeout=1),
        AREAS.evolve(name="other"),
        AREAS.bind(height=3),
    ]
    assert all(other != AREAS for other in others)
    assert len({AREAS, same, *others}) == 1 + len(others)
    assert Task(area, name="areas") != AREAS
    assert repr(AREAS) == "<Map 'areas'>"


def test_evolve_and_bind_give_new_ones() -> None:
    other = AREAS.bind(height=5).evolve(name=None, retry=Retry(2))
    assert (other.name, dict(other.bound), other.retry, other.over) == ("area", {"height": 5}, Retry(2), ("width",))
    assert run(other, width=[1, 2]) == [5, 10]
    assert run(other.bind(width=[7])) == [35]
    with pytest.raises(TypeError, match=r"has no parameter 'heigth'; did you mean 'height'\?"):
        AREAS.bind(heigth=3)
    with pytest.raises(TypeError, match="has no option 'thread'"):
        AREAS.evolve(thread=False)


@pytest.mark.parametrize("through", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_survives_pickling_and_copying(through: Any) -> None:
    step = AREAS.evolve(timeout=3, deps=["before"], mode="product", limit=4).bind(height=9)
    made = through(step)
    again = pickle.loads(made) if isinstance(made, bytes) else made
    assert again == step
    assert run(again.evolve(deps=()), width=[1]) == [9]
    shared = AREAS.evolve(limiter=LIMITER)
    assert through is pickle.dumps or through(shared).limiter is LIMITER


def test_deps_find_it_by_its_function_and_it_has_deps_itself() -> None:
    order: list[str] = []

    def item(x: int) -> None:
        order.append("item")

    graph = Graph(
        Task(lambda: order.append("first"), name="first"),
        Map(item, over="x", name="xs", deps=["first"]),
        Task(lambda: order.append("last"), name="last", deps=[item]),
    )
    run(graph, x=[1, 2])
    assert order == ["first", "item", "item", "last"]


def test_several_outputs_are_a_list_each() -> None:
    body = Task(split, output=("head", "tail"))
    step = Map(body, over="row", output=("heads", "tails"))
    assert run(Graph(step), row=["ab", "cd"]) == {"heads": ["a", "c"], "tails": ["b", "d"]}
    assert run(Graph(Map(body, over="row", name="both")), row=["ab"]) == {"both": [("a", "b")]}


# -- as_task(over=…) ---------------------------------------------------------------------------------------------------

BODY = Graph(Task(lambda x: x + 1, name="up"), Task(lambda up, k=1: -up * k, name="down"), name="body")


def test_a_graph_used_as_a_task_over_an_input_gives_lists_of_its_outputs() -> None:
    step = BODY.as_task("many", inputs={"numbers": "x"}, outputs={"down": "downs"}, over="numbers")
    assert isinstance(step, Map)
    assert (step.name, step.inputs, step.outputs) == ("many", ("numbers", "k"), ("up", "downs"))
    graph = Graph(Task(lambda: [1, 2], name="numbers"), step, step_total())
    assert run(graph) == {"numbers": [1, 2], "up": [2, 3], "downs": [-2, -3], "total": -5}


def step_total() -> Task[..., Any]:
    return Task(lambda downs: sum(downs), name="total")  # noqa: PLW0108 (its parameter is what it is about)


def test_other_groups_give_one_list() -> None:
    step = Sequence(Task(lambda x: x + 1, name="up"), Task(lambda up: -up, name="down")).as_task(over=["x"])
    assert isinstance(step, Map)
    assert run(step, x=[1, 2]) == [[2, -2], [3, -3]]
    parallel = orch.Parallel(Task(lambda x, y: x + y, name="sum"), name="p").as_task(
        over=("x", "y"), mode="product", limit=2
    )
    assert run(parallel, x=[1, 2], y=[10, 20]) == [[11], [21], [12], [22]]


def test_options_of_a_map_need_over() -> None:
    with pytest.raises(TypeError, match=r"as_task has no option 'limit' without over=…"):
        BODY.as_task("many", limit=3)  # type: ignore[call-overload] # that is what it is about
    with pytest.raises(TypeError, match="as_task has no option 'modes'"):
        BODY.as_task("many", over="x", modes="zip")  # type: ignore[call-overload] # the same
    with pytest.raises(DefinitionError, match="has no input 'z'"):
        BODY.as_task(over="z")


def test_a_failed_item_is_none_in_each_list() -> None:
    def picky(x: int) -> tuple[int, int]:
        if x == 1:
            raise ValueError(x)
        return x, -x

    step = Map(Task(picky, output=("a", "b")), over="x", output=("as", "bs"), on_error="collect")
    assert run(Graph(step), x=[0, 1, 2]) == {"as": [0, None, 2], "bs": [0, None, -2]}
    graph = Graph(Task(picky, name="p"), Task(lambda p: p[0], name="q")).as_task(over="x", on_error="collect")
    assert run(Graph(graph), x=[1, 2]) == {"p": [None, (2, -2)], "q": [None, 2]}


# -- as a step ---------------------------------------------------------------------------------------------------------


def test_it_is_a_step_of_every_group_and_of_a_registry() -> None:
    registry = orch.TaskRegistry()
    registry.add(AREAS)
    assert run(registry.graph(), width=[1, 2]) == {"areas": [2, 4]}
    assert run(orch.Parallel(AREAS, AREAS), width=[3]) == [[6], [6]]
    assert Graph(AREAS).select("areas").inputs == ("width", "height")


def test_types_are_not_compared_with_those_of_the_body() -> None:
    def widths() -> list[int]:
        return [1, 2]

    def total(areas: list[int]) -> int:
        return sum(areas)

    def label(areas: str) -> str:
        return areas

    first = Task(widths, name="width")
    assert run(Graph(first, AREAS, total, strict_types=True))["total"] == 6
    with pytest.raises(DefinitionError, match="'areas' takes str, but 'areas' gives"):
        orch.plan.compile(Graph(first, AREAS, label, strict_types=True))


def test_a_context_is_asked_for_only_if_a_body_needs_it() -> None:
    def needs(x: int, ctx: Context[int]) -> int:
        return x + ctx.data

    def may(x: int, ctx: Context[Any] | None = None) -> bool:
        return ctx is None

    assert orch.Runner().run(Map(needs, over="x"), Context(1), x=[1, 2]).value == [2, 3]
    assert run(Map(may, over="x"), x=[1]) == [True]
    with pytest.raises(DefinitionError, match="this run has none"):
        run(Map(needs, over="x"), x=[1])


def test_maps_nest_deeply() -> None:
    step: Any = Task(lambda x: x + 1, name="up", thread=False)
    value: Any = 1
    for depth in range(12):
        step, value = Map(step, over="x", name=f"level{depth}"), [value]
    assert str(run(step, x=value)) == "[" * 12 + "2" + "]" * 12


def test_many_maps_within_each_other_are_compared_without_recursion() -> None:
    def deep() -> Any:
        step: Any = Task(area, name="a")
        for _ in range(3000):
            step = Map(step, over="width", name="m")
        return step

    assert deep() == deep()
    assert hash(deep()) == hash(deep())
