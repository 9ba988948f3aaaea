"""Definitions: what is to be run, as inert values. No method here runs anything or does I/O."""

from orch.definition._border import Border
from orch.definition._group import Graph, Group, Parallel, Sequence, bordered
from orch.definition._registry import TaskRegistry
from orch.definition._signature import EMPTY, Parameter, Signature
from orch.definition._task import Task, Workflow, task

__all__ = (
    "EMPTY",
    "Border",
    "Graph",
    "Group",
    "Parallel",
    "Parameter",
    "Sequence",
    "Signature",
    "Task",
    "TaskRegistry",
    "Workflow",
    "bordered",
    "task",
)
