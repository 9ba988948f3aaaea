"""Definitions: what is to be run, as inert values. No method here runs anything or does I/O."""

from orch.definition._border import Border
from orch.definition._group import Graph, Group, Parallel, Sequence, bordered
from orch.definition._interrupt import Interrupt, check_answer
from orch.definition._map import NOT_GIVEN, Map, MapMode, OnError
from orch.definition._registry import TaskRegistry
from orch.definition._resource import Resource, Use, resource, use
from orch.definition._signature import EMPTY, Parameter, Signature
from orch.definition._task import Task, task
from orch.definition._workflow import Workflow

__all__ = (
    "EMPTY",
    "NOT_GIVEN",
    "Border",
    "Graph",
    "Group",
    "Interrupt",
    "Map",
    "MapMode",
    "OnError",
    "Parallel",
    "Parameter",
    "Resource",
    "Sequence",
    "Signature",
    "Task",
    "TaskRegistry",
    "Use",
    "Workflow",
    "bordered",
    "check_answer",
    "resource",
    "task",
    "use",
)
