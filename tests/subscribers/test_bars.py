"""`progress` with rich: bars on a terminal and in a notebook, and a terminal that is as it was afterwards."""

import builtins
import io
import os
import select
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console

import orch
from orch.event import Event, MapEvent, RunEvent, State, TaskEvent
from orch.subscribers import _progress, _rich, progress

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
R, S, F = State.RUNNING, State.SUCCEEDED, State.FAILED


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw when the test says so."""
    for screen in (_rich.Bars, _rich.Notebook):
        monkeypatch.setattr(screen, "pause", 1_000.0)


def terminal(**options: Any) -> Console:
    options = {"width": 100, "color_system": None, "force_terminal": True, "force_interactive": True} | options
    return Console(file=Terminal(), legacy_windows=False, **options)


def text(console: Console) -> str:
    found: Any = console.file
    return str(found.getvalue())


def frame(console: Console) -> list[str]:
    """The lines of the next drawing, without what moves the cursor."""
    before = len(text(console))
    _rich._screens[id(console)].draw()
    drawn = text(console)[before:].rpartition("\x1b[2K")[2]
    return [line.rstrip() for line in drawn.replace("\r", "").splitlines()]


def run(state: State, run_id: str = "run", tasks: int | None = None, name: str = "etl") -> RunEvent:
    return RunEvent(run_id, 1, NOON, "", state, name, tasks=tasks)


def task(path: str, state: State, run_id: str = "run", **facts: Any) -> TaskEvent:
    return TaskEvent(run_id, 2, NOON, path, path.rpartition("/")[2], state, 1, **facts)


def tell(show: Callable[[Event], object], *events: Event) -> None:
    for event in events:
        show(event)


def words(line: str) -> list[str]:
    """A line without its bar."""
    return [word for word in line.split() if not set(word) <= set("━╸╺")]


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_bars_for_the_run_its_groups_and_its_maps() -> None:
    console = terminal()
    show = progress(console=console)
    tell(
        show,
        run(R, tasks=4),
        task("load/a", R),
        task("load/a", State.RETRYING),
        task("b", R),
        task("c", S, cached=True),
    )
    tell(show, *(MapEvent("run", 3, NOON, "xs", "xs", k, R) for k in range(3)), task("xs[0]/d", F))
    tell(show, MapEvent("run", 3, NOON, "xs", "xs", 0, F))

    assert [words(line) for line in frame(console)] == [
        ["etl", "1/4", "1", "running", "1", "failed", "1", "retrying", "50%", "cached", "0:00"],
        ["load", "0", "1", "retrying"],
        ["xs", "1", "2", "running", "1", "failed"],
    ]
    assert [len(line) - len(line.lstrip()) for line in frame(console)] == [0, 2, 2]
    tell(show, run(F))


def test_the_bar_is_as_long_as_what_is_done() -> None:
    console = terminal()
    show = progress(console=console)
    tell(show, run(R, tasks=4), task("a", S))
    first = frame(console)[0].count("━")
    tell(show, task("b", S), task("c", S), task("d", S))
    assert first == 6
    assert frame(console)[0].count("━") == 24
    tell(show, run(S))


def test_many_groups_do_not_fill_the_screen() -> None:
    console = terminal()
    show = progress(console=console)
    tell(show, run(R), *(task(f"g{k}/a", R) for k in range(40)))
    assert len(frame(console)) == 13
    assert frame(console)[-1].strip() == "and 29 more"
    tell(show, run(S))


def test_a_narrow_terminal_has_a_line_for_each() -> None:
    console = terminal(width=40)
    show = progress(console=console)
    tell(show, run(R, tasks=9, name="x" * 200), task("y" * 200 + "/a", R))
    assert len(frame(console)) == 2
    assert max(map(len, frame(console))) <= 40
    tell(show, run(S))


def test_failures_and_the_end_stay_and_the_bars_go() -> None:
    console = terminal()
    show = progress(console=console)
    tell(show, run(R, tasks=2), task("a", S), task("b", F, error=ValueError("no")))
    frame(console)
    tell(show, run(F))
    assert "run run: task 'b' failed: ValueError: no\n" in text(console)
    assert "etl: 2/2 done, 0 running, 1 failed, 0.0 s, failed\n" in text(console)
    assert text(console).rpartition("\x1b[2K")[2] == ""
    assert text(console).count(HIDDEN) == text(console).count(SHOWN) == 1


def test_a_thousand_failures_are_not_a_thousand_lines() -> None:
    stream = io.StringIO()
    show = progress(stream)
    tell(show, run(R), *(task(f"t{k}", F) for k in range(1_000)), run(F))
    assert len(stream.getvalue().splitlines()) == _progress._MOST_FAILURES + 3
    assert "etl: more failures are counted, not listed\n" in stream.getvalue()


@pytest.mark.parametrize(
    "name", ["[bold]x[bold]", "[]", "[link=file:]x", ":smile:", "\x1b[2J", "\x1b]0;x\x07", "\r\n", "\x07", "\u202e"]
)
def test_text_of_users_is_inert(name: str) -> None:
    console = terminal()
    show = progress(console=console)
    tell(show, run(R, name=name), task(f"{name}/{name}", R), task("[b]", F, error=ValueError(name)))
    lines = frame(console)
    tell(show, run(F, name=name))
    shown = name if name.isprintable() else repr(name)
    assert [line.lstrip().split("  ")[0].split(" ━")[0] for line in lines] == [shown, shown]
    assert f"task '[b]' failed: ValueError: {name}\n" in text(console) or not name.isprintable()
    assert not {"\x07", "\u202e"} & set(text(console))
    assert not {"\x1b[2J", "\x1b]"} & set(text(console).split("x"))


# -- where -------------------------------------------------------------------------------------------------------------


def test_a_console_that_is_no_terminal_gets_a_few_lines() -> None:
    console = Console(file=io.StringIO(), record=True, width=200)
    tell(progress(console=console), run(R, tasks=1), task("[b]a", F, error=ValueError("[b]no")), run(F, tasks=1))
    assert console.export_text().splitlines() == [
        "run run: 'etl' running",
        "run run: task '[b]a' failed: ValueError: [b]no",
        "etl: 1/1 done, 0 running, 1 failed, 0.0 s, failed",
    ]
    assert not {"\r", "\x1b"} & set(text(console))


def test_a_terminal_that_cannot_move_the_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", stream)
    tell(progress(), run(R), task("a", S), run(S))
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 2


@pytest.mark.parametrize("later", [Terminal, io.StringIO])
def test_standard_error_is_looked_up_when_a_run_begins(
    later: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    show = progress()
    stream = later()
    monkeypatch.setattr(sys, "stderr", stream)
    tell(show, run(R), task("a", S), run(S))
    assert (HIDDEN in stream.getvalue()) is stream.isatty()
    assert "etl: 1 done" in stream.getvalue()


def test_without_rich_a_terminal_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delattr(orch.subscribers, "_rich", raising=False)
    monkeypatch.setitem(sys.modules, "orch.subscribers._rich", None)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    tell(progress(), run(R), run(S))
    assert stream.getvalue() == (
        "\r\x1b[Krun run: 'etl' running\n\r\x1b[Ketl: 0 done, 0 running, 0 failed, 0.0 s, succeeded\n"
    )


def test_rich_is_not_imported_where_there_is_no_terminal() -> None:
    program = "import sys; from orch.subscribers import progress; progress(); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"console": "x"}, "console: expected a rich.console.Console or None, found str ('x')"),
        ({"console": Console}, "console: expected a rich.console.Console or None, found type (<class"),
        ({"stream": io.StringIO(), "console": Console()}, "stream: expected None beside a console"),
    ],
    ids=["text", "class", "both"],
)
def test_mistakes_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        progress(**arguments)
    assert str(caught.value).startswith(message)


# -- a notebook --------------------------------------------------------------------------------------------------------


class Handle:
    def __init__(self, outputs: list[dict[str, str]]) -> None:
        self.outputs = outputs

    def update(self, output: dict[str, str], *, raw: bool) -> None:
        self.outputs.append(output)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook is asked to display; its name says nothing about others."""
    outputs: list[Any] = []

    def display(output: Any, **options: Any) -> Handle | None:
        outputs.append(output)
        return Handle(outputs) if options.get("display_id") else None

    notebook: Any = types.ModuleType("IPython.display")
    notebook.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    return outputs


