"""Running a workflow once for each of many items: what `AsyncRunner.map` makes of it, and `MapRun`, item by item."""

from collections.abc import Callable, Iterable
from typing import Any, Self

from anyio.lowlevel import checkpoint

from orch.definition import Map, Task, Workflow
from orch.errors import WorkflowError, expect
from orch.event import State
from orch.event._discreet import discreet
from orch.execution import Aside, Items, Outlet, Run, execute
from orch.plan import Plan
from orch.result import MapResult, RunResult

__all__ = ("MapRun", "map_of", "map_result")

_TURN = 64  # results that are fetched before others get their turn


def map_of(
    workflow: Workflow | Plan | Callable[..., Any], over: str | Iterable[str], mode: Any, limit: Any, on_error: Any
) -> Map:
    """Return the map that a caller asks for."""
    expect("map_over", over, Iterable)
    body = workflow.workflow if isinstance(workflow, Plan) else workflow
    body = body if isinstance(body, Workflow) else Task(body)
    return Map(body, over=over if isinstance(over, str) else tuple(over), mode=mode, limit=limit, on_error=on_error)


def map_result(run: Run) -> MapResult:
    """Return what is known about a run that is a map and over."""
    times = run.started, run.time(run.ended)
    known = MapResult(run.run_id, run.plan.workflow.name, run.state, Items(run), run.context, *times)
    return discreet(known, run.options.sanitize)


class MapRun:
    """A map under way, made by `AsyncRunner.map_iter`: an async context manager, in it an async iterator of results.

    Each is a pair of the number of the item and its `RunResult`, in the order in which they end. What was fetched is
    not kept, and nothing is begun that would have to wait for the reader: a thousand items at a time are under way or
    wait to be fetched. Leaving the block ends the map: what is not settled by then is cancelled.
    """

    def __init__(self, run: Run, known: Callable[[Run], RunResult], *, raises: bool) -> None:
        self._run, self._known, self._raises = run, known, raises
        self._outlet = run.outlet = Outlet()
        self._failure: BaseException | None = None
        self._is_begun = self._is_over = False
        self._fetched = 0
        self._aside = Aside()

    @property
    def run_id(self) -> str:
        """The id of the run; that of an item is `run_id[index]`."""
        return self._run.run_id

    async def __aenter__(self) -> Self:
        if self._is_begun:
            raise RuntimeError(f"run {self.run_id!r} has begun already: call map_iter again for another one")
        self._is_begun = True
        await self._aside.start(self._go)
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._outlet.lift()
        if self._run.schedule.is_active():
            self._run.cancel()
            self._run.stop_all()
            self._run.leave()
        await self._aside.join()
        failure = self._failure
        if failure is not None and (error is None or not isinstance(failure, Exception)):
            raise failure
        if error is None and self._raises and self._run.state is State.FAILED:
            self._raise()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, RunResult]:
        if not self._is_begun:
            raise RuntimeError("the map has not begun: write `async with runner.map_iter(…) as items:`")
        while True:
            if (found := self._outlet.fetch()) is not None:
                self._fetched += 1
                if self._fetched % _TURN == 0:
                    await checkpoint()
                return found
            if self._is_over:
                raise StopAsyncIteration
            await self._outlet.more()

    def _raise(self) -> None:
        run, index = self._run, self._outlet.failed
        where = "" if index is None else f" at item {index}"
        errors = [error for error in run.errors.values() if isinstance(error, Exception)]
        raise WorkflowError(f"map of {run.plan.workflow.name!r} failed{where}", errors, self._known(run), index)

    async def _go(self) -> None:
        try:
            await execute(self._run)
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 (it surfaces bare from the block)
            self._failure = error
        finally:
            self._is_over = True
            self._outlet.wake()
