"""What `progress` counts: a fold over events, without any screen."""

import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.event import MapEvent, RunEvent, State, TaskEvent
from orch.subscribers._tally import DEEPEST, MOST, Bar, Tally

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
R, S, F = State.RUNNING, State.SUCCEEDED, State.FAILED


def tally(tasks: int | None = None, name: str = "etl") -> Tally:
    return Tally(RunEvent("run", 1, NOON, "", State.RUNNING, name, tasks=tasks))


def task(path: str, state: State, name: str = "", *, cached: bool = False) -> TaskEvent:
    return TaskEvent("run", 2, NOON, path, name or path.rpartition("/")[2], state, 1, cached=cached)


def item(path: str, index: int, state: State) -> MapEvent:
    return MapEvent("run", 2, NOON, path, path.rpartition("/")[2], index, state)


def told(*events: TaskEvent | MapEvent, tasks: int | None = None) -> dict[str, Bar]:
    found = tally(tasks)
    for event in events:
        found.add(event)
    return {bar.name: bar for bar in found.rows(100)[0]}


def facts(bar: Bar, seconds: float = 0) -> str:
    return ", ".join([bar.share, *bar.facts(seconds)])


def test_a_run_counts_its_tasks() -> None:
    events = [task("a", R), task("b", R), task("c", R), task("a", S), task("b", F), task("d", State.SKIPPED)]
    assert facts(told(*events, tasks=5)["etl"]) == "3/5, 1 running, 1 failed"


def test_an_unknown_total_is_left_out() -> None:
    assert facts(told(task("a", R))["etl"]) == "0, 1 running"


@pytest.mark.parametrize(
    "states, expected",
    [
        ((R, State.RETRYING), "0, 1 retrying"),
        ((R, State.RETRYING, R), "0, 1 running"),
        ((R, State.RETRYING, R, F), "1, 1 failed"),
        ((R, State.RETRYING, State.CANCELLED), "1"),
        ((R, State.PAUSED), "0, 1 waiting"),
        ((R, State.PAUSED, S), "1"),
        ((State.SKIPPED,), "1"),
        ((State.CANCELLED,), "1"),
        ((R, S, State.COMPENSATED), "1"),
    ],
)
def test_every_task_is_counted_once_whatever_becomes_of_it(states: tuple[State, ...], expected: str) -> None:
    assert facts(told(*(task("a", state) for state in states))["etl"]) == expected


def test_the_share_of_what_was_cached() -> None:
    events = [task("a", S, cached=True), task("b", S, cached=True), task("c", S)]
    assert facts(told(*events)["etl"]) == "3, 66% cached"


def test_the_share_of_what_was_cached_in_a_map_is_that_of_its_items() -> None:
    bars = told(
        item("xs", 0, S),
        task("xs[0]", S, "body", cached=True),
        item("xs[1]/ys", 0, S),
        task("xs[1]/ys[0]", S, "body", cached=True),
        task("xs[1]/ys", S),
        item("xs", 1, S),
        task("xs", S),
        task("xs", State.COMPENSATED),
        tasks=1,
    )
    assert {name: facts(bar) for name, bar in bars.items()} == {"etl": "1/1, 100% cached", "xs": "2, 100% cached"}


def test_the_rate_is_told_when_it_says_something() -> None:
    bar = told(*(task(f"t{k}", S) for k in range(150)))["etl"]
    assert facts(bar, 10) == "150, 15/s"
    assert facts(bar) == "150"
    assert facts(told(task("a", S))["etl"], 10) == "1"


def test_groups_have_bars_of_their_own() -> None:
    bars = told(task("load/rows/a", R), task("load/rows/a", F), task("load/b", R), task("c", S), tasks=3)
    assert {name: (bar.depth, facts(bar)) for name, bar in bars.items()} == {
        "etl": (0, "2/3, 1 running, 1 failed"),
        "load": (1, "1, 1 running, 1 failed"),
        "rows": (2, "1, 1 failed"),
    }


@pytest.mark.parametrize("path, name", [("a/b", "a/b"), ("a/b#2", "a/b#2"), ("x[3]", "x[3]"), ("x[3]/y", "x[3]/y")])
def test_names_may_look_like_paths(path: str, name: str) -> None:
    assert list(told(task(path, S, name))) == ["etl"]


