"""Short words for the tests of plans: run something small, look at its edges, make functions by name."""

from collections.abc import Callable, Iterable
from typing import Any

import orch
from orch import RunResult
from orch.plan import compile  # noqa: A004 (the verb under test)
from tests.runners.truth import check


def run(workflow: Any, *given: Any, **inputs: Any) -> RunResult:
    """Run to the end, and check what holds of every run."""
    result = orch.Runner().run(workflow, *given, raise_on_failure=False, inputs=inputs)
    check(result, compile(workflow))
    return result


def value(workflow: Any, *given: Any, **inputs: Any) -> Any:
    """Return the value of a run that succeeds."""
    result = run(workflow, *given, **inputs)
    result.raise_for_failure()
    return result.value


def after(workflow: Any) -> dict[str, list[str]]:
    """Return what each task waits for directly, by path."""
    found: dict[str, list[str]] = compile(workflow).describe()["tasks"]
    return found


def constant(value: Any, *, name: str = "source", **options: Any) -> orch.Task[..., Any]:
    """Make a task that gives `value` and asks for nothing."""

    async def source() -> Any:
        return value

    return orch.Task(source, name=name, **options)


def asking(name: str, parameters: Iterable[str] = (), **options: Any) -> orch.Task[..., Any]:
    """Make a task with these parameters; its value is its name and what it got, as `("name", {"x": 1})`."""
    signature = ", ".join(parameters)
    got = ", ".join(f"{each!r}: {each}" for each in (p.split("=")[0].strip("* ") for p in parameters) if each)
    return orch.Task(_made(f"async def step({signature}): return {name!r}, {{{got}}}"), name=name, **options)


def _made(text: str) -> Callable[..., Any]:
    found: dict[str, Callable[..., Any]] = {}
    exec(text, found)
    return found["step"]