def test_a_notebook_has_one_display_that_is_renewed(outputs: list[Any]) -> None:
    console = Console(force_jupyter=True)
    show = progress(console=console)
    tell(show, run(R, tasks=2), task("<b>[b]g/a", S))
    _rich._screens[id(console)].draw()
    tell(show, task("b", S), run(S))
    first, second, line, last = outputs
    assert "0/2" in first["text/plain"]
    assert words(second["text/plain"].splitlines()[0])[:2] == ["etl", "1/2"]
    assert "&lt;b&gt;[b]g" in second["text/html"]
    assert "etl: 2/2 done" in line.text
    assert "2/2" in last["text/plain"]
    assert last["text/html"].startswith("<pre")


def test_a_notebook_is_found(outputs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    _rich._standard_error.cache_clear()
    tell(progress(), run(R, tasks=1), run(S))
    _rich._standard_error.cache_clear()
    assert [type(each) for each in outputs] == [dict, _rich_output(), dict]


def _rich_output() -> type:
    from rich.jupyter import JupyterRenderable  # noqa: PLC0415 (what rich itself displays)

    return JupyterRenderable


# -- the terminal is as it was, and the run is none the wiser ----------------------------------------------------------


async def nothing() -> None: ...


async def bad() -> None:
    raise ValueError("no")


def drawing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "orch-progress"]


