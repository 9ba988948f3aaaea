"""`Runner`: the same for synchronous callers. It wraps `AsyncRunner` and opens an event loop for each call."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import NoneType
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import current_token

from orch.definition import Map, MapMode, Signature
from orch.definition._signature import signature_of
from orch.errors import UnsupportedError, expect, spelled
from orch.plan import Plan, compile  # noqa: A004 (the verb users know from re)
from orch.result import MapResult, RunResult
from orch.runners._async import AsyncRunner, Given, Runnable
from orch.runners._blocking import BlockingRun

__all__ = ("Runner",)

T = TypeVar("T")


class Runner:
    """Runs workflows for callers that are not async: each call opens an event loop, runs to the end, and closes it.

    Args:
        backend: "asyncio" or "trio".
        backend_options: Passed to `anyio.run`, for instance `{"use_uvloop": True}`.
        strict: Refuse workflows with coroutine functions, which need more than plain threads.
        **configuration: What `AsyncRunner` takes.

    Example:
        >>> import orch
        >>> def double(x): return 2 * x
        >>> orch.Runner().run(double, x=21).value
        42
    """

    @spelled(AsyncRunner.__init__)
    def __init__(
        self,
        *,
        backend: str = "asyncio",
        backend_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        **configuration: Any,
    ) -> None:
        if backend not in {"asyncio", "trio"}:
            raise ValueError(f"backend: expected 'asyncio' or 'trio', found {backend!r}")
        expect("backend_options", backend_options, Mapping, NoneType)
        expect("strict", strict, bool)
        self._runner = AsyncRunner(**configuration)
        self._backend, self._backend_options = backend, dict(backend_options or {})
        self._open = partial(anyio.run, backend=backend, backend_options=self._backend_options)
        self._strict = strict

    def run(self, workflow: Runnable, inputs_or_context: Given = None, /, **options: Any) -> RunResult:
        """Run a workflow to its end; options, inputs as keywords, result and errors are those of `AsyncRunner.run`.

        Raises:
            UnsupportedError: An event loop runs in this thread, or `strict` refuses the workflow. Nothing has run.
        """
        plan = self._checked("run", workflow, options)
        return self._open(self._within, partial(self._runner.run, plan, inputs_or_context, **options))

    def map(
        self,
        workflow: Runnable,
        inputs_or_context: Given = None,
        /,
        map_over: str | Iterable[str] = (),
        map_mode: MapMode = "zip",
        **options: Any,
    ) -> MapResult:
        """Run a workflow once for each of many items; options and result are as for `AsyncRunner.map`.

        >>> import orch
        >>> orch.Runner().map(abs, {"x": [-1, 2, -3]}, "x").values
        [1, 2, 3]
        """
        plan = self._checked("map", workflow, options)
        call = partial(self._runner.map, plan, inputs_or_context, map_over, map_mode, **options)
        return self._open(self._within, call)

    def resume(self, run: RunResult | str, workflow: Runnable, /, **options: Any) -> RunResult:
        """Go on with a run that has ended; options, result and errors are as for `AsyncRunner.resume` and `run`."""
        plan = self._checked("resume", workflow, options)
        return self._open(self._within, partial(self._runner.resume, run, plan, **options))

    def iter(self, workflow: Runnable, inputs_or_context: Given = None, /, **options: Any) -> BlockingRun:
        """Run a workflow while looking at its events: a context manager, and in it an iterator of them.

        The event loop is in a thread of its own until the block is left. Options are those of `AsyncRunner.iter`.

        >>> import orch
        >>> with orch.Runner().iter(len, obj="abc") as run:
        ...     states = [event.state.value for event in run]
        >>> states, run.result.value
        (['running', 'running', 'succeeded', 'succeeded'], 3)
        """
        plan = self._checked("iter", workflow, options)
        make = partial(self._runner.iter, plan, inputs_or_context, **options)
        return BlockingRun(self._runner, make, self._backend, self._backend_options)

    def _checked(self, verb: str, workflow: Runnable, options: Mapping[str, Any]) -> Plan:
        """Return the plan of a workflow that may be run here and now."""
        with suppress(anyio.NoEventLoopError):
            current_token()
            cure = "use 'await orch.run(workflow)', or 'await orch.AsyncRunner(…).run(workflow)'"
            cure = cure if verb == "run" else f"use orch.AsyncRunner(…).{verb}(…)"
            raise UnsupportedError(f"Runner.{verb} called inside a running event loop, which it would block; {cure}")
        plan, handlers = compile(workflow), options.get("handlers") or {}
        steps = list(_steps(plan)) if self._strict else []
        if self._strict and isinstance(handlers, Mapping):
            steps += [(f"handler of {name}", signature_of(each)) for name, each in handlers.items() if callable(each)]
        if found := [name for name, signature in steps if signature.is_async]:
            names = f"coroutine functions: {', '.join(map(repr, found[:10]))}"
            raise UnsupportedError(f"Runner(strict=True) takes plain functions only; {names}")
        return plan

    async def _within(self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._runner:
            return await call()


def _steps(plan: Plan) -> Iterator[tuple[str, Signature]]:
    """Yield path and signature of what is called; of a map, of what is called for its items."""
    for node in plan.nodes:
        task = plan.draft.task(node)
        if isinstance(task, Map):
            yield from ((f"{plan.path(node)}[…]/{path}", signature) for path, signature in _steps(compile(task.body)))
        else:
            yield plan.path(node), task.signature
        if task.compensate is not None:
            yield f"compensation of {plan.path(node)}", task.compensate.signature
