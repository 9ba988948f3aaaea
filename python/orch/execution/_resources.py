"""Resources: each is opened once, by the first who needs it, and entered and left in one task of its own.

A lane may end before what one of its steps has opened, and whoever leaves a cancel scope must be the task that entered
it. So each resource has an owner, a task that is shielded from the cancellation of the run: it opens, waits to be told
to leave, and closes. What it raises is handed to those who use the resource, and never travels through a task group.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, cast

import attrs
from anyio import CancelScope, create_task_group, current_time, get_cancelled_exc_class
from anyio import Event as Signal

from orch.definition import Resource
from orch.event import LogEvent
from orch.event._discreet import Sanitizer
from orch.execution._failure import annotate, foreign, is_foreign, lament, unwrapped, without_cancellation
from orch.execution._managed import managed
from orch.execution._protected import protected
from orch.execution._run import Run
from orch.policies import underlying

__all__ = ("Keeper", "Resources")

Spawn = Callable[..., object]  # starts a task, as `start_soon` does


@attrs.define(eq=False)
class Held:
    """One resource that is being opened, is open, or was."""

    resource: Resource[Any]
    value: Any = None
    error: BaseException | None = None
    trace: TracebackType | None = None  # that of the error
    is_open: bool = False  # whether it has been opened
    waiting: int = 0  # who waits for it to be opened
    users: set[Held | Resources] = attrs.field(factory=set)
    is_broken: bool = False  # whether something it uses is gone
    opening: CancelScope = attrs.field(factory=lambda: CancelScope(shield=True))  # to be cancelled if nobody waits
    life: CancelScope = attrs.field(factory=CancelScope)  # in it, and shielded from it once it is open
    ready: Signal = attrs.field(factory=Signal)  # it is open, or over
    leave: Signal = attrs.field(factory=Signal)  # it is to be closed
    over: Signal = attrs.field(factory=Signal)

    @property
    def is_sound(self) -> bool:
        """Whether it can be used, or will be once it is open."""
        return not self.is_broken and self.error is None and not self.over.is_set()

    @property
    def is_withdrawn(self) -> bool:
        """Whether it is no longer to be opened; it may be open nevertheless when it is ready."""
        return self.opening.cancel_called and not self.ready.is_set()

    async def opened(self) -> None:
        """Wait until it is open or over; when nobody waits any more it is not to be opened."""
        self.waiting += 1
        try:
            await self.ready.wait()
        finally:
            self.waiting -= 1
            if not self.waiting and not self.ready.is_set():
                self.opening.cancel()

    def lose(self) -> None:
        """Tell all who use it, be it through another, that it could not be opened or is gone."""
        told, left = set[object](), list[Held]([self])
        while left:
            for user in left.pop().users - told:
                told.add(user)
                if isinstance(user, Held):
                    user.is_broken = True
                    left.append(user)
                else:
                    user.lost(self)


class Pool:
    """Resources that are open for equally long."""

    def __init__(self, start: Spawn, grace: float) -> None:
        self._start = start
        self._grace = grace
        self._held: dict[Resource[Any], Held] = {}  # the present ones
        self._begun: dict[Held, None] = {}  # those that are not over, in order: the opened ones last, as they opened
        self.problems: list[BaseException] = []  # of closing

    async def hold(self, resource: Resource[Any], user: Held | Resources) -> Held:
        """Return a resource that is open, or could not be opened; who else asks for it meanwhile gets the same."""
        while True:
            held = self._held.get(resource)
            if held is None or not held.is_sound:
                held = self._held[resource] = Held(resource)
                self._begun[held] = None
                self._start(self._own, held)
            if not held.is_withdrawn:
                held.users.add(user)
                if not held.ready.is_set():
                    await held.opened()
                return held
            await held.ready.wait()

    def context(self) -> object:
        """Return the Context with which resources are opened."""
        return None

    def part(self, user: Held | Resources) -> None:
        """Hear that somebody uses nothing of it any more."""
        for held in self._begun:
            held.users.discard(user)

    async def close(self) -> None:
        """Close what is open, the last that was opened first, each in as much time as the grace says."""
        for held in [held for held in self._begun if not held.is_open]:
            held.opening.cancel()
            await held.ready.wait()
        while self._begun:
            held = next(reversed(self._begun))
            held.life.deadline = current_time() + self._grace
            held.leave.set()
            await held.over.wait()

    async def _own(self, held: Held) -> None:
        """See one resource from its beginning to its end; the task for it alone."""
        error: BaseException | None = None
        name = held.resource.name
        try:
            with held.opening, held.life:
                await self._live(held)
            if held.life.cancelled_caught:
                cure = "give the runner a longer grace=, or it less to do"
                error = TimeoutError(f"resource {name!r} was not closed within {self._grace:g} s: {cure}")
            elif held.opening.cancelled_caught and held.waiting:
                error = RuntimeError(f"resource {name!r} was not opened: what it was to last for is over")
        except BaseException as raised:  # noqa: BLE001 (whatever it is, it is for those who use the resource)
            error = raised
        del self._begun[held]
        if error is not None:
            self._failed(held, _meaning(error))
        held.value = None
        if held.resource.uses:
            self.part(held)
        held.ready.set()
        held.over.set()

    async def _live(self, held: Held) -> None:
        resource, values = held.resource, dict[str, Any]()
        for name, used in resource.uses:
            inner = await self.hold(used, held)
            if inner.error is not None:
                raise inner.error
            values[name] = inner.value
        call = resource.factory(values, self.context())
        async with managed(resource, call, self._grace) as held.value:
            held.life.shield = held.is_open = True
            del self._begun[held]
            self._begun[held] = None  # the last one now
            held.ready.set()
            await held.leave.wait()
        if not held.leave.is_set():
            raise RuntimeError(f"resource {resource.name!r} ended by itself, while it was in use")

    def _failed(self, held: Held, error: BaseException) -> None:
        name, is_wanted = held.resource.name, not (held.leave.is_set() or held.is_withdrawn)
        when = "opened" if not held.is_open else "in use" if is_wanted else "closed"
        annotate(error, f"while resource {name!r} was {when}")
        held.error, held.trace = error, error.__traceback__
        if not is_wanted:
            self.problems.append(error)
        elif held.users:
            held.lose()
        else:
            self.missed(error, f"resource {name!r} ended while nobody used it")

    def missed(self, error: BaseException, what: str) -> None:
        """Hear of something that is gone while nobody used it."""
        annotate(error, what)
        self.problems.append(error)


def _meaning(error: BaseException) -> BaseException:
    cancelled = get_cancelled_exc_class()
    error = without_cancellation(error, cancelled)
    if isinstance(error, cancelled) or is_foreign(error):
        return foreign(error)
    return underlying(unwrapped(error)) if isinstance(error, Exception) else error


class Resources(Pool):
    """The resources of one run. They are closed when everything in it has settled, before its last event."""

    def __init__(self, run: Run, start: Spawn, settled: Signal) -> None:
        super().__init__(partial(run.context_vars.copy().run, start), run.options.grace)
        self._run = run
        self._settled = settled
        self._keeper: Keeper | None = run.options.keeper
        self._failures: dict[Resource[Any], Held] = {}
        self._raised: set[int] = set()  # errors, by identity, that a step or the run has failed with
        self._is_used = False

    async def get(self, resource: Resource[Any], *, again: bool) -> Any:
        """Return the value of a resource, which is opened if it is not.

        One that could not be opened, or is gone, is so for the whole run, and its error that of all who ask, unless one
        of them comes `again`, for another attempt.
        """
        known = self._held.get(resource)
        if known is not None and known.is_open and known.error is None:  # as it mostly is
            return known.value
        if not self._is_used:
            self._is_used = True
            self._start(self._see_off)
        if again:
            self._forget(resource)
        held = await self.hold(resource, self)
        if held.error is not None:
            self._raised.add(id(held.error))
            raise held.error.with_traceback(held.trace)  # else it would grow with every step that raises it
        return held.value

    async def hold(self, resource: Resource[Any], user: Held | Resources) -> Held:
        """Return a resource, that of the runner if it has the scope of one and the runner keeps any."""
        if resource in self._failures:
            return self._failures[resource]
        if resource.scope == "runner" and self._keeper is not None:
            self._keeper.runs.add(self)
            return await self._keeper.hold(resource, user)
        return await super().hold(resource, user)

    def context(self) -> object:
        """Return the view of resources: of no step, and what they log is the run's."""
        run = self._run
        return None if run.context is None else run.context._view(None, 0, self._log)  # noqa: SLF001 (made for this)

    def part(self, user: Held | Resources) -> None:
        """Hear that somebody uses nothing of it any more, nor of what the runner keeps."""
        super().part(user)
        if self._keeper is not None:
            self._keeper.part(user)

    def lost(self, held: Held) -> None:
        """Remember that a resource is not to be had; one that was in use takes the run with it."""
        self._failures[held.resource] = held
        if held.is_open and held.error is not None:
            self._raised.add(id(held.error))
            self._run.collapse(held.error)

    def abandoned(self) -> None:
        """Hear that the runner's resources are closed, although this run has not ended."""
        self._run.collapse(RuntimeError("the block of the runner was left, and what it had opened is closed"))

    def _forget(self, resource: Resource[Any]) -> None:
        seen, left = set[Resource[Any]](), [resource]
        while left and self._failures:
            each = left.pop()
            self._failures.pop(each, None)
            left += [used for _, used in each.uses if used not in seen]
            seen.update(used for _, used in each.uses)

    def _log(self, level: str, message: str) -> None:
        clean = self._run.options.sanitize
        self._run.note(LogEvent, "", level, message if clean is None else clean(message))
        self._run.wake()

    async def _see_off(self) -> None:
        """Close everything once the run is settled, whatever it is cancelled by."""
        with CancelScope(shield=True):
            await self._settled.wait()
            await self.close()
        failed = (held.error for held in self._failures.values())  # perhaps when all who waited had just been stopped
        missed = {id(error): error for error in failed if error is not None and id(error) not in self._raised}
        for error in (*missed.values(), *self.problems):
            self._run.spoil(error)
        self.part(self)


