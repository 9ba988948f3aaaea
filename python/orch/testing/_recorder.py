"""A subscriber that keeps what it is told."""

import enum
from typing import Any

import attrs

from orch.event import Event, State, TaskEvent

__all__ = ("Recorder",)

_LEFT_OUT = {"run_id", "time", "value", "chunk"}  # differ from run to run, or are the user's own


class Recorder:
    """Keeps every event it is told, and answers small questions about them.

    Example:
        >>> import orch
        >>> from orch.testing import Recorder, fails, run
        >>> heard = Recorder()
        >>> async def call():
        ...     steps = orch.Parallel(orch.Task(fails(1), name="flaky"), name="all")
        ...     return await orch.run(steps, subscribers=[heard], raise_on_failure=False)
        >>> run(call).state, heard.states("flaky")
        (<State.FAILED: 'failed'>, [<State.RUNNING: 'running'>, <State.FAILED: 'failed'>])
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"<Recorder of {len(self)} events>"

    def of(self, path: str) -> list[Event]:
        """Return the events about one task, by its path; of the run itself, by the empty one."""
        return [event for event in self.events if event.path == path]

    def states(self, path: str) -> list[State]:
        """Return the states that a task, or with the empty path the run, has gone through."""
        found = (getattr(event, "state", None) for event in self.of(path))
        return [state for state in found if isinstance(state, State)]

    def started(self) -> list[str]:
        """Return the paths of the tasks in the order in which they were first started."""
        states = [event for event in self.events if isinstance(event, TaskEvent) and event.state is State.RUNNING]
        return list(dict.fromkeys(event.path for event in states))

    def log(self) -> list[tuple[Any, ...]]:
        """Return the events as plain tuples, equal for equal runs: values, ids and dates are left out.

        Each begins with the class of the event and the seconds since the first one; errors are the names of their
        classes.
        """
        return [(type(event).__name__, self._seconds(event), *_facts(event)) for event in self.events]

    def _seconds(self, event: Event) -> float:
        return (event.time - self.events[0].time).total_seconds()


def _facts(event: Event) -> tuple[Any, ...]:
    fields = attrs.asdict(event, recurse=False, filter=lambda field, _: field.name not in _LEFT_OUT)
    return tuple(map(_plain, fields.values()))


def _plain(fact: Any) -> Any:
    if isinstance(fact, enum.Enum):
        return fact.value
    return fact if isinstance(fact, str | int | float | None) else type(fact).__name__
