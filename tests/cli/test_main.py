import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orch.cli import main

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]

JOBS = """
async def one() -> int: return 1
async def two(one: int, more: object = None) -> object: return [one, more]
async def boom(two: object) -> None: raise ValueError("no\\nway")
async def never(boom: None) -> None: ...
good = orch.Graph(one, two, name="good")
bad = orch.Graph(one, two, boom, never, name="bad")
async def echo(value): return value
"""


@pytest.fixture
def jobs(module: Write) -> Path:
    return module(JOBS)


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    "loop", [(), ("--backend", "asyncio"), ("--backend", "trio"), ("--backend", "uvloop")], ids=" ".join
)
def test_a_run_that_succeeds_says_so_with_its_value(call: Call, loop: tuple[str, ...]) -> None:
    code, out, err = call("run", "jobs:good", *loop)
    assert (code, out) == (0, "{'one': 1, 'two': [1, None]}\n")
    assert re.fullmatch(r"good succeeded in 0\.\d+ s, tasks: 2\n", err)


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_that_fails_shows_the_tree_with_its_errors(call: Call, backend: str) -> None:
    code, out, err = call("run", "jobs:bad", "--backend", backend)
    assert (code, out) == (1, "")
    assert [re.split(", | in ", line)[0] for line in err.splitlines()] == [
        "bad (graph): failed",
        "├─ one: succeeded",
        "├─ two ← one: succeeded",
        "├─ boom ← two: failed",
        "└─ never ← boom: skipped",
        "bad failed",
    ]
    assert "'ValueError: no\\nway'" in err


ASKS = """
sure = orch.Interrupt("sure", lambda amount: f"pay {amount}?", type=bool)
async def paid(amount: int, sure: bool) -> str: return f"{amount} paid" if sure else "nothing paid"
payment = orch.Graph(sure, paid, name="payment")
"""


def test_a_run_that_waits_for_answers_says_what_is_asked(call: Call, module: Write) -> None:
    module(ASKS)
    code, out, err = call("run", "jobs:payment", "--input", "amount=7")
    assert (code, out) == (3, "")
    assert "sure asks: pay 7? (--answer sure=…)\n" in err
    assert "payment paused in" in err


def test_answers_are_given_beforehand(call: Call, module: Write) -> None:
    module(ASKS)
    code, out, _ = call("run", "jobs:payment", "--input", "amount=7", "--answer", "sure=true", "--select", "paid")
    assert (code, out) == (0, "{'paid': '7 paid'}\n")


@pytest.mark.parametrize(("answer", "code", "message"), [("sure=maybe", 1, "'maybe'"), ("suer=true", 2, "sure")])
def test_answers_that_make_no_sense_are_refused(
    call: Call, module: Write, answer: str, code: int, message: str
) -> None:
    module(ASKS)
    found, out, err = call("run", "jobs:payment", "--input", "amount=7", "--answer", answer)
    assert (found, out) == (code, "")
    assert message in err


@pytest.mark.usefixtures("jobs")
def test_tracebacks_are_shown_when_asked_for(call: Call) -> None:
    err = call("run", "jobs:bad", "--traceback")[2]
    assert "Traceback" in err
    assert "in task 'boom', attempt 1" in err


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    "given, shown",
    [
        ("value=1", "1"),
        ('value={"a": [true, null]}', "{'a': [True, None]}"),
        ("value=plain text", "'plain text'"),
        ("value=a=b", "'a=b'"),
        ("value=", "''"),
        ("value=007", "'007'"),
        ("value=" + "[" * 100_000, None),
    ],
)
def test_an_input_is_json_or_else_text(call: Call, given: str, shown: str | None) -> None:
    code, out, _ = call("run", "jobs:echo", "--input", given)
    assert code == 0
    assert shown is None or out == f"{shown}\n"


@pytest.mark.usefixtures("jobs")
def test_inputs_come_from_a_file_and_single_ones_win(call: Call, folder: Path) -> None:
    (folder / "inputs.json").write_text('{"value": 1}')
    assert call("run", "jobs:echo", "--inputs", "inputs.json")[1] == "1\n"
    assert call("run", "jobs:echo", "--inputs", "inputs.json", "--input", "value=2")[1] == "2\n"


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    "content, found",
    [
        (b'{"value": 1,\n"b": }', "what is no JSON at line 2, column 6: Expecting value"),
        (b"", "what is no JSON at line 1, column 1: Expecting value"),
        (b'{"value": "\xff"}', "what is no UTF-8 at byte 11"),
        (b"[" * 100_000, "what "),
        (b"1" * 10_000, "what cannot be read: "),
        (b"[1]", "a list"),
        (b'"x"', "a string"),
        (b"true", "a boolean"),
        (b"null", "null"),
        (b"1.5", "a number"),
    ],
    ids=range(10),
)
def test_a_file_that_holds_no_inputs_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes, found: str
) -> None:
    (folder / "l.json").write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        main(["run", "jobs:echo", "--inputs", "l.json"])
    assert caught.value.code == 2
    assert f"argument --inputs: expected a JSON object in l.json, found {found}" in capsys.readouterr().err


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("text", ["x", "=1", ""])
def test_an_input_without_a_name_and_a_value_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "jobs:echo", "--input", text])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"argument --input: expected K=V, found {text!r}\n")


