"""Ready-made subscribers: give them to a runner, to a run, or to an event bus."""

from orch.subscribers._callbacks import callbacks
from orch.subscribers._lines import log
from orch.subscribers._progress import progress

__all__ = ("callbacks", "log", "progress")
