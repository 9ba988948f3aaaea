"""`Runner`: the same for synchronous callers. It wraps `AsyncRunner` and opens an event loop for each call."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import current_token

from orch.errors import UnsupportedError
from orch.plan import compile  # noqa: A004 (the verb users know from re)
from orch.result import RunResult
from orch.runners._async import AsyncRunner, Given, Runnable

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
        self._open = partial(anyio.run, backend=backend, backend_options=dict(backend_options or {}))
        self._strict = strict

    def run(self, workflow: Runnable, inputs_or_context: Given = None, /, **options: Any) -> RunResult:
        """Run a workflow to its end; options, inputs as keywords, result and errors are those of `AsyncRunner.run`.

        Raises:
            UnsupportedError: An event loop runs in this thread, or `strict` refuses the workflow. Nothing has run.
        """
        with suppress(anyio.NoEventLoopError):
            current_token()
            cure = "use 'await orch.run(workflow)', or 'await orch.AsyncRunner(…).run(workflow)'"
            raise UnsupportedError(f"Runner.run called inside a running event loop, which it would block; {cure}")
        plan = compile(workflow)
        tasks = [(node, plan.draft.task(node)) for node in plan.nodes] if self._strict else []
        if found := [plan.path(node) for node, task in tasks if task.signature.is_async]:
            names = f"coroutine functions: {', '.join(map(repr, found[:10]))}"
            raise UnsupportedError(f"Runner(strict=True) takes plain functions only; {names}")
        return self._open(self._within, partial(self._runner.run, plan, inputs_or_context, **options))

    async def _within(self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._runner:
            return await call()
