"""Random definitions against oracles that are too simple to be wrong: graphlib for graphs, recursion for groups."""

import graphlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orch
from orch import Graph, Parallel, Sequence, Task, Workflow
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.plan.wired import after, asking, run
from tests.runners.truth import check

Needs = dict[str, list[str]]


@st.composite
def graphs(draw: st.DrawFn) -> Needs:
    """Draw names in order of definition, each with the names it needs; the hidden order has no cycle."""
    size = draw(st.integers(1, 10))
    hidden = [f"s{k}" for k in draw(st.permutations(range(size)))]
    needs = {
        name: draw(st.lists(st.sampled_from(hidden[:k]), unique=True, max_size=4)) if k else []
        for k, name in enumerate(hidden)
    }
    return {name: needs[name] for name in draw(st.permutations(hidden))}


@st.composite
def kinds(draw: st.DrawFn, needs: Needs) -> dict[str, str]:
    """Draw for each task how it says what it needs."""
    return {name: draw(st.sampled_from(["positional", "keyword", "deps", "upstream"])) for name in needs}


def made(needs: Needs, how: Mapping[str, str]) -> Graph:
    return Graph(*(_task(name, others, how[name]) for name, others in needs.items()))


def _task(name: str, needs: list[str], how: str) -> Task[..., Any]:
    if how == "deps":
        return asking(name, deps=needs)
    if how == "upstream":
        return asking(name, ["upstream"], deps=needs)
    return asking(name, needs if how == "positional" or not needs else ["*", *needs])


def expected(needs: Needs, how: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in graphlib.TopologicalSorter(needs).static_order():
        got = {other: values[other] for other in needs[name]}
        values[name] = (name, {} if how[name] == "deps" else {"upstream": got} if how[name] == "upstream" else got)
    return values


def stable_order(needs: Needs) -> list[str]:
    """The topological order that takes, each time, what stands first in the definition of all that is ready."""
    sorter = graphlib.TopologicalSorter(needs)
    sorter.prepare()
    ready, order, names = set(sorter.get_ready()), list[str](), list(needs)
    while ready:
        name = min(ready, key=names.index)
        order.append(name)
        sorter.done(name)
        ready = ready - {name} | set(sorter.get_ready())
    return order


def ancestors(needs: Needs, name: str) -> set[str]:
    return {name}.union(*(ancestors(needs, other) for other in needs[name]))


def longest(needs: Needs) -> int:
    lengths: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(needs).static_order():
        lengths[name] = 1 + max((lengths[other] for other in needs[name]), default=0)
    return max(lengths.values())


@given(st.data())
@settings(deadline=None)
def test_a_graph_against_graphlib(data: st.DataObject) -> None:
    needs = data.draw(graphs())
    how = data.draw(kinds(needs))
    graph = made(needs, how)
    plan = compile(graph)

    assert plan.order() == stable_order(needs)
    assert {name: set(others) for name, others in after(graph).items()} == {n: set(o) for n, o in needs.items()}
    path = plan.critical_path()
    assert len(path) == longest(needs)
    assert all(one in needs[other] for one, other in pairwise(path))
    assert run(graph).value == expected(needs, how)


@given(st.data())
@settings(deadline=None)
def test_selecting_against_graphlib(data: st.DataObject) -> None:
    needs = data.draw(graphs())
    how = data.draw(kinds(needs))
    names = data.draw(st.lists(st.sampled_from(list(needs)), min_size=1, unique=True))
    result = orch.Runner().run(made(needs, how), select=names)
    check(result)

    wanted = set().union(*(ancestors(needs, name) for name in names))
    assert list(result.tasks) == [name for name in needs if name in wanted]
    values = expected(needs, how)
    assert result.value == {name: values[name] for name in needs if name in names}
    assert all(result[name] == values[name] for name in wanted)


@given(st.data())
@settings(deadline=None)
def test_a_cycle_against_graphlib(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    names = [f"s{k}" for k in range(size)]
    needs = {name: data.draw(st.lists(st.sampled_from(names), unique=True, max_size=2)) for name in names}
    graph = Graph(*(asking(name, deps=others) for name, others in needs.items()))
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError:
        _check_cycles(graph, needs)
    else:
        assert compile(graph).order() == stable_order(needs)


def _check_cycles(graph: Graph, needs: Needs) -> None:
    with pytest.raises(orch.DefinitionError) as caught:
        compile(graph)
    paths = [each.path for each in caught.value.problems if isinstance(each, orch.CycleError)]
    assert paths
    for path in paths:
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert all(one in needs[other] for one, other in pairwise(path))


# -- groups in groups --------------------------------------------------------------------------------------------------


def trees() -> st.SearchStrategy[Any]:
    """A tree: "free" and "takes" are steps (the second takes what it is handed), a pair is a group of some kind."""
    leaves = st.sampled_from(["free", "takes", "optional"])
    return st.recursive(leaves, lambda t: st.tuples(st.sampled_from("SPG"), st.lists(t, max_size=4)), max_leaves=12)


class Builder:
    """Makes the workflow of a tree; every step has a number, so that every value tells where it is from."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, tree: Any) -> Workflow:
        if not isinstance(tree, str):
            kind, steps = tree
            name = self._name("g")
            return {"S": Sequence, "P": Parallel, "G": Graph}[kind](*[self(each) for each in steps], name=name)
        parameters = {"free": [], "takes": ["handed"], "optional": ["given=7"]}[tree]
        return asking(self._name("t"), parameters)

    def _name(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"


NOTHING = object()


class Walk:
    """The oracle: gives for each tree its value and what it hands on, with the same numbers as the `Builder`."""

    def __init__(self, first: Any) -> None:
        self.count = 0
        self.first = first
        self.asked = False

    def __call__(self, tree: Any, handed: Any) -> tuple[Any, Any]:
        if isinstance(tree, str):
            value = self._step(tree, handed)
            return value, value
        kind, steps = tree
        self.count += 1
        if kind == "S":
            return self._sequence(steps, handed)
        names_values = [(self._next_name(each), self(each, handed)[0]) for each in steps]
        value = [v for _, v in names_values] if kind == "P" else dict(names_values)
        return value, value

    def _sequence(self, steps: list[Any], handed: Any) -> tuple[list[Any], Any]:
        values = []
        for each in steps:
            value, handed = self(each, handed)
            values.append(value)
        return values, handed

    def _step(self, kind: str, handed: Any) -> Any:
        self.count += 1
        if kind == "takes" and handed is NOTHING:
            self.asked = True
            handed = self.first
        got = {"free": {}, "takes": {"handed": handed}, "optional": {"given": 7}}[kind]
        return f"t{self.count}", got

    def _next_name(self, tree: Any) -> str:
        return f"{'t' if isinstance(tree, str) else 'g'}{self.count + 1}"


@given(st.tuples(st.sampled_from("SPG"), st.lists(trees(), max_size=5)))
@settings(deadline=None, max_examples=200)
def test_groups_against_a_recursive_walk(tree: Any) -> None:
    workflow = Builder()(tree)
    walk = Walk("input")
    value, _ = walk(tree, NOTHING)

    assert ("handed" in compile(workflow).inputs) == walk.asked
    assert run(workflow, **({"handed": "input"} if walk.asked else {})).value == value
