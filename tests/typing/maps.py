"""A program that type checkers must read as it is meant: maps as steps, as verbs, and what these give."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from typing import Any, assert_type

import orch
from orch import Graph, Map, RunResult
from orch.result import MapResult


def area(width: int, height: int = 2) -> int:
    return width * height


areas = Map(area, over="width", mode="product", limit=3, on_error="collect", name="areas", timeout=1, deps=["a"])
assert_type(areas, Map)
assert_type(areas.bind(height=3), Map)
assert_type(areas.evolve(over=["width"]), Map)
Map(area)  # type: ignore[call-arg]
Map(area, over="width", mode="zipp")  # type: ignore[arg-type]
Map(area, over="width", thread=False)  # type: ignore[call-arg]

graph = Graph(area)
assert_type(graph.as_task("a"), Graph)
assert_type(graph.as_task("a", over="width", limit=3), Map)
graph.as_task("a", limit=3)  # type: ignore[call-overload]


async def main() -> None:
    runner = orch.AsyncRunner()
    result = await runner.map(area, {"width": [1, 2]}, "width", "zip", on_error="collect", limit=2)
    assert_type(result, MapResult)
    assert_type(result[0], RunResult)
    assert_type(result[1:], list[RunResult])
    assert_type(result.values, list[Any])
    assert_type(result.failed, tuple[int, ...])
    await runner.map(area, {"width": [1]}, "width", on_error="ignore")  # type: ignore[arg-type]
    async with runner.map_iter(area, {"width": [1, 2]}, "width") as results:
        async for index, item in results:
            assert_type(index, int)
            assert_type(item, RunResult)


assert_type(orch.Runner().map(area, {"width": [1]}, "width"), MapResult)
