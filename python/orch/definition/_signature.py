"""What a callable takes: in goes anything callable, out comes a `Signature`.

Plain functions are read off their code object (a microsecond or two); everything else goes through `inspect.signature`.
Annotations are asked one question, whether they mean `Context`. Text is parsed for it, not evaluated: its names are
looked up where the function would find them; one that is not there (imported for type checking) means what it spells.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import FunctionType, ModuleType, UnionType
from typing import Annotated, Any, ForwardRef, Literal, NamedTuple, Optional, Union, get_args, get_origin

from orch.context import Context

__all__ = ("EMPTY", "OPAQUE", "Kind", "Parameter", "Signature", "annotations_of", "home_of", "signature_of")

EMPTY = inspect.Parameter.empty

Kind = Literal["coroutine", "plain", "generator", "async generator"]
_Named = Mapping[str, Any]
_STREAMS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_VARIADIC = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
_SPELLED: dict[str, Any] = {"Context": Context, "Optional": Optional, "Union": Union, "Annotated": Annotated}
_BUILTINS = vars(builtins)
_DEPTH = 16  # of callables within callables
_STEPS = 500  # to the bottom of an annotation: an alias may be recursive

_inspected: Callable[..., inspect.Signature] = inspect.signature
annotations_of: Callable[[FunctionType], _Named] = operator.attrgetter("__annotations__")
if sys.version_info >= (3, 14):  # they are evaluated late there, and what cannot be must not stop us
    from annotationlib import Format, get_annotations

    _inspected = functools.partial(inspect.signature, annotation_format=Format.FORWARDREF)
    annotations_of = functools.partial(get_annotations, format=Format.FORWARDREF)


class Parameter(NamedTuple):
    """One parameter of a step."""

    name: str
    required: bool  # whether a call without it fails: never of `*args` and `**kwargs`
    default: Any  # `EMPTY` if there is none
    context: bool  # whether its annotation means `Context`
    positional: bool  # whether it can be passed by position
    positional_only: bool = False
    keyword_only: bool = False
    var_positional: bool = False
    var_keyword: bool = False


class Signature(NamedTuple):
    """The parameters of a step (`*args` and `**kwargs` last) and what calling it gives."""

    parameters: tuple[Parameter, ...]
    kind: Kind

    @property
    def streams(self) -> bool:
        """Whether it is a generator function, of whichever colour."""
        return self.kind in {"generator", "async generator"}

    @property
    def is_async(self) -> bool:
        """Whether what calling it gives needs an event loop."""
        return self.kind in {"coroutine", "async generator"}

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
    """Read the signature of anything callable; `OPAQUE` for a built-in that does not say what it takes."""
    if type(fn) is FunctionType and not fn.__dict__:  # nothing wrapped, marked or overridden
        return Signature(_from_code(fn), _kind_of(fn.__code__.co_flags))
    try:
        return Signature(_from_inspect(fn), _kind(fn))
    except ValueError:
        return OPAQUE


# The kinds of parameters are numbers, those of `inspect.Parameter.kind`; by them, the last five fields of a Parameter.
_ONLY, _EITHER, _ARGS, _KEYWORD, _KWARGS = range(5)
_FLAGS = tuple((kind <= _EITHER, *(kind == each for each in (_ONLY, _KEYWORD, _ARGS, _KWARGS))) for kind in range(5))
_STARRED = (_ARGS, _KWARGS)
_new = tuple.__new__  # past the keywords of Parameter(): half the time


def _from_code(fn: FunctionType) -> tuple[Parameter, ...]:
    code, values, defaults = fn.__code__, fn.__defaults__, fn.__kwdefaults__ or {}
    if values:
        defaults = dict(zip(code.co_varnames[code.co_argcount - len(values) :], values, strict=False)) | defaults
    kinds = _kinds(code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, code.co_flags & _VARIADIC)
    return _parameters(code.co_varnames, kinds, defaults, annotations_of(fn), fn)


@functools.cache
def _kinds(only: int, positional: int, keywords: int, flags: int) -> list[int]:
    variadic = [_ARGS] * bool(flags & inspect.CO_VARARGS) + [_KWARGS] * bool(flags & inspect.CO_VARKEYWORDS)
    return [_ONLY] * only + [_EITHER] * (positional - only) + [_KEYWORD] * keywords + variadic


def _from_inspect(fn: Callable[..., Any]) -> tuple[Parameter, ...]:
    found = sorted(_inspected(fn).parameters.values(), key=lambda each: each.kind in _STARRED)
    names, kinds = [each.name for each in found], [each.kind for each in found]
    defaults, annotations = ({each.name: getattr(each, what) for each in found} for what in ("default", "annotation"))
    return _parameters(names, kinds, defaults, annotations, home_of(fn))


def _parameters(
    names: Sequence[str], kinds: Sequence[int], defaults: _Named, annotations: _Named, home: FunctionType | None
) -> tuple[Parameter, ...]:
    parameters = []
    for name, kind in zip(names, kinds, strict=False):
        default, annotation = defaults.get(name, EMPTY), annotations.get(name, EMPTY)
        # Most annotations are classes: no call.
        context = annotation is Context or (type(annotation) is not type and _means_context(annotation, home))
        required = default is EMPTY and kind not in _STARRED
        parameters.append(_new(Parameter, (name, required, default, context, *_FLAGS[kind])))
    return tuple(parameters)


OPAQUE = Signature(_parameters(("args", "kwargs"), (_ARGS, _KWARGS), {}, {}, None), "plain")


def _kind(fn: Any) -> Kind:
    """Say what a call gives. What a wrapper wraps does not count: it may do anything with it."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(own := getattr(fn, "signature", None), Signature):  # a Task within a partial knows
        return own.kind
    calls = fn, type(fn).__call__
    if any(map(inspect.iscoroutinefunction, calls)):
        return "coroutine"
    kinds: list[Kind] = [_kind_of(getattr(getattr(call, "__code__", None), "co_flags", 0)) for call in calls]
    return kinds[1] if kinds[0] == "plain" else kinds[0]


