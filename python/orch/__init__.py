"""Workflows of ordinary Python functions, inside one process, under structured concurrency, on asyncio or trio.

Define with `task`, `Sequence`, `Parallel`, `Graph` and `TaskRegistry`; run with `run`, `AsyncRunner` or `Runner`; know
with `RunResult` and events. Everything below is one public name each, documented where it is.
"""

from orch import errors, event, plan, runners, subscribers, views
from orch.context import Context
from orch.definition import (
    Graph,
    Interrupt,
    Map,
    Parallel,
    Resource,
    Sequence,
    Task,
    TaskRegistry,
    Workflow,
    resource,
    task,
    use,
)
from orch.errors import (
    CircuitOpenError,
    CodecError,
    CompensationError,
    CycleError,
    DefinitionError,
    OrchError,
    TaskTimeoutError,
    WorkflowError,
)
from orch.event import Event, EventBus, State, event_bus
from orch.policies import UNKNOWN, CircuitBreaker, FailureStrategy, RateLimit, Retry, RetryAfter
from orch.result import RunResult, TaskRecord
from orch.runners import AsyncRunner, Runner, run

__all__ = (
    "UNKNOWN",
    "AsyncRunner",
    "CircuitBreaker",
    "CircuitOpenError",
    "CodecError",
    "CompensationError",
    "Context",
    "CycleError",
    "DefinitionError",
    "Event",
    "EventBus",
    "FailureStrategy",
    "Graph",
    "Interrupt",
    "Map",
    "OrchError",
    "Parallel",
    "RateLimit",
    "Resource",
    "Retry",
    "RetryAfter",
    "RunResult",
    "Runner",
    "Sequence",
    "State",
    "Task",
    "TaskRecord",
    "TaskRegistry",
    "TaskTimeoutError",
    "Workflow",
    "WorkflowError",
    "errors",
    "event",
    "event_bus",
    "plan",
    "resource",
    "run",
    "runners",
    "subscribers",
    "task",
    "use",
    "views",
)
