"""What is known about a run: records and groups, folded from its events."""

from orch.result._result import RunResult, Source
from orch.result._state import GroupRecord, GroupShape, TaskRecord, advance, fold

__all__ = ("GroupRecord", "GroupShape", "RunResult", "Source", "TaskRecord", "advance", "fold")
