"""P5: how long until a graph of a million nodes and three million edges is checked and ordered, and how big is it?

The baselines are given the same edges in the form they like best, made before: `graphlib` a mapping to predecessors,
rustworkx a list of pairs. Every order is checked, outside of the time.
"""

import graphlib
import random
import time
from array import array
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

import attrs
import pytest
import rustworkx

from benches._memory import in_fresh_process, needs_proc, peak_above
from benches._ratio import BYTES, SECONDS, Bound, Ratio, Side
from orch._core import Dag

NODES: Final = 1_000_000
FAN_IN: Final = 3
REACH: Final = {"near": 1_000, "shuffled": NODES}
"""By shape: how far before a node what it depends on may lie, within a cache or anywhere."""

BESIDE_GRAPHLIB = Bound(0.1)  # the milestone's; in the end 0.05
BESIDE_RUSTWORKX = Bound(0.333)
MEMORY = Bound(60 + 8 * FAN_IN, "B")


@attrs.frozen(eq=False)
class Edges:
    """Two columns: where each edge starts and where it ends."""

    sources: "array[int]"
    targets: "array[int]"

    def check(self, order: list[int]) -> None:
        """Fail unless every node is there once, behind all that it depends on."""
        place = [-1] * NODES
        for position, node in enumerate(order):
            place[node] = position
        assert len(order) == NODES
        assert min(place) == 0, "a node is missing"
        assert all(place[s] < place[t] for s, t in zip(self.sources, self.targets, strict=True))


@lru_cache(maxsize=1)
def edges(shape: str) -> Edges:
    """Draw three dependencies for each node; in the shuffled shape the numbers of the nodes say nothing."""
    rng, reach = random.Random(0), REACH[shape]
    numbers = array("I", range(NODES))
    if shape == "shuffled":
        rng.shuffle(numbers)
    behind = [target for target in range(1, NODES) for _ in range(FAN_IN)]
    before = (target - 1 - int(rng.random() * min(reach, target)) for target in behind)
    return Edges(array("I", (numbers[k] for k in before)), array("I", (numbers[k] for k in behind)))


@pytest.mark.timeout(900)
def bench_graphlib(ratio: Ratio) -> None:
    given = edges("near")
    predecessors: dict[int, list[int]] = {node: [] for node in range(NODES)}
    for source, target in zip(given.sources, given.targets, strict=True):
        predecessors[target].append(source)
    baseline = side(given, lambda: list(graphlib.TopologicalSorter(predecessors).static_order()))
    ratio(
        "P5 graph", ("graphlib", baseline), side(given, partial(with_orch, given)),
        shape="near", size=NODES, unit=SECONDS, bound=BESIDE_GRAPHLIB, rounds=1,
    )  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", REACH)
def bench_rustworkx(ratio: Ratio, shape: str) -> None:
    given = edges(shape)
    pairs = list(zip(given.sources, given.targets, strict=True))
    ratio(
        "P5 graph", ("rustworkx", side(given, partial(with_rustworkx, pairs))), side(given, partial(with_orch, given)),
        shape=shape, size=NODES, unit=SECONDS, bound=BESIDE_RUSTWORKX, rounds=2,
    )  # fmt: skip


@needs_proc
def bench_bytes_of_graph(ratio: Ratio) -> None:
    """Bytes a node with its three edges, at the worst moment."""
    baseline, subject = partial(in_fresh_process, bytes_of_rustworkx), partial(in_fresh_process, bytes_of_dag)
    ratio(
        "P5 memory", ("rustworkx", baseline), subject,
        shape="near", size=NODES, per=NODES, unit=BYTES, bound=MEMORY, rounds=1,
    )  # fmt: skip


def side(given: Edges, work: Callable[[], list[int]]) -> Side:
    """Make a side of something that returns an order."""

    def timed() -> float:
        start = time.process_time()
        order = work()
        end = time.process_time()
        given.check(order)
        return end - start

    return timed


def with_orch(given: Edges) -> list[int]:
    return Dag(NODES, given.sources, given.targets).order()


def with_rustworkx(pairs: list[tuple[int, int]]) -> list[int]:
    sorter = rustworkx.TopologicalSorter(rustworkx_graph(pairs), check_cycle=True)
    order: list[int] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(ready)
        order += ready
    return order


def rustworkx_graph(pairs: list[tuple[int, int]]) -> rustworkx.PyDiGraph[None, None]:
    graph: rustworkx.PyDiGraph[None, None] = rustworkx.PyDiGraph()
    graph.add_nodes_from([None] * NODES)
    graph.add_edges_from_no_data(pairs)
    return graph


def bytes_of_dag() -> float:
    given = edges("near")
    dag, more = peak_above(lambda: Dag(NODES, given.sources, given.targets))
    assert len(dag) == NODES
    return more


def bytes_of_rustworkx() -> float:
    given = edges("near")
    pairs = list(zip(given.sources, given.targets, strict=True))
    graph, more = peak_above(lambda: rustworkx_graph(pairs))
    assert graph.num_nodes() == NODES
    return more
