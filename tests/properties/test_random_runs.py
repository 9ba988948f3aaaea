"""Random definitions on every loop: what must hold for any run does, and what is determined comes out as worked out."""

import os
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import orch
from orch.event import State, TaskEvent
from orch.plan import compile as plan_of
from orch.result import RunResult, fold
from tests.properties.evaluator import Expected, evaluate
from tests.properties.invariants import check
from tests.properties.shapes import KINDS, UNRULY, BoomError, Group, Ledger, Shape, Step, build, leaves, named, shapes

pytestmark = pytest.mark.timeout(60)
CI = settings(
    max_examples=int(os.environ.get("ORCH_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
HANDED = "the input"


def carry_out(shape: Shape, loop: str, limit: int | None = None, **options: Any) -> tuple[RunResult, Ledger]:
    """Run a shape on a loop, and check everything that holds for whatever was run."""
    ledger = Ledger({"run": limit} if limit else None)
    workflow = build(shape, ledger)
    plan = plan_of(workflow)
    inputs = dict.fromkeys(plan.inputs, HANDED)
    runner = orch.AsyncRunner(limit=limit, threads=3, **options)

    async def call() -> RunResult:
        with anyio.fail_after(10):
            return await runner.run(plan, inputs, raise_on_failure=False)

    result = anyio.run(call, **LOOPS[loop])
    check(result.trace, plan)
    agree(result, ledger, shape)
    return result, ledger


def agree(result: RunResult, ledger: Ledger, shape: Shape) -> None:
    """The result tells the same as its trace, and both the same as the bodies."""
    assert ledger.broken == []
    assert not +ledger.active
    records = result.tasks
    assert set(ledger.begun.values()) <= {1}
    assert set(ledger.begun) == {record.name for record in records.values() if record.attempts}
    assert len(records) == len(leaves(shape))
    folded = fold(result.trace)
    assert {path: folded[path] for path in records} == dict(records)
    states = [record.state for record in records.values()]
    assert (result.state is State.FAILED) == (State.FAILED in states)
    assert State.CANCELLED not in states or result.state is State.FAILED
    failed = [each.error for each in result.trace if isinstance(each, TaskEvent) and each.state is State.FAILED]
    assert list(result.errors) == failed
    assert all(isinstance(error, BoomError) for error in failed)
    for group in result.groups.values():
        inside = [
            record.state for path, record in records.items() if not group.path or path.startswith(f"{group.path}/")
        ]
        order = (State.FAILED, State.CANCELLED, State.SKIPPED)
        assert group.state is next((state for state in order if state in inside), State.SUCCEEDED)


def as_expected(result: RunResult, expected: Expected) -> None:
    """States and values are those that were worked out."""
    assert {record.name: record.state for record in result.tasks.values()} == expected.states
    succeeded = {record.name: record.value for record in result.tasks.values() if record.state is State.SUCCEEDED}
    assert succeeded == expected.values
    assert _without_nothing(result.value) == _without_nothing(expected.value)


def _without_nothing(value: Any) -> Any:
    """Leave out of mappings what is None: a graph may leave out what failed, or say None."""
    if isinstance(value, dict):
        return {name: _without_nothing(each) for name, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


def differential(shape: Shape, limit: int | None, loops: list[str]) -> None:
    expected = evaluate(shape, HANDED)
    for loop in loops:
        result, _ = carry_out(shape, loop, limit)
        if expected.determined:
            as_expected(result, expected)


limits = st.sampled_from([None, None, 1, 3])


@CI
@given(shapes([kind for kind in KINDS if "thread" not in kind]), limits)
@example(named(Group("graph", (Step(), Step(deps=(0,)), Step(deps=(0, 1))))), 1)
@example(named(Group("sequence", (Group("sequence"), Step(takes=True), Group("parallel"), Step(takes=True)))), None)
def test_steps_on_the_loop(shape: Shape, limit: int | None) -> None:
    differential(shape, limit, ["asyncio", "trio"])


@CI
@given(shapes(UNRULY), limits)
def test_steps_on_the_loop_and_in_threads(shape: Shape, limit: int | None) -> None:
    differential(shape, limit, ["asyncio", "trio"])


@settings(CI, max_examples=CI.max_examples // 3)
@given(shapes(KINDS), limits)
def test_uvloop_does_the_same(shape: Shape, limit: int | None) -> None:
    differential(shape, limit, ["uvloop"])


@settings(CI, max_examples=CI.max_examples // 2)
@given(shapes(KINDS), st.sampled_from(sorted(LOOPS)))
def test_who_listens_hears_the_trace_and_changes_nothing(shape: Shape, loop: str) -> None:
    heard: list[Any] = []

    async def slow(_: object) -> None:
        await anyio.lowlevel.checkpoint()

    result, _ = carry_out(shape, loop, subscribers=[heard.append, slow])
    assert heard == list(result.trace)
    expected = evaluate(shape, HANDED)
    if expected.determined:
        as_expected(result, expected)


# -- relations between runs ------------------------------------------------------------------------------------------


def _wrapped(shape: Shape, kind: str) -> Shape:
    """The same with every step alone in a group of its own."""
    if isinstance(shape, Step):
        return Group(kind, (shape,))
    return attrs.evolve(shape, steps=tuple(_wrapped(step, kind) if not _deps(step) else step for step in shape.steps))


def _deps(shape: Shape) -> bool:
    return isinstance(shape, Step) and bool(shape.deps)


@settings(CI, max_examples=CI.max_examples // 2)
@given(shapes(KINDS), st.sampled_from(["sequence", "parallel"]), st.sampled_from(["asyncio", "trio"]))
def test_a_group_around_every_step_changes_no_state(shape: Shape, kind: str, loop: str) -> None:
    wrapped = named(_wrapped(shape, kind))
    if evaluate(shape, HANDED).determined and not _takes(shape):
        plainly, _ = carry_out(shape, loop)
        inside, _ = carry_out(wrapped, loop)
        assert [each.state for each in inside.tasks.values()] == [each.state for each in plainly.tasks.values()]


def _takes(shape: Shape) -> bool:
    """What is handed on differs by the group around it; states may then as well."""
    return any(leaf.takes for leaf in leaves(shape))


@settings(CI, max_examples=CI.max_examples // 2)
@given(shapes(KINDS), st.sampled_from(["asyncio", "trio"]))
def test_a_step_beside_it_that_succeeds_changes_only_its_own_row(shape: Shape, loop: str) -> None:
    if evaluate(shape, HANDED).determined:
        alone, _ = carry_out(Group("parallel", (shape,), "continue", name="root"), loop)
        beside = Group("parallel", (shape, Step("waits", name="new")), "continue", name="root")
        both, _ = carry_out(beside, loop)
        states = {path: record.state for path, record in both.tasks.items()}
        assert states.pop("new") is State.SUCCEEDED
        assert states == {path: record.state for path, record in alone.tasks.items()}


@settings(CI, max_examples=CI.max_examples // 2)
@given(st.integers(2, 12), st.data(), st.sampled_from(["asyncio", "trio"]))
def test_a_transitive_edge_changes_no_state(size: int, data: st.DataObject, loop: str) -> None:
    deps = [tuple(sorted(data.draw(st.sets(st.integers(0, k - 1), max_size=3)))) if k else () for k in range(size)]
    fails = data.draw(st.sets(st.integers(0, size - 1), max_size=2))
    closure: list[set[int]] = []
    for each in deps:
        closure.append(set(each).union(*(closure[dep] for dep in each)))

    def graph(edges: list[tuple[int, ...]]) -> Shape:
        steps = tuple(Step("waits", fails=k in fails, deps=edges[k]) for k in range(size))
        return named(Group("graph", steps, "continue"))

    one, _ = carry_out(graph(deps), loop)
    other, _ = carry_out(graph([tuple(sorted(each)) for each in closure]), loop)
    states = [[record.state for record in result.tasks.values()] for result in (one, other)]
    assert states[0] == states[1]
