"""`Task`, the smallest definition: a callable and what is to be known of it."""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from types import FunctionType, MappingProxyType, NoneType
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from attrs import Attribute, field, frozen

from orch.definition._options import breaker_of, limiter_of, retry_of, timeout_of
from orch.definition._signature import OPAQUE, Signature, home_of, signature_of
from orch.definition._workflow import Workflow, name_of
from orch.errors import check_known, expect
from orch.policies import CircuitBreaker, Limiter, Retry, Seconds

__all__ = ("Step", "Task", "TaskOptions", "task", "workflow_of")

P = ParamSpec("P")
R = TypeVar("R")

_FORMS: Mapping[str, str] = {"generator": "stream", "async generator": "stream"}
_Values = Mapping[str, Any]
_NOTHING: _Values = MappingProxyType({})


Step = Workflow | Callable[..., Any]
Dep = str | Step


def _output(output: Any) -> str | tuple[str, ...] | None:
    if output is None or isinstance(output, str):
        return output if output is None else name_of(output, "output")
    expect("output", output, str, Sequence, NoneType)
    names = tuple(name_of(name, f"output[{i}]") for i, name in enumerate(output))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"output: expected at least one name and none twice, found {names!r}")
    return names


def _deps(deps: Iterable[Dep]) -> tuple[str | Workflow, ...]:
    if isinstance(deps, (str, Workflow)):
        raise TypeError(f"deps: expected a list, found {type(deps).__name__}: write deps=[{deps!r:.100}]")
    expect("deps", deps, tuple, Iterable)
    return tuple(name_of(dep, "deps") if isinstance(dep, str) else workflow_of(dep) for dep in deps) if deps else ()


def workflow_of(step: Step) -> Workflow:
    """Make a task of a callable, leave workflows as they are."""
    return step if isinstance(step, Workflow) else Task(step)


class TaskOptions(TypedDict, total=False):
    """The options of a task, as `task`, `Task` and `Task.evolve` take them by keyword."""

    name: str | None
    output: str | Sequence[str] | None
    deps: Iterable[Dep]
    timeout: Seconds | None
    retry: Retry | None
    breaker: CircuitBreaker | None
    limiter: Limiter | None
    compensate: Callable[..., Any] | None
    compensate_unknown: bool
    cache: bool | None
    version: str | int | None
    thread: bool | None
    retain: bool
    description: str | None


def _compensation(step: Any) -> Task[..., Any] | None:
    if step is None:
        return None
    try:
        task: Any = workflow_of(step)
    except (TypeError, ValueError) as error:
        error.args = (f"compensate: {error}",)
        raise
    if not isinstance(task, Task):
        raise TypeError(f"compensate: expected a callable or a Task, found {type(task).__name__} ({task!r})")
    if task.signature.streams:
        raise TypeError(f"compensate: expected a function that undoes, found the generator function {task.name!r}")
    if task.deps or task.compensate:
        found, cure = ("deps", "deps=()") if task.deps else ("a compensation of its own", "compensate=None")
        raise ValueError(f"compensate: expected a task that stands alone, {task!r} has {found}: .evolve({cure})")
    return task


def _check_unknown(task: Task[..., Any], _: object, value: Any) -> None:
    if value is not False:
        expect("compensate_unknown", value, bool)
        if task.compensate is None:
            raise ValueError("compensate_unknown: expected a task with compensate=…, found True on one without")


def _check_version(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool):  # which would be an int
        raise TypeError(f"version: expected a text or an int, found bool ({value!r})")
    expect("version", value, str, int, NoneType)


def _checked(usual: object, *types: type) -> Callable[[Any, Attribute[Any], object], None]:
    """Make a validator that lets the usual value pass without a look at its type."""

    def check(_: object, at: Attribute[Any], value: object) -> None:
        if value is not usual:
            expect(at.name, value, *types)

    return check


_RUN_FILLS = {
    "Context": "pass the Context to the run, orch.run(workflow, context)",
    "upstream": "name in deps= what it is to have, or give the parameter another name",
}
_OPTIONS = tuple(TaskOptions.__annotations__)


