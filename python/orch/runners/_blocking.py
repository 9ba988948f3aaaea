"""`BlockingRun`: a run whose events a synchronous caller goes over, while it goes on in an event loop in a thread."""

from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from orch.event import Event
from orch.result import Pause, RunResult
from orch.runners._async import AsyncRunner
from orch.runners._iter import GraphRun

__all__ = ("BlockingRun",)


class BlockingRun:
    """A run under way, made by `Runner.iter`: a context manager, and inside it an iterator of events.

    It is as `GraphRun`, without `await`: events come in order and none is missing, `respond` answers an `Interrupt`,
    leaving the block ends what is not settled, and a failed run raises there. Its event loop, and the thread that this
    is in, are gone when the block is left.
    """

    def __init__(
        self, runner: AsyncRunner, make: Callable[[], GraphRun], backend: str, backend_options: dict[str, Any]
    ) -> None:
        self._runner, self._make, self._loop = runner, make, (backend, backend_options)
        self._opened = ExitStack()
        self._portal: BlockingPortal | None = None
        self._run: GraphRun | None = None
        self._events: list[Any] = []  # fetched, the next one last

    def __enter__(self) -> Self:
        if self._run is not None:
            raise RuntimeError("this run has begun already: call iter again for another one")
        with ExitStack() as stack:
            backend, options = self._loop
            portal = stack.enter_context(start_blocking_portal(backend, options, name="orch-runner"))
            stack.enter_context(portal.wrap_async_context_manager(self._runner))
            self._run = portal.call(self._make)
            stack.enter_context(portal.wrap_async_context_manager(self._run))
            self._portal, self._opened = portal, stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal = None
        self._opened.__exit__(kind, error, traceback)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if not self._events:
            self._events = self._call(self._fetched)[::-1]
        if not self._events:
            raise StopIteration
        event: Event = self._events.pop()
        return event

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._begun().run_id

    @property
    def result(self) -> RunResult:
        """What is known about the run once it is over; RuntimeError before."""
        return self._begun().result

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """The questions that wait for `respond`."""
        return self._begun().pauses

    @property
    def dropped(self) -> int:
        """How many events were left out for the reader, with `when_full="drop"`."""
        return self._begun().dropped

    def wait(self) -> RunResult:
        """Wait for the end of the run without reading its events; with nothing left but questions it ends PAUSED."""
        result: RunResult = self._call(self._awaited)
        return result

    def respond(self, answer: Any) -> None:
        """Answer an `Interrupt`, as `GraphRun.respond`; from any thread."""
        self._begun().respond(answer)

    def cancel(self, step: str | None = None) -> bool:
        """Cancel the run, or one step, as `GraphRun.cancel`; from any thread."""
        return self._begun().cancel(step)

    def _begun(self) -> GraphRun:
        if self._run is None:
            raise RuntimeError("the run has not begun: write `with runner.iter(…) as run:`")
        return self._run

    def _call(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Await something in the event loop; Ctrl-C in the meantime gives it up."""
        self._begun()
        if self._portal is None:
            raise RuntimeError("the run is over, and its events are gone: result.trace has them all")
        future = self._portal.start_task_soon(function)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _fetched(self) -> list[Event]:
        run = self._begun()
        try:
            first = await run.__anext__()
        except StopAsyncIteration:
            return []
        return [first, *run._fetched]  # noqa: SLF001 (what is there already needs no second way into the loop)

    async def _awaited(self) -> RunResult:
        run = self._begun()
        run._reader = None  # noqa: SLF001 (whoever waits here reads nothing meanwhile)
        return await run.wait()
