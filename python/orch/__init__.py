"""Workflows of ordinary Python functions, inside one process, under structured concurrency, on asyncio or trio.

Define with `task`, `Sequence`, `Parallel`, `Graph` and `TaskRegistry`; run with `run`, `AsyncRunner` or `Runner`; know
with `RunResult` and events. Everything below is one public name each, documented where it is.
"""

from orch import caches, errors, event, plan, runners, subscribers, views
from orch.caches import DiskCache, MemoryCache
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
    CacheError,
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
    "CacheError",
    "CircuitBreaker",
    "CircuitOpenError",
    "CodecError",
    "CompensationError",
    "Context",
    "CycleError",
    "DefinitionError",
    "DiskCache",
    "Event",
    "EventBus",
    "FailureStrategy",
    "Graph",
    "Interrupt",
    "Map",
    "MemoryCache",
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
    "caches",
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
