"""`Runner`: the same for synchronous callers. It wraps `AsyncRunner` and opens an event loop for each call."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import current_token

from orch.definition._signature import signature_of
from orch.errors import UnsupportedError
from orch.plan import Plan, compile  # noqa: A004 (the verb users know from re)
from orch.result import RunResult
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

    def resume(self, run: RunResult | str, workflow: Runnable, /, **options: Any) -> RunResult:
        """Go on with a run that has ended; options and result are those of `AsyncRunner.resume`, errors also of `run`."""
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
        steps = [(plan.path(node), plan.draft.task(node).signature) for node in plan.nodes] if self._strict else []
        if self._strict and isinstance(handlers, Mapping):
            steps += [(f"handler of {name}", signature_of(each)) for name, each in handlers.items() if callable(each)]
        if found := [name for name, signature in steps if signature.is_async]:
            names = f"coroutine functions: {', '.join(map(repr, found[:10]))}"
            raise UnsupportedError(f"Runner(strict=True) takes plain functions only; {names}")
        return plan

    async def _within(self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._runner:
            return await call()
