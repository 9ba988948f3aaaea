"""`Runner`: the same for synchronous callers. It wraps `AsyncRunner` and opens an event loop for each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import current_token

from orch.context import Context
from orch.definition import Workflow
from orch.errors import UnsupportedError
from orch.plan import Plan, compile  # noqa: A004 (the verb users know from re)
from orch.result import RunResult
from orch.runners._async import AsyncRunner

__all__ = ("Runner",)


class Runner:
    """Runs workflows for callers that are not async: each call opens an event loop, runs to the end, and closes it.

    Args:
        backend: "asyncio" or "trio".
        backend_options: Passed to `anyio.run`, for instance `{"use_uvloop": True}`.
        strict: Refuse workflows with coroutine functions, which need more than plain threads.
        **configuration: What `AsyncRunner` takes.

    Raises:
        TypeError, ValueError: As `AsyncRunner`.

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

    def run(
        self,
        workflow: Workflow | Plan | Callable[..., Any],
        inputs_or_context: Mapping[str, Any] | Context[Any] | None = None,
        /,
        **options: Any,
    ) -> RunResult:
        """Run a workflow to its end; options, inputs as keywords, result and errors are those of `AsyncRunner.run`.

        Raises:
            UnsupportedError: Called while an event loop runs in this thread, or refused by `strict`. Nothing has
                run.
        """
        _refuse_running_loop()
        plan = compile(workflow)
        if self._strict:
            _refuse_coroutines(plan)
        return self._open(partial(self._runner.run, plan, inputs_or_context, **options))


def _refuse_running_loop() -> None:
    try:
        current_token()
    except anyio.NoEventLoopError:
        return
    raise UnsupportedError(
        "Runner.run called inside a running event loop, which it would block; "
        "use 'await orch.run(workflow)', or 'await orch.AsyncRunner(…).run(workflow)'"
    )


def _refuse_coroutines(plan: Plan) -> None:
    found = [plan.path(node) for node in plan.nodes if plan.draft.task(node).signature.kind == "coroutine"]
    if found:
        names = ", ".join(map(repr, found[:10]))
        raise UnsupportedError(f"Runner(strict=True) takes plain functions only; coroutine functions: {names}")
