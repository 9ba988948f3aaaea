"""Execution: the only package with a task group, and the only one that awaits what users wrote."""

from orch.execution._engine import Options, execute
from orch.execution._run import Run
from orch.execution._source import RunSource

__all__ = ("Options", "Run", "RunSource", "execute")
