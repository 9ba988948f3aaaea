"""`GraphRun`: a run that goes on while its caller looks at its events, and may be told to end, whole or in part."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from threading import get_ident
from types import NoneType, TracebackType
from typing import Any, Self

from anyio import Event as Signal
from anyio import from_thread, get_current_task
from anyio.lowlevel import checkpoint, current_token

from orch.errors import close_matches, did_you_mean, expect
from orch.event import Event, State
from orch.execution import Aside, Run, Stream, execute
from orch.result import Pause, RunResult

__all__ = ("GraphRun",)


class GraphRun:
    """A run under way, made by `AsyncRunner.iter`; an async context manager, and inside it an iterator of events.

    Events come in order and none is missing; the last one is the run's own. Whoever reads slowly slows the run down,
    once it is 10 000 events ahead; whoever only awaits `wait()` does not, and finds every event later. Another `async
    for` goes on where the last one stopped. With `when_full="drop"` the run waits for no reader: chunks, and items of
    maps, that are more than 10 000 events old when he comes are left out, and counted in `dropped`.

    An `Interrupt` that no handler answers is answered by `respond`. While somebody reads the events, the run waits for
    that. It ends PAUSED if nothing else goes on when its end is awaited (`wait()`) or the block is left.

    Leaving the block ends the run: what is not settled by then is cancelled, and what was is in `result`.
    """

    def __init__(self, run: Run, known: Callable[[Run], RunResult], *, raises: bool, drops: bool = False) -> None:
        self._run, self._known, self._raises = run, known, raises
        self._stream = Stream(run, drops=drops)
        self._fetched: Iterator[Event] = iter(())
        self._is_read = False  # at this moment, by a task that waits for more
        self._reader: int | None = None  # which task has read, and may answer what it reads
        run.patience = 1
        self._over = Signal()
        self._result: RunResult | None = None
        self._failure: BaseException | None = None
        self._token, self._thread = current_token(), get_ident()
        self._aside = Aside()
        self._is_begun = False

    async def __aenter__(self) -> Self:
        if self._is_begun:
            raise RuntimeError(f"run {self.run_id!r} has begun already: call iter again for another one")
        self._is_begun = True
        await self._aside.start(self._go)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stream.lifted(), self._unattended():
            if self._run.is_going:
                self._cancel(None)
            await self._aside.join()
        failure, result = self._failure, self._result
        if failure is not None and (error is None or not isinstance(failure, Exception)):
            raise failure
        if error is None and self._raises and result is not None:
            result.raise_for_failure()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self._check_begun()
        for event in self._fetched:
            return event
        if self._is_read:
            raise RuntimeError("two tasks read the events of one run: give the second one a subscriber")
        self._is_read = True
        try:
            self._fetched = iter(await self._fetch())
        finally:
            self._is_read = False
        return next(self._fetched)

    async def _fetch(self) -> list[Event]:
        """Return the next events; whoever reads without ever waiting lets the run go on in here."""
        while True:
            if self._reader is None or self._run.asked:
                self._reader = get_current_task().id
            if self._stream.is_ready:
                await checkpoint()
            elif self._over.is_set():
                raise StopAsyncIteration
            else:
                await self._stream.more()
            if events := self._stream.fetch():
                return events

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._run.run_id

    @property
    def dropped(self) -> int:
        """How many events were left out for the reader, with `when_full="drop"`: where `seq` has gaps."""
        return self._stream.dropped

    @property
    def result(self) -> RunResult:
        """What is known about the run once it is over; RuntimeError before."""
        if self._result is None:
            what = "the run is not over: read its events to the end, or await run.wait()"
            raise self._failure or RuntimeError(what)
        return self._result

    async def wait(self) -> RunResult:
        """Wait for the end of the run without reading its events, and return what is known about it.

        With open questions, and nothing else to do, the run ends PAUSED, unless another task reads the events: that one
        may answer. An interrupt that ended the run (KeyboardInterrupt, SystemExit) is raised, here and by leaving the
        block.
        """
        self._check_begun()
        is_alone = self._reader in (None, get_current_task().id)
        with self._stream.lifted(), self._unattended() if is_alone else nullcontext():
            await self._over.wait()
        if self._failure is not None:
            raise self._failure
        return self.result

    @contextmanager
    def _unattended(self) -> Generator[None]:
        """Let the run end PAUSED once nothing but questions is left."""
        self._run.patience -= 1
        self._run.notice()
        try:
            yield
        finally:
            self._run.patience += 1

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """The questions that wait for `respond`; those that a handler answers are not among them."""
        return tuple(self._run.open_questions().values())

    def respond(self, answer: Any) -> None:
        """Answer an `Interrupt`; from any thread.

        Args:
            answer: What is answered to the only open question; or a mapping of the names or paths of questions to
                their answers. So an answer that is a mapping itself is given as `{name: {…}}`.

        Raises:
            LookupError: There is no such question, or it is not open.
            ValueError: It has been answered already, it may be one of several, or the answer is no possible value.
            TypeError: The answer is not of the type the question asks for. The question stays open.
        """
        self._check_begun()
        if get_ident() == self._thread:
            self._run.respond(answer)
            return
        try:
            from_thread.run_sync(self._run.respond, answer, token=self._token)
        except RuntimeError:  # the event loop has ended, and the run before it
            if not self._over.is_set():
                raise
            raise LookupError(f"run {self.run_id!r} is over, and takes no answer any more") from None

    def cancel(self, step: str | None = None) -> bool:
        """Cancel the run or, given its path or unique name, one step; from any thread.

        What a cancelled step was to give to others they cannot have: they are skipped. Its other neighbours go on.

        Returns:
            Whether there was something to cancel: False if it had ended already.

        Raises:
            KeyError: There is no such step.
        """
        expect("step", step, str, NoneType)
        node = None if step is None else self._node(step)
        if get_ident() == self._thread:
            return self._cancel(node)
        return self._run.schedule.is_active() and self._cancel_from_afar(node)

    def _cancel_from_afar(self, node: int | None) -> bool:
        try:
            return from_thread.run_sync(self._cancel, node, token=self._token)
        except RuntimeError:  # the event loop has ended in this very moment, and the run before it
            is_paused = self._result is not None and self._result.state is State.PAUSED
            if self._run.schedule.is_active() and not is_paused:
                raise
            return False

    def _check_begun(self) -> None:
        if not self._is_begun:
            raise RuntimeError("the run has not begun: write `async with runner.iter(…) as run:`")

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
        if run.is_closed or all(State.from_code(run.schedule.state(each)).is_final for each in run.plan.nodes):
            return False  # at most compensations are left, which are not to be cut short
        if node is not None:
            stopped = not run.cancelled and run.cancel_step(node)
        else:
            stopped = not run.cancelled
            run.cancel()
            run.stop_all()
        run.leave()
        return stopped

    async def _go(self) -> None:
        try:
            await execute(self._run, self._stream)
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 (it surfaces bare from the block)
            self._failure = error
        finally:
            if not self._run.schedule.is_active() or self._run.state is State.PAUSED:
                self._result = self._known(self._run)
            self._over.set()
            self._stream.wake()
