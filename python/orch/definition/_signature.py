"""
What a callable takes: in goes anything callable, out comes a `Signature`.

Plain functions are read off their code object (a microsecond or two); everything else goes through `inspect.signature`.
Annotations are only asked one question, whether they mean `Context`, and are not evaluated for it: a string is searched
for names, these are looked up where the function would find them, and only a candidate is parsed. A name that cannot be
looked up (imported under `TYPE_CHECKING`) counts if it is spelled `Context`.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import inspect
import re
import sys
from types import CodeType, FunctionType, MethodType, ModuleType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    NamedTuple,
    Optional,
    Union,
    get_args,
    get_origin,
)

from orch.context import Context

if sys.version_info >= (3, 14):
    import annotationlib
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("EMPTY", "Parameter", "Signature", "signature_of")

EMPTY: Final = inspect.Parameter.empty

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_NAMES = re.compile(r"[^\W\d][\w.]*")
_WRAPPERS: Final = {"Optional": Optional, "Union": Union, "Annotated": Annotated}
_DEPTH: Final = 16  # of aliases within aliases: an alias may be recursive


class Parameter(NamedTuple):
    """One parameter of a step."""

    name: str
    required: bool
    """Whether a call without it fails. Never true of `*args` and `**kwargs`."""
    default: Any
    """Its default, `EMPTY` if there is none."""
    context: bool
    """Whether its annotation means `Context`."""
    positional: bool
    """Whether it can be passed by position."""
    positional_only: bool = False
    keyword_only: bool = False
    var_positional: bool = False
    var_keyword: bool = False

    @property
    def injected(self) -> bool:
        """Whether the run fills it by itself, whatever else is given: a `Context`, or the mapping named `upstream`."""
        return self.context or self.name == "upstream"


class Signature(NamedTuple):
    """The parameters of a step (`*args` and `**kwargs` last) and whether calling it gives a coroutine."""

    parameters: tuple[Parameter, ...]
    kind: Literal["coroutine", "plain"]

    def arguments(self, values: Mapping[str, Any], extra: Iterable[Any] = ()) -> tuple[list[Any], dict[str, Any]]:
        """
        Arrange values by name into `(args, kwargs)` of a call; what no parameter is named for goes into `kwargs`.

        A gap among the positional parameters is filled with its default. Without one everything after it goes by keyword,
        and the call itself reports what is missing.
        """
        args: list[Any] = []
        rest = dict(values)
        for parameter in self.parameters:
            if not parameter.positional or (parameter.required and parameter.name not in rest):
                break
            args.append(rest.pop(parameter.name, parameter.default))
        return [*args, *extra], rest


def signature_of(fn: Callable[..., Any]) -> Signature:
    """
    Read the signature of anything callable.

    Raises:
        TypeError: A generator function, which is not a step yet.
        ValueError: A built-in that does not say what it takes.
    """
    if type(fn) is FunctionType and not fn.__dict__:
        return Signature(_from_code(fn), _kind_of(fn, fn.__code__.co_flags))
    return Signature(_from_inspect(fn), _kind(fn))


def opaque() -> Signature:
    """Describe a built-in that does not say what it takes: nothing is known, so everything must be bound."""
    return Signature((_variadic("args", var_positional=True), _variadic("kwargs", var_keyword=True)), "plain")


def _from_code(fn: FunctionType) -> tuple[Parameter, ...]:
    code = fn.__code__
    names, positional, only = code.co_varnames, code.co_argcount, code.co_posonlyargcount
    total = positional + code.co_kwonlyargcount
    defaults = dict(zip(reversed(names[:positional]), reversed(fn.__defaults__ or ()), strict=False))
    defaults.update(fn.__kwdefaults__ or {})
    contexts = _contexts(_annotations(fn), fn)
    parameters = [
        Parameter(
            name,
            name not in defaults,
            defaults.get(name, EMPTY),
            name in contexts,
            i < positional,
            i < only,
            i >= positional,
        )
        for i, name in enumerate(names[:total])
    ]
    if code.co_flags & inspect.CO_VARARGS:
        parameters.append(_variadic(names[total], var_positional=True))
        total += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parameters.append(_variadic(names[total], var_keyword=True))
    return tuple(parameters)


def _variadic(name: str, **kind: bool) -> Parameter:
    return Parameter(name, required=False, default=EMPTY, context=False, positional=False, **kind)


def _from_inspect(fn: Callable[..., Any]) -> tuple[Parameter, ...]:
    found = _inspected(fn).parameters.values()
    contexts = _contexts({each.name: each.annotation for each in found if each.annotation is not EMPTY}, home_of(fn))
    parameters = []
    for each in sorted(found, key=lambda each: _ORDER[each.kind]):
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            kind = "var_positional" if each.kind is each.VAR_POSITIONAL else "var_keyword"
            parameters.append(_variadic(each.name, **{kind: True}))
        else:
            only, keyword = each.kind is each.POSITIONAL_ONLY, each.kind is each.KEYWORD_ONLY
            required = each.default is EMPTY
            parameters.append(
                Parameter(each.name, required, each.default, each.name in contexts, not keyword, only, keyword)
            )
    return tuple(parameters)


_ORDER: Final = {kind: "pkvw".index(letter) for kind, letter in zip(inspect._ParameterKind, "ppvkw", strict=True)}


def _kind_of(fn: object, flags: int) -> Literal["coroutine", "plain"]:
    if flags & _COROUTINE:
        return "coroutine"
    if flags & _GENERATOR:
        message = f"{fn!r} is a generator function, which is not supported yet as a step: return a list instead"
        raise TypeError(message)
    return "plain"


def _kind(fn: Any) -> Literal["coroutine", "plain"]:
    """Say what a call gives. What a wrapper wraps does not count: it may do anything with it."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    own = getattr(fn, "signature", None)  # a Task within a partial knows
    if isinstance(own, Signature):
        return own.kind
    calls = [fn] if isinstance(fn, type) else [fn, getattr(type(fn), "__call__", None)]
    if any(map(inspect.iscoroutinefunction, calls)):  # also knows what markcoroutinefunction marked
        return "coroutine"
    return _kind_of(fn, functools.reduce(lambda flags, call: flags | _flags(call), calls, 0))


