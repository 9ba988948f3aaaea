"""`AsyncRunner`: holds all configuration, takes definitions, gives results. `orch.run` is `AsyncRunner().run`."""

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, Self, TypeAlias, cast

import attrs
from anyio.lowlevel import current_token

from orch.abc import Cache, Clock
from orch.context import Context
from orch.definition import MapMode, OnError, Workflow
from orch.errors import expect, spelled
from orch.event import State, WhenFull, event_bus
from orch.event._discreet import discreet, sanitizer
from orch.execution import (
    Caching,
    Keeper,
    Options,
    Run,
    RunSource,
    abandoned,
    bind,
    check_rows,
    check_same,
    execute,
    restore,
)
from orch.plan import Plan, check_meant, compile, handlers_for, values_for  # noqa: A004 (the verb users know from re)
from orch.plan import select as part_of
from orch.policies import Seconds, seconds
from orch.result import MapResult, Past, RunResult
from orch.runners._given import (
    Subscribers,
    cache_of,
    callables_of,
    clock_of,
    context_of,
    drops,
    endless,
    given_of,
    past_from,
)
from orch.runners._iter import GraphRun
from orch.runners._map import MapRun, map_of, map_result

__all__ = ("AsyncRunner", "Given", "Runnable", "run")

Runnable: TypeAlias = Workflow | Plan | Callable[..., Any]
Given: TypeAlias = Mapping[str, Any] | Context[Any] | None
Handlers: TypeAlias = Mapping[str, Callable[[Any], Any]] | None


