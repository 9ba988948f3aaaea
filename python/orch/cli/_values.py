"""Values between a command line and a run: inputs on the way in, what the run gave on the way out."""

import json
from argparse import ArgumentTypeError
from pathlib import Path
from reprlib import Repr
from types import NoneType
from typing import Any

from orch.errors import inert
from orch.event._text import brief

__all__ = ("inputs_in", "one_input", "whole")

LONGEST = 1_000  # characters of a value that are shown, about a dozen lines of a screen
_NAMES = {list: "a list", str: "a string", bool: "a boolean", NoneType: "null"}  # the rest are numbers


def one_input(text: str) -> tuple[str, Any]:
    """The name and the value in `K=V`, where V is JSON, or else text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"expected K=V, found {brief(text)}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def inputs_in(file: str) -> dict[str, Any]:
    """The values by name in a file that holds one JSON object."""
    expected = f"expected a JSON object in {inert(file)}, found"
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ArgumentTypeError(f"{expected} what is no UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ArgumentTypeError(f"{expected} what is no JSON at {where}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, thousands of brackets
        raise ArgumentTypeError(f"{expected} what cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ArgumentTypeError(f"{expected} {_NAMES.get(type(found), 'a number')}")
    return found


def whole(value: object) -> str | None:
    """The `repr` of a value, all of it, or None if that is long."""
    try:
        if len(_Probe().repr(value)) > LONGEST:
            return None
    except OverflowError:
        return None
    text = repr(value)  # the probe sorts mappings and sets, this does not
    return text if len(text) <= LONGEST else None


class _Probe(Repr):
    """Looks at no more parts of a value than a text that is shown has characters, however they are nested."""

    def __init__(self) -> None:
        super().__init__()
        self._left = LONGEST
        for limit in [name for name in vars(self) if name.startswith("max")]:
            setattr(self, limit, LONGEST + 1)  # what is cut there is still seen to be too long

    def repr1(self, x: Any, level: int) -> str:
        self._left -= 1
        if self._left < 0:
            raise OverflowError
        return super().repr1(x, level)
