"""Runners: interchangeable ways to carry out the same definitions."""

from orch.runners._async import AsyncRunner, run
from orch.runners._sync import Runner

__all__ = ("AsyncRunner", "Runner", "run")
