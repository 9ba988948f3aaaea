"""Arguments in, exit code out: 0 succeeded, 1 the run failed, 2 it cannot be run as asked, 130 Ctrl-C.

What was asked for goes to the standard output, problems and progress to the standard error stream.
"""

import argparse
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orch.cli._load import UsageError, load
from orch.context import Context
from orch.errors import DefinitionError, UnsupportedError, inert
from orch.event import State
from orch.event._text import brief, describe
from orch.plan import compile  # noqa: A004 (the verb users know from re)
from orch.result import RunResult
from orch.runners import Runner
from orch.subscribers import progress
from orch.views import to_mermaid, to_text

__all__ = ("main",)

_ERRORS = 20  # shown at the end of a failed run


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for, those of the process by default, and return the exit code.

    Raises:
        SystemExit: The arguments cannot be understood (2), or help was asked for (0).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args(argv)
    try:
        code: int = args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("orch: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough: `orch show … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UsageError, DefinitionError, UnsupportedError, OSError) as error:
        if args.traceback:
            traceback.print_exception(error)
        print(f"orch: {error}", file=sys.stderr)
        return 2
    return code


def _show(args: argparse.Namespace) -> int:
    print((to_mermaid if args.format == "mermaid" else to_text)(load(args.workflow)))
    return 0


def _check(args: argparse.Namespace) -> int:
    plan = compile(load(args.workflow))
    inputs = [inert(name) + ("" if plan.wiring.inputs[name].required else " (optional)") for name in plan.inputs]
    size = f"{_counted(len(plan), 'task')}, {_counted(plan.dag.edges, 'edge')}"
    print(f"ok: {size}, inputs: {', '.join(inputs) or 'none'}")
    return 0


def _run(args: argparse.Namespace) -> int:
    if args.uvloop and args.backend == "trio":
        raise UsageError("--uvloop is for asyncio: leave it out, or --backend trio")
    for name in (args.backend, "uvloop" if args.uvloop else "asyncio"):
        if find_spec(name) is None:
            raise UsageError(f"{name} is not installed: install orch[{name}]")
    options = {"use_uvloop": True} if args.uvloop else {}
    watchers = [progress()] if args.progress else []
    runner = Runner(
        backend=args.backend, backend_options=options, limit=args.limit, threads=args.threads, subscribers=watchers
    )
    plan, inputs = load(args.workflow), {**_read(args.inputs), **dict(args.input)}
    result = runner.run(plan, inputs=inputs, context=Context(), select=args.select, raise_on_failure=False)
    if args.json == "-":
        print(result.to_json(indent=2))
    elif args.json:
        Path(args.json).write_text(result.to_json(indent=2) + "\n", encoding="utf-8")
    _tell(result, args)
    return 0 if result.state is State.SUCCEEDED else 1


def _tell(result: RunResult, args: argparse.Namespace) -> None:
    stream, value = sys.stderr if args.json == "-" else sys.stdout, brief(result.value)
    if result.state is not State.SUCCEEDED:
        print(to_text(result), file=stream)
    size = _counted(len(result.tasks), "task")
    print(f"{inert(result.name)} {result.state.value}: {size}, {result.duration:.3f} s", file=stream)
    if result.state is State.SUCCEEDED and result.value is not None and "..." not in value:  # it was not cut
        print(inert(value), file=stream)
    for error in result.errors[:_ERRORS]:
        if args.traceback:
            traceback.print_exception(error)
        else:
            print(inert(" ".join((describe(error), *getattr(error, "__notes__", ())))), file=sys.stderr)
    if len(result.errors) > _ERRORS:
        print(f"and {len(result.errors) - _ERRORS} more errors", file=sys.stderr)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _read(file: str | None) -> dict[str, Any]:
    try:
        given = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {file!r}: {error}") from error
    if not isinstance(given, dict):
        raise UsageError(f"{file!r}: expected a JSON object of inputs by name, found {type(given).__name__}")
    return given


def _input(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected name=value, found {text!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("orch", description="Run, show and check workflows.", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", required=True)
    common = argparse.ArgumentParser(add_help=False)
    target = "a module or .py file, and in it a workflow or a function that makes one, as in etl:workflow"
    common.add_argument("workflow", metavar="module:workflow", help=target)
    common.add_argument("--traceback", action="store_true", help="show where errors come from")

    def command(function: Any, text: str) -> argparse.ArgumentParser:
        name = function.__name__.strip("_")
        added = commands.add_parser(name, parents=[common], help=text, description=text, allow_abbrev=False)
        added.set_defaults(command=function)
        return added

    run = command(_run, "run a workflow and say what came of it")
    run.add_argument("--input", metavar="K=V", type=_input, action="append", default=[], help="V is JSON, or else text")
    run.add_argument("--inputs", metavar="FILE", help="a JSON object of inputs by name; --input wins")
    run.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="default: %(default)s")
    run.add_argument("--uvloop", action="store_true", help="use uvloop on asyncio")
    run.add_argument("--limit", metavar="N", type=_count, help="most steps at a time")
    run.add_argument("--threads", metavar="N", type=_count, help="most worker threads")
    run.add_argument("--progress", action="store_true", help="show how far the run is")
    run.add_argument("--json", metavar="FILE", help="write the report as JSON; - is the standard output")
    run.add_argument("--select", metavar="NAME", nargs="+", help="run only what gives these outputs of a graph")
    show = command(_show, "draw a workflow")
    show.add_argument("--format", choices=("text", "mermaid"), default="text", help="default: %(default)s")
    command(_check, "find what is wrong with a workflow without running it")
    return parser
