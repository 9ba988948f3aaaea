"""Values that are let go are let go by policies as well."""

import gc
import weakref
from typing import Any

import orch
from tests.runners.truth import settle


class Big:
    """Something worth letting go."""


async def test_a_value_that_is_let_go_is_not_kept_by_the_policies_of_its_step() -> None:
    made: list[weakref.ref[Big]] = []

    async def big() -> Big:
        value = Big()
        made.append(weakref.ref(value))
        return value

    async def reader(big: Big) -> str:
        return type(big).__name__

    async def later(reader: str) -> bool:
        gc.collect()
        return made[0]() is None

    policies: Any = {"timeout": 60, "retry": orch.Retry(2), "breaker": orch.CircuitBreaker()}
    result = await settle(orch.Graph(orch.Task(big, retain=False, **policies), reader, later))
    assert result["later"] is True
