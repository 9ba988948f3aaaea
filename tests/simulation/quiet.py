"""What a run in virtual time can do without: sockets of trio, which nothing from outside could wake, and starting it.

To start a trio and to end it takes as long as a fifth of a run, so one is kept from run to run. It is as new for each:
its time begins at 0, chance is drawn from the seed, and nothing is left of the run before, or it is not kept.
"""

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from random import Random
from typing import Any

import sniffio
import trio
from trio._core import _run as scheduler
from trio._core._wakeup_socketpair import WakeupSocketpair

__all__ = ("Trio", "quiet")

_OWN = 3  # tasks: its first, the one that hears the bell, and ours


class _Io:
    """In place of what polls sockets: it only knows the bell."""

    def __init__(self) -> None:
        self.sleeper: Any = None  # the task that waits for the bell
        self.bell: Any = None

    def get_events(self, _: float) -> bool:
        return self.bell is not None and self.bell.rung

    def process_events(self, rung: bool) -> None:
        if rung:
            sleeper, self.sleeper, self.bell = self.sleeper, None, None
            trio.lowlevel.reschedule(sleeper)

    def close(self) -> None:
        """There is nothing to close."""


class _Bell:
    """In place of a pair of sockets: what wakes trio when a thread wants something of it."""

    def __init__(self) -> None:
        self.rung = False

    def wakeup_thread_and_signal_safe(self) -> None:
        self.rung = True

    async def wait_woken(self) -> None:
        io: Any = scheduler.GLOBAL_RUN_CONTEXT.runner.io_manager
        io.sleeper, io.bell = trio.lowlevel.current_task(), self

        def abort(_: object) -> trio.lowlevel.Abort:
            io.sleeper = io.bell = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self.rung = False

    def wakeup_on_signals(self) -> None:
        """They need wake nobody, as nobody sleeps."""

    def close(self) -> None:
        """There is nothing to close."""


_BELL = {name: method for name, method in vars(_Bell).items() if callable(method)}


@contextmanager
def quiet(backend: str) -> Iterator[None]:
    """Have trio started without sockets; say which event loop it is, so that anyio need not find out each time."""
    names: dict[str, Any] = scheduler.__dict__
    manager, socketpair = names["TheIOManager"], {name: WakeupSocketpair.__dict__[name] for name in _BELL}
    library, sniffio.thread_local.name = sniffio.thread_local.name, backend
    names["TheIOManager"] = _Io
    for name, method in _BELL.items():
        setattr(WakeupSocketpair, name, method)
    try:
        yield
    finally:
        names["TheIOManager"], sniffio.thread_local.name = manager, library
        for name, method in socketpair.items():
            setattr(WakeupSocketpair, name, method)


class Trio:
    """A trio for one job after another. After one that fails it is over; to be used within `quiet` only.

    It does what `trio.run` does, but when a job is done, in place of the next turn of its event loop it returns.
    """

    def __init__(self, clock: Any) -> None:
        self.is_over = False
        self._job: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self._is_idle = self._is_asleep = False
        self._value: Any = None
        self._events: Any = None
        library: Any = scheduler
        self._runner: Any = library.setup_runner(clock, [], False, True)  # noqa: FBT003 (its names may change)
        self._runner.instruments = {}  # nobody looks on, and to ask a dict costs nothing
        self._turns: Any = library.unrolled_run(self._runner, self._main, ())
        self._hooks = sys.get_asyncgen_hooks()
        self._go_on()
        self._context: Context = self._runner.main_task.context.copy()
        self._suspend()

    def run(self, job: Callable[[], Coroutine[Any, Any, Any]], seed: int) -> Any:
        """Run an async function to its end, as if trio had been started for it."""
        chance = Random(seed)
        chance.shuffle([0, 0])  # as trio does with the first two tasks
        names: dict[str, Any] = scheduler.__dict__
        before = {name: names[name] for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r")}
        names.update(_ALLOW_DETERMINISTIC_SCHEDULING=True, _r=chance)
        try:
            self._resume(job)
            self._go_on()
        finally:
            names.update(before)
            self._suspend()
        value, self._value = self._value, None
        return value

    def end(self) -> None:
        """Let it come to its end."""
        if not self.is_over:
            self._resume(None)
            self._go_on()

    async def _main(self) -> None:
        while True:
            self._is_idle = True
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
            self._is_idle = False
            if self._job is None:
                return
            job, self._job = self._job, None
            self._value = await job()

    def _resume(self, job: Callable[[], Coroutine[Any, Any, Any]] | None) -> None:
        runner = self._runner
        if self._is_asleep:
            self._is_asleep = False
            scheduler.GLOBAL_RUN_CONTEXT.runner = runner
            sys.set_asyncgen_hooks(*self._hooks)
            runner.ki_manager.install(runner.deliver_ki, False)  # noqa: FBT003 (as above)
        self._job = job
        runner.deadlines._heap.clear()  # what is there is of scopes that were left
        runner.main_task.context = self._context.copy()
        runner.reschedule(runner.main_task)

    def _go_on(self) -> None:
        """Let it have its turns until it is idle, or over."""
        runner = self._runner
        try:
            while not (self._is_idle and not runner.runq and not self._events):
                self._events = runner.io_manager.get_events(self._turns.send(self._events))
        except BaseException as error:
            self.is_over = True
            self._turns.close()
            if not isinstance(error, StopIteration):
                raise
            runner.main_task_outcome.unwrap()

    def _suspend(self) -> None:
        """Leave no trace of it, so that another trio may run in the meantime; one with something to do is ended."""
        runner = self._runner
        if self.is_over:
            return
        if len(runner.tasks) > _OWN or runner.asyncgens.alive or runner.deadlines._active:
            self.end()
            return
        self._is_asleep = True
        runner.ki_manager.close()
        sys.set_asyncgen_hooks(*runner.asyncgens.prev_hooks)
        del scheduler.GLOBAL_RUN_CONTEXT.runner
