import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from orch.errors import WorkflowError
from orch.event import State
from orch.result import RunResult, TaskRecord
from tests.result.told import Told, at, etl, task_event


def test_making_a_result_asks_for_nothing() -> None:
    class Forbidden:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    source: Any = Forbidden()
    result = RunResult("run", "etl", State.SUCCEEDED, source, started=at(0), finished=at(2))
    assert (result.duration, result.state, result.errors, result.context) == (2.0, State.SUCCEEDED, (), None)
    assert repr(result) == "<RunResult 'etl' succeeded in 2.000 s, run 'run'>"
    result.raise_for_failure()


def test_the_costly_is_worked_out_once_and_only_when_asked_for() -> None:
    size = 1_000
    source = Told(((f"t{i}", f"t{i}") for i in range(size)), values={size - 1: "last"}, outputs={"out": 1})
    result = RunResult("run", "etl", State.SUCCEEDED, source)
    assert result["out"] == 1
    assert source.asked == {"outputs": 1}  # an output is found without looking at a single task
    assert result[f"t{size - 1}"] == result[f"t{size - 1}"] == "last"
    assert source.asked == {"outputs": 1, "tasks": 1, "value_at": 2}
    for _ in range(2):
        assert len(result.tasks) == size
        assert (result.groups, result.trace, result.value) == ({}, [], ["last"])
    assert source.asked == {"outputs": 1, "tasks": 1, "value_at": 2, "groups": 1, "trace": 1, "value": 1}


def test_facts() -> None:
    result = etl()
    assert result.duration == 6.0
    assert result.outputs == {"rows": [1, 2], "save": "an output"}
    assert [event.seq for event in result.trace] == list(range(1, 8))
    assert repr(result) == "<RunResult 'etl' failed in 6.000 s, errors: 1, run 'run'>"


def test_tasks_are_in_order_of_definition_each_with_a_state() -> None:
    tasks = etl().tasks
    assert list(tasks) == ["in/load", "clean", "clean#2", "save"]
    states = [State.SUCCEEDED, State.FAILED, State.SKIPPED, State.PENDING]
    assert [record.state for record in tasks.values()] == states
    assert tasks["save"] == TaskRecord("save", "save")
    assert repr(tasks) == "<records of 4 tasks>"


def test_groups_are_derived_and_the_first_is_the_run_itself() -> None:
    result = etl()
    assert [(group.path, group.kind, group.state) for group in result.groups.values()] == [
        ("", "graph", State.FAILED),
        ("in", "sequence", State.SUCCEEDED),
    ]
    assert result.groups[""].error is result.errors[0]
    assert result.groups[""].duration == result.duration


def test_abandoned_tasks_are_records() -> None:
    source = Told([("a", "a"), ("b/a", "a")], trace=[task_event(1, "a", State.CANCELLED)])
    result = RunResult("run", "etl", State.CANCELLED, source, abandoned=("a",))
    assert result.abandoned == (TaskRecord("a", "a", State.CANCELLED, finished=at(1)),)
    assert etl().abandoned == ()


# -- looking up --------------------------------------------------------------------------------------------------------


def test_an_output_comes_before_a_path_before_a_name() -> None:
    result = etl()
    assert result["save"] == "an output"
    assert result["in/load"] == result["load"] == [1, 2]
    assert result.tasks["load"] is result.tasks["in/load"]


def test_an_exact_path_is_never_ambiguous() -> None:
    assert etl().tasks["clean"].path == "clean"


def test_an_ambiguous_name_lists_the_paths() -> None:
    result = RunResult("run", "etl", State.SUCCEEDED, Told([("a/x", "x"), ("b/x", "x")], values={0: 1, 1: 2}))
    for lookup in (result, result.tasks):
        with pytest.raises(KeyError, match=r"2 tasks are named 'x'.*'a/x', 'b/x'"):
            lookup["x"]


def test_an_ambiguous_name_of_many_lists_some() -> None:
    many = [(f"g{i}/x", "x") for i in range(1_000)]
    with pytest.raises(KeyError) as caught:
        RunResult("run", "etl", State.SUCCEEDED, Told(many))["x"]
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("asked, meant", [("laod", "load"), ("row", "rows"), ("clean#3", "clean#2")])
def test_an_unknown_name_shows_close_ones(asked: str, meant: str) -> None:
    with pytest.raises(KeyError, match=f"nothing is called {asked!r}, did you mean .*{meant!r}"):
        etl()[asked]


def test_a_name_like_no_other_is_simply_unknown() -> None:
    unknown: Any = 3
    for key in ("completely different", unknown):
        with pytest.raises(KeyError, match="nothing is called"):
            etl()[key]


def test_a_task_without_a_value_says_what_became_of_it() -> None:
    with pytest.raises(KeyError, match="'clean' has no value: it is failed"):
        etl()["clean"]
    released = Told([("a", "a")], trace=[task_event(1, "a", State.SUCCEEDED)])
    with pytest.raises(KeyError, match="'a' has no value: it was not kept"):
        RunResult("run", "etl", State.SUCCEEDED, released)["a"]


def test_membership_is_having_a_value() -> None:
    result = etl()
    assert [name for name in ("rows", "load", "clean", "nothing") if name in result] == ["rows", "load"]
    assert "load" in result.tasks
    assert "nothing" not in result.tasks


# -- failing -----------------------------------------------------------------------------------------------------------


def test_a_failed_run_raises_its_errors() -> None:
    result = etl()
    with pytest.raises(WorkflowError, match="workflow 'etl' failed") as caught:
        result.raise_for_failure()
    assert caught.value.exceptions == result.errors
    assert caught.value.result is result


@pytest.mark.parametrize("state", [state for state in State if state is not State.FAILED])
def test_no_other_run_raises(state: State) -> None:
    RunResult("run", "etl", state, Told()).raise_for_failure()


# -- keeping -----------------------------------------------------------------------------------------------------------


def copies(result: RunResult) -> Iterator[RunResult]:
    yield pickle.loads(pickle.dumps(result))
    yield copy.copy(result)
    yield copy.deepcopy(result)


def test_a_copy_knows_all_that_the_original_knew() -> None:
    result = etl(context={"a": 1})
    for other in (*copies(result), *copies(next(copies(result)))):
        assert other.report() == result.report()
        assert other.context == result.context
        assert other["load"] == [1, 2]
        assert [event.seq for event in other.trace] == [event.seq for event in result.trace]
        assert "clean" not in other


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        etl().state = State.SUCCEEDED  # type: ignore[misc]


def test_results_are_equal_to_themselves_only() -> None:
    result = etl()
    assert result == result  # noqa: PLR0124
    assert result != etl()
    assert len({result, etl()}) == 2


def test_json_is_the_report() -> None:
    result = etl()
    assert json.loads(result.to_json()) == json.loads(result.to_json(indent=1)) == result.report()
    assert result.to_json().isascii()
