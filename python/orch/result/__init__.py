"""What is known about a run: records and groups, folded from its events."""

from orch.result._map import MapResult, MapSource
from orch.result._past import Origin, Past, Pause
from orch.result._result import RunResult, Source, past_of
from orch.result._state import GroupRecord, GroupShape, Inner, TaskRecord, advance, fold

__all__ = (
    "GroupRecord",
    "GroupShape",
    "Inner",
    "MapResult",
    "MapSource",
    "Origin",
    "Past",
    "Pause",
    "RunResult",
    "Source",
    "TaskRecord",
    "advance",
    "fold",
    "past_of",
)