def check_left_alone(console: Console) -> None:
    assert text(console).count(HIDDEN) == text(console).count(SHOWN)
    assert text(console).rfind(HIDDEN) < text(console).rfind(SHOWN)
    assert drawing() == []


async def test_one_after_another_and_at_the_same_time() -> None:
    console = terminal()
    runner = orch.AsyncRunner(subscribers=[progress(console=console)])
    both, most = anyio.Event(), list[int]()

    async def meet() -> None:
        most.append(len(drawing()))
        if len(most) == 3:
            assert sorted(words(line)[:2] for line in frame(console)) == [["first", "0/1"], ["second", "0/1"]]
            both.set()
        await both.wait()

    await runner.run(orch.Sequence(nothing))
    most.append(0)
    check_left_alone(console)
    async with anyio.create_task_group() as group:
        group.start_soon(runner.run, orch.Sequence(meet, name="first"))
        group.start_soon(runner.run, orch.Sequence(meet, name="second"))
    check_left_alone(console)
    assert most == [0, 1, 1]
    assert text(console).count(HIDDEN) == 2


async def test_two_of_them_share_a_terminal() -> None:
    console = terminal()
    await orch.run(orch.Sequence(nothing), subscribers=[progress(console=console), progress(console=console)])
    check_left_alone(console)
    assert text(console).count(HIDDEN) == 1


@pytest.mark.parametrize("steps", [orch.Sequence(bad), orch.Parallel(bad, bad, nothing)])
async def test_a_run_that_fails(steps: orch.Workflow) -> None:
    console = terminal()
    with pytest.raises(orch.WorkflowError):
        await orch.run(steps, subscribers=[progress(console=console)])
    check_left_alone(console)


async def test_a_run_that_is_cancelled() -> None:
    console = terminal()
    with anyio.CancelScope() as scope:

        async def stop() -> None:
            frame(console)
            scope.cancel()
            await anyio.sleep_forever()

        await orch.run(orch.Parallel(stop, nothing), subscribers=[progress(console=console)])
    assert scope.cancelled_caught
    check_left_alone(console)
    assert "cancelled\n" in text(console)


async def test_an_iteration_that_is_left() -> None:
    console = terminal()
    async with orch.AsyncRunner(subscribers=[progress(console=console)]).iter(anyio.sleep_forever) as run:
        async for _ in run:
            break
    check_left_alone(console)


def test_a_run_that_pauses_gives_the_terminal_back() -> None:
    console = terminal()
    show = progress(console=console)
    tell(show, run(R), task("a", R), task("a", State.PAUSED), run(State.PAUSED))
    check_left_alone(console)
    assert "run run: 'etl' paused\n" in text(console)
    tell(show, run(R), task("a", S), run(S))
    check_left_alone(console)
    assert "etl: 1 done" in text(console)


def test_a_run_that_breaks_off_gives_the_terminal_back() -> None:
    console = terminal()
    tell(progress(console=console), run(R), task("a", R), run(R))
    check_left_alone(console)


def test_only_so_many_paused_runs_are_kept_in_mind() -> None:
    show: Any = progress(io.StringIO())
    for k in range(1_000):
        tell(show, run(R, f"run {k}"), run(State.PAUSED, f"run {k}"))
    assert len(show._runs) == _progress._MOST_PAUSED


def test_a_run_of_which_nothing_is_heard_any_more() -> None:
    console = terminal()
    show: Any = progress(console=console)
    show(run(R))
    assert len(drawing()) == 1
    del show
    check_left_alone(console)


