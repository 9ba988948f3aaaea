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
from types import FunctionType, MappingProxyType, ModuleType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Literal, NamedTuple, Optional, Union, get_args, get_origin

from orch.context import Context

if sys.version_info >= (3, 14):
    import annotationlib
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ("EMPTY", "Parameter", "Signature", "signature_of")

Kind = Literal["coroutine", "plain"]
EMPTY = inspect.Parameter.empty

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_NAME = re.compile(r"[^\W\d][\w.]*")
_WRAPPERS = {"Optional": Optional, "Union": Union, "Annotated": Annotated}
_BUILTINS = vars(builtins)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_DEPTH = 16  # of aliases within aliases: an alias may be recursive


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
    kind: Kind

    def arguments(self, values: Mapping[str, Any], extra: Iterable[Any] = ()) -> tuple[list[Any], dict[str, Any]]:
        """Arrange values by name into the `(args, kwargs)` of a call, which itself reports what is missing."""
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
    if type(fn) is FunctionType and not fn.__dict__:  # nothing wrapped, marked or overridden
        return Signature(_from_code(fn), _kind_of(fn, fn.__code__.co_flags))
    return Signature(_from_inspect(fn), _kind(fn))


def opaque() -> Signature:
    """Describe a built-in that does not say what it takes: nothing is known, so everything must be bound."""
    return Signature((_variadic("args", var_positional=True), _variadic("kwargs", var_keyword=True)), "plain")


def _from_code(fn: FunctionType) -> tuple[Parameter, ...]:
    code = fn.__code__
    names, positional, only = code.co_varnames, code.co_argcount, code.co_posonlyargcount
    total = positional + code.co_kwonlyargcount
    annotations = _annotations(fn)
    contexts = _contexts(annotations, fn) if annotations else ()
    defaults = _defaults(fn, names[:positional])
    parameters = []
    for i, name in enumerate(names[:total]):
        default = defaults.get(name, EMPTY)
        keyword = i >= positional
        fields = (name, default is EMPTY, default, name in contexts, not keyword, i < only, keyword, False, False)
        parameters.append(_new(Parameter, fields))  # past the keywords of Parameter(): half the time
    if code.co_flags & inspect.CO_VARARGS:
        parameters.append(_variadic(names[total], var_positional=True))
        total += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parameters.append(_variadic(names[total], var_keyword=True))
    return tuple(parameters)


_new = tuple.__new__


def _defaults(fn: FunctionType, positional: Sequence[str]) -> Mapping[str, Any]:
    if not (values := fn.__defaults__):
        return fn.__kwdefaults__ or _NOTHING
    return {**dict(zip(positional[len(positional) - len(values) :], values, strict=True)), **(fn.__kwdefaults__ or {})}


def _variadic(name: str, **kind: bool) -> Parameter:
    return Parameter(name, required=False, default=EMPTY, context=False, positional=False, **kind)


def _from_inspect(fn: Callable[..., Any]) -> tuple[Parameter, ...]:
    found = sorted(_inspected(fn).parameters.values(), key=lambda each: each.kind if each.kind in _VARIADIC else 0)
    contexts = _contexts({each.name: each.annotation for each in found if each.annotation is not EMPTY}, home_of(fn))
    return tuple(_converted(each, each.name in contexts) for each in found)


_VARIADIC = {inspect.Parameter.VAR_POSITIONAL: "var_positional", inspect.Parameter.VAR_KEYWORD: "var_keyword"}


def _converted(each: inspect.Parameter, context: bool) -> Parameter:  # noqa: FBT001
    if each.kind in _VARIADIC:
        return _variadic(each.name, **{_VARIADIC[each.kind]: True})
    only, keyword = each.kind is each.POSITIONAL_ONLY, each.kind is each.KEYWORD_ONLY
    return Parameter(each.name, each.default is EMPTY, each.default, context, not keyword, only, keyword)


