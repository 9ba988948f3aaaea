"""What a callable is: its name and code, what it has closed over, and the values it is called with by itself.

Of code it is what it does that counts: not where it stands, which is line numbers and names of files.
"""

import dis
import functools
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from orch._keys._encode import PUT, Out, Unhashable, deeper, put, put_bytes, put_each, put_named, put_text
from orch._keys._hash import blake2b
from orch._keys._kinds import class_name

__all__ = ("Callable", "parts_of")

_PARTIALS = 16  # within each other


class Callable(NamedTuple):
    """A callable taken apart: `name`, what is `code`, and by what it says of them the values it holds besides."""

    name: str
    code: Any
    values: dict[str, Any]


def parts_of(fn: Any) -> Callable:
    """Take a callable apart. Closures are read now: they may be others later."""
    values = dict[str, Any]()
    for _ in range(_PARTIALS):
        if not isinstance(fn, functools.partial):
            break
        values |= {f"bound {name!r}": value for name, value in fn.keywords.items() if f"bound {name!r}" not in values}
        values["bound arguments"] = (*fn.args, *values.get("bound arguments", ()))
        fn = fn.func
    if isinstance(fn, types.MethodType):
        values["self"] = fn.__self__
        fn = fn.__func__
    if isinstance(fn, types.FunctionType):
        return Callable(_name(fn), fn.__code__, values | _held(fn))
    if isinstance(fn, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
        return Callable(_name(fn), None, values | _receiver(fn))
    if isinstance(fn, type):
        return Callable(class_name(fn), Methods(fn), values)
    return Callable(class_name(type(fn)), Methods(type(fn)), {**values, "self": fn})


def _name(fn: Any) -> str:
    return f"{getattr(fn, '__module__', None)}:{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def _receiver(fn: Any) -> dict[str, Any]:
    receiver = getattr(fn, "__self__", None)
    return {} if receiver is None or isinstance(receiver, types.ModuleType) else {"self": receiver}


def _held(fn: types.FunctionType) -> dict[str, Any]:
    """Return what a function holds: defaults and closure, each under its name."""
    code, values = fn.__code__, fn.__defaults__ or ()
    last = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    defaults = dict(zip(last, values, strict=False)) | (fn.__kwdefaults__ or {})
    held = {f"default of {name!r}": value for name, value in defaults.items()}
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=False):
        if name != "__class__":  # of a method that says super(): the class it is in
            held[f"closure {name!r}"] = Closed(fn, name, cell)
    return held


class Closed(NamedTuple):
    """A value that a function has closed over.

    It counts as it was when it was first looked at: another one in its place counts, a change within it does not, nor
    what the function itself puts there. So a step may count its calls, in a list or by `nonlocal`.
    """

    fn: types.FunctionType
    name: str
    cell: types.CellType

    def digest(self, functions: list[Any], depth: int) -> bytes:
        """Return the digest, which the function keeps: nobody else lives as long."""
        seen = self._seen()
        known = seen.get(self.name)
        value = self.cell.cell_contents
        if known is None or (known[0] is not value and self.name not in _assigned(self.fn.__code__)):
            out = Out(functions)
            put(out, value, depth)
            known = seen[self.name] = value, blake2b(out, digest_size=32).digest()
        return known[1]

    def _seen(self) -> dict[str, tuple[Any, bytes]]:
        owner, seen = getattr(self.fn, _SEEN, (0, {}))
        if owner != id(self.fn):  # functools.wraps has copied it
            seen = dict[str, tuple[Any, bytes]]()
            setattr(self.fn, _SEEN, (id(self.fn), seen))
        return seen


_SEEN = "__orch_closed__"


@lru_cache(4096)
def _assigned(code: types.CodeType) -> frozenset[str]:
    """Return the names of variables around a function that it assigns to."""
    return frozenset(each.argval for each in dis.get_instructions(code) if each.opname == "STORE_DEREF")


class Methods:
    """What the methods of a class do, inherited ones too."""

    def __init__(self, kind: type) -> None:
        self._kinds = kind.__mro__[:-1]

    def functions(self) -> Iterator[types.FunctionType]:
        """Yield the functions of the class and its bases, as far as they are written in Python."""
        for kind in self._kinds:
            for _, value in sorted(vars(kind).items()):
                found = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if isinstance(found, types.FunctionType):
                    yield found


@lru_cache(4096)
def _code_digest(code: types.CodeType) -> bytes:
    out = Out()
    put(out, [getattr(code, each, b"") for each in _OF_CODE], 4)
    put_each(out, code.co_consts, 100)
    return blake2b(out, digest_size=32).digest()


_OF_CODE = (
    *("co_name", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags"),
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_exceptiontable"),
)


def _put_code(out: Out, code: types.CodeType, _: int) -> None:
    put_bytes(out, _code_digest(code), b"c")


def _put_function(out: Out, fn: types.FunctionType, depth: int) -> None:
    if fn in out.open:  # it has closed over itself
        put_text(out, _name(fn), b"r")
        return
    out.open.append(fn)
    try:
        put_text(out, _name(fn), b"o")
        put(out, fn.__code__, depth)
        _put_held(out, _held(fn), depth)
    finally:
        out.open.pop()


def _put_held(out: Out, held: dict[str, Any], depth: int) -> None:
    depth = deeper(depth)
    out += b"%x:" % len(held)
    for name, value in held.items():
        put_text(out, name)
        try:
            put(out, value, depth)
        except Unhashable as problem:
            raise problem.inside(f" ({name})") from None


def _put_closed(out: Out, closed: Closed, depth: int) -> None:
    try:
        data = closed.digest(out.open, depth)
    except ValueError:  # not assigned yet
        out += b"e"
    else:
        put_bytes(out, data)


def _put_callable(out: Out, fn: Any, depth: int) -> None:
    parts = parts_of(fn)
    put_text(out, parts.name, b"m")
    put(out, parts.code, depth)
    _put_held(out, parts.values, depth)


def _put_methods(out: Out, methods: Methods, depth: int) -> None:
    for each in methods.functions():
        put(out, each, depth)


PUT.update(
    {
        types.CodeType: _put_code,
        types.FunctionType: _put_function,
        Closed: _put_closed,
        Methods: _put_methods,
        types.ModuleType: lambda out, value, _: put_text(out, value.__name__, b"M"),
        **dict.fromkeys(
            (
                *(functools.partial, types.MethodType, types.BuiltinFunctionType),
                *(types.MethodDescriptorType, types.WrapperDescriptorType),
            ),
            _put_callable,
        ),
        staticmethod: lambda out, value, depth: put_named(out, b"o", "staticmethod", {"": value.__func__}, depth),
        classmethod: lambda out, value, depth: put_named(out, b"o", "classmethod", {"": value.__func__}, depth),
        type: lambda out, value, _: put_text(out, class_name(value), b"t"),
    }
)
