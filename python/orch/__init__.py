"""
`orch` runs workflows of ordinary Python functions inside one process, under structured concurrency, on asyncio or trio.

Define with `task`, `Sequence`, `Parallel` and `Graph`; everything below is one public name each, documented where it is.
"""

from orch.context import Context
from orch.definition import Graph, Parallel, Sequence, Task, Workflow, task
from orch.errors import CycleError, DefinitionError, OrchError, WorkflowError
from orch.policies import FailureStrategy

__all__ = (
    "Context",
    "CycleError",
    "DefinitionError",
    "FailureStrategy",
    "Graph",
    "OrchError",
    "Parallel",
    "Sequence",
    "Task",
    "Workflow",
    "WorkflowError",
    "task",
)
