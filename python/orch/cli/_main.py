"""Arguments in, exit code out: 0 succeeded, 1 failed, 2 cannot be run as asked, 3 paused, 130 Ctrl-C, 143 SIGTERM.

What was asked for goes to the standard output, how it went to the standard error stream.
"""

import argparse
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from orch.cli._load import load, look_up
from orch.cli._values import inputs_in, one_input, whole
from orch.context import Context
from orch.errors import inert
from orch.event import State
from orch.event._discreet import sanitizer
from orch.event._text import describe
from orch.plan import compile  # noqa: A004 (the verb users know from re)
from orch.runners import Runner
from orch.subscribers import progress
from orch.views import to_mermaid, to_text

__all__ = ("main",)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for, those of the process by default, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Lines go out at once: a reader that is gone is noticed here, and both streams stay in order.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    terminated = threading.Event()
    try:
        args = _parser().parse_args(argv)
        with _terminable(terminated):
            return int(args.command(args) or 0)
    except KeyboardInterrupt:
        print("orch: terminated" if terminated.is_set() else "orch: interrupted", file=sys.stderr)
        return 143 if terminated.is_set() else 130
    except BrokenPipeError:  # the reader has seen enough: `orch show … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        print(f"orch: {error}", file=sys.stderr)
        return 2


@contextmanager
def _terminable(terminated: threading.Event) -> Generator[None, None, None]:
    """Take SIGTERM, which supervisors send, for Ctrl-C: the run is settled, what is to be undone is undone."""

    def terminate(*_: object) -> None:
        terminated.set()
        signal.raise_signal(signal.SIGINT)

    is_main = threading.current_thread() is threading.main_thread()  # no other may
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # or nobody would hear it
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(args: argparse.Namespace) -> None:
    print((to_mermaid if args.format == "mermaid" else to_text)(load(args.workflow)))


def _check(args: argparse.Namespace) -> None:
    plan = compile(load(args.workflow))
    inputs = [inert(name) + ("" if plan.wiring.inputs[name].required else " (optional)") for name in plan.inputs]
    print(f"ok: tasks: {len(plan)}, edges: {plan.dag.edges}, inputs: {', '.join(inputs) or 'none'}")


def _run(args: argparse.Namespace) -> int:
    if find_spec(args.backend) is None:
        raise ValueError(f"{args.backend} is not installed: install orch[{args.backend}]")
    backend, options = ("asyncio", {"use_uvloop": True}) if args.backend == "uvloop" else (args.backend, {})
    clean, watchers = args.sanitize and look_up(args.sanitize, sanitizer), [progress()] if args.progress else []
    runner = Runner(backend=backend, backend_options=options, limit=args.limit, subscribers=watchers, sanitize=clean)
    workflow, asked = load(args.workflow, clean), {"inputs": args.inputs | dict(args.input), "select": args.select}
    handlers = {name: _answering(answer) for name, answer in args.answer}
    result = runner.run(workflow, **asked, context=Context(), handlers=handlers, raise_on_failure=False)
    failed = result.state is not State.SUCCEEDED
    for error in result.errors if args.traceback else ():
        text = "".join(traceback.format_exception(error))
        print(clean(text) if clean else text, end="", file=sys.stderr)
    if args.json:
        print(result.to_json(indent=2))
    elif not (failed or result.value is None):
        _print(result.value, clean)
    if failed:
        print(to_text(result), file=sys.stderr)
    took = f"{result.duration:.3f} s, tasks: {len(result.tasks)}"
    for pause in result.pauses:
        question = clean(str(pause.question)) if clean else str(pause.question)
        print(f"{inert(pause.path)} asks: {inert(question)} (--answer {inert(pause.path)}=…)", file=sys.stderr)
    print(f"{inert(result.name)} {result.state.value} in {took}", file=sys.stderr)
    return 3 if result.state is State.PAUSED else int(failed)


def _answering(answer: object) -> Callable[[object], object]:
    return lambda _: answer


def _print(value: object, clean: Callable[[str], str] | None) -> None:
    """Print a value whole, or else nothing but a hint: a part of it that looks like all of it would deceive."""
    try:
        text, why = whole(value), "it is long"
    except Exception as error:  # noqa: BLE001 (a __repr__ is anybody's code)
        text, why = None, inert(describe(error, clean))
    if text is None:
        print(f"value not shown, {why}: --json has it as far as JSON can hold it", file=sys.stderr)
    else:
        print(inert(clean(text) if clean else text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("orch", description="Run, show and check workflows.", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", required=True)

    def command(function: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__.strip("_"), help=text, description=text, allow_abbrev=False)
        added.add_argument("workflow", metavar="module:workflow", help="such as etl:workflow or path/to/etl.py:make")
        added.set_defaults(command=function)
        return added

    run = command(_run, "run a workflow, print its value, and say how it went")
    run.add_argument(
        "--input", metavar="K=V", type=one_input, action="append", default=[], help="V is JSON, or else text"
    )
    run.add_argument("--inputs", metavar="FILE", type=inputs_in, default={}, help="inputs by name; --input wins")
    run.add_argument(
        "--answer", metavar="NAME=V", type=one_input, action="append", default=[], help="to a question; V as above"
    )
    run.add_argument("--backend", choices=("asyncio", "uvloop", "trio"), default="asyncio", help="default: %(default)s")
    run.add_argument("--limit", metavar="N", type=int, help="most steps at a time")
    run.add_argument("--progress", action="store_true", help="show how far the run is")
    run.add_argument("--sanitize", metavar="module:function", help="makes safe what is shown of errors and values")
    run.add_argument("--traceback", action="store_true", help="show where the errors of steps come from")
    run.add_argument("--json", action="store_true", help="print a report of the run as JSON instead of the value")
    run.add_argument("--select", metavar="NAME", nargs="+", help="run only what gives these outputs of a graph")
    show = command(_show, "draw a workflow")
    show.add_argument("--format", choices=("text", "mermaid"), default="text", help="default: %(default)s")
    command(_check, "find what is wrong with a workflow without running it")
    return parser
