import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.event import Event, LogEvent, RunEvent, State, TaskEvent
from orch.subscribers import log
from orch.subscribers._lines import line

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SKIPPED = TaskEvent("run", 2, NOON, "g/b", "b", State.SKIPPED, reason="upstream_failed", cause="g/a")
LINES = (
    (RunEvent("run", 1, NOON, "", State.RUNNING, "etl"), "run run: 'etl' running", logging.INFO),
    (
        RunEvent("run", 1, NOON, "", State.FAILED, "etl", ValueError("no")),
        "run run: 'etl' failed: ValueError: no",
        logging.ERROR,
    ),
    (TaskEvent("run", 2, NOON, "g/a", "a", State.RUNNING, 1), "run run: task 'g/a' running", logging.INFO),
    (
        TaskEvent("run", 2, NOON, "g/a", "a", State.RETRYING, 2, error=ValueError("no"), delay=1.5),
        "run run: task 'g/a' retrying (attempt 2, again in 1.5 s): ValueError: no",
        logging.WARNING,
    ),
    (
        TaskEvent("run", 2, NOON, "g/a", "a", State.FAILED, 1, error=ValueError("no")),
        "run run: task 'g/a' failed: ValueError: no",
        logging.ERROR,
    ),
    (SKIPPED, "run run: task 'g/b' skipped (upstream_failed by 'g/a')", logging.INFO),
    (TaskEvent("run", 2, NOON, "b", "b", State.CANCELLED, reason="r"), "run run: task 'b' cancelled (r)", logging.INFO),
    (LogEvent("run", 3, NOON, "g/a", "debug", "half way"), "run run: task 'g/a': half way", logging.DEBUG),
    (LogEvent("run", 3, NOON, "g/a", "odd", "half way"), "run run: task 'g/a': half way", logging.INFO),
)


@pytest.mark.parametrize("event, text, severity", LINES, ids=range(len(LINES)))
def test_one_line_for_each_event(event: Event, text: str, severity: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orch")
    log()(event)
    assert caplog.record_tuples == [("orch", severity, text)]


def test_to_another_logger_at_another_level(caplog: pytest.LogCaptureFixture) -> None:
    mine = logging.getLogger("tests.mine")
    caplog.set_level(logging.INFO, mine.name)
    log(mine, logging.DEBUG)(SKIPPED)
    assert caplog.records == []
    log(mine, logging.CRITICAL)(SKIPPED)
    assert [(record.name, record.levelno) for record in caplog.records] == [(mine.name, logging.CRITICAL)]


def test_an_event_of_an_unknown_kind_has_a_line() -> None:
    assert line(Event("run", 1, NOON, "g")).startswith("run run: Event(")


@given(st.text(), st.text(), st.text())
def test_nothing_in_a_line_can_forge_another(name: str, message: str, run_id: str) -> None:
    events = (
        RunEvent(run_id, 1, NOON, "", State.FAILED, name, ValueError(message)),
        TaskEvent(run_id, 1, NOON, name, name, State.FAILED, 1, error=ValueError(message), cause=name, reason="x"),
        LogEvent(run_id, 1, NOON, name, "info", message),
    )
    assert all(line(event).isprintable() for event in events)


def test_percent_signs_are_text(caplog: pytest.LogCaptureFixture) -> None:
    log()(LogEvent("run", 1, NOON, "a", "error", "100 %s"))
    assert caplog.messages == ["run run: task 'a': 100 %s"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"logger": "mylogger"}, "logger: expected Logger or None, found str ('mylogger')"),
        ({"logger": ""}, "logger: expected Logger or None, found str ('')"),
        ({"level": "INFO"}, "level: expected int, found str ('INFO')"),
        ({"level": True}, "level: expected int, found bool (True)"),
    ],
)
def test_arguments_of_another_type_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        log(**arguments)
    assert str(caught.value) == message
