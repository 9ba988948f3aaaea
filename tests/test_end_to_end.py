"""Whole workflows as users write them, and random ones: on every event loop the same, and as a recursive walk says."""

import json
import pickle
import threading
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orch
from orch import Context, Event, Graph, Parallel, RunResult, Sequence, State, Task, Workflow, WorkflowError
from tests.runners.truth import settle, started, states, told

LOOPS: list[dict[str, Any]] = [
    {"backend": "asyncio"},
    {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    {"backend": "trio"},
]


# -- an ETL pipeline: names, several outputs, threads, limits, select --------------------------------------------------


@orch.task(output=("header", "rows"))
async def extract(url: str, *, pages: int = 3) -> tuple[list[str], list[list[int]]]:
    await anyio.lowlevel.checkpoint()
    return ["a", "b"], [[len(url), page] for page in range(pages)]


@orch.task(output="table")
def transform(header: list[str], rows: list[list[int]]) -> list[dict[str, int]]:
    return [dict(zip(header, row, strict=True)) for row in rows]


async def total(table: list[dict[str, int]], column: str = "b") -> int:
    return sum(row[column] for row in table)


async def report(upstream: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in upstream.items())


ETL = Graph(
    Task(report, deps=["total", "count"]),
    Task(lambda table: len(table), name="count", thread=False),  # noqa: PLW0108 (a plain step in place)
    total,
    transform,
    extract,
    name="etl",
)


async def test_an_etl_pipeline() -> None:
    result = await settle(ETL, url="there", pages=4)

    assert result.value == {
        "report": "total=6, count=4",
        "count": 4,
        "total": 6,
        "table": [{"a": 5, "b": page} for page in range(4)],
        "header": ["a", "b"],
        "rows": [[5, page] for page in range(4)],
    }
    assert started(result.trace)[:2] == ["extract", "transform"]
    assert (result["report"], result["table"], result["extract"][0]) == (
        "total=6, count=4",
        result.value["table"],
        ["a", "b"],
    )
    part = await settle(ETL, {"url": "x", "column": "a"}, select=["total"])
    assert (part.value, list(part.tasks)) == ({"total": 3}, ["total", "transform", "extract"])


async def test_an_etl_pipeline_with_a_broken_step_says_what_is_known() -> None:
    async def broken(table: Any) -> int:
        raise KeyError("b")

    graph = Graph(*(step if step.name != "total" else Task(broken, name="total") for step in ETL.steps),
                  name="etl", on_failure="continue")  # fmt: skip
    with pytest.raises(WorkflowError) as caught:
        await orch.run(graph, url="there")
    result = caught.value.result
    assert states(result) == {
        "report": "skipped", "count": "succeeded", "total": "failed", "transform": "succeeded", "extract": "succeeded",
    }  # fmt: skip
    assert (result.tasks["report"].reason, result.tasks["report"].cause) == ("upstream_failed", "total")
    assert caught.value.exceptions[0].__notes__ == ["in task 'total', attempt 1"]
    assert result["count"] == 3


# -- a checkout: groups in groups, a context, logs ---------------------------------------------------------------------


@attrs.define
class Order:
    items: list[str]
    paid: float = 0.0
    notes: list[str] = attrs.field(factory=list)


async def validate(order: Context[Order]) -> int:
    order.notes.append("validated")
    return len(order.items)


async def price(items: int, order: Context[Order]) -> float:
    await anyio.lowlevel.checkpoint()
    return 10.0 * items


def reserve(context: Context[Order]) -> list[str]:
    return sorted(context.items)


async def charge(both: list[Any], context: Context[Order]) -> float:
    context.data.paid = both[0]
    context.log(f"paid {both[0]}")
    return context.data.paid


CHECKOUT = Sequence(validate, Parallel(price, reserve, limit=2, name="prepare"), charge, name="checkout")


async def test_a_checkout() -> None:
    order = Order(["tea", "milk"])
    heard: list[Event] = []
    result = await settle(CHECKOUT, Context(order, metadata={"shop": 1}), subscribers=[heard.append])

    assert result.value == [2, [20.0, ["milk", "tea"]], 20.0]
    assert (order.paid, order.notes, result.context.data) == (20.0, ["validated"], order)
    assert heard == list(result.trace)
    assert [event.message for event in result.trace if isinstance(event, orch.event.LogEvent)] == ["paid 20.0"]
    assert [group.state for group in result.groups.values()] == [State.SUCCEEDED, State.SUCCEEDED]


# -- what can be done with a result ------------------------------------------------------------------------------------


async def test_a_result_can_be_shown_stored_as_text_and_pickled() -> None:
    result = await settle(ETL, url="there")
    report_ = json.loads(result.to_json())

    assert (report_["state"], report_["value"]["total"], len(report_["tasks"])) == ("succeeded", 3, 5)
    assert "transform" in orch.views.to_text(result)
    assert "transform" in orch.views.to_mermaid(ETL)
    copy = pickle.loads(pickle.dumps(await settle(Sequence(validate), Context(Order([])))))
    assert (copy.state, copy.value, states(copy)) == (State.SUCCEEDED, [0], {"validate": "succeeded"})


async def test_a_thousand_steps_of_every_kind() -> None:
    lock = threading.Lock()
    count = 0

    def bump() -> None:
        nonlocal count
        with lock:
            count += 1

    async def coroutine() -> None:
        bump()

    async def suspended() -> None:
        await anyio.lowlevel.checkpoint()
        bump()

    kinds: list[Any] = [bump, coroutine, suspended, Task(bump, thread=False)]
    parts = [
        Sequence(*kinds),
        Parallel(*kinds),
        Parallel(*kinds, limit=2),
        Graph(*[Task(f, name=f"t{k}") for k, f in enumerate([bump, suspended])]),
    ]
    result = await settle(Parallel(*parts * 70, limit=20))
    assert (result.state, count) == (State.SUCCEEDED, 70 * 14)


# -- random workflows --------------------------------------------------------------------------------------------------


def trees(strategies: list[str], leaves: list[str]) -> st.SearchStrategy[Any]:
    """Draw a tree: a leaf is a kind of step; a group has a kind, a strategy, a limit and steps."""

    def group(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        limit = st.sampled_from([None, None, 1, 2])
        return st.tuples(st.sampled_from("SPG"), st.sampled_from(strategies), limit, st.lists(steps, max_size=4))

    return group(st.recursive(st.sampled_from(leaves), group, max_leaves=10))


async def free() -> int:
    return 1


async def suspends() -> int:
    await anyio.lowlevel.checkpoint()
    return 2


async def takes(optional: Any = None) -> Any:
    return optional


async def needs(handed: Any) -> str:
    return f"got {handed}"


async def bad() -> None:
    raise ValueError("bad")


async def late() -> None:
    await anyio.lowlevel.checkpoint()
    raise KeyError("late")


def threaded() -> int:
    return 3


def bad_in_a_thread() -> None:
    raise OSError("thread")


LEAVES: dict[str, Any] = {
    each.__name__: each for each in (free, suspends, takes, needs, bad, late, threaded, bad_in_a_thread)
}
GROUPS = {"S": Sequence, "P": Parallel, "G": Graph}


def build(tree: Any, name: str = "root") -> Workflow:
    """Make the workflow of a tree; the name of a step is its way from the root."""
    if isinstance(tree, str):
        return Task(LEAVES[tree], name=name)
    kind, strategy, limit, steps = tree
    inside = [build(each, f"{name}.{k}") for k, each in enumerate(steps)]
    return GROUPS[kind](*inside, name=name, on_failure=strategy, limit=limit)


def run(workflow: Workflow, loop: dict[str, Any]) -> RunResult:
    inputs = {"handed": "input"} if "handed" in orch.plan.compile(workflow).inputs else {}
    return anyio.run(settle, workflow, inputs, **loop)


@given(
    trees(["abort", "continue"], ["free", "suspends", "takes", "needs", "bad", "late", "threaded", "bad_in_a_thread"])
)
@settings(deadline=None, max_examples=150)
def test_a_random_workflow_settles_on_every_loop(tree: Any) -> None:
    workflow = build(tree)
    for loop in LOOPS:
        result = run(workflow, loop)
        assert (result.state is State.SUCCEEDED) == (set(states(result).values()) <= {"succeeded"})


@given(trees(["abort", "continue"], ["free", "takes", "needs", "bad"]))
@settings(deadline=None, max_examples=150)
def test_steps_that_do_not_suspend_give_the_same_trace_on_every_loop(tree: Any) -> None:
    workflow = build(tree)
    traces = [told(run(workflow, loop).trace) for loop in LOOPS]

    assert traces[0] == traces[1] == traces[2]


class Walk:
    """The oracle for CONTINUE. What is handed on is a pair (is all well there?, the value); None: nothing is."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def __call__(self, tree: Any, handed: tuple[bool, Any] | None, name: str = "root") -> tuple[bool, Any, Any]:
        """Give whether all is well inside, the value, and what is handed on."""
        if isinstance(tree, str):
            return self._leaf(tree, handed)
        kind, _, _, steps = tree
        well, last, values = True, None, dict[str, tuple[bool, Any]]()
        for k, each in enumerate(steps):
            good, value, on = self(each, handed, f"{name}.{k}")
            well = well and good
            values[f"{name}.{k}"] = good, value
            if kind == "S" and on is not None:
                handed = last = on
        if kind == "G":
            mapping = {key: value for key, (good, value) in values.items() if good or isinstance(value, list | dict)}
            return well, mapping, (well, mapping)
        listed = [value for _, value in values.values()]
        return well, listed, (well, listed) if kind == "P" else last and (well, last[1])

    def _leaf(self, kind: str, handed: tuple[bool, Any] | None) -> tuple[bool, Any, Any]:
        if kind in {"bad", "late", "bad_in_a_thread"}:
            self.states.append("failed")
            return False, None, (False, None)
        if kind == "needs":
            gave, value = handed or (True, "input")
            self.states.append("succeeded" if gave else "skipped")
            return gave, f"got {value}" if gave else None, (gave, f"got {value}")
        self.states.append("succeeded")
        value = {"free": 1, "suspends": 2, "takes": None, "threaded": 3}[kind]
        return True, value, (True, value)


@given(trees(["continue"], ["free", "suspends", "takes", "needs", "bad", "late"]))
@settings(deadline=None, max_examples=200)
def test_under_continue_states_and_values_are_those_of_a_recursive_walk(tree: Any) -> None:
    walk = Walk()
    well, value, _ = walk(tree, None)
    for loop in LOOPS[::2]:
        result = run(build(tree), loop)
        assert list(states(result).values()) == walk.states
        assert result.value == value
        assert (result.state is State.SUCCEEDED) == well
