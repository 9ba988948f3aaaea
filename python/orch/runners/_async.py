"""`AsyncRunner`: holds all configuration, takes definitions, gives results. `orch.run` is `AsyncRunner().run`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orch.context import Context
from orch.event import event_bus
from orch.execution import Options, Run, RunSource, execute
from orch.plan import Plan, compile, values_for  # noqa: A004 (the verb users know from re)
from orch.plan import select as select_outputs
from orch.result import RunResult

if TYPE_CHECKING:
    from orch.definition import Workflow

__all__ = ("AsyncRunner", "run")

_THREADS = 40


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


class AsyncRunner:
    """
    Runs workflows on the event loop of the caller, asyncio or trio.

    One runner serves any number of workflows, also at the same time; it keeps nothing between them.

    Args:
        subscribers: take every event of every run, in order: callables (plain or async) or an `EventBus`.
        limit: how many steps of a run may be active at once; None: as many as are ready.
        threads: how many worker threads a run may have for plain functions; None: 40.
        context: the Context of runs that are given none.
        grace: seconds that a cancelled or aborted run waits for plain functions that are still running in threads,
            and for
            subscribers. What is not over by then is given up, and listed in `result.abandoned`.
        strict_subscribers: let the first error of a subscriber end the run and be raised, instead of logging it.

    Raises:
        TypeError: an argument is of the wrong type.
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
        self._threads = _count("threads", threads) or _THREADS
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
        """
        Run a workflow to its end.

        When this returns, every step is settled, every subscriber has had every event, and nothing is left running
        (but what `result.abandoned` lists). If the caller is cancelled, so is the run: its steps are cancelled and
        settled, the last event is delivered, and the cancellation goes on to the caller. Ctrl-C surfaces as a bare
        KeyboardInterrupt.

        Args:
            workflow: a definition, a plan of one, or any callable.
            inputs_or_context: a mapping is the inputs, a Context is the context; for callers that pass positional
                arguments only, as `anyio.run(orch.run, workflow, {"x": 1})` does.
            inputs: values by name, for inputs whose names are those of options here.
            context: what steps with a parameter annotated `Context` are given a view of.
            select: names of outputs or tasks of a Graph: only these and what they need is run.
            run_id: names the run; made up if not given.
            subscribers: in addition to the runner's, for this run only.
            raise_on_failure: False: return a failed run's result instead of raising.
            **inputs_as_keywords: more inputs.

        Returns:
            The result of the run.

        Raises:
            WorkflowError: steps failed; an ExceptionGroup of what they raised, with `.result`.
            DefinitionError: the workflow is wrong, or inputs are missing or unknown. Nothing has run.
            TypeError: an argument is of the wrong type. Nothing has run.

        """
        plan = compile(workflow)
        if select is not None:
            plan = select_outputs(plan, (select,) if isinstance(select, str) else select)
        given, bound = _given(inputs_or_context, inputs, context, inputs_as_keywords)
        bound = bound or self._context
        values = values_for(plan, given, bound)
        everybody = (*self._subscribers, *_callables(subscribers), event_bus)
        run = Run(plan, values, run_id=_run_id(run_id), started=_now(), context=bound, limit=self._limit)
        listeners = everybody if len(everybody) > 1 or event_bus.subscriptions else ()
        await execute(run, Options(listeners, self._threads, self._grace, self._strict))
        result = _result(run)
        if raise_on_failure:
            result.raise_for_failure()
        return result


def _result(run: Run) -> RunResult:
    source = RunSource(run)
    name, errors = run.plan.workflow.name, run.errors_in_order()
    return RunResult(run.run_id, name, run.state, source, errors, run.context, run.started, run.time(run.ended))


def _given(
    positional: object,
    inputs: Mapping[str, Any] | None,
    context: Context[Any] | None,
    keywords: dict[str, Any],
) -> tuple[dict[str, Any], Context[Any] | None]:
    """Sort what was given into inputs and context; nothing may be given twice."""
    given: dict[str, Any] = {}
    if isinstance(positional, Context):
        if context is not None:
            raise TypeError("context: given twice, by position and by name")
        context = positional
    elif positional is not None:
        _merge(given, positional)
    if inputs is not None:
        _merge(given, inputs)
    _merge(given, keywords)
    return given, _context(context)


def _merge(given: dict[str, Any], more: object) -> None:
    if not isinstance(more, Mapping):
        raise TypeError(f"inputs: expected a mapping of names to values or a Context, found {type(more).__name__}")
    twice = given.keys() & more.keys()
    if twice:
        raise TypeError(f"inputs: given twice: {', '.join(sorted(map(repr, twice)))}")
    given.update(more)


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
        return _new_id()
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
    return value


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected seconds as a number, found {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name}: expected seconds, 0 or more, found {value}")
    return float(value)


run = AsyncRunner().run
