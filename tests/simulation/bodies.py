"""What the functions of a simulated definition do."""

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import orch
from tests.simulation import threads
from tests.simulation.ledger import Ledger
from tests.simulation.plans import Step, Undo

__all__ = ("BoomError", "OddError", "UndoError", "function", "undo_function", "value_of")


class BoomError(LookupError):
    """What a failing step raises."""


class OddError(ArithmeticError):
    """What some raise instead, which not every policy tries again."""


class UndoError(Exception):
    """What a failing compensation raises."""


def raise_error(kind: str, text: str) -> None:
    """Fail in the way of the step. No error has a name here, or it would lead to itself through its traceback."""
    match kind:
        case "boom":
            raise BoomError(text)
        case "odd":
            raise OddError(text)
        case "timeout":
            raise TimeoutError(text)
        case "group":
            raise ExceptionGroup(text, [BoomError(text), ExceptionGroup(text, [BoomError(text)])])
        case "mixed":
            raise ExceptionGroup(text, [BoomError(text), OddError(text)])
        case "exit":
            raise SystemExit(text)
        case "after":
            raise orch.RetryAfter(0.75) from BoomError(text)
        case _:
            raise StopIteration(text)


def value_of(name: str, given: object) -> str:
    """The value a step gives: short, and different for whatever it was given."""
    return name if given is None else f"{name}:{zlib.crc32(repr(given).encode()):x}"


def function(step: Step, ledger: Ledger, counted: tuple[str, ...]) -> Callable[..., Any]:
    """Make the function of a step: plain or async, with the parameters that its place needs."""

    def plain(given: object) -> str:
        number = ledger.start(step.name, counted)
        if step.threaded and step.seconds:
            threads.sleep(step.seconds)
        failing = number <= step.fails
        ledger.end(step.name, number, _failed(step) if failing else "value", counted)
        if failing:
            _fail(step, ledger, number)
        return value_of(step.name, given)

    async def coroutine(given: object) -> str:
        number = ledger.start(step.name, counted)
        try:
            await _work(step, ledger, number)
            if number <= step.fails:
                _fail(step, ledger, number)
        except BaseException as error:
            cancelled = isinstance(error, anyio.get_cancelled_exc_class())
            ledger.end(step.name, number, "cancelled" if cancelled else _failed(step), counted)
            raise
        ledger.end(step.name, number, "value", counted)
        return value_of(step.name, given)

    return _signed_plain(step, plain) if step.plain else _signed(step, coroutine)


def _failed(step: Step) -> str:
    return "exit" if step.error == "exit" else "failed"


def _fail(step: Step, ledger: Ledger, number: int) -> None:
    if step.error == "exit":  # ends the whole run
        ledger.say("cancel", step.name, detail="exit")
    raise_error(step.error, f"{step.name} {number}")


async def _work(step: Step, ledger: Ledger, number: int) -> None:
    try:
        for _ in range(step.checkpoints):
            await checkpoint()
        if number <= step.hangs:
            await anyio.sleep_forever()
        if step.seconds:
            await anyio.sleep(step.seconds)
    except BaseException:
        ledger.say("hit", step.name, number)
        if step.on_cancel.startswith("cleanup"):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(step.cleanup)
        if step.on_cancel == "error":
            _fail(step, ledger, number)
        if not step.on_cancel.endswith("value"):
            raise


def _signed(step: Step, body: Callable[[object], Awaitable[str]]) -> Callable[..., Any]:
    async def gathers(upstream: Any) -> str:
        return await body(sorted(upstream.items()))

    async def takes(handed: Any) -> str:
        return await body(handed)

    async def bare() -> str:
        return await body(None)

    return gathers if step.deps else takes if step.takes else bare


def _signed_plain(step: Step, body: Callable[[object], str]) -> Callable[..., Any]:
    def gathers(upstream: Any) -> str:
        return body(sorted(upstream.items()))

    def takes(handed: Any) -> str:
        return body(handed)

    def bare() -> str:
        return body(None)

    return gathers if step.deps else takes if step.takes else bare


def undo_function(name: str, undo: Undo, ledger: Ledger) -> Callable[..., Any]:
    """Make the function of a compensation; it notes what it was given."""

    def plain(value: object, error: object) -> None:
        ledger.say("undo", name, detail=(value, error))
        ledger.say("undone", name, detail="failed" if undo.kind == "plain fails" else "ok")
        if undo.kind == "plain fails":
            raise UndoError(name)

    async def coroutine(value: object, error: object) -> None:
        ledger.say("undo", name, detail=(value, error))
        outcome = "cut off"
        try:
            await (anyio.sleep_forever() if undo.kind == "hangs" else anyio.sleep(undo.seconds))
            outcome = "failed" if undo.kind == "fails" else "ok"
        finally:
            ledger.say("undone", name, detail=outcome)
        if undo.kind == "fails":
            raise UndoError(name)

    return plain if undo.kind.startswith("plain") else coroutine
