"""Failures and cancellations that are taken for each other, or for nothing."""

from typing import Any

import orch.execution._engine as engine
import orch.execution._run as run
from orch import FailureStrategy
from tests.simulation.mutants.plant import Change, mutant, schedule

__all__ = ()


@mutant
def take_a_cancellation_for_a_failure() -> list[Change]:
    true = run.Run.failed

    def failed(self: Any, node: int, error: BaseException, lane: Any) -> bool:
        wrong = RuntimeError("cancelled") if isinstance(error, self.cancelled_class) else error
        return true(self, node, wrong, lane)

    return [(run.Run, "failed", failed)]


@mutant
def swallow_the_cancellation_of_the_caller() -> list[Change]:
    true = run.Run.check

    def check(self: Any, lane: Any) -> None:
        if self.schedule.is_active():
            return
        true(self, lane)

    async def spare(self: Any, lane: Any) -> None:
        self.starting -= 1
        self.schedule.breathe()
        await engine.__dict__["work"](self, lane)

    return [(run.Run, "check", check), (engine, "_spare", spare), (run.Run, "cancel", lambda self: None)]


@mutant
def go_on_after_a_cancellation() -> list[Change]:
    return schedule(cancel_all=lambda true: [])


@mutant
def retry_after_a_cancellation() -> list[Change]:
    true = run.Run.fail

    def fail(self: Any, node: int, error: Exception, *, final: bool = False) -> None:
        true(self, node, error)

    return [(run.Run, "fail", fail)]


@mutant
def take_an_interrupt_for_a_failure() -> list[Change]:
    return [(run.Run, "interrupt", lambda self, node, error: self.fail(node, RuntimeError("interrupted")))]


@mutant
def stop_the_neighbours_of_a_stopped_step() -> list[Change]:
    true = run.Run.cancel_step

    def cancel_step(self: Any, node: int) -> bool:
        stopped = true(self, node)
        for other in list(self.lanes):
            true(self, other)
        return stopped

    return [(run.Run, "cancel_step", cancel_step)]


@mutant
def say_a_step_was_stopped_and_do_nothing() -> list[Change]:
    return [(run.Run, "cancel_step", lambda self, node: True)]


@mutant
def abort_without_stopping_what_runs() -> list[Change]:
    true = run.Run._stop

    def stop(self: Any, nodes: Any, reason: str, cause: str | None) -> None:
        if reason != "aborted":
            true(self, nodes, reason, cause)

    return [(run.Run, "_stop", stop)]


def always(strategy: FailureStrategy, instead_of: FailureStrategy) -> list[Change]:
    """Decide so, where something else was decided."""
    true = run.__dict__["decide"]

    def decide(*given: Any) -> FailureStrategy:
        chosen = true(*given)
        return strategy if chosen is instead_of else chosen

    return [(run, "decide", decide)]


@mutant
def continue_instead_of_aborting() -> list[Change]:
    return always(FailureStrategy.CONTINUE, FailureStrategy.ABORT)


@mutant
def abort_instead_of_continuing() -> list[Change]:
    return always(FailureStrategy.ABORT, FailureStrategy.CONTINUE)
