"""Ready-made subscribers: give them to a runner, to a run, or to an event bus."""

from __future__ import annotations

from orch.subscribers._log import log
from orch.subscribers._progress import progress

__all__ = ("log", "progress")