@pytest.mark.usefixtures("jobs")
def test_a_file_that_is_not_there_is_named(call: Call) -> None:
    code, out, err = call("run", "jobs:echo", "--inputs", "inputs.json")
    assert (code, out) == (2, "")
    assert err.endswith("No such file or directory: 'inputs.json'\n")


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    "options, message",
    [
        ((), "missing input: 'value'"),
        (("--input", "valeu=1"), "unexpected input: 'valeu' (did you mean 'value'?)"),
        (("--input", "value=1", "--select", "echo"), "only a Graph has outputs to select"),
        (("--limit", "0"), "limit: expected at least 1"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(call: Call, options: tuple[str, ...], message: str) -> None:
    code, out, err = call("run", "jobs:echo", *options)
    assert (code, out) == (2, "")
    assert err.startswith("orch: ")
    assert message in err
    assert "Traceback" not in err


def test_a_backend_that_is_not_installed_is_named(call: Call, jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orch.cli._main.find_spec", lambda name: None if name == "trio" else name)
    assert call("run", "jobs:good", "--backend", "trio") == (2, "", "orch: trio is not installed: install orch[trio]\n")


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("option", [("--limit", "x"), ("--input", "value"), ("--backend", "gevent")])
def test_options_that_make_no_sense_are_refused(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "jobs:good", *option])
    assert caught.value.code == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.usefixtures("jobs")
def test_only_what_is_selected_is_run(call: Call) -> None:
    assert call("run", "jobs:bad", "--select", "two", "--limit", "1")[1] == "{'two': [1, None]}\n"


@pytest.mark.usefixtures("jobs")
def test_the_report_has_the_standard_output_to_itself(call: Call) -> None:
    assert json.loads(call("run", "jobs:good", "--json")[1])["value"] == {"one": 1, "two": [1, None]}
    assert json.loads(call("run", "jobs:bad", "--json")[1])["state"] == "failed"


@pytest.mark.usefixtures("jobs")
def test_progress_goes_to_the_standard_error_stream(call: Call) -> None:
    _, out, err = call("run", "jobs:good", "--progress")
    assert out.startswith("{'one': 1")
    assert "2/2 done" in err


@pytest.mark.parametrize(
    "value",
    [
        "list(range(200))",
        "{'b': list(range(50)), 'a': {f'key {k}': k for k in range(20)}}",
        "[[[[[[['deep']]]]]]]",
        "'x' * 998",
        "'...'",
        "[..., '…']",
    ],
)
def test_a_value_is_printed_whole(call: Call, module: Write, value: str) -> None:
    module(f"def give(): return {value}")
    code, out, err = call("run", "jobs:give")
    assert (code, out) == (0, f"{eval(value)!r}\n")
    assert "not shown" not in err


@pytest.mark.parametrize(
    "value",
    [
        "list(range(1000))",
        "[{'a': (list(range(1000)),)}]",
        "{f'key {k}': k for k in range(1000)}",
        "'x' * 999",
        "[10 ** 2000]",
        "type('T', (), {'__repr__': lambda self: 'x' * 1001})()",
        "__import__('functools').reduce(lambda inner, _: [inner, inner], range(60), 0)",
    ],
)
def test_of_a_long_value_nothing_is_printed_but_a_hint(call: Call, module: Write, value: str) -> None:
    module(f"def give(): return {value}")
    code, out, err = call("run", "jobs:give")
    assert (code, out) == (0, "")
    assert err.startswith("value not shown, it is long: --json has it as far as JSON can hold it\n")


def test_many_outputs_are_all_shown(call: Call, module: Write) -> None:
    module("wide = orch.Graph(*[orch.Task(lambda: 0, name=f'step{k}') for k in range(30, 0, -1)])")
    assert call("run", "jobs:wide")[1] == f"{ {f'step{k}': 0 for k in range(30, 0, -1)} }\n"


@pytest.mark.parametrize(
    "value, why",
    [
        ("[type('T', (), {'__repr__': lambda self: 1 / 0})()]", "ZeroDivisionError: division by zero"),
        ("__import__('functools').reduce(lambda inner, _: [inner], range(450), 0)", "RecursionError: "),
    ],
    ids=["broken", "deep"],
)
def test_a_value_that_cannot_be_printed_is_no_error(call: Call, module: Write, value: str, why: str) -> None:
    module(f"def give(): return {value}")
    code, out, err = call("run", "jobs:give")
    assert (code, out) == (0, "")
    assert err.startswith(f"value not shown, {why}")


def test_steps_that_ask_for_the_context_get_an_empty_one(call: Call, module: Write) -> None:
    module("async def ask(ctx: orch.Context): return ctx.data, ctx.task")
    assert "(None, 'ask')" in call("run", "jobs:ask")[1]


def test_ctrl_c_within_a_step_ends_the_run(call: Call, module: Write) -> None:
    module("async def stop(): raise KeyboardInterrupt")
    assert call("run", "jobs:stop") == (130, "", "orch: interrupted\n")


@pytest.mark.usefixtures("jobs")
def test_show_draws_the_workflow(call: Call) -> None:
    assert call("show", "jobs:good") == (0, "good (graph)\n├─ one\n└─ two ← one\n", "")
    assert "n1 --> n2" in call("show", "jobs:good", "--format", "mermaid")[1]


@pytest.mark.usefixtures("jobs")
def test_check_says_what_a_workflow_needs(call: Call) -> None:
    assert call("check", "jobs:good") == (0, "ok: tasks: 2, edges: 1, inputs: more (optional)\n", "")
    assert call("check", "jobs:echo") == (0, "ok: tasks: 1, edges: 0, inputs: value\n", "")


@pytest.mark.parametrize("command", ["check", "show", "run"])
def test_every_problem_of_a_definition_is_told(call: Call, module: Write, command: str) -> None:
    module("def a(b): ...\ndef b(a): ...\nflow = orch.Graph(a, b, orch.Task(len, name='c', deps=['d', 'e']))")
    code, out, err = call(command, "jobs:flow")
    assert (code, out) == (2, "")
    assert err.startswith("orch: 3 problems:\n")
    assert "cycle: a → b → a" in err
    assert "'e', which is no step here" in err


def program(*argv: str) -> list[str]:
    return [sys.executable, "-m", "orch", *argv]


def test_python_m_orch_is_this_program(jobs: Path) -> None:
    done = subprocess.run(program("run", "jobs:echo", "--input", "value=3"), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "3"


def test_without_a_command_it_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage: orch" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize(
    "sent, code, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")], ids=["INT", "TERM"]
)
def test_a_signal_ends_a_run_with_its_cleanup_done(
    module: Write, backend: str, sent: signal.Signals, code: int, word: str
) -> None:
    """C16, C18."""
    module(
        """
        import anyio
        async def wait():
            try:
                print("started", flush=True)
                await anyio.sleep_forever()
            finally:
                print("cleaned up", flush=True)
        """
    )
    with subprocess.Popen(
        program("run", "jobs:wait", "--progress", "--backend", backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == "started\n"
        run.send_signal(sent)
        out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (code, "cleaned up\n")
    assert err.endswith(f"orch: {word}\n")
    assert "Traceback" not in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="pipes of POSIX")
def test_a_reader_that_has_seen_enough_is_no_error(module: Write) -> None:
    module("wide = orch.Parallel([orch.Task(len, name=f'step {k}') for k in range(20_000)])")
    with subprocess.Popen(
        program("show", "jobs:wide"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        assert run.stderr
        assert run.stdout.readline() == "parallel\n"
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 1


def test_a_terminal_that_knows_few_letters_is_no_error(jobs: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(program("show", "jobs:good"), capture_output=True, text=True, check=True, env=environment)
    assert "\\u251c\\u2500 one" in done.stdout


@pytest.mark.parametrize("options", [(), ("--json",), ("--traceback",), ("--progress",)])
def test_what_is_shown_is_sanitised(call: Call, module: Write, options: tuple[str, ...]) -> None:
    module(
        """
        def clean(text):
            return text.replace("hunter2", "***")
        def bad() -> None:
            raise ValueError("no access with hunter2")
        def good() -> str:
            return "token hunter2"
        def unmade():
            raise ValueError("no access with hunter2")
        """
    )
    for name in ("bad", "unmade"):
        _, out, err = call("run", f"jobs:{name}", "--sanitize", "jobs:clean", *options)
        assert "no access with ***" in out + err
        assert "hunter2" not in out + err
    _, out, err = call("run", "jobs:good", "--sanitize", "jobs:clean", *options)
    assert "token ***" in out
    assert "hunter2" not in out + err


@pytest.mark.parametrize(
    "target, message", [("jobs:nope", "cannot load 'jobs:nope'"), ("jobs:number", "sanitize: expected a callable")]
)
def test_a_sanitizer_that_is_none_is_refused(call: Call, module: Write, target: str, message: str) -> None:
    module("number = 3")
    code, _, err = call("run", "jobs:number", "--sanitize", target)
    assert code == 2
    assert message in err