for _task in (Pool._own, Resources._see_off):  # noqa: SLF001 (on this page; who waits for them would wait for ever)
    protected(_task)


class Keeper(Pool):
    """The resources of a runner, open until its block ends. Runs may share them; their owners live in the block."""

    def __init__(self, grace: float, sanitize: Sanitizer | None = None) -> None:
        self._group, self._sanitize = create_task_group(), sanitize
        super().__init__(partial(copy_context().run, cast("Spawn", self._group.start_soon)), grace)
        self.runs: set[Resources] = set()  # that use any
        self._alone = Signal()

    async def start(self) -> None:
        """Begin; from now on the caller must get to `end`."""
        await self._group.__aenter__()

    def part(self, user: Held | Resources) -> None:
        """Hear that somebody uses nothing of it any more."""
        super().part(user)
        self.runs.discard(cast("Resources", user))
        if not self.runs:
            self._alone.set()

    def missed(self, error: BaseException, what: str) -> None:
        """Hear of something that is gone while nobody used it: who needs it next opens it anew."""
        lament(self._sanitize, error, what)
        if not isinstance(error, Exception):
            self.problems.append(error)

    async def end(self) -> None:
        """Wait for runs that still use something, unless this is cancelled, and close everything."""
        try:
            while self.runs:
                self._alone = Signal()
                await self._alone.wait()
        finally:
            for run in tuple(self.runs):
                run.abandoned()
            with CancelScope(shield=True):
                await self.close()
            await self._group.__aexit__(None, None, None)

    def complain(self, error: BaseException | None) -> None:
        """Raise what went wrong while things were closed; if the block has failed, its `error` gets a note of that."""
        if not self.problems:
            return
        if error is None:
            one, *more = self.problems
            raise BaseExceptionGroup("several resources of the runner failed", self.problems) if more else one
        for problem in self.problems:
            lament(self._sanitize, problem, "a resource of the runner failed")
            annotate(error, f"after it: {problem!r}")
            if not isinstance(problem, Exception):
                raise problem