def _kind_of(flags: int) -> Kind:
    if flags & _COROUTINE:
        return "coroutine"
    return "plain" if not flags & _STREAMS else "generator" if flags & inspect.CO_GENERATOR else "async generator"


def home_of(fn: Any) -> FunctionType | None:
    """Find the Python function behind a callable: the one with the annotations."""
    for _ in range(_DEPTH):
        if isinstance(fn, FunctionType) and not hasattr(fn, "__wrapped__"):
            return fn
        other = getattr(fn, "__init__" if isinstance(fn, type) else "__func__", type(fn).__call__)
        fn = fn.func if isinstance(fn, functools.partial) else getattr(fn, "__wrapped__", other)
    return None


def _means_context(annotation: Any, home: FunctionType | None) -> bool:
    """Follow whatever the annotation may stand for, through values, texts and their syntax trees."""
    left, steps = [annotation], 0
    while left and steps < _STEPS:
        it, steps = left.pop(), steps + 1
        if it is Context:
            return True
        if not isinstance(it, type):
            left += _alternatives(_parsed(it) if isinstance(it, str) else it, home)
    return False


def _alternatives(it: Any, home: FunctionType | None) -> Iterable[Any]:
    """Go one step: what a value or a syntax tree may stand for in an annotation."""
    match it:
        case ast.Name() | ast.Attribute():
            return (_look_up(it, home),)
        case ast.BinOp(op=ast.BitOr()):
            return it.left, it.right
        case ast.Subscript():
            items = it.slice.elts if isinstance(it.slice, ast.Tuple) else [it.slice]
            return _inside(_look_up(it.value, home), it.value, items)
        case ast.Constant(value=inner) | ForwardRef(__forward_arg__=inner):
            return (inner,)
        case _ if type(it).__name__ == "TypeAliasType":  # `type Ctx = Context[Order]`, since Python 3.12
            with suppress(Exception):  # it is evaluated late, and any expression
                return (it.__value__,)
        case _:
            pass
    return _inside(get_origin(it), get_origin(it), get_args(it))


def _inside(wrapper: Any, head: Any, items: Sequence[Any]) -> Sequence[Any]:
    if wrapper is Union or wrapper is UnionType or wrapper is Optional:
        return items
    return () if wrapper is None else items[:1] if wrapper is Annotated else (head,)


@functools.lru_cache(4096)
def _parsed(text: str) -> ast.expr | None:
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # how ast.parse says no
        return ast.parse(text.strip(), mode="eval").body
    return None


def _look_up(tree: ast.expr, home: FunctionType | None) -> Any:
    """Find what a name stands for in the function, as far as that can be said without running the user's code."""
    found: Any = EMPTY
    if isinstance(tree, ast.Name):
        name = tree.id
        if home is not None:
            found = home.__globals__.get(name, _BUILTINS.get(name, EMPTY))
            if home.__closure__ and name in home.__code__.co_freevars:
                with suppress(ValueError):  # not assigned yet
                    found = home.__closure__[home.__code__.co_freevars.index(name)].cell_contents
    elif isinstance(tree, ast.Attribute):
        owner, name = _look_up(tree.value, home), tree.attr
        if isinstance(owner, ModuleType | type):
            found = vars(owner).get(name, EMPTY)
    else:
        return EMPTY
    return _SPELLED.get(name, EMPTY) if found is EMPTY else found
