"""Steps that are more than one call: for each form of them how its body is carried out.

A form is told run and node, and returns the value of the step. Policies, cancellation and books are those of every
step: a form is only asked in place of the call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orch.execution._chunks import stream
from orch.execution._interrupt import interrupt
from orch.execution._mapped import mapped
from orch.execution._run import Run

__all__ = ("FORMS",)

FORMS: Mapping[str, Callable[[Run, int], Awaitable[Any]]] = {"interrupt": interrupt, "map": mapped, "stream": stream}