def test_a_process_that_ends_in_the_middle_of_it() -> None:
    program = """
import io, sys
from datetime import UTC, datetime
from rich.console import Console
from orch.event import RunEvent, State
from orch.subscribers import progress
show = progress(console=Console(file=sys.stdout, force_terminal=True, force_interactive=True))
show(RunEvent("run", 1, datetime.now(UTC), "", State.RUNNING, "etl"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count(HIDDEN) == done.stdout.count(SHOWN) == 1
    assert done.stderr == ""


async def test_what_steps_print_stands_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    console = terminal()

    async def chat() -> None:
        print("[b]hello[/b]")  # noqa: T201 (that is what is tested)

    await orch.run(chat, subscribers=[progress(console=console)])
    assert sys.stdout is stdout
    assert stdout.getvalue() == ""
    assert "[b]hello[/b]\n" in text(console)


async def test_what_goes_to_a_file_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    console = terminal()
    await orch.run(lambda: sys.stdout.write("data\n"), subscribers=[progress(console=console)])
    assert stdout.getvalue() == "data\n"
    assert "data" not in text(console)


class Gone(Terminal):
    """A terminal that goes away after so many writes."""

    left = 0

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError("gone")
        return super().write(text)


@pytest.mark.parametrize("left", range(6))
@pytest.mark.parametrize("is_drawn", [True, False])
async def test_a_terminal_that_goes_away_does_not_disturb_the_run(
    left: int, is_drawn: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Gone()
    stream.left = left
    console = Console(file=stream, force_terminal=True, force_interactive=True, legacy_windows=False)
    show = progress(console=console) if is_drawn else progress(stream)
    runner = orch.AsyncRunner(subscribers=[show], strict_subscribers=True)

    result = await runner.run(orch.Parallel(nothing, bad, on_failure="continue"), raise_on_failure=False)

    assert [record.state for record in result.tasks.values()] == [State.SUCCEEDED, State.FAILED]
    assert drawing() == []
    assert [r.getMessage() for r in caplog.records] in (
        [],
        ["the progress of a run is not shown any more: OSError"],
    )
    stream.left = 1_000
    assert (await runner.run(nothing)).state is State.SUCCEEDED
    assert "1/1 done" in stream.getvalue()


def test_a_thread_that_cannot_draw_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_rich.Bars, "pause", 0.0)
    drawn = threading.Event()

    def draw(self: object) -> None:
        drawn.set()
        raise OSError("gone")

    monkeypatch.setattr(_rich.Bars, "draw", draw)
    show = progress(console=terminal())
    show(run(R))
    assert drawn.wait(30)
    show(run(S))
    assert capsys.readouterr().err == ""


def test_the_thread_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = threading.Semaphore(0)
    draw = _rich.Bars.draw
    monkeypatch.setattr(_rich.Bars, "pause", 0.001)

    def draw_and_tell(self: _rich.Bars) -> None:
        draw(self)
        drawn.release()

    monkeypatch.setattr(_rich.Bars, "draw", draw_and_tell)
    console = terminal()
    show = progress(console=console)
    show(run(R, tasks=7))
    assert all(drawn.acquire(timeout=30) for _ in range(3))
    show(run(S))
    assert "0/7" in text(console)


def read_until(descriptor: int, *signs: bytes, patience: float = 8) -> bytes:
    """What a terminal shows until it has shown all this, or for want of signs until nobody can write to it any more."""
    seen = b""
    while not signs or not all(seen.count(sign) >= signs.count(sign) for sign in signs):
        ready, _, _ = select.select([descriptor], [], [], patience)
        assert ready, seen
        try:
            seen += os.read(descriptor, 65_536)
        except OSError:  # what Linux says at the end
            assert not signs, seen
            return seen
    return seen


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals of POSIX")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_gives_a_real_terminal_back(tmp_path: Path, backend: str) -> None:
    (tmp_path / "jobs.py").write_text(
        "import anyio\nasync def wait():\n    print('started')\n    await anyio.sleep_forever()\n"
    )
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "orch", "run", "jobs:wait", "--progress", "--backend", backend]
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment) as process:
        try:
            os.close(theirs)
            seen = read_until(ours, b"started", b"0/1", b"0/1", b"0/1")  # nothing else happens then
            process.send_signal(signal.SIGINT)
            seen += read_until(ours)
        finally:
            process.kill()
            os.close(ours)
    assert seen.count(HIDDEN.encode()) == seen.count(SHOWN.encode()) == 1, seen
    assert seen.endswith(b"orch: interrupted\r\n"), seen