def test_items_are_the_steps_of_a_map() -> None:
    bars = told(
        task("xs", R),
        item("xs", 0, R),
        task("xs[0]/fetch", R),
        item("xs", 1, R),
        task("xs[1]/fetch", R),
        task("xs[0]/fetch", State.RETRYING),
        task("xs[1]/fetch", S, cached=True),
        task("xs[1]/group/parse", S),
        item("xs", 1, S),
        item("xs", 2, F),
        tasks=2,
    )
    assert {name: facts(bar) for name, bar in bars.items()} == {
        "etl": "0/2, 1 running, 1 retrying, 50% cached",
        "xs": "2, 1 running, 1 failed, 1 retrying, 50% cached",
    }


def test_items_that_only_tell_how_they_ended() -> None:
    bars = told(task("xs", R), task("xs[0]/a", R), task("xs[1]/a", R), task("xs[1]/a", F), item("xs", 1, F), tasks=1)
    assert facts(bars["xs"]) == "1, 1 running, 1 failed"


def test_a_map_in_a_group_and_a_map_in_a_map() -> None:
    bars = told(
        item("g/xs", 0, R),
        task("g/xs[0]/a", R),
        item("g/xs[0]/ys", 0, R),
        item("g/xs[0]/ys", 0, S),
        task("g/xs[0]/ys[0]", S, "body"),
        task("g/xs[0]/a", F),
        item("g/xs", 0, F),
        tasks=1,
    )
    assert {name: facts(bar) for name, bar in bars.items()} == {
        "etl": "0/1, 1 failed",
        "g": "0, 1 failed",
        "xs": "1, 1 failed",
    }


def test_the_items_of_a_map_that_is_known_as_a_task_only() -> None:
    assert facts(told(task("xs", R), task("xs[0]", S, "body"), task("xs", S), tasks=1)["etl"]) == "1/1"


def test_a_group_that_looks_like_an_item_is_a_group() -> None:
    assert facts(told(task("batch[2]/a", S), tasks=1)["batch[2]"]) == "1"


def test_names_are_inert() -> None:
    found = tally(name="\x1b[2J")
    found.add(task("\x1b[1m/a", S))
    assert [bar.name for bar in found.rows(9)[0]] == [r"'\x1b[2J'", r"'\x1b[1m'"]


def test_few_rows_are_of_what_is_under_way() -> None:
    found = tally()
    for k in range(50):
        found.add(task(f"g{k}/a", R))
        if k != 7 and k < 48:
            found.add(task(f"g{k}/a", S))

    bars, more = found.rows(3)

    assert [bar.name for bar in bars] == ["etl", "g7", "g48"]
    assert more == 48


def test_there_are_only_so_many_bars() -> None:
    found = tally()
    for k in range(MOST + 10):
        found.add(task(f"g{k}/a", S))
    found.add(task("/".join("x" * 5_000), S))
    assert len(found.rows(10**6)[0]) == MOST + 1
    assert found.run.steps.done == MOST + 11


def test_deep_groups_are_counted_above() -> None:
    bars = told(task("/".join(map(str, range(10))), S))
    assert list(bars) == ["etl", *map(str, range(DEEPEST))]
    assert {facts(bar) for bar in bars.values()} == {"1"}


def test_rows_stay_as_they_were() -> None:
    found = tally()
    rows, _ = found.rows(9)
    found.add(task("a", S))
    assert facts(rows[0]) == "0"


def test_somebody_may_look_while_it_changes() -> None:
    found, over, problems = tally(), threading.Event(), list[object]()

    def look() -> None:
        while not over.is_set():
            problems.extend(bar for bar in found.rows(100)[0] if bar.steps.running not in (0, 1))

    looker = threading.Thread(target=look)
    looker.start()
    for k in range(200):
        found.add(task(f"g{k % 50}/t{k}", R))
        found.add(task(f"g{k % 50}/t{k}", S))
    over.set()
    looker.join()
    assert problems == []


@given(st.lists(st.tuples(st.sampled_from(["a", "g/b", "g/h/c", "xs", "xs[0]", "xs[1]/d"]), st.sampled_from(State))))
def test_nothing_is_ever_less_than_none(steps: list[tuple[str, State]]) -> None:
    for bar in told(*(task(path, state) for path, state in steps)).values():
        for counts in (bar.steps, bar.tasks):
            assert min(counts.running, counts.retrying, counts.waiting, counts.failed, counts.cached) >= 0
            assert counts.failed + counts.cached <= counts.done
