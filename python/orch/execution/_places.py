"""Which tasks a run has had: those of its plan and, behind each map, those of its items, which only the run knows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from orch.execution._run import Run
from orch.result import GroupShape, Inner

__all__ = ("abandoned", "named", "places", "shapes")


def places(run: Run) -> list[tuple[Run, int]]:
    """Return the tasks of a run and of the runs inside its steps, each as a run and a node there."""
    if not run.tiles:
        return [(run, node) for node in run.plan.nodes]
    found = list[tuple[Run, int]]()
    for node in run.plan.nodes:
        found.append((run, node))
        for tile in run.tiles.get(node, ()):
            found += places(tile)
    return found


def named(run: Run, within: list[tuple[Run, int]]) -> Iterator[tuple[str, str]]:
    """Yield path and name of tasks; those in items of maps are found by their paths only."""
    for home, node in within:
        pair = home.plan.paths[node], home.plan.name(node)
        yield pair if home is run else Inner(*pair)


def shapes(run: Run, offset: int = 0) -> Iterator[GroupShape]:
    """Yield the groups with the positions of their tasks, each before those in it.

    Joins are no tasks, hence the search.
    """
    plan, nodes, starts = run.plan, run.plan.nodes, [offset]
    for node in nodes:
        starts.append(starts[-1] + 1 + sum(len(places(tile)) for tile in run.tiles.get(node, ())))
    for scope, row in enumerate(plan.draft.scopes):
        start, stop = starts[bisect_left(nodes, row.start)], starts[bisect_left(nodes, row.end)]
        if scope or not offset:  # that of a tile is none
            yield GroupShape(plan.draft.scope_path(scope), row.kind, start, stop, run.errors.get(row.join))
    for at, node in zip(starts, nodes, strict=False) if run.tiles else ():
        if node in run.tiles:
            yield from _inside(run, node, at)


def _inside(run: Run, node: int, at: int) -> Iterator[GroupShape]:
    """Yield the groups in the items of a map, after one that says where they are: they are not part of those around."""
    after = at + 1
    inner = list[GroupShape]()
    for tile in run.tiles[node]:
        inner += shapes(tile, after)
        after += len(places(tile))
    yield GroupShape(run.plan.path(node), "map", at, after)
    yield from inner


def abandoned(run: Run) -> Iterable[str]:
    """Yield the paths of the steps whose bodies were still running in a thread when the run ended."""
    yield from map(run.plan.path, run.abandoned)
    for tiles in run.tiles.values():
        for tile in tiles:
            yield from abandoned(tile)
