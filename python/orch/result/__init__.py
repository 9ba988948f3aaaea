"""What is known about a run: records and groups, folded from its events."""

from __future__ import annotations

from orch.result._result import RunResult
from orch.result._source import Source
from orch.result._state import GroupRecord, GroupShape, TaskRecord, advance, fold

__all__ = ("GroupRecord", "GroupShape", "RunResult", "Source", "TaskRecord", "advance", "fold")
