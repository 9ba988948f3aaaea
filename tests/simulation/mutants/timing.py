"""Retries and deadlines that go by another clock or policy."""

from collections.abc import Iterable
from typing import Any

import anyio
import attrs

import orch.execution._attempt as attempt
import orch.execution._desk as desk
import orch.execution._engine as engine
import orch.execution._guards as guards
import orch.execution._run as run
from tests.simulation.mutants.plant import Change, mutant

__all__ = ()


def retries(**fields: Any) -> list[Change]:
    """Have every policy of retries be another one."""
    true = run.__dict__["next_try"]

    def next_try(rules: Any, *given: Any) -> Any:
        changed = {name: value(rules.retry) for name, value in fields.items()} if rules.retry else {}
        retry = rules.retry and _evolved(rules.retry, changed)
        return true(attrs.evolve(rules, retry=retry), *given)

    return [(run, "next_try", next_try)]


def _evolved(retry: Any, changed: dict[str, Any]) -> Any:
    new = object.__new__(type(retry))
    new.__attrs_init__(**{**attrs.asdict(retry, recurse=False), **changed})
    return new


@mutant
def ignore_the_deadline_of_retries() -> list[Change]:
    return retries(deadline=lambda retry: None)


@mutant
def retry_whatever_it_is() -> list[Change]:
    return retries(retry_on=lambda retry: (Exception,), give_up_on=lambda retry: ())


@mutant
def retry_once_too_often() -> list[Change]:
    return retries(max_attempts=lambda retry: retry.max_attempts + 1)


@mutant
def retry_at_once() -> list[Change]:
    return [(desk.Desk, "later", lambda self, delay, do: self.at(anyio.current_time(), do))]


@mutant
def wake_up_late() -> list[Change]:
    true = desk.Desk.at
    return [(desk.Desk, "at", lambda self, when, do: true(self, when + 0.25, do))]


@mutant
def let_groups_take_as_long_as_they_like() -> list[Change]:
    return [(run.Run, "expire", lambda self, scope, timeout: None)]


@mutant
def begin_the_time_of_a_group_with_every_step() -> list[Change]:
    true = guards.enter

    def enter(self: Any, scopes: Any) -> None:
        for scope in scopes:
            self.guards.pop(scope, None)
        true(self, scopes)

    return [(attempt, "enter", enter)]


@mutant
def name_nobody_who_goes_on() -> list[Change]:
    return [(engine, "watch", lambda *given: None)]


@mutant
def name_all_who_were_stopped() -> list[Change]:
    def watch(of: Any, steps: Iterable[int]) -> None:
        for step in steps:
            if step in of.lanes:
                of.log(step, "warning", "has not ended")

    return [(engine, "watch", watch)]
