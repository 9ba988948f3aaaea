"""Threads that are too many, that nobody hears of, or whose slots are free while they run."""

from typing import Any

import orch.execution._desk as desk
import orch.execution._run as run
import orch.execution._threads as threads
from orch import State
from tests.simulation.mutants.plant import Change, mutant, schedule

__all__ = ()


@mutant
def free_the_slot_of_a_late_thread() -> list[Change]:
    return schedule(hold=lambda true, node: None, let_go=lambda true, node: None)


@mutant
def retry_beside_a_late_thread() -> list[Change]:
    def requeue(self: Any, node: int) -> None:
        if self.schedule.state(node) == State.RETRYING.code:
            self.schedule.requeue(node)

    return [*schedule(hold=lambda true, node: None, let_go=lambda true, node: None), (run.Run, "requeue", requeue)]


@mutant
def never_wake_the_desk() -> list[Change]:
    return [(desk.Desk, "wake", lambda self: None)]


@mutant
def start_as_many_threads_as_are_wanted() -> list[Change]:
    true = threads.Threads.__init__

    def init(self: Any, of: Any, *given: Any) -> None:
        of.options = _Generous(of.options)
        true(self, of, *given)

    return [(threads.Threads, "__init__", init)]


class _Generous:
    threads = 1_000

    def __init__(self, options: Any) -> None:
        self._options = options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._options, name)


@mutant
def never_give_up_a_thread() -> list[Change]:
    return [(threads.Threads, "_abandon", lambda self, node: None)]


@mutant
def take_what_an_abandoned_thread_returns() -> list[Change]:
    def abandon(self: Any, node: int) -> None:
        if node in self.stopping and self.run.schedule.state(node) == State.RUNNING.code:
            self.run.abandoned.append(node)
            self.run.schedule.done(node)

    return [(threads.Threads, "_abandon", abandon)]
