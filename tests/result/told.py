"""A run that never ran: a `Source` made of lists, which counts what it is asked."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from orch.event import Event, RunEvent, State, TaskEvent
from orch.result import GroupShape, Origin, RunResult

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def task_event(seq: int, path: str, state: State, **fields: Any) -> TaskEvent:
    """An event that happened `seq` seconds after noon."""
    name = path.rpartition("/")[2].partition("#")[0]
    return TaskEvent("run", seq, at(seq), path, name, state, **fields)


def run_event(seq: int, state: State) -> RunEvent:
    return RunEvent("run", seq, at(seq), "", state, "etl")


class Told:
    def __init__(
        self,
        tasks: Iterable[tuple[str, str]] = (),
        *,
        trace: Iterable[Event] = (),
        groups: Iterable[GroupShape] = (),
        values: Mapping[int, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        self.asked: Counter[str] = Counter()
        self._tasks, self._trace, self._groups = list(tasks), list(trace), list(groups)
        self._values, self._outputs = values or {}, outputs or {}

    def trace(self) -> Sequence[Event]:
        self.asked["trace"] += 1
        return self._trace

    def value(self) -> Any:
        self.asked["value"] += 1
        return list(self._values.values())

    def outputs(self) -> Mapping[str, Any]:
        self.asked["outputs"] += 1
        return self._outputs

    def tasks(self) -> Sequence[tuple[str, str]]:
        self.asked["tasks"] += 1
        return self._tasks

    def groups(self) -> Iterable[GroupShape]:
        self.asked["groups"] += 1
        return iter(self._groups)

    def value_at(self, position: int) -> Any:
        self.asked["value_at"] += 1
        return self._values[position]

    def origin(self) -> Origin:
        self.asked["origin"] += 1
        return Origin({path: () for path, _ in self._tasks}, {})


def etl(context: object = None) -> RunResult:
    """`load` in a group succeeds, one `clean` fails, the other is skipped, `save` never had an event."""
    error = ValueError("<b>dirty</b>\n\x1b[31m")
    trace = [
        run_event(1, State.RUNNING),
        task_event(2, "in/load", State.RUNNING, attempt=1),
        task_event(3, "in/load", State.SUCCEEDED, attempt=1, value=[1, 2]),
        task_event(4, "clean", State.RUNNING, attempt=1),
        task_event(5, "clean", State.FAILED, attempt=1, error=error),
        task_event(6, "clean#2", State.SKIPPED, reason="aborted", cause="clean"),
        run_event(7, State.FAILED),
    ]
    tasks = [("in/load", "load"), ("clean", "clean"), ("clean#2", "clean"), ("save", "save")]
    groups = [GroupShape("", "graph", 0, 4), GroupShape("in", "sequence", 0, 1)]
    source = Told(tasks, trace=trace, groups=groups, values={0: [1, 2]}, outputs={"rows": [1, 2], "save": "an output"})
    return RunResult("run", "etl", State.FAILED, source, (error,), context, at(1), at(7))
