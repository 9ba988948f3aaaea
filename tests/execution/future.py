"""Steps whose annotations are strings, as `from __future__ import annotations` makes them; one is for types only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Optional

import orch
import orch as library
from orch import Context as Ctx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orch import Context


async def plain(context: orch.Context) -> Any:  # type: ignore[type-arg]
    return context


async def with_data(x: int, context: orch.Context[str]) -> Any:
    return context


async def renamed(c: Ctx[Any], x: int = 0) -> Any:
    return c


async def optional(x: int = 0, *, context: library.Context[Any] | None = None) -> Any:
    return context


async def old_optional(context: Optional[Ctx[Any]] = None) -> Any:  # noqa: UP045 (as older code has it)
    return context


async def annotated(context: Annotated[Ctx[Any], "mine"]) -> Any:
    return context


async def for_types_only(context: Context[Any], x: int = 0) -> Any:
    return context


async def other_strings(x: Mapping[str, int], y: Annotated[int, "no Context"] = 1) -> Any:
    return x, y


CONTEXTS = [plain, with_data, renamed, optional, old_optional, annotated, for_types_only]
