"""Whether what steps give fits what others take, by their annotations: what `strict_types` of a Graph asks for.

Only what cannot be meant is a problem: an `int` where a `str` is taken. What is not annotated, cannot be evaluated or
may be anything (`Any`, type variables, protocols) fits, as do unions with one type in common. Of generics the class is
compared, not what is in it. A class fits its bases and those that inherit from it: a step may give more than it says.
"""

import functools
import inspect
import typing
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import suppress
from itertools import product
from types import FunctionType, NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from orch.definition import Graph, Interrupt, Task
from orch.definition._signature import annotations_of, home_of
from orch.errors import DefinitionError
from orch.plan._draft import Draft, Scope
from orch.plan._wire import Wiring

__all__ = ("contradicts", "mismatches")

_UNKNOWN = object  # what anything fits
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_PROMOTED = {(int, float), (int, complex), (float, complex), (bytearray, bytes), (memoryview, bytes)}  # by PEP 484


def mismatches(draft: Draft, wiring: Wiring) -> Iterator[DefinitionError]:
    """Yield a problem for each value within a graph with `strict_types` that does not fit where it goes."""
    done = 0
    for row in draft.scopes:
        if isinstance(row.group, Graph) and row.group.strict_types and row.start >= done:  # else the one around has
            done = row.end
            for node in range(row.start, row.end):
                if draft.tasks[node] is not None:
                    yield from _misfits(draft, wiring, row, node)


def _misfits(draft: Draft, wiring: Wiring, row: Scope, node: int) -> Iterator[DefinitionError]:
    task, shape = draft.task(node), wiring.shapes[node]
    parameters = task.signature.parameters if task.form != "map" else ()  # it takes many of what its body takes
    filled = [each for each in parameters if each.positional] + [each for each in parameters if each.keyword_only]
    for each, slot in zip(filled, wiring.slots[node], strict=False):
        if not row.start <= slot < row.end:
            continue  # no value of a step of this graph
        takes, gives = _hint(task.fn, each.name), _given(draft, slot, shape.picks.get(each.name, -1) if shape else -1)
        if contradicts(gives, takes) and (each.default is not None or contradicts(gives, None)):
            gave, wants = map(inspect.formatannotation, (gives, takes))
            what = f"task {draft.path(node)!r}: {each.name!r} takes {wants}, but {draft.path(slot)!r} gives {gave}"
            yield DefinitionError(f"{what}; change one of the annotations, or have the graph without strict_types=True")


def contradicts(gives: Any, takes: Any) -> bool:
    """Say whether no value can be of both types, as far as annotations tell.

    >>> contradicts(int, str), contradicts(int, str | float), contradicts(list[int], list[str])
    (True, False, False)
    """
    with suppress(Exception):  # an alias may be wrong, or endless
        return not any(_fits(one, other) for one, other in product(_classes(gives), _classes(takes)))
    return False


def _fits(gives: type, takes: type) -> bool:
    with suppress(Exception):  # a class may refuse to be asked, and then it says nothing
        if issubclass(gives, takes) or issubclass(takes, gives) or {(gives, takes), (takes, gives)} & _PROMOTED:
            return True
        # An abstract class says little of what its values are besides, but what is built in is known to be no more.
        return inspect.isabstract(gives) and takes.__module__ != "builtins"
    return True


def _classes(hint: Any) -> list[type]:
    """Return the classes of which a value may be; `object` where that cannot be said."""
    origin = get_origin(hint)
    if origin is Union or origin is UnionType:
        return [each for one in get_args(hint) for each in _classes(one)]
    if origin is Literal:
        return [type(value) for value in get_args(hint)]
    if origin is Annotated:
        return _classes(get_args(hint)[0])
    if type(hint).__name__ in {"NewType", "TypeAliasType"}:
        return _classes(getattr(hint, "__supertype__", None) or hint.__value__)
    found = NoneType if hint is None else origin if isinstance(origin, type) else hint
    if found is Any or not isinstance(found, type) or getattr(found, "_is_protocol", False):
        return [_UNKNOWN]
    return [dict if typing.is_typeddict(found) else found]


def _given(draft: Draft, slot: int, pick: int) -> Any:
    """Return what a step gives: of a task what its function says, of several outputs one, of groups what they are."""
    if slot in draft.joins:
        return dict[str, Any] if draft.scopes[draft.joins[slot]].kind == "graph" else list[Any]
    task = draft.task(slot)
    if task.form == "map":
        return tuple if task.unpacks and pick < 0 else list[Any]
    if isinstance(task, Interrupt):
        return task.type  # its function makes the question
    if pick < 0:
        return tuple if task.unpacks else _returned(task)
    items: tuple[Any, ...] = get_args(hint) if get_origin(hint := _returned(task)) is tuple else ()
    if items[1:] == (...,):
        return items[0]
    return items[pick] if len(items) == len(task.outputs) else Any


def _returned(task: Task[..., Any]) -> Any:
    fn = _bare(task.fn)
    if isinstance(fn, type):
        return Any if isinstance(fn.__new__, FunctionType) else fn  # which may make anything
    home, hint = home_of(fn), _hint(fn, "return")
    flags = home.__code__.co_flags if home else 0
    origin = get_origin(hint) or hint
    if flags & inspect.CO_COROUTINE or not isinstance(origin, type) or not issubclass(origin, Awaitable):
        return Any if flags & _GENERATOR else hint
    return get_args(hint)[-1] if origin in (Awaitable, Coroutine) and get_args(hint) else Any  # it is awaited


def _hint(fn: Any, name: str) -> Any:
    """Evaluate one annotation where the function would; Any for what is not there, or cannot be evaluated."""
    home = home_of(_bare(fn))
    if home is None:
        return Any
    hint = annotations_of(home).get(name, Any)
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint  # as most are
    with suppress(Exception):
        holder = SimpleNamespace(__annotations__={name: hint})
        return typing.get_type_hints(holder, home.__globals__)[name]
    return Any


def _bare(fn: Any) -> Any:
    """Return what is called in the end, or None behind a wrapper, which may do anything with what goes in and out."""
    while fn is not None:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, Task):
            fn = fn.fn
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__ if hasattr(fn, "cache_info") else None  # a functools.cache changes nothing
        else:
            break
    return fn
