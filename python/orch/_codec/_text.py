"""JSON text, read with limits: nothing in it can take long, or fill the stack."""

import json
import re
from collections import Counter
from itertools import accumulate
from typing import Any, NoReturn

from orch._codec._limits import DIGITS, NESTING, TEXT, fail
from orch._codec._read import Broken

_NOT_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[^][{}"]++', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_PART = "text"


def parse(text: str) -> Any:
    """Parse JSON; what is wrong at a place in it is a `Broken` there."""
    check_size(text)
    _check_nesting(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise fail(_PART, None, f"no JSON: {error}") from error


def check_size(text: str) -> None:
    """Raise CodecError if the text is too long."""
    if len(text) > TEXT:
        raise fail(_PART, None, f"expected at most {TEXT} characters, found {len(text)}")


def _check_nesting(text: str) -> None:
    if text.count("[") + text.count("{") <= NESTING:
        return
    for depth in accumulate(map(_STEPS.__getitem__, _NOT_BRACKETS.sub("", text))):
        if depth > NESTING:
            raise fail(_PART, None, f"expected at most {NESTING} brackets within each other, found more")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
    return Broken(f"the key {twice!r:.80} stands there twice")


def _integer(text: str) -> Any:
    return int(text) if len(text) <= DIGITS else Broken(f"a number of {len(text)} digits: at most {DIGITS} are allowed")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number there")
