"""`GraphRun`: a run that goes on while its caller looks at its events, and may be told to end, whole or in part."""

from collections import deque
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Self

from anyio import Event as Signal
from anyio import from_thread
from anyio.lowlevel import current_token

from orch.errors import close_matches, did_you_mean
from orch.event import Event
from orch.execution import Aside, Run, execute
from orch.result import RunResult

__all__ = ("GraphRun",)

_AHEAD = 10_000  # events that a run may be ahead of its reader


class GraphRun:
    """A run under way, made by `AsyncRunner.iter`; an async context manager, and inside it an iterator of events.

    Events come in order, the last one is the run's own. Whoever reads slowly slows the run down, once it is 10 000
    events ahead; whoever only awaits `wait()` does not. Leaving the block ends the run: what is not settled by then is
    cancelled, and what was is in `result`.
    """

    def __init__(
        self, begin: Callable[[Callable[[Event], object]], Run], known: Callable[[Run], RunResult], *, raises: bool
    ) -> None:
        self._run, self._known = begin(self._take), known
        self._raises = raises
        self._events: deque[Event] = deque()
        self._more, self._less, self._over = Signal(), Signal(), Signal()
        self._is_read = True
        self._result: RunResult | None = None
        self._failure: BaseException | None = None
        self._aside = Aside()

    async def __aenter__(self) -> Self:
        self._token, self._thread = current_token(), get_ident()
        await self._aside.start(self._go)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ignore()
        self._cancel(None)
        await self._aside.join()
        if error is None and self._failure is not None:
            raise self._failure
        if error is None and self._raises and self._result is not None:
            self._result.raise_for_failure()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._over.is_set():
                raise StopAsyncIteration
            await self._more.wait()
            self._more = Signal()
        self._less.set()
        return self._events.popleft()

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._run.run_id

    @property
    def result(self) -> RunResult:
        """What is known about the run once it is over; RuntimeError before."""
        if self._result is None:
            raise RuntimeError("the run is not over: read its events to the end, or await run.wait()")
        return self._result

    async def wait(self) -> RunResult:
        """Wait for the end of the run without reading its events, and return what is known about it.

        An interrupt that ended the run (KeyboardInterrupt, SystemExit) is raised, here and by leaving the block.
        """
        self._ignore()
        await self._over.wait()
        if self._failure is not None:
            raise self._failure
        return self.result

    def cancel(self, step: str | None = None) -> bool:
        """Cancel the run or, given its path or unique name, one step; from any thread.

        What a cancelled step was to give to others they cannot have: they are skipped. Its other neighbours go on.

        Returns:
            Whether there was something to cancel: False if it had ended already.

        Raises:
            KeyError: There is no such step.
        """
        node = None if step is None else self._node(step)
        if get_ident() == self._thread:
            return self._cancel(node)
        return from_thread.run_sync(self._cancel, node, token=self._token)

    def _node(self, step: str) -> int:
        plan = self._run.plan
        paths = {path: node for node, path in plan.paths.items()}
        found = [paths[step]] if step in paths else [node for node in plan.nodes if plan.name(node) == step]
        if len(found) != 1:
            several = f"{len(found)} steps are called {step!r}, cancel one by its path"
            hint = did_you_mean(close_matches(step, paths), "; {}")
            raise KeyError(several if found else f"no step is called {step!r}{hint}")
        return found[0]

    def _cancel(self, node: int | None) -> bool:
        run = self._run
        if not run.schedule.is_active():
            return False
        if node is not None:
            stopped = run.cancel_step(node)
        else:
            stopped = not run.cancelled
            run.cancel()
            run.stop_all()
        run.leave()
        return stopped

    async def _go(self) -> None:
        try:
            await execute(self._run)
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 (it surfaces bare from the block)
            self._failure = error
        finally:  # a cancellation goes on to the caller; what became of the run is known nevertheless
            self._result = self._known(self._run)
            self._over.set()
            self._more.set()

    async def _take(self, event: Event) -> None:
        while self._is_read and len(self._events) >= _AHEAD:
            await self._less.wait()
            self._less = Signal()
        if self._is_read:
            self._events.append(event)
            self._more.set()

    def _ignore(self) -> None:
        """Nobody will read what comes from now on, so the run waits for nobody."""
        self._is_read = False
        self._less.set()
