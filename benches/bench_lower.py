"""P6: what does a task cost from its definition to the plan, for names wired by signature and for explicit `deps`?

Cold: every plan is made of a new graph. The tasks are made before; what that costs is a question of its own. Beside it
the standard library on the same names: `graphlib` that checks the graph, `inspect` that reads the signatures.
"""

import graphlib
import inspect
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import attrs
import pytest

import orch
from benches._ratio import Bound, Ratio, Row, Side
from benches._shapes import SIZES, Deps, functions, layered

PER_TASK: Final = {"signature": Bound(10, "µs"), "deps": Bound(10, "µs")}  # in the end 5 and 2
LINEAR = Bound(2.0)  # caches and the collector have their share in it


@attrs.frozen(eq=False)
class Definition:
    """Tasks that are wired, and by which names."""

    wiring: str
    deps: Deps
    functions: list[Callable[..., Any]]
    tasks: list[orch.Task[..., Any]]

    def check(self, plan: orch.plan.Plan) -> None:
        """Fail unless the plan has every task and every edge."""
        assert len(plan) == len(self.deps)
        assert plan.dag.edges == sum(map(len, self.deps))

    def make_tasks(self) -> list[orch.Task[..., Any]]:
        """Make the tasks anew."""
        return tasks(self.wiring, self.deps, self.functions)


@lru_cache(maxsize=1)
def definition(wiring: str, size: int) -> Definition:
    deps = layered(size)
    steps = functions(deps, wired=wiring == "signature")
    return Definition(wiring, deps, steps, tasks(wiring, deps, steps))


def tasks(wiring: str, deps: Deps, steps: list[Callable[..., Any]]) -> list[orch.Task[..., Any]]:
    if wiring == "signature":
        return [orch.Task(step) for step in steps]
    return [orch.Task(step, deps=[f"n{dep}" for dep in each]) for step, each in zip(steps, deps, strict=True)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wiring", PER_TASK)
def bench_lower(ratio: Ratio, wiring: str, size: int) -> None:
    made = definition(wiring, size)
    repeat = max(1, 10_000 // size)
    row = ratio(
        f"P6 plan, {wiring}", ("graphlib", prepare(made, repeat)), lower(made, repeat),
        shape="layered", size=size, per=size, bound=PER_TASK[wiring], rounds=rounds_for(size),
    )  # fmt: skip
    if size >= 100_000:
        record_growth(ratio, wiring, row)


def record_growth(ratio: Ratio, wiring: str, large: Row) -> None:
    """Whether a hundred times the tasks cost a hundred times the time."""
    small = lower(definition(wiring, 1_000), 10)
    base = min(small() for _ in range(10)) * 1e6 / 1_000
    row = attrs.evolve(large, question=f"P6 growth, {wiring}", baseline="N=1 000", base=base, bound=LINEAR, rounds=())
    ratio.record(row)


@pytest.mark.parametrize("size", SIZES[::2])
@pytest.mark.parametrize("wiring", PER_TASK)
def bench_define(ratio: Ratio, wiring: str, size: int) -> None:
    made = definition(wiring, size)
    ratio(
        f"P6 tasks, {wiring}", ("inspect", read_signatures(made)), define(made),
        shape="layered", size=size, per=size, rounds=min(rounds_for(size), 5),
    )  # fmt: skip


def rounds_for(size: int) -> int:
    return 10 if size < 100_000 else 3


def lower(made: Definition, repeat: int) -> Side:
    """Compile `repeat` new graphs of the tasks."""

    def side() -> float:
        graphs = [orch.Graph(made.tasks) for _ in range(repeat)]
        start = time.process_time()
        for graph in graphs:
            orch.plan.compile(graph)
        end = time.process_time()
        made.check(orch.plan.compile(graphs[-1]))
        return (end - start) / repeat

    return side


def prepare(made: Definition, repeat: int) -> Side:
    """Let the standard library check the same graph of names."""
    names = [f"n{node}" for node in range(len(made.deps))]
    predecessors = {name: [names[dep] for dep in each] for name, each in zip(names, made.deps, strict=True)}

    def side() -> float:
        start = time.process_time()
        sorters = [graphlib.TopologicalSorter(predecessors) for _ in range(repeat)]
        for sorter in sorters:
            sorter.prepare()
        end = time.process_time()
        assert all(sorter.is_active() for sorter in sorters)
        return (end - start) / repeat

    return side


def define(made: Definition) -> Side:
    """Make every task, and the graph of them."""

    def side() -> float:
        start = time.process_time()
        graph = orch.Graph(made.make_tasks())
        end = time.process_time()
        assert len(graph.steps) == len(made.deps)
        return end - start

    return side


def read_signatures(made: Definition) -> Side:
    """Read every signature as one would without orch."""

    def side() -> float:
        start = time.process_time()
        signatures = [inspect.signature(step) for step in made.functions]
        end = time.process_time()
        assert len(signatures) == len(made.deps)
        return end - start

    return side
