"""Models of pydantic 2.11 or newer; who has one has imported pydantic, so nothing is imported here."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from orch._codec._shape import Field, Shape
from orch._codec._values import UNSET


def shape_of_model(cls: Any) -> Shape | None:
    """Say what `cls` is made of; None if it is no model."""
    pydantic = sys.modules.get("pydantic.main")
    if pydantic is None or not issubclass(cls, pydantic.BaseModel):
        return None
    if not cls.__pydantic_complete__:
        cls.model_rebuild(raise_errors=False)
    fields = {name: Field(each.annotation, name, each.is_required()) for name, each in cls.model_fields.items()}
    fields[UNSET] = Field(list[str], UNSET, required=False)
    return Shape(fields, partial(_take, fields), partial(_make, cls), more=cls.model_config.get("extra") == "allow")


def _take(fields: Mapping[str, Field], model: Any) -> dict[str, Any]:
    if model.__pydantic_private__:
        raise ValueError("private attributes of a model cannot be written: make them fields")
    own, more = vars(model), model.__pydantic_extra__ or {}
    for name in more:
        if name.startswith("!"):
            raise ValueError(f'the extra field {name!r} cannot be written: its name must not begin with "!"')
    values = {name: own[name] for name in fields if name in own} | more
    unset = sorted(values.keys() - model.model_fields_set)
    return values | ({UNSET: unset} if unset else {})


def _make(cls: Any, values: dict[str, Any]) -> Any:
    unset = values.pop(UNSET, ())
    values = values["root"] if cls.__pydantic_root_model__ else values
    model = cls.model_validate(values, by_name=True, by_alias=False)
    model.model_fields_set.difference_update(unset)
    return model
