"""Events that come twice, late or never."""

from collections.abc import Callable
from typing import Any

import orch.execution._deliver as deliver
import orch.execution._run as run
import orch.execution._trace as trace
from orch.event import TaskEvent
from tests.simulation.mutants.plant import Change, mutant

__all__ = ()


def advance(change: Callable[[list[Any]], list[Any]]) -> list[Change]:
    """Have the decoder of the journal give something else."""
    true = trace.Decoder.advance
    return [(trace.Decoder, "advance", lambda self: change(true(self)))]


@mutant
def emit_a_terminal_event_twice() -> list[Change]:
    def twice(events: list[Any]) -> list[Any]:
        ends = [type(event) is TaskEvent and event.state.is_final for event in events]
        return [each for event, end in zip(events, ends, strict=True) for each in [event] * (1 + end)]

    return advance(twice)


@mutant
def lose_an_event() -> list[Change]:
    return advance(lambda events: [each for each in events if not (type(each) is TaskEvent and each.seq % 7 == 0)])


@mutant
def forget_why_a_step_was_stopped() -> list[Change]:
    true = run.Run._stop

    def stop(self: Any, *given: Any) -> None:
        true(self, *given)
        self.reasons.clear()

    return [(run.Run, "_stop", stop)]


@mutant
def skip_a_subscriber() -> list[Change]:
    true = deliver.Delivery._hand

    async def hand(self: Any, reader: Any, to: Any, event: Any) -> None:
        if event.seq % 5:
            await true(self, reader, to, event)

    return [(deliver.Delivery, "_hand", hand)]


@mutant
def swap_two_events_of_a_subscriber() -> list[Change]:
    true = deliver.Delivery._append

    def append(self: Any, events: list[Any]) -> None:
        true(self, [*events[1:2], *events[:1], *events[2:]])

    return [(deliver.Delivery, "_append", append)]