class AsyncRunner:
    """Runs workflows on the event loop of the caller, asyncio or trio; keeps nothing between runs.

    As an async context manager it does keep something: `async with` it, resources of its scope last for the block.

    Args:
        cache: Keeps what steps give, so that they need not run again: a `MemoryCache`, a `DiskCache`, anything with
            `get`, `set` and `discard`. Not cached is what says `cache=False`, and unless it says `cache=True`, what
            takes a Context or resources, or has a compensation. None: nothing is.
        subscribers: Take every event of every run, in order: callables (plain or async) or an `EventBus`.
        limit: How many steps of a run may be active at once; None: as many as are ready.
        threads: How many worker threads a run may have for plain functions; None: 40.
        context: The Context of runs that are given none.
        clock: Tells the time, for breakers, deadlines of retries, events and results; None: that of the machine.
        rng: Where the jitter of retries comes from; None: an unpredictable one.
        compensation_timeout: Seconds that the compensations of one group may take, all together.
        grace: Seconds that a cancelled or aborted run waits for plain functions still running in threads, and for
            subscribers. What is not over by then is given up, and listed in `result.abandoned`. So long each resource
            may take to close.
        sanitize: Takes each text that is to be shown, logged or written (a message, a value in words) and returns what
            may be: `result.report()`, the subscribers of this package and contexts as JSON have only that. Errors and
            values themselves stay what they are. Where it fails, the text is withheld. Threads call it, too.
        strict_subscribers: Let the first error of a subscriber end the run and be raised, instead of logging it.

    Example:
        >>> import anyio, orch
        >>> async def double(x): return 2 * x
        >>> runner = orch.AsyncRunner(limit=10)
        >>> anyio.run(runner.run, orch.task(double), {"x": 21}).value
        42
    """

    @spelled()
    def __init__(
        self,
        *,
        cache: Cache | None = None,
        subscribers: Subscribers = (),
        limit: int | None = None,
        threads: int | None = None,
        context: Context[Any] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        grace: Seconds = 5.0,
        compensation_timeout: Seconds = 60.0,
        sanitize: Callable[[str], str] | None = None,
        strict_subscribers: bool = False,
    ) -> None:
        expect("limit", limit, int, NoneType, least=1)
        expect("threads", threads, int, NoneType, least=1)
        expect("rng", rng, random.Random, NoneType)
        expect("strict_subscribers", strict_subscribers, bool)
        self._context = context_of(context)
        self._keepers: dict[object, Keeper] = {}  # by event loop
        self._options = Options(
            callables_of(subscribers),
            min(limit or 0, 0xFFFFFFFF),  # no run has more steps than that
            threads or 40,
            endless(seconds("grace", grace, zero=True)),
            endless(seconds("compensation_timeout", compensation_timeout)),
            strict_subscribers,
            time if clock is None else clock_of(clock),
            rng or random.Random(),  # noqa: S311 (spreads retries, keeps no secret)
            sanitize=sanitizer(sanitize),
            caching=None if cache is None else Caching(cache_of(cache)),
        )

    async def __aenter__(self) -> Self:
        """Keep what has the scope of a runner open from its first use to the end of the block, for all runs in it."""
        loop = current_token().native_token
        if loop in self._keepers:
            raise RuntimeError("this runner has been entered already: leave its block first, or make another runner")
        keeper = Keeper(self._options.grace, self._options.sanitize)
        await keeper.start()
        self._keepers[loop] = keeper
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        keeper = self._keepers.pop(current_token().native_token)
        try:
            await keeper.end()
        except BaseException as stop:
            error = stop
            raise
        finally:
            keeper.complain(error)

    def _keeper(self) -> Keeper | None:
        """Return what is kept open in this event loop: others cannot use it."""
        return self._keepers.get(current_token().native_token) if self._keepers else None

    async def run(
        self,
        workflow: Runnable,
        inputs_or_context: Given = None,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        context: Context[Any] | None = None,
        select: str | Iterable[str] | None = None,
        handlers: Handlers = None,
        run_id: str | None = None,
        subscribers: Subscribers = (),
        raise_on_failure: bool = True,
        **inputs_as_keywords: Any,
    ) -> RunResult:
        """Run a workflow to its end.

        When this returns, every step is settled, every subscriber has had every event, and nothing is left running but
        what `result.abandoned` lists. If the caller is cancelled, so is the run: its steps are settled, the last event
        is delivered, and the cancellation goes on to the caller. Ctrl-C surfaces as a bare KeyboardInterrupt.

        A run in which nothing is left but questions of an `Interrupt` that no handler answers ends PAUSED, without an
        error. The questions are in `result.pauses`, and `resume` goes on.

        Args:
            workflow: A definition, a plan of one, or any callable.
            inputs_or_context: A mapping is the inputs, a Context the context: `anyio.run(orch.run, workflow, {…})`.
            inputs: Values by name, for inputs whose names are those of options here: given as options they are refused.
            context: What steps with a parameter annotated `Context` are given a view of.
            select: Names of outputs or steps of a Graph: only these and what they need is run.
            handlers: By name or path of an `Interrupt`, a function (plain or async) that takes the question and gives
                the answer; what it raises fails the step.
            run_id: Names the run; made up if not given.
            subscribers: In addition to the runner's, for this run only.
            raise_on_failure: False: return a failed run's result instead of raising.
            **inputs_as_keywords: More inputs.

        Raises:
            WorkflowError: Steps failed; an ExceptionGroup of what they raised, with `.result`.
            DefinitionError: The workflow or its inputs are wrong. Nothing has run, as after a TypeError or ValueError.
        """
        given = inputs_or_context, inputs, context, inputs_as_keywords
        taken = _taken(
            context=context, select=select, handlers=handlers, run_id=run_id, subscribers=subscribers or None
        )
        run = self._begin(workflow, given, select, run_id, callables_of(subscribers), handlers=handlers, taken=taken)
        await execute(run)
        result = _known(run)
        if raise_on_failure:
            result.raise_for_failure()
        return result

    async def resume(
        self,
        run: RunResult | str,
        workflow: Runnable,
        /,
        *,
        from_: str | Iterable[str] = (),
        answers: Mapping[str, Any] | None = None,
        handlers: Handlers = None,
        context: Context[Any] | None = None,
        subscribers: Subscribers = (),
        raise_on_failure: bool = True,
    ) -> RunResult:
        """Go on with a run that has ended, with the inputs it had: what succeeded in it is not done again.

        A PAUSED run goes on under its own id; what is not answered now is still open, and the questions are not made
        again. From another one a new run is made, whose result has its id as `parent`. The steps that are taken over
        are SUCCEEDED with `restored` and without attempts. If their group fails, they are undone like the others.

        Args:
            run: The result of the run; it may have been pickled.
            workflow: The same workflow: the same paths, wired in the same way.
            from_: Names or paths of steps or groups that are to run again, with all that comes after them.
            answers: By name or path of a question in `result.pauses`, the answer.
            handlers: As for `run`.
            context: The Context in place of the one that the run had.
            subscribers: As for `run`.
            raise_on_failure: As for `run`.

        Raises:
            DefinitionMismatchError: The workflow is another one. As after the other errors, nothing has run.
            DefinitionError: There is no step of a name in `from_`, or no question of one in `handlers`.
            LookupError: There is no open question of a name in `answers`.
            TypeError, ValueError: An answer does not fit, or the question has one.
            UnsupportedError: `run` is an id, and there is no store to look it up in.

        Example:
            >>> import anyio, orch
            >>> def sent(approve): return approve
            >>> mail = orch.Graph(orch.Interrupt("approve", "Send it?", type=bool), sent)
            >>> async def main():
            ...     asked = await orch.run(mail)
            ...     return await orch.AsyncRunner().resume(asked, mail, answers={"approve": True})
            >>> anyio.run(main)["sent"]
            True
        """
        past = past_from(run)
        context = cast("RunResult", run).context if context is None else context
        again = self._again(past, workflow, context, callables_of(subscribers), handlers)
        restore(again, past, from_, answers)
        await execute(again)
        result = _known(again)
        if raise_on_failure:
            result.raise_for_failure()
        return result

    def _again(
        self,
        past: Past,
        workflow: Runnable,
        context: Context[Any] | None,
        subscribers: tuple[Callable[[Any], object], ...],
        handlers: Handlers,
    ) -> Run:
        """Make a run like an earlier one."""
        plan = compile(workflow)
        check_same(plan if past.select is None else part_of(plan, past.select), past)
        is_paused = past.state is State.PAUSED
        given: Any = None, past.inputs, context, {}
        run_id = past.run_id if is_paused else None
        run = self._begin(plan, given, past.select, run_id, subscribers, handlers=handlers)
        run.parent = past.parent if is_paused else past.run_id
        return run

    def iter(
        self,
        workflow: Runnable,
        inputs_or_context: Given = None,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        context: Context[Any] | None = None,
        select: str | Iterable[str] | None = None,
        handlers: Handlers = None,
        run_id: str | None = None,
        subscribers: Subscribers = (),
        raise_on_failure: bool = True,
        when_full: WhenFull = "block",
        **inputs_as_keywords: Any,
    ) -> GraphRun:
        """Run a workflow while looking at its events: an async context manager, and in it an async iterator of them.

        Arguments and errors are those of `run`; a failed run raises when the block is left without another error. A run
        that is 10 000 events ahead of its reader waits; with `when_full="drop"` it goes on, and leaves out chunks and
        items of maps.

        Example:
            >>> import anyio, orch
            >>> async def main():
            ...     async with orch.AsyncRunner().iter(len, obj="abc") as run:
            ...         states = [event.state.value async for event in run]
            ...     return states, run.result.value
            >>> anyio.run(main)
            (['running', 'running', 'succeeded', 'succeeded'], 3)
        """
        given = inputs_or_context, inputs, context, inputs_as_keywords
        taken = _taken(
            context=context, select=select, handlers=handlers, run_id=run_id, subscribers=subscribers or None
        )
        run = self._begin(workflow, given, select, run_id, callables_of(subscribers), handlers=handlers, taken=taken)
        return GraphRun(run, _known, raises=raise_on_failure, drops=drops(when_full))

    async def map(
        self,
        workflow: Runnable,
        inputs_or_context: Given = None,
        /,
        map_over: str | Iterable[str] = (),
        map_mode: MapMode = "zip",
        *,
        inputs: Mapping[str, Any] | None = None,
        context: Context[Any] | None = None,
        on_error: OnError = "raise",
        limit: int | None = None,
        handlers: Handlers = None,
        run_id: str | None = None,
        subscribers: Subscribers = (),
        raise_on_failure: bool = True,
        **inputs_as_keywords: Any,
    ) -> MapResult:
        """Run a workflow once for each of many items, as one run; the result is a sequence of results.

        Args:
            workflow: As for `run`.
            inputs_or_context: As for `run`. The inputs in `map_over` take anything that can be iterated.
            map_over: The inputs of which each item gets one: one name or several. Other inputs are for all items.
            map_mode: `"zip"` takes one item of each at a time, and they must be equally many; `"product"` takes all
                combinations, the last one changing fastest.
            inputs: As for `run`.
            context: As for `run`: all items share it.
            on_error: `"raise"`: the first item that fails ends the others. `"collect"`: all are tried, and the value of
                one that failed is None.
            limit: How many steps of items at most are active at a time, besides the limit of the runner.
            handlers: As for `run`: every item asks them. A question in an item has to have one.
            run_id: Names the run; the items are `run_id[0]` and so on.
            subscribers: As for `run`.
            raise_on_failure: As for `run`.
            **inputs_as_keywords: More inputs.

        Raises:
            WorkflowError: An item failed: `.index` is its number, `.result` what is known about all.
            DefinitionError, TypeError, ValueError: The workflow, its inputs or the options are wrong.

        Example:
            >>> import anyio, orch
            >>> def area(width, height): return width * height
            >>> anyio.run(orch.AsyncRunner().map, area, {"width": [1, 2, 3], "height": 2}, "width").values
            [2, 4, 6]
        """
        given = inputs_or_context, inputs, context, inputs_as_keywords
        step = map_of(workflow, map_over, map_mode, limit, on_error)
        taken = _taken(context=context, handlers=handlers, run_id=run_id, subscribers=subscribers or None, limit=limit)
        run = self._begin(step, given, None, run_id, callables_of(subscribers), handlers=handlers, taken=taken)
        check_rows(step, run.given)
        await execute(run)
        result = map_result(run)
        if raise_on_failure:
            result.raise_for_failure()
        return result

    def map_iter(
        self,
        workflow: Runnable,
        inputs_or_context: Given = None,
        /,
        map_over: str | Iterable[str] = (),
        map_mode: MapMode = "zip",
        *,
        inputs: Mapping[str, Any] | None = None,
        context: Context[Any] | None = None,
        on_error: OnError = "raise",
        limit: int | None = None,
        handlers: Handlers = None,
        run_id: str | None = None,
        subscribers: Subscribers = (),
        raise_on_failure: bool = True,
        **inputs_as_keywords: Any,
    ) -> MapRun:
        """Run a workflow for each of many items and take the results as they end: an async context manager.

        Arguments are those of `map`. Nothing is kept, so there may be any number of items, without an end if you like;
        they are drawn as they are needed. A failed map raises when the block is left without another error.

        Example:
            >>> import anyio, orch
            >>> async def main():
            ...     async with orch.AsyncRunner().map_iter(abs, {"x": range(-3, 0)}, "x") as items:
            ...         return sorted([(index, result.value) async for index, result in items])
            >>> anyio.run(main)
            [(0, 3), (1, 2), (2, 1)]
        """
        given = inputs_or_context, inputs, context, inputs_as_keywords
        step = map_of(workflow, map_over, map_mode, limit, on_error)
        taken = _taken(context=context, handlers=handlers, run_id=run_id, subscribers=subscribers or None, limit=limit)
        run = self._begin(step, given, None, run_id, callables_of(subscribers), handlers=handlers, taken=taken)
        check_rows(step, run.given)
        return MapRun(run, _known, raises=raise_on_failure)

    def _begin(
        self,
        workflow: Runnable,
        given: tuple[Any, Any, Any, dict[str, Any]],
        select: str | Iterable[str] | None,
        run_id: str | None,
        subscribers: tuple[Callable[[Any], object], ...],
        *,
        handlers: Handlers = None,
        taken: tuple[str, ...] = (),
    ) -> Run:
        """Make a run of what a caller gave, or say what is wrong with it; nothing is run yet."""
        expect("select", select, Iterable, NoneType)
        expect("run_id", run_id, str, NoneType)
        if run_id is not None and (not run_id or "\0" in run_id):
            raise ValueError(f"run_id: expected a text without NUL and not empty, found {run_id!r}")
        plan, chosen = compile(workflow), None
        if select is not None:
            chosen = (select,) if isinstance(select, str) else tuple(select)
            plan = part_of(plan, chosen)
        answering = handlers_for(plan, handlers)
        inputs, own = given_of(*given)
        shared = own or self._context
        everybody = (*self._options.subscribers, *subscribers)
        if everybody or event_bus.subscriptions:
            everybody = (*everybody, event_bus)
        check_meant(plan, inputs, taken)
        values = values_for(plan, inputs, shared)
        options = attrs.evolve(self._options, subscribers=everybody, keeper=self._keeper())
        run = Run(plan, values, run_id or uuid.uuid4().hex, options)
        run.given, run.select, run.answering, run.handlers = inputs, chosen, handlers or {}, answering
        if shared is not None:
            bind(run, shared)
        return run


def _known(run: Run) -> RunResult:
    """Return what is known about a run that is over."""
    left, errors = tuple(abandoned(run)), tuple(run.errors.values())
    name, source, times = run.plan.workflow.name, RunSource(run), (run.started, run.time(run.ended))
    pauses = tuple(run.open_questions().values()) if run.asked else ()
    facts = name, run.state, source, errors, run.context, *times, left, pauses, run.parent
    return discreet(RunResult(run.run_id, *facts), run.options.sanitize)


def _taken(**options: Any) -> tuple[str, ...]:
    """Return the options that the caller has given, which somebody may have meant as inputs."""
    return tuple(name for name, value in options.items() if value is not None)


run = AsyncRunner().run