class _Wrapped:
    """The function of a task, for who follows `__wrapped__`; the class itself wraps nothing."""

    def __get__(self, task: Task[..., Any] | None, owner: Any = None, /) -> Callable[..., Any]:
        if task is None:
            raise AttributeError("__wrapped__")
        return task.fn


@frozen(init=False, eq=False, repr=False)
class Task(Workflow, Generic[P, R]):
    """One step: a callable with a name, and how it is wired and run. Calling it calls the function, once and plainly.

    >>> def price(amount: float, rate: float = 0.2) -> float:
    ...     return amount * (1 + rate)
    >>> step = Task(price, rate=0.5, name="gross")
    >>> step, step(10), step.bind(rate=0)(10)
    (<Task 'gross'>, 15.0, 10)

    Args:
        fn: Anything callable: a function, plain or async, a partial, a method, a class, an object with `__call__`. Of a
            generator function, plain or async, each value is a `ChunkEvent`, and the value is the list of them (or what
            a plain one returns, if that is not None).
        *args: Values bound by position, to the parameters that a run does not fill by itself (a `Context`, `upstream`).
        name: Any text of 1 to 1 000 characters without NUL. Derived from the callable unless given.
        output: The name of what it gives (its own name unless given), or several, for a returned tuple.
        deps: Steps of the same graph that must succeed before: names, workflows, or functions that are steps there.
        timeout: Seconds (or a timedelta) that each attempt may take, without the time it waits for its turn.
        retry: Whether and when to try again after a failed attempt; a `Retry`.
        breaker: A `CircuitBreaker` that refuses attempts after too many failures; to be shared with other tasks.
        limiter: What an attempt waits for: an object with `acquire` and `release`; to be shared with anybody.
        compensate: What undoes it, once its group fails: a callable, or a task with options and values of its own. It
            asks by name for `value` (the task's), `error`, parameters of the task, or a `Context`.
        compensate_unknown: Whether attempts count that may have happened (timed out, cancelled); `value` is `UNKNOWN`.
        cache: Whether a runner that has a cache keeps what it returns. None: unless it takes a Context or resources, or
            has a compensation.
        version: A text or number that stands for its code in the keys of a cache: another one, and it is called again.
        thread: None: a plain function runs in a worker thread. False: in place. An async one runs on the event loop.
        retain: False: its value is let go once the last step that reads it has settled.
        description: For people.
        **kwargs: Values bound by name. A parameter named like an option is bound with `bind`.
    """

    output: str | tuple[str, ...] | None = field(converter=_output)
    deps: tuple[str | Workflow, ...] = field(converter=_deps)
    timeout: float | None = field(converter=timeout_of)
    retry: Retry | None = field(converter=retry_of)
    breaker: CircuitBreaker | None = field(converter=breaker_of)  # it and the limiter are shared objects:
    limiter: Limiter | None = field(converter=limiter_of)  # no part of the value
    compensate: Task[..., Any] | None = field(converter=_compensation)
    compensate_unknown: bool = field(validator=_check_unknown)
    cache: bool | None = field(validator=_checked(None, bool, NoneType))
    version: str | int | None = field(validator=_check_version)
    thread: bool | None = field(validator=_checked(None, bool, NoneType))
    retain: bool = field(validator=_checked(True, bool))  # noqa: FBT003 (what it mostly is)
    description: str | None = field(validator=_checked(None, str, NoneType))
    fn: Callable[P, R]
    bound: Mapping[str, Any]
    """Bound values by name of parameter, or of a keyword that goes into `**kwargs`."""
    extra: tuple[Any, ...]
    """Bound values that go into `*args`."""
    signature: Signature
    """What the function takes and whether calling it gives a coroutine."""

    def __init__(
        self,
        fn: Callable[P, R],
        /,
        *args: Any,
        name: str | None = None,
        output: str | Sequence[str] | None = None,
        deps: Iterable[Dep] = (),
        timeout: Seconds | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
        limiter: Limiter | None = None,
        compensate: Callable[..., Any] | None = None,
        compensate_unknown: bool = False,
        cache: bool | None = None,
        version: str | int | None = None,
        thread: bool | None = None,
        retain: bool = True,
        description: str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_callable(fn)
        signature = signature_of(fn)
        bound, extra = _bind(fn, signature, args, kwargs) if args or kwargs else (_NOTHING, ())
        if signature is OPAQUE and not (args or kwargs or isinstance(fn, functools.partial)):
            cure = "bind its values, Task({0}, …), or wrap it, lambda value: {0}(value)".format(callable_name(fn))
            raise TypeError(f"{callable_name(fn)!r} does not say what it takes: {cure}")
        name = callable_name(fn) if name is None else name
        policies = timeout, retry, breaker, limiter, compensate, compensate_unknown, cache, version
        self.__attrs_init__(name, output, deps, *policies, thread, retain, description, fn, bound, extra, signature)

    @property
    def form(self) -> str | None:
        """What its body is if not simply one call of the function: a word of `orch.execution`."""
        return _FORMS.get(self.signature.kind)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what the task gives."""
        return self.output if isinstance(self.output, tuple) else (self.output or self.name,)

    @property
    def unpacks(self) -> bool:
        """Whether a returned tuple is taken apart into the outputs."""
        return isinstance(self.output, tuple)

    @property
    def place(self) -> str:
        """Where the function is defined, as `file:line`."""
        home = None if isinstance(self.fn, type) else home_of(self.fn)  # the methods of a class may be generated
        if home is not None:
            return f"{home.__code__.co_filename}:{home.__code__.co_firstlineno}"
        return f"{getattr(self.fn, '__module__', None) or 'builtins'}.{callable_name(self.fn)}"

    __wrapped__ = _Wrapped()  # for inspect, and all who ask it what the function takes or where it is
    __name__ = property(attrgetter("name"))

    @overload
    def __get__(self, instance: None, owner: Any = None, /) -> Task[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None, /) -> Task[..., R]: ...
    def __get__(self, instance: object, owner: Any = None, /) -> Any:
        """Bind a method to its object, as functions do; a task of what is no method stays as it is."""
        scope = self.fn.__qualname__.rpartition(".")[0] if isinstance(self.fn, FunctionType) else ""
        first = next((each.name for each in self.signature.parameters if each.positional), None)
        if instance is None or first is None or first in self.bound or not scope or scope.endswith("<locals>"):
            return self
        return self.bind(**{first: instance})

    def bind(self, /, **values: Any) -> Task[..., R]:
        """Return this task with values for some of its parameters; they take the place of those bound before."""
        bound, _ = _bind(self.fn, self.signature, (), {**self.bound, **values})
        return _restored(self.fn, self._options(), bound, self.extra)

    def evolve(self, **fields: Unpack[TaskOptions]) -> Task[P, R]:
        """Return this task with other options; `name=None` derives the name anew."""
        check_known(fields, _OPTIONS, "Task.evolve")
        return cast("Task[P, R]", _restored(self.fn, self._options() | fields, self.bound, self.extra))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if not self.bound and not self.extra:
            return self.fn(*args, **kwargs)
        free = [each.name for each in self.signature.parameters if each.positional and each.name not in self.bound]
        given = dict(zip(free, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"{self.name}() got multiple values for {', '.join(map(repr, sorted(twice)))}")
        values = {**self.bound, **given, **kwargs}
        args_, kwargs_ = self.signature.arguments(values, (*self.extra, *args[len(free) :]))
        return cast("Callable[..., R]", self.fn)(*args_, **kwargs_)

    def _options(self) -> TaskOptions:
        return {name: getattr(self, name) for name in _OPTIONS}  # type: ignore[return-value]

    def _parts(self) -> tuple[list[Any], Sequence[Workflow]]:
        undo = [] if self.compensate is None else [self.compensate]
        options = [self.name, self.output, self.thread, self.retain, self.description, self.timeout, self.retry]
        names = tuple(dep if isinstance(dep, str) else None for dep in self.deps)
        bound = sorted(self.bound)
        values = [self.fn, *self.extra, *map(self.bound.__getitem__, bound)]
        parts = [*options, self.compensate_unknown, self.cache, self.version, len(undo), names, tuple(bound), *values]
        return parts, [*undo, *(dep for dep in self.deps if isinstance(dep, Workflow))]

    def __reduce__(self) -> tuple[Any, ...]:
        options: Any = self._options()
        shared = {name: options.pop(name) for name in ("breaker", "limiter") if options[name] is not None}
        make = functools.partial(_restored, **shared) if shared else _restored  # which copy.deepcopy does not copy
        return make, (_reference(self.fn), options, dict(self.bound), self.extra)


@overload
def task(fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
@overload
def task(fn: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a `Task` of a function, as a decorator with or without options, which are those of `Task`.

    >>> @task(output="total")
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> add, add(1, 2)
    (<Task 'add'>, 3)
    """
    if unknown := sorted(options.keys() - set(_OPTIONS)):  # which Task would take for values to bind
        raise TypeError(f"task() got an unexpected keyword argument {unknown[0]!r}; it has {', '.join(_OPTIONS)}")
    make: Any = functools.partial(Task, **options)
    return make if fn is None else make(fn)


def _written_out() -> inspect.Signature:
    """Return the signature of `task` with its options one by one, for help() and editors."""
    fn = inspect.Parameter("fn", inspect.Parameter.POSITIONAL_ONLY, default=None, annotation="Callable[P, R] | None")
    options = [each for each in inspect.signature(Task.__init__).parameters.values() if each.name in _OPTIONS]
    return inspect.Signature([fn, *options], return_annotation="Task[P, R]")


task.__dict__["__signature__"] = _written_out()


def callable_name(fn: Any) -> str:
    """Derive a name from anything callable."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", None)
    return "lambda" if name == "<lambda>" else name if isinstance(name, str) else type(fn).__name__


def _check_callable(fn: object) -> None:
    if isinstance(fn, Workflow):
        raise TypeError(f"{fn!r} is a workflow already: use it as it is, or change a task with .evolve(…) and .bind(…)")
    if inspect.iscoroutine(fn):
        fn.close()  # nobody will await it, and Python is not to warn about that as well
        raise TypeError(f"a coroutine is no step: pass the function, not the call: {fn.__name__}, not {fn.__name__}(…)")
    if not callable(fn):
        raise TypeError(f"expected a callable or a workflow as a step, found {type(fn).__name__} ({fn!r:.100})")


def _bind(fn: object, signature: Signature, args: tuple[Any, ...], kwargs: _Values) -> tuple[_Values, tuple[Any, ...]]:
    what, parameters = callable_name(fn), signature.parameters
    free = [each.name for each in parameters if each.positional and not each.context and each.name != "upstream"]
    bound = dict(zip(free, args, strict=False))
    if len(args) > len(free) and not any(each.var_positional for each in parameters):
        raise TypeError(f"{what}: expected at most {len(free)} values by position, found {len(args)}")
    if twice := bound.keys() & kwargs.keys():
        raise TypeError(f"{what}: bound by position and by name: {', '.join(map(repr, sorted(twice)))}")
    for each in parameters if kwargs else ():
        if each.name in kwargs and (each.context or (each.name == "upstream" and not each.var_keyword)):
            cure = _RUN_FILLS["Context" if each.context else "upstream"]
            raise TypeError(f"{what}: every run fills {each.name!r} by itself, so it cannot be bound; {cure}")
    if not any(each.var_keyword for each in parameters):
        check_known(kwargs, [each.name for each in parameters if not each.var_positional], what, others=_OPTIONS)
    return MappingProxyType({**bound, **kwargs}), args[len(free) :]


def _reference(fn: Any) -> Any:
    """Give what can be pickled for a function: itself or, if the task stands under its name, that name."""
    with suppress(AttributeError, ImportError, ValueError):  # no name, or nothing to be found under it
        found = pkgutil.resolve_name(name := f"{fn.__module__}:{fn.__qualname__}")
        return name if isinstance(found, Task) and found.fn is fn else fn
    return fn


def _restored(
    fn: Any, options: TaskOptions, bound: Mapping[str, Any], extra: tuple[Any, ...], **shared: Any
) -> Task[..., Any]:
    fn = pkgutil.resolve_name(fn).fn if isinstance(fn, str) else fn
    fields: dict[str, Any] = {**options, **shared}
    fields["name"] = callable_name(fn) if fields["name"] is None else fields["name"]
    new: Task[..., Any] = object.__new__(Task)
    new.__attrs_init__(fn=fn, bound=MappingProxyType({**bound}), extra=extra, signature=signature_of(fn), **fields)
    return new