def _kind(fn: Any) -> Kind:
    """Say what a call gives. What a wrapper wraps does not count: it may do anything with it."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(own := getattr(fn, "signature", None), Signature):  # a Task within a partial knows
        return own.kind
    for call in (fn, getattr(type(fn), "__call__", None)):  # noqa: B004  (not whether: what it is)
        kind = _kind_of(fn, getattr(getattr(call, "__code__", None), "co_flags", 0))
        if kind == "coroutine" or inspect.iscoroutinefunction(call):  # which also knows what was marked as one
            return "coroutine"
    return "plain"


def _kind_of(fn: object, flags: int) -> Kind:
    if flags & _GENERATOR and not flags & _COROUTINE:
        raise TypeError(f"{fn!r} is a generator function, which is not supported yet as a step: return a list instead")
    return "coroutine" if flags & _COROUTINE else "plain"


def _annotations(fn: FunctionType) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # they are evaluated late there, and what cannot be must not stop us
        return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
    return fn.__annotations__


def _inspected(fn: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)


def home_of(fn: Any) -> FunctionType | None:
    """Find the Python function behind a callable: the one with the annotations."""
    for _ in range(_DEPTH):
        inner = getattr(fn, "func" if isinstance(fn, functools.partial) else "__wrapped__", None)
        if inner is None and isinstance(fn, FunctionType):
            return fn
        if inner is None:
            inner = getattr(fn, "__init__" if isinstance(fn, type) else "__func__", None)
        fn = getattr(type(fn), "__call__", None) if inner is None else inner  # noqa: B004  (not whether: what it is)
    return None


# -- does an annotation mean Context? ----------------------------------------------------------------------------------


def _contexts(annotations: Mapping[str, Any], home: FunctionType | None) -> list[str]:
    found = []
    for name, each in annotations.items():
        if each is Context or (type(each) is not type and _means_context(each, home)):  # most are classes: no call
            found.append(name)
    return found


def _means_context(annotation: Any, home: FunctionType | None, depth: int = _DEPTH) -> bool:
    if annotation is Context or isinstance(annotation, type) or not depth:
        return annotation is Context
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return _text_means_context(annotation, home, depth)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_means_context(each, home, depth - 1) for each in args)
    if origin is Annotated:
        return _means_context(args[0], home, depth - 1)
    if type(annotation).__name__ == "TypeAliasType":  # `type Ctx = Context[Order]`, since Python 3.12
        with contextlib.suppress(Exception):  # it is evaluated late, and any expression
            origin = annotation.__value__
    return origin is not None and _means_context(origin, home, depth - 1)


def _text_means_context(text: str, home: FunctionType | None, depth: int) -> bool:
    """Ask of each name in the text whether it could be; only then look at how the text is built."""
    for name in _names(text):
        if _name_means_context(name, home, depth):
            break
    else:
        return False
    try:
        return _tree_means_context(ast.parse(text.strip(), mode="eval").body, home, depth - 1)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # how ast.parse says that this is no expression
        return False


@functools.lru_cache(1024)
def _names(text: str) -> tuple[list[str], ...]:
    return tuple(name.split(".") for name in _NAME.findall(text))


def _tree_means_context(tree: ast.expr, home: FunctionType | None, depth: int) -> bool:
    match tree:
        case ast.Name() | ast.Attribute():
            return _name_means_context(ast.unparse(tree).split("."), home, depth)
        case ast.Constant(value=str(text)):
            return depth > 0 and _text_means_context(text, home, depth)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _tree_means_context(left, home, depth) or _tree_means_context(right, home, depth)
        case ast.Subscript(value=head, slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            wrapper = _wrapper(ast.unparse(head).split("."), home)
            items = [head] if wrapper is None else items[:1] if wrapper is Annotated else items
            return any(_tree_means_context(each, home, depth) for each in items)
        case _:
            return False


def _wrapper(name: list[str], home: FunctionType | None) -> Any:
    value = _look_up(name, home)
    if value is EMPTY:
        return _WRAPPERS.get(name[-1])
    return value if any(value is each for each in _WRAPPERS.values()) else None


def _name_means_context(name: list[str], home: FunctionType | None, depth: int) -> bool:
    value = _look_up(name, home)
    if value is EMPTY:
        return name[-1] == "Context"
    return value is Context or (type(value) is not type and _means_context(value, home, depth - 1))


def _look_up(dotted: list[str], home: FunctionType | None) -> Any:
    """Find what a name stands for in the function; `EMPTY` if that cannot be said without running the user's code."""
    if home is None:
        return EMPTY
    first, *rest = dotted
    value = home.__globals__.get(first, EMPTY)
    if home.__closure__ and first in home.__code__.co_freevars:
        with contextlib.suppress(ValueError):  # not assigned yet
            value = home.__closure__[home.__code__.co_freevars.index(first)].cell_contents
    elif value is EMPTY:
        value = _BUILTINS.get(first, EMPTY)
    for name in rest:
        value = vars(value).get(name, EMPTY) if isinstance(value, ModuleType | type) else EMPTY
    return value
