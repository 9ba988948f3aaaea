"""Tiles: copies of a body side by side, whose plans are kept, and whose paths are those of the items."""

import orch
from orch import Graph, Map, Sequence, Task
from orch.plan import compile as plan_of
from orch.plan import tile_of
from orch.plan._tile import _KEPT


def up(x: int) -> int:
    return x + 1


def test_paths_are_those_of_the_items() -> None:
    body = plan_of(Sequence(up, Graph(Task(up, name="up"), name="inner"), name="body"))
    tile = tile_of(body, 3, "g/xs", 10, collects=False)

    assert list(tile.paths.values()) == [f"g/xs[{k}]/{path}" for k in (10, 11, 12) for path in ("up", "inner/up")]
    assert [tile.path(tile.exit(k)) for k in range(3)] == ["g/xs[10]", "g/xs[11]", "g/xs[12]"]
    assert tile.draft.scope_path(0) == "g/xs"
    lone = tile_of(plan_of(Task(up)), 2, "xs", 0, collects=True)
    assert list(lone.paths.values()) == ["xs[0]", "xs[1]"]


def test_inputs_lie_item_after_item() -> None:
    body = plan_of(Graph(Task(lambda x, y: x + y, name="a"), Task(lambda x, a: x * a, name="b")))
    tile = tile_of(body, 4, "xs", 0, collects=False)

    slots, each = tile.slots("x")
    assert (len(slots), each, tile.slots("y")[1], slots) == (8, 2, 1, sorted(slots))


def test_plans_are_made_once_and_as_many_are_kept_as_is_sensible() -> None:
    body = plan_of(Task(up))
    first, again = (tile_of(body, 5, prefix, first, collects=False) for prefix, first in (("xs", 0), ("ys", 5)))
    assert first.dag is again.dag
    assert first.dag is not tile_of(body, 5, "xs", 0, collects=True).dag

    large = plan_of(orch.Parallel([up] * 9))
    for size in range(200, 1000, 50):
        tile_of(large, size, "xs", 0, collects=False)
        assert sum(copies for copies, _ in large.tiles) * 9 <= _KEPT
    assert (950, False) in large.tiles


def test_what_a_body_needs_of_a_run_is_asked_of_its_plan() -> None:
    def needs(x: int, ctx: orch.Context[int], y: int = 1) -> int:
        return x + y + ctx.data

    plan = plan_of(Map(needs, over="x"))
    assert (plan.inputs, plan.needs("x"), plan.needs("y"), plan.needs_context) == (("x", "y"), True, False, True)
    assert plan_of(up).needs_context is None
