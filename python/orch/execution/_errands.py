"""What a run has to ask of its cache, taken to a thread several at a time: the way there costs more than the asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from anyio import CancelScope, current_time
from anyio import Event as Signal

from orch.execution._job import Job
from orch.execution._wires import Wires

__all__ = ("Errands",)

_BATCH = 64  # that are done one after another before anybody hears of them
_WAYS = 4  # threads that may be busy with it; they come on top of those for bodies


class _Errand:
    """One call; what it raises is kept."""

    __slots__ = ("call", "done", "error", "value")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.done = Signal()
        self.value: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.value = self.call()
        except Exception as error:  # noqa: BLE001 (it is for the one who waits)
            self.error = error


class Errands:
    """The calls of one run. On the loop, all but the calls themselves."""

    def __init__(self, run: Wires, grace: float) -> None:
        self._run = run
        self._grace = grace
        self._pending: list[_Errand] = []
        self._under_way = 0

    async def do(self, call: Callable[[], Any]) -> Any:
        """Have a thread make a call, and return what it returns; who gives it up waits for it as the grace says."""
        errand = _Errand(call)
        self._pending.append(errand)
        self._send()
        try:
            await errand.done.wait()
        except BaseException:
            if errand in self._pending:
                self._pending.remove(errand)
            else:
                with CancelScope(shield=True, deadline=current_time() + self._grace):
                    await errand.done.wait()
            raise
        if errand.error is not None:
            raise errand.error
        return errand.value

    def _send(self) -> None:
        """Send what waits, if nobody is under way, or if it is much."""
        while self._pending and (not self._under_way or (len(self._pending) >= _BATCH and self._under_way < _WAYS)):
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            job = Job(partial(_each, batch))
            job.on_end.append(partial(self._back, batch))
            self._under_way += 1
            self._run.hand_over(job, reserved=True)

    def _back(self, batch: Sequence[_Errand]) -> None:
        self._under_way -= 1
        for errand in batch:
            errand.done.set()
        self._send()


def _each(batch: Sequence[_Errand]) -> None:
    for errand in batch:
        errand.run()
