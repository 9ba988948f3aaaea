"""Lowering: any definition becomes one flat, checked, reusable `Plan`."""

from orch.plan._ask import check_meant, select, values_for
from orch.plan._caching import caching, why_uncached
from orch.plan._call import unpacked
from orch.plan._draft import NONE
from orch.plan._identity import Identity, Key, Unhashable
from orch.plan._lower import compile  # noqa: A004 (the verb users know from re)
from orch.plan._plan import COLLECT, IN_PLACE, RULES, Plan
from orch.plan._questions import asked_for, handlers_for, handlers_in, named
from orch.plan._rules import Guard, Rules
from orch.plan._tile import Tile, tile_of
from orch.plan._undo import Undo

__all__ = (
    "COLLECT",
    "IN_PLACE",
    "NONE",
    "RULES",
    "Guard",
    "Identity",
    "Key",
    "Plan",
    "Rules",
    "Tile",
    "Undo",
    "Unhashable",
    "asked_for",
    "caching",
    "check_meant",
    "compile",
    "handlers_for",
    "handlers_in",
    "named",
    "select",
    "tile_of",
    "unpacked",
    "values_for",
    "why_uncached",
)