def _flags(call: Any) -> int:
    code = getattr(getattr(call, "__func__", call), "__code__", None)
    return code.co_flags if isinstance(code, CodeType) else 0


def _inspected(fn: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # annotations are evaluated late there, and what cannot be must not stop us
        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)


def _annotations(fn: FunctionType) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        try:
            return fn.__annotations__
        except Exception:  # noqa: BLE001  (an annotation is any expression)
            return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
    return fn.__annotations__


def home_of(fn: Any) -> FunctionType | None:
    """Find the function whose globals the annotations of a callable were written against."""
    for _ in range(_DEPTH):
        match fn:
            case FunctionType(__wrapped__=inner) | functools.partial(func=inner) | MethodType(__func__=inner):
                fn = inner
            case FunctionType():
                return fn
            case type():
                fn = fn.__init__
            case _:
                fn = getattr(fn, "__wrapped__", None) or getattr(type(fn), "__call__", None)
    return None


# -- does an annotation mean Context? ----------------------------------------------------------------------------------


def _contexts(annotations: Mapping[str, Any], home: FunctionType | None) -> frozenset[str]:
    found = [name for name, annotation in annotations.items() if _means_context(annotation, home)]
    return frozenset(found) if found else _NONE


_NONE: Final[frozenset[str]] = frozenset()


def _means_context(annotation: Any, home: FunctionType | None, depth: int = _DEPTH) -> bool:
    if isinstance(annotation, str):
        return _text_means_context(annotation, home, depth)
    if annotation is Context or isinstance(annotation, type) or not depth:
        return annotation is Context
    if isinstance(annotation, ForwardRef):
        return _text_means_context(annotation.__forward_arg__, home, depth)
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return any(_means_context(each, home, depth - 1) for each in get_args(annotation))
    if origin is Annotated:
        return _means_context(get_args(annotation)[0], home, depth - 1)
    if origin is None and type(annotation).__name__ == "TypeAliasType":  # `type Ctx = Context[Order]`, Python 3.12
        with contextlib.suppress(Exception):  # evaluated late: any expression
            return _means_context(annotation.__value__, home, depth - 1)
    return origin is not None and _means_context(origin, home, depth - 1)


def _text_means_context(text: str, home: FunctionType | None, depth: int) -> bool:
    """Ask of each name in the text whether it could be; only then look at how the text is built."""
    candidates = [name for name in _NAMES.findall(text) if _name_means_context(name, home, depth)]
    if not candidates or not depth:
        return False
    try:
        return _tree_means_context(ast.parse(text.strip(), mode="eval").body, home, depth - 1)
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # what ast.parse raises for texts that are no expression
        return False


def _tree_means_context(tree: ast.expr, home: FunctionType | None, depth: int) -> bool:
    match tree:
        case ast.Name() | ast.Attribute():
            return _name_means_context(ast.unparse(tree), home, depth)
        case ast.Constant(value=str(text)):
            return _text_means_context(text, home, depth)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _tree_means_context(left, home, depth) or _tree_means_context(right, home, depth)
        case ast.Subscript(value=head, slice=inner):
            wrapper = _wrapper(ast.unparse(head), home)
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if wrapper is None:
                return _tree_means_context(head, home, depth)
            return any(
                _tree_means_context(each, home, depth) for each in (items[:1] if wrapper is Annotated else items)
            )
        case _:
            return False


def _name_means_context(name: str, home: FunctionType | None, depth: int) -> bool:
    value = _look_up(name, home)
    if value is EMPTY:
        return name.rpartition(".")[2] == "Context"
    return depth > 0 and _means_context(value, home, depth - 1)


def _wrapper(name: str, home: FunctionType | None) -> Any:
    value = _look_up(name, home)
    if value is EMPTY:
        return _WRAPPERS.get(name.rpartition(".")[2])
    return value if any(value is each for each in _WRAPPERS.values()) else None


def _look_up(dotted: str, home: FunctionType | None) -> Any:
    """Find what a name stands for inside the function; `EMPTY` if that cannot be said without running code of the user."""
    if home is None:
        return EMPTY
    first, *rest = dotted.split(".")
    value = home.__globals__.get(first, EMPTY)
    if first in home.__code__.co_freevars:
        cell = (home.__closure__ or ())[home.__code__.co_freevars.index(first)]
        with contextlib.suppress(ValueError):  # not assigned yet
            value = cell.cell_contents
    elif value is EMPTY:
        value = vars(builtins).get(first, EMPTY)
    for name in rest:
        if not isinstance(value, ModuleType | type):
            return EMPTY
        value = vars(value).get(name, EMPTY)
    return value
