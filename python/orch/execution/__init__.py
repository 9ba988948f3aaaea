"""Execution: the only package with a task group, and the only one that awaits what users wrote."""

from orch.execution._aside import Aside
from orch.execution._engine import execute
from orch.execution._flights import Flights
from orch.execution._items import Items
from orch.execution._options import Options
from orch.execution._outlet import Outlet
from orch.execution._places import abandoned
from orch.execution._resources import Keeper
from orch.execution._resume import check_same, restore
from orch.execution._rows import check_rows
from orch.execution._run import Run
from orch.execution._shelf import Caching
from orch.execution._stream import Stream
from orch.execution._trace import bind
from orch.execution._values import RunSource

__all__ = (
    "Aside",
    "Caching",
    "Flights",
    "Items",
    "Keeper",
    "Options",
    "Outlet",
    "Run",
    "RunSource",
    "Stream",
    "abandoned",
    "bind",
    "check_rows",
    "check_same",
    "execute",
    "restore",
)
