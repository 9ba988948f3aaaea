"""Worker threads of one run: plain functions off the event loop.

A thread is a lane too: it takes the next ready step of its kind from the same schedule, calls it, records the
result and goes on, so that a thousand small functions do not cost a thousand hops between loop and threads. The
loop is only woken for what it alone may do (react to failures, await, start lanes, end the run), and one wake-up
serves all that has come up.

Threads are daemons, named, at most `size`, started when steps are ready and nobody is idle, and gone when the run
ends. A body that will not end is waited for until the grace is over; then it is abandoned: what it returns, should
it, is dropped.

Steps with policies are no business of these lanes: their attempts run on the loop, and only hand the body over, as a
`Job`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from typing import Any

from anyio._core._eventloop import claim_worker_thread, set_current_async_library
from anyio.lowlevel import current_token

from orch.event import State
from orch.execution._desk import Desk
from orch.execution._failure import foreign, is_foreign, lament, without_cancellation
from orch.execution._job import Job
from orch.execution._lane import Begun, awaited
from orch.execution._leash import Leash
from orch.execution._run import IDLE, LOOP, REACT, THREAD, Lane, Run
from orch.execution._values import arguments

__all__ = ("Threads",)

_LOOK, _GO_HOME = True, False  # what an idle thread is told
_logger = logging.getLogger("orch")


class _Worker(threading.Thread):
    def __init__(self, main: Callable[[_Worker], None], leash: Leash, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.main = main
        self.leash = leash

    def run(self) -> None:
        try:
            self.main(self)
        finally:
            del self.main  # as a Thread forgets its target: no cycle is to be left


class Threads:
    """The threads of one run; what they want of the loop they tell its desk."""

    def __init__(self, run: Run, desk: Desk, start: Callable[[Begun], Lane]) -> None:
        self.run = run
        self.desk = desk
        self._start = start  # a lane that awaits what a plain function returned
        self._context = run.context_vars.copy()
        self._context.run(set_current_async_library, None)  # as anyio does: there is no event loop in a worker thread
        self.stopping: set[int] = set()  # steps in threads that somebody wants to end
        self._token = current_token()
        self._closed = False
        self._lasting: dict[int, Callable[[], object]] = {}  # what to do when the body of an abandoned step ends
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._told: SimpleQueue[bool] = SimpleQueue()
        self._threads: set[_Worker] = set()
        self._gone: set[_Worker] = set()
        self._busy: dict[object, _Worker] = {}  # by the step or job they are in
        self._idle = 0
        run.grow, run.stop_thread, run.hand_over, run.tell = self.grow, self.stop, self.hand_over, self.tell

    # -- on the loop -----------------------------------------------------------------------------------------------

    def stop(self, node: int) -> None:
        """Ask for the end of a step in a thread, which nobody can enforce: it is waited for until its grace is over."""
        self.stopping.add(node)
        self.tell(node)
        self.desk.later(self.run.options.grace, partial(self._abandon, node))

    def tell(self, body: object) -> None:
        """Tell a step or job that it is to end, should it ask; nobody else may be told so."""
        worker = self._busy.get(body)
        if worker is not None:
            with worker.leash.lock:
                if self._busy.get(body) is worker:
                    worker.leash.pull()

    def adopt(self, begun: Begun) -> None:
        """Await what a plain function returned as the end of its step, unless that was to end."""
        lane = self._start(begun)
        if begun[0] in self.stopping:
            self.stopping.remove(begun[0])
            lane.stop()

    def _abandon(self, node: int) -> None:
        """Give up waiting for a step whose grace is over: its thread ends with its body."""
        if node not in self.stopping or node in self.run.lanes:
            return
        with suppress(ValueError):  # it has ended, perhaps in this very moment
            self._lasting[node] = self.run.held(node)
            self.run.abandoned.append(node)
            try:
                self.run.schedule.cancel(node)
            except ValueError:
                self.run.abandoned.remove(node)
                self._lasting.pop(node, _nothing)()

    def _obeyed(self, node: int) -> None:
        if self.run.schedule.state(node) == State.RUNNING.code:
            self.run.schedule.cancel(node)
        else:  # it was abandoned in this very moment
            self._let_go(node)

    def hand_over(self, job: Job, *, reserved: bool = False) -> None:
        """Have a thread do a job, before any step; a reserved one gets a thread of its own if all are busy."""
        job.clean = self.run.options.sanitize
        with self._lock:
            self._jobs.append(job)
            if self._idle and not self._closed:
                self._idle -= 1
                self._told.put(_LOOK)
                return
            if not reserved and len(self._threads) >= self.run.options.threads:
                return
            thread = self._hired()
        self._start_thread(thread)

    def leaving(self) -> bool:
        """Send idle threads home and say whether some are still on their way; the abandoned end with their bodies."""
        with self._lock:
            self._closed = True
            for _ in range(self._idle):
                self._told.put(_GO_HOME)
            self._idle = 0
        if self._threads.difference(self._busy.values(), self._gone):
            return True
        for thread in tuple(self._gone):
            thread.join()  # it has done its last act: this takes microseconds
        return False

    # -- anywhere --------------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """Have somebody take the steps that are ready: wake an idle thread, or start one more."""
        if self.run.crowded() or not self.run.schedule.ready(THREAD):
            return
        with self._lock:
            if self._idle and not self._closed:
                self._idle -= 1
                self._told.put(_LOOK)
            if self._idle or self._closed or len(self._threads) >= self.run.options.threads:
                return
            thread = self._hired()
        self._start_thread(thread)

    def _start_thread(self, thread: _Worker) -> None:
        """Start a thread; if the machine gives no more, the others have to do, if there are any."""
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            if not self._threads:
                raise

    def _hired(self) -> _Worker:
        thread = _Worker(self._main, Leash(self._token), f"orch-worker-{len(self._threads) + 1}")
        self._threads.add(thread)
        return thread

    # -- in a thread -----------------------------------------------------------------------------------------------

    def _main(self, this: _Worker) -> None:
        this.leash.put_on()
        with claim_worker_thread(self._token.backend_class, self._token.native_token):  # for anyio.from_thread
            step = self._next(this)
            while step >= 0 or self._park(step):
                step = self._step(step, this) if step >= 0 else self._next(this)
        self._gone.add(this)
        self.desk.wake()

    def _next(self, this: _Worker) -> int:
        """Do the jobs there are, then take a step."""
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:  # somebody was faster
                break
            self._begin(job, this)
            job.do(self.desk.send)
            del self._busy[job]
            self.desk.post(job.finish)
        return self.run.schedule.take(THREAD)

    def _begin(self, body: object, this: _Worker) -> None:
        with this.leash.lock:  # its own: threads do not wait for each other here
            self._busy[body] = this
            if this.leash.is_pulled:  # for the body before
                this.leash.put_on()

    def _park(self, code: int) -> bool:
        """Wait for work; False: go home. Idleness is on record before the last look, so that no wake-up is lost."""
        with self._lock:
            if self._closed:
                return False
            self._idle += not self._jobs
            if self._jobs:
                return True
        if code == REACT or self.run.schedule.ready(LOOP) or not self.run.is_going:
            self.desk.wake()
        if code == IDLE:
            self.grow()
        return self._told.get()

    def _step(self, step: int, this: _Worker) -> int:
        run = self.run
        self._begin(step, this)
        if step in run.abandoned:  # between being taken and now: it need not begin
            del self._busy[step]
            self._let_go(step)
            return self._next(this)
        if run.watched:  # whoever watches wants to see it now
            self.desk.wake()
        self.grow()
        context = self._context.copy()
        try:
            value = context.run(run.plan.calls[step], *arguments(run, step))  # type: ignore[arg-type] # no join is taken
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is the outcome of the step)
            del self._busy[step]  # before the desk can hear of it: who is busy when the run ends counts as abandoned
            self._failed(step, error)
        else:
            if not hasattr(type(value), "__await__"):
                return self._succeeded(step, value)
            del self._busy[step]
            self._returned(step, value, context)
        return self._next(this)

    def _returned(self, step: int, value: Any, context: Context) -> None:
        """Leave an awaitable to the loop; one that came too late is closed, so that nobody misses its end."""
        if step in self.run.abandoned:
            getattr(value, "close", _nothing)()
            self._let_go(step)
        else:
            self.desk.send(partial(self.adopt, (step, awaited(value), context)))

    def _let_go(self, step: int) -> None:
        """Give back what an abandoned step has kept while its body lasted."""
        self.desk.send(self._lasting.pop(step, _nothing))

    def _succeeded(self, step: int, value: object) -> int:
        run = self.run
        run.values[step] = value
        del self._busy[step]
        try:
            if run.crowded() or self._jobs:
                run.schedule.done(step)
                following = IDLE
            else:
                following = run.schedule.done_take(step, THREAD)
        except ValueError:  # abandoned: the step is CANCELLED by now, and stays so
            run.values[step] = None
            _logger.warning("task %r returned after it was abandoned; its value is dropped", run.plan.path(step))
            self._let_go(step)
            return IDLE
        if run.watched or run.schedule.ready(LOOP):
            self.desk.wake()
        return following

    def _failed(self, step: int, error: BaseException) -> None:
        run = self.run
        error = without_cancellation(error, run.cancelled_class)
        told = step in self.stopping and isinstance(error, run.cancelled_class)  # it has asked whether it is to end
        if not told and (isinstance(error, run.cancelled_class) or is_foreign(error)):  # nobody can cancel a thread
            error = foreign(error)
        if step in run.abandoned:
            what, level = "task %r failed after it was abandoned", logging.WARNING
            lament(run.options.sanitize, error, what, run.plan.path(step), level=level)
            self._let_go(step)
        elif told:
            self.desk.messages.append(partial(self._obeyed, step))
        elif isinstance(error, Exception):
            run.fail(step, error)
            if step in run.abandoned:  # in this very moment
                self._let_go(step)
        else:
            self.desk.messages.append(partial(run.interrupt, step, error))
        self.desk.wake()


def _nothing() -> None: ...
