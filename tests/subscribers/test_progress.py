import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orch.event import Event, LogEvent, RunEvent, State, TaskEvent
from orch.subscribers import progress

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def run(seconds: float, state: State, *, run_id: str = "run", tasks: int | None = None) -> RunEvent:
    return RunEvent(run_id, 1, NOON + timedelta(seconds=seconds), "", state, "etl", tasks=tasks)


def task(seconds: float, path: str, state: State, *, run_id: str = "run", error: Exception | None = None) -> TaskEvent:
    return TaskEvent(run_id, 2, NOON + timedelta(seconds=seconds), path, path, state, 1, None, error)


def history(step: float) -> Iterator[Event]:
    """Three tasks, `step` seconds between events; the second fails."""
    yield run(0, State.RUNNING, tasks=3)
    yield task(step, "a", State.RUNNING)
    yield task(2 * step, "b", State.RUNNING)
    yield LogEvent("run", 3, NOON, "a", "info", "not shown")
    yield task(3 * step, "a", State.SUCCEEDED)
    yield task(4 * step, "b", State.FAILED, error=ValueError("no"))
    yield task(4 * step, "c", State.SKIPPED)
    yield run(5 * step, State.FAILED, tasks=3)


def shown(stream: io.StringIO, *events: Event) -> str:
    subscriber = progress(stream)
    for event in events:
        subscriber(event)
    return stream.getvalue()


def test_plain_streams_get_begin_failures_and_end() -> None:
    assert shown(io.StringIO(), *history(1)).splitlines() == [
        "run run: 'etl' running",
        "run run: task 'b' failed: ValueError: no",
        "etl: 3/3 done, 0 running, 1 failed, 5.0 s, failed",
    ]


def test_plain_streams_get_a_line_every_ten_seconds() -> None:
    assert shown(io.StringIO(), *history(6)).splitlines()[1:4] == [
        "etl: 0/3 done, 2 running, 0 failed, 12.0 s, b",
        "run run: task 'b' failed: ValueError: no",
        "etl: 2/3 done, 0 running, 1 failed, 24.0 s, b",
    ]


def test_a_terminal_gets_one_line_that_changes() -> None:
    text = shown(Terminal(), *history(0.2))
    assert text.count("\n") == 3
    assert text.endswith("\r\x1b[Ketl: 3/3 done, 0 running, 1 failed, 1.0 s, failed\n")
    live = [part for part in re.split(r"\r\x1b\[K", text) if part and not part.endswith("\n")]
    assert live == [
        "etl: 0/3 done, 1 running, 0 failed, 0.2 s, a",
        "etl: 0/3 done, 2 running, 0 failed, 0.4 s, b",
        "etl: 1/3 done, 1 running, 0 failed, 0.6 s, a",
        "etl: 2/3 done, 0 running, 1 failed, 0.8 s, b",
    ]


def test_a_terminal_is_not_drawn_more_often_than_eyes_see() -> None:
    events = [task(number / 10_000, "a", State.RUNNING) for number in range(10_000)]
    assert shown(Terminal(), run(0, State.RUNNING), *events).count("\r") < 12


def test_a_live_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    text = shown(Terminal(), run(0, State.RUNNING), task(1, "x" * 500, State.RUNNING))
    assert len(text.rsplit("\x1b[K", 1)[-1]) == 49


def test_an_unknown_total_is_left_out() -> None:
    text = shown(io.StringIO(), run(0, State.RUNNING), run(1, State.SUCCEEDED))
    assert text.endswith("etl: 0 done, 0 running, 0 failed, 1.0 s, succeeded\n")


def test_retries_and_compensations_are_not_counted_as_done_again() -> None:
    states = (State.RUNNING, State.RETRYING, State.RUNNING, State.SUCCEEDED, State.COMPENSATED)
    events = [task(0, "a", state) for state in states]
    assert "etl: 1 done, 0 running" in shown(io.StringIO(), run(0, State.RUNNING), *events, run(1, State.FAILED))


def test_runs_do_not_mix_and_are_forgotten() -> None:
    stream = io.StringIO()
    shown(
        stream,
        run(0, State.RUNNING, run_id="one"),
        run(0, State.RUNNING, run_id="two"),
        task(0, "a", State.SUCCEEDED, run_id="one"),
        task(0, "a", State.SUCCEEDED, run_id="never begun"),
        run(1, State.SUCCEEDED, run_id="one"),
        run(1, State.PAUSED, run_id="two"),
        run(1, State.SUCCEEDED, run_id="two"),
    )
    assert [line for line in stream.getvalue().splitlines() if "done" in line] == [
        "etl: 1 done, 0 running, 0 failed, 1.0 s, succeeded",
        "etl: 0 done, 0 running, 0 failed, 1.0 s, succeeded",
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["plain", "terminal"])
def test_names_cannot_write_to_the_terminal(stream: io.StringIO) -> None:
    text = shown(stream, run(0, State.RUNNING), task(20, "\x1b[2J\n", State.FAILED, error=ValueError("\x1b[2J\n")))
    assert "\x1b[2J" not in text


def test_what_the_stream_cannot_encode_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    subscriber = progress(stream)
    subscriber(run(0, State.RUNNING))
    subscriber(task(20, "größe", State.RUNNING))
    assert raw.getvalue().splitlines()[-1].endswith(rb"gr\xf6\xdfe")


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    progress()(run(0, State.RUNNING))
    assert capsys.readouterr().err == "run run: 'etl' running\n"


@pytest.mark.parametrize(
    "stream, found",
    [("x", "str ('x')"), (3, "int (3)"), (io.BytesIO(), "BytesIO (<"), (io.StringIO, "type (<class")],
    ids=["text", "number", "binary", "class"],
)
def test_what_is_no_text_stream_is_refused_at_once(stream: Any, found: str) -> None:
    with pytest.raises(TypeError) as caught:
        progress(stream)
    assert str(caught.value).startswith(f"stream: expected a text stream or None, found {found}")
