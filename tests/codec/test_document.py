"""A context as a document: what it says of its run, and which part of it is wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import orch
from orch import CodecError, Context
from orch.event import CompensationEvent, LogEvent, RunEvent, State, TaskEvent
from tests.codec.samples import Item

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def context_of(*events: Any, completed: tuple[str, ...] = ()) -> Context[Any]:
    return Context({"a": 1}, metadata={"b": 2})._bind("run-1", lambda: events, lambda: completed)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


# -- a run -------------------------------------------------------------------------------------------------------------


async def test_a_context_that_has_been_through_a_run() -> None:
    async def first(context: Context[Item]) -> str:
        context.log("hello")
        return "secret"

    async def second(context: Context[Item]) -> str:
        return context.to_json()

    result = await orch.run(orch.Sequence(first, second), orch.Context(Item("a", 1.5), metadata={"n": {1}}))
    during, after = (Context.from_json(text, Item) for text in (result.value[1], result.context.to_json()))

    for read in (during, after):
        assert (read.data, read.metadata, read.name) == (Item("a", 1.5), {"n": {1}}, "a")
        assert (read.run_id, read.task, read.attempt) == (result.run_id, None, 0)
    assert during.completed_steps == ("first",)
    assert after.completed_steps == ("first", "second")
    assert [event["event"] for event in during.trace][:4] == ["RunEvent", "TaskEvent", "LogEvent", "TaskEvent"]
    assert [event["time"] for event in after.trace] == [
        event.time for event in result.trace[:-1]
    ]  # the run has not ended
    assert "secret" not in after.to_json()


async def test_what_was_read_serves_a_new_run() -> None:
    async def step(context: Context[Any]) -> tuple[Any, ...]:
        return context.data, context.completed_steps, len(context.trace)

    old = Context.from_json(context_of(completed=("x",)).to_json())
    result = await orch.run(step, old)

    assert result.value == ({"a": 1}, (), 2)
    assert result.context.run_id == result.run_id != "run-1"
    assert (old.run_id, old.completed_steps) == ("run-1", ("x",))


def test_events_are_plain_data() -> None:
    read = Context.from_json(
        context_of(
            RunEvent("r", 1, NOON, "", State.RUNNING, "etl", tasks=2),
            TaskEvent("r", 2, NOON, "g/a", "a", State.RETRYING, 1, error=ValueError("no"), delay=0.5),
            TaskEvent("r", 3, NOON, "g/a", "a", State.SUCCEEDED, 2, value=object()),
            CompensationEvent("r", 4, NOON, "g/a", "a", UnprintableError()),
            LogEvent("r", 5, NOON, "g/a", "info", "half\nway \ud800"),
        ).to_json()
    )

    assert isinstance(read.trace, tuple)
    common = {"run_id": "r", "time": NOON}
    begin = {
        "event": "RunEvent",
        "seq": 1,
        "path": "",
        "state": "running",
        "workflow": "etl",
        "error": None,
        "tasks": 2,
    }
    again = {
        "event": "TaskEvent",
        "seq": 2,
        "path": "g/a",
        "name": "a",
        "state": "retrying",
        "attempt": 1,
        "delay": 0.5,
    }
    reasons = {"error": "ValueError: no", "reason": None, "cause": None, "cached": False, "restored": False}
    assert read.trace[:2] == (common | begin, common | again | reasons)
    assert "value" not in read.trace[2]
    assert read.trace[3]["error"] == "UnprintableError"
    assert read.trace[4]["message"] == "half\nway \ud800"


def test_reading_and_writing_again_changes_nothing() -> None:
    text = context_of(RunEvent("r", 1, NOON, "", State.RUNNING, "etl"), completed=("a", "b#2")).to_json()
    assert Context.from_json(text).to_json() == text


def test_an_empty_context() -> None:
    read = Context.from_json(Context().to_json())
    assert (read.data, read.metadata, read.run_id, read.trace, read.completed_steps) == (None, {}, None, (), ())


def test_only_the_data_has_to_be_there() -> None:
    read = Context.from_json('{"version": 1, "data": [1]}')
    assert (read.data, read.metadata, read.run_id, read.trace, read.completed_steps) == ([1], {}, None, (), ())


def test_it_is_json() -> None:
    found = json.loads(Context({"a": [1, "x"]}, metadata={"k": None}).to_json())
    parts: dict[str, Any] = {
        "run_id": None,
        "data": {"a": [1, "x"]},
        "metadata": {"k": None},
        "completed_steps": [],
        "trace": [],
    }
    assert found == {"version": 1} | parts


def test_too_much_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orch._codec._text.TEXT", 1_000)
    with pytest.raises(CodecError, match="text at \\$: expected at most 1000 characters, found 1"):
        Context("a" * 1_000).to_json()


# -- which part is wrong -----------------------------------------------------------------------------------------------

EVENT = {"event": "RunEvent", "run_id": "r", "seq": 1, "time": {"!!datetime": "2026-01-01T00:00:00+00:00"}, "path": ""}


@pytest.mark.parametrize(
    "parts, part, path",
    [
        ({"data": {"!!set": 1}}, "data", "$"),
        ({"data": {"a": [{"!!date": "x"}]}}, "data", "$.a[0]"),
        ({"metadata": []}, "metadata", "$"),
        ({"metadata": None}, "metadata", "$"),
        ({"metadata": {"a": {"!Item": {}}}}, "metadata", "$.a"),
        ({"run_id": 5}, "run_id", "$"),
        ({"completed_steps": "a"}, "completed_steps", "$"),
        ({"completed_steps": ["a", 1]}, "completed_steps", "$[1]"),
        ({"trace": {}}, "trace", "$"),
        ({"trace": [1]}, "trace", "$[0]"),
        ({"trace": [EVENT, {}]}, "trace", "$[1].event"),
        ({"trace": [EVENT | {"seq": "1"}]}, "trace", "$[0].seq"),
        ({"trace": [EVENT | {"time": "2026-01-01T00:00:00+00:00"}]}, "trace", "$[0].time"),
        ({"trace": [EVENT | {"time": {"!!datetime": "2026-01-01T00:00:00"}}]}, "trace", "$[0].time"),
        ({"trace": [EVENT | {"time": {"!!datetime": "today"}}]}, "trace", "$[0].time"),
        ({"trace": [EVENT | {"!!set": 1}]}, "", ""),
        ({"version": 2}, "version", "$"),
        ({"more": 1}, "text", "$.more"),
    ],
    ids=range(18),
)
def test_the_part_that_is_wrong(parts: dict[str, Any], part: str, path: str) -> None:
    text = json.dumps({"version": 1, "data": 1} | parts)
    if not part:
        Context.from_json(text)
        return
    with pytest.raises(ValueError, match=f"^{part} at ") as caught:
        Context.from_json(text)
    assert isinstance(caught.value, CodecError)
    assert (caught.value.part, caught.value.path) == (part, path)


# -- what it costs who does not need it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program, absent",
    [
        ("import orch", ("orch._codec", "pydantic", "zoneinfo")),
        ("import orch; orch.Context({1: 2}).to_json()", ("pydantic",)),
        ("import orch, attrs\n@attrs.define\nclass A: ...\norch.Context(A()).to_json()", ("pydantic",)),
    ],
    ids=["import", "plain", "attrs"],
)
def test_nothing_is_loaded_that_is_not_needed(program: str, absent: tuple[str, ...]) -> None:
    program += f"\nimport sys; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_types_of_what_is_read() -> None:
    text = Context(Item("a", 1.0)).to_json()
    reads: tuple[Callable[[], Any], ...] = (
        lambda: Context.from_json(text, Item).data.name,
        lambda: Context.from_json(text, data_type=Item | None).data.name,
    )
    assert [read() for read in reads] == ["a", "a"]
