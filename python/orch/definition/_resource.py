"""`Resource`: what steps use and do not make themselves, such as a connection; `use`, by which a parameter asks for it.

A definition like others: it opens nothing. A resource can only use what was defined before it, so there are no cycles.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Protocol, TypeAlias, TypeVar, cast, overload

from attrs import frozen

from orch.definition._signature import Parameter, Signature, signature_of
from orch.definition._task import callable_name
from orch.definition._workflow import Workflow, name_of
from orch.errors import DefinitionError

__all__ = ("Resource", "Use", "resource", "use")

T = TypeVar("T")

Scope: TypeAlias = Literal["run", "runner"]


@frozen(eq=False, repr=False)
class Use:
    """Stands in for the value of a resource until a run puts that in its place: a default, or a bound value."""

    resource: Resource[Any]

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        what = f"resource {self.resource.name!r} is opened by runs only: in a plain call, pass what the function uses"
        raise AttributeError(f"{what} (its {name!r} was asked for)", name=name)

    def __repr__(self) -> str:
        return f"use({self.resource.name})"


@frozen(init=False, eq=False, repr=False)
class Resource(Generic[T]):
    """Something that steps use, opened once for all of them and closed when they are done; made by `resource`.

    Calling it calls the factory, plainly.
    """

    fn: Callable[..., Any]
    """What makes it: a generator function of one value, async or not, or a callable that gives a context manager."""
    name: str
    """What it is called in errors."""
    scope: Scope
    """How long it lasts at most: as long as one run, or as the block of a runner (`async with runner`)."""
    uses: tuple[tuple[str, Resource[Any]], ...]
    """The resources it uses itself, by parameter."""
    needs_context: bool
    """Whether it, or what it uses, cannot be opened without a Context."""
    on_loop: bool
    """Whether the factory is called on the event loop; else in a thread of its own."""
    _contexts: tuple[str, ...]
    _signature: Signature

    if TYPE_CHECKING:  # attrs makes it; pyright does not know

        def __attrs_init__(self, *args: Any) -> None: ...

    def __init__(self, fn: Callable[..., Any], /, *, name: str | None = None, scope: Scope = "run") -> None:
        _check_factory(fn)
        name = name_of(callable_name(fn) if name is None else name)
        if scope not in ("run", "runner"):
            raise ValueError(f"resource {name!r}: scope: expected 'run' or 'runner', found {scope!r}")
        signature = signature_of(fn)
        contexts = [each for each in signature.parameters if each.context]
        others = [each for each in signature.parameters if not each.context]
        uses = tuple((each.name, each.default.resource) for each in others if type(each.default) is Use)
        _check_parameters(name, others)
        if scope == "runner":
            _check_lasting(name, [used for _, used in uses], contexts)
        needy = any(each.required for each in contexts) or any(used.needs_context for _, used in uses)
        names = tuple(each.name for each in contexts)
        self.__attrs_init__(fn, name, scope, uses, needy, _is_for_loop(fn), names, signature)

    def factory(self, values: dict[str, Any], context: object) -> Callable[[], Any]:
        """Return the call of the factory with the values of the resources it uses, and a Context if there is one."""
        given = {} if context is None else dict.fromkeys(self._contexts, context)
        args, kwargs = self._signature.arguments({**values, **given})
        return functools.partial(self.fn, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __copy__(self) -> Resource[T]:
        return self  # one resource is one thing to open, however often it is copied

    def __deepcopy__(self, memo: object) -> Resource[T]:
        return self

    def __repr__(self) -> str:
        return f"<Resource {self.name!r}>"


def use(resource: Resource[T]) -> T:
    """Ask for a resource: the default of a parameter that a run fills with the value of the resource.

    >>> @resource
    ... async def database():
    ...     yield "connection"
    >>> async def load(rows, connection=use(database)): ...
    """
    if not isinstance(cast("object", resource), Resource):
        cure = "decorate the function that makes it with @orch.resource"
        raise TypeError(f"use: expected a resource, found {type(resource).__name__} ({resource!r:.100}): {cure}")
    return cast("T", Use(resource))


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[..., AbstractAsyncContextManager[T, Any]], /) -> Resource[T]: ...
    @overload
    def __call__(self, fn: Callable[..., AbstractContextManager[T, Any]], /) -> Resource[T]: ...
    @overload
    def __call__(self, fn: Callable[..., AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, fn: Callable[..., Iterator[T]], /) -> Resource[T]: ...


@overload
def resource(
    fn: Callable[..., AbstractAsyncContextManager[T, Any]], /, *, name: str | None = None, scope: Scope = "run"
) -> Resource[T]: ...
@overload
def resource(
    fn: Callable[..., AbstractContextManager[T, Any]], /, *, name: str | None = None, scope: Scope = "run"
) -> Resource[T]: ...
@overload
def resource(
    fn: Callable[..., AsyncIterator[T]], /, *, name: str | None = None, scope: Scope = "run"
) -> Resource[T]: ...
@overload
def resource(fn: Callable[..., Iterator[T]], /, *, name: str | None = None, scope: Scope = "run") -> Resource[T]: ...
@overload
def resource(fn: None = None, /, *, name: str | None = None, scope: Scope = "run") -> _Decorator: ...
def resource(fn: Callable[..., Any] | None = None, /, *, name: str | None = None, scope: Scope = "run") -> Any:
    """Make a `Resource` of what opens and closes it, as a decorator with or without options.

    A run opens it when the first step that asks for it (`use`) is about to begin, once for all of them, and closes it
    when everything has settled, in a task of its own.

    >>> @resource
    ... async def database():
    ...     yield "connection"
    >>> database
    <Resource 'database'>

    Args:
        fn: An async or plain generator function that yields one value, or a callable that gives a context manager. What
            is not async is called, entered and left in a thread of its own. Its parameters have defaults, `use` of
            another resource among them, or are annotated `Context`.
        name: What it is called in errors; that of the function unless given.
        scope: "run", or "runner": open as long as `async with AsyncRunner(…)`, for all runs in that block.
    """
    make: Any = functools.partial(Resource, name=name, scope=scope)
    return make if fn is None else make(fn)


def _check_factory(fn: object) -> None:
    if inspect.iscoroutine(fn):
        fn.close()  # nobody will await it
    if isinstance(fn, Workflow | Resource) or not callable(fn):
        cure = "decorate a function that yields the value, or pass what makes a context manager (the class, not one)"
        raise TypeError(f"resource: expected a factory, found {type(fn).__name__} ({fn!r:.100}): {cure}")
    if signature_of(fn).kind == "coroutine":
        cure = "let it yield the value, and clean up after that; or let a plain function return a context manager"
        raise TypeError(f"resource {callable_name(fn)!r}: expected a generator function, found a coroutine one: {cure}")


def _check_parameters(name: str, others: list[Parameter]) -> None:
    if asked := [each.name for each in others if each.required]:
        cure = "give them defaults, orch.use(another_resource) for instance, or annotate one as Context"
        what = f"resource {name!r}: nothing fills {', '.join(map(repr, asked))}"
        raise TypeError(f"{what}; {cure}, or bind values with functools.partial")


def _check_lasting(name: str, uses: list[Resource[Any]], contexts: list[Parameter]) -> None:
    brief = [f"resource {used.name!r}" for used in uses if used.scope == "run"]
    brief += ["the Context" for each in contexts if each.required]
    if brief:
        what = f"resource {name!r} has the scope of a runner and uses {' and '.join(brief)}"
        raise DefinitionError(f"{what}, which is there for one run: give both the same scope")


def _is_for_loop(fn: Any) -> bool:
    """Say whether a call gives something for the event loop; where that is not known before, it is seen in a thread."""
    if isinstance(fn, type):
        return hasattr(fn, "__aenter__")
    inner = inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)
    return any(map(inspect.isasyncgenfunction, (inner, type(inner).__call__)))
