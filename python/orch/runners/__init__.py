"""Runners: interchangeable ways to carry out the same definitions."""

from orch.runners._async import AsyncRunner, run
from orch.runners._blocking import BlockingRun
from orch.runners._iter import GraphRun
from orch.runners._map import MapRun
from orch.runners._sync import Runner

__all__ = ("AsyncRunner", "BlockingRun", "GraphRun", "MapRun", "Runner", "run")
