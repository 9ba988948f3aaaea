"""Steps that are cached: looked up before their first attempt, and kept after the one that succeeds.

Whatever goes wrong with the cache, a step is carried out as if there was none, and a warning says so: once a task in
the trace of a run, and once a task in the log for each runner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint_if_cancelled

from orch.execution._flights import Turn
from orch.execution._run import Run
from orch.execution._shelf import Shelf
from orch.execution._values import arguments
from orch.plan import Identity, Key, Unhashable

__all__ = ("forget", "keep", "looked_up")

Attempt = Callable[[Key | None], Awaitable[Any]]
_SHOWN = 80  # characters of the way to a value


async def looked_up(run: Run, shelf: Shelf, step: int, identity: Identity, attempt: Attempt) -> Any:
    """Return the value of a step from the cache, or make its first attempt and keep what that gives."""
    key = _key(run, shelf, step, identity)
    if key is None:
        run.schedule.begin(step)
        return await attempt(None)
    flights, at = shelf.of.flights, (shelf.loop, key)
    turn = await flights.board(at)
    if turn != "lead":
        return (await _found(run, shelf, step, key, attempt, look=turn == "look"))[0]
    after: Turn = "lead"  # what others have to do if this fails: the next one tries
    try:
        value, is_there = await _found(run, shelf, step, key, attempt)
        after = "look" if is_there else "alone"
    finally:
        flights.land(at, after)
    return value


async def _found(
    run: Run, shelf: Shelf, step: int, key: Key, attempt: Attempt, *, look: bool = True
) -> tuple[Any, bool]:
    """Return the value, and whether it is in the cache now."""
    if look:
        is_there, value = await _ask(run, shelf, step, key, partial(shelf.of.cache.get, key), otherwise=(False, None))
        if is_there:
            return value, True
    await checkpoint_if_cancelled()  # who was stopped while somebody looked must not begin
    run.schedule.begin(step)
    value = await attempt(key if look else None)
    return value, look and await keep(run, shelf, step, key, value)


async def keep(run: Run, shelf: Shelf, step: int, key: Key, value: object) -> bool:
    """Put a value into the cache; False if it does not take it. Whoever wants the step to end waits for it a while."""
    put = partial(_put, shelf, key, value)
    if not shelf.of.blocks:
        return bool(await _ask(run, shelf, step, key, put, otherwise=False))
    with CancelScope(shield=True, deadline=current_time() + run.options.grace):
        return bool(await _ask(run, shelf, step, key, put, otherwise=False))
    return False


async def forget(run: Run, step: int) -> None:
    """Take what a step has given out of the cache, since it is about to be undone: nobody is to find it any more."""
    shelf, identity, trail = run.shelf, run.plan.rules[step].identity, run.trails[step]
    if shelf is None or identity is None:
        return
    key = trail.key
    if key is None:  # it may be from an earlier run, which this one goes on with
        with suppress(Unhashable):
            key = identity.key(trail.arguments)
    if key is not None:
        await _ask(run, shelf, step, key, partial(shelf.of.cache.discard, key), otherwise=None)


def _put(shelf: Shelf, key: Key, value: object) -> bool:
    shelf.of.cache.set(key, value)
    return True


async def _ask(run: Run, shelf: Shelf, step: int, key: Key, call: Callable[[], Any], *, otherwise: Any) -> Any:
    """Ask the cache, in a thread if it takes its time; what goes wrong is a warning."""
    try:
        return call() if shelf.errands is None else await shelf.errands.do(call)
    except Exception as error:  # noqa: BLE001 (a cache cannot hurt a run, whosever it is)
        _warn(run, shelf, step, key.task, f"is not cached: {type(error).__name__}: {error!s:.500}")
    return otherwise


def _key(run: Run, shelf: Shelf, step: int, identity: Identity) -> Key | None:
    values = arguments(run, step)
    try:
        key = identity.key(values)
    except Unhashable as problem:
        way = problem.path if len(problem.path) <= _SHOWN else f"{problem.path[:_SHOWN]}…"
        _warn(run, shelf, step, identity.name, f"is not cached: {way}: {problem.problem}")
        return None
    key.listen(partial(_warn, run, shelf, step, None))
    return key


def _warn(run: Run, shelf: Shelf, step: int, subject: str | None, message: str) -> None:
    """Tell the trace and the log; what is about a subject, once each."""
    path = run.plan.path(step)
    if subject is None or subject not in shelf.told:
        shelf.told.add(subject or "")
        run.log(step, "warning", f"task {path!r} {message}")
        shelf.of.warn(subject or message, path, message)
