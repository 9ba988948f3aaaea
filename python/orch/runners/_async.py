"""`AsyncRunner`: holds all configuration, takes definitions, gives results. `orch.run` is `AsyncRunner().run`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orch.context import Context
from orch.definition import Workflow
from orch.event import event_bus
from orch.execution import Options, Run, RunSource, bind, execute
from orch.plan import Plan, compile, values_for  # noqa: A004 (the verb users know from re)
from orch.plan import select as part_of
from orch.result import RunResult

__all__ = ("AsyncRunner", "run")


class AsyncRunner:
    """Runs workflows on the event loop of the caller, asyncio or trio; keeps nothing between runs.

    Args:
        subscribers: Take every event of every run, in order: callables (plain or async) or an `EventBus`.
        limit: How many steps of a run may be active at once; None: as many as are ready.
        threads: How many worker threads a run may have for plain functions; None: 40.
        context: The Context of runs that are given none.
        grace: Seconds that a cancelled or aborted run waits for plain functions still running in threads, and for
            subscribers. What is not over by then is given up, and listed in `result.abandoned`.
        strict_subscribers: Let the first error of a subscriber end the run and be raised, instead of logging it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `limit` or `threads` is less than 1, `grace` is negative or not a number.

    Example:
        >>> import anyio, orch
        >>> async def double(x): return 2 * x
        >>> runner = orch.AsyncRunner(limit=10)
        >>> anyio.run(runner.run, orch.task(double), {"x": 21}).value
        42
    """

    def __init__(
        self,
        *,
        subscribers: Iterable[Callable[[Any], object]] = (),
        limit: int | None = None,
        threads: int | None = None,
        context: Context[Any] | None = None,
        grace: float = 5.0,
        strict_subscribers: bool = False,
    ) -> None:
        self._subscribers = _callables(subscribers)
        self._limit = _count("limit", limit) or 0
        self._threads = _count("threads", threads) or 40
        self._context = _context(context)
        self._grace = _seconds("grace", grace)
        self._strict = strict_subscribers

    async def run(
        self,
        workflow: Workflow | Plan | Callable[..., Any],
        inputs_or_context: Mapping[str, Any] | Context[Any] | None = None,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        context: Context[Any] | None = None,
        select: str | Iterable[str] | None = None,
        run_id: str | None = None,
        subscribers: Iterable[Callable[[Any], object]] = (),
        raise_on_failure: bool = True,
        **inputs_as_keywords: Any,
    ) -> RunResult:
        """Run a workflow to its end.

        When this returns, every step is settled, every subscriber has had every event, and nothing is left running
        (but what `result.abandoned` lists). If the caller is cancelled, so is the run: its steps are cancelled and
        settled, the last event is delivered, and the cancellation goes on to the caller. Ctrl-C surfaces as a bare
        KeyboardInterrupt.

        Args:
            workflow: A definition, a plan of one, or any callable.
            inputs_or_context: A mapping is the inputs, a Context is the context; for callers that pass positional
                arguments only, as `anyio.run(orch.run, workflow, {"x": 1})` does.
            inputs: Values by name, for inputs whose names are those of options here.
            context: What steps with a parameter annotated `Context` are given a view of.
            select: Names of outputs or steps of a Graph: only these and what they need is run.
            run_id: Names the run; made up if not given.
            subscribers: In addition to the runner's, for this run only.
            raise_on_failure: False: return a failed run's result instead of raising.
            **inputs_as_keywords: More inputs.

        Raises:
            WorkflowError: Steps failed; an ExceptionGroup of what they raised, with `.result`.
            DefinitionError: The workflow is wrong, or inputs are missing or unknown. Nothing has run.
            TypeError: An argument is of the wrong type. Nothing has run.
        """
        plan = compile(workflow)
        if select is not None:
            plan = part_of(plan, (select,) if isinstance(select, str) else select)
        given, found = _given(inputs_or_context, inputs, context, inputs_as_keywords)
        found = found or self._context
        values = values_for(plan, given, found)
        everybody = (*self._subscribers, *_callables(subscribers))
        if everybody or event_bus.subscriptions:
            everybody = (*everybody, event_bus)
        run = Run(plan, values, _run_id(run_id), datetime.now(UTC), self._limit)
        if found is not None:
            bind(run, found)
        await execute(run, Options(everybody, self._threads, self._grace, self._strict))
        result = _result(run)
        if raise_on_failure:
            result.raise_for_failure()
        return result


def _result(run: Run) -> RunResult:
    name, errors, finished = run.plan.workflow.name, tuple(run.errors.values()), run.time(run.ended)
    abandoned = tuple(map(run.plan.path, run.abandoned))
    source = RunSource(run)
    return RunResult(run.run_id, name, run.state, source, errors, run.context, run.started, finished, abandoned)


def _given(
    positional: object, inputs: object, context: object, keywords: dict[str, Any]
) -> tuple[dict[str, Any], Context[Any] | None]:
    """Sort what was given into inputs and context; nothing may be given twice."""
    if isinstance(positional, Context):
        if context is not None:
            raise TypeError("context: given twice, by position and by name")
        positional, context = None, positional
    given: dict[str, Any] = {}
    for more in (positional, inputs, keywords):
        if more is not None and not isinstance(more, Mapping):
            raise TypeError(f"inputs: expected a mapping of names to values or a Context, found {type(more).__name__}")
        if twice := given.keys() & (more or {}):
            raise TypeError(f"inputs: given twice: {', '.join(sorted(map(repr, twice)))}")
        given.update(more or {})
    return given, _context(context)


def _callables(subscribers: Iterable[Callable[[Any], object]]) -> tuple[Callable[[Any], object], ...]:
    if callable(subscribers):
        raise TypeError("subscribers: expected several callables, as a list, found a single one: write [subscriber]")
    found = tuple(subscribers)
    for each in found:
        if not callable(each):
            raise TypeError(f"subscribers: expected callables that take an event, found {type(each).__name__}")
    return found


def _context(context: object) -> Context[Any] | None:
    if context is not None and not isinstance(context, Context):
        raise TypeError(
            f"context: expected an orch.Context, found {type(context).__name__}: wrap it, orch.Context(data)"
        )
    return context


def _run_id(run_id: object) -> str:
    if run_id is None:
        return uuid.uuid4().hex
    if not isinstance(run_id, str):
        raise TypeError(f"run_id: expected a str, found {type(run_id).__name__}")
    if not run_id or "\0" in run_id:
        raise ValueError(f"run_id: expected a text without NUL and not empty, found {run_id!r}")
    return run_id


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an int or None, found {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, or None for no limit, found {value}")
    return min(value, 0xFFFFFFFF)  # no run has more steps than that


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected seconds as a number, found {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name}: expected seconds, 0 or more, found {value}")
    return float(value)


run = AsyncRunner().run
