"""`Map`: a step that carries out a workflow once for each item of what it is given; how many there are a run knows."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType, NoneType
from typing import Any, Literal, Self, TypedDict, Unpack, cast

from attrs import field, frozen

from orch.definition._signature import EMPTY, Parameter, Signature
from orch.definition._task import Dep, Step, Task, _bind, workflow_of
from orch.definition._workflow import Workflow, name_of
from orch.errors import DefinitionError, check_known, close_matches, combine, did_you_mean, expect
from orch.policies import CircuitBreaker, Limiter, Retry, Seconds

__all__ = ("NOT_GIVEN", "Map", "MapMode", "MapOptions", "OnError")

MapMode = Literal["zip", "product"]
OnError = Literal["raise", "collect"]


class _NotGiven:
    """What an optional input of a body is while nobody gives it: the body then has its own defaults."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<not given>"

    def __reduce__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = _NotGiven()


class MapOptions(TypedDict, total=False):
    """The options that a `Map` shares with tasks."""

    name: str | None
    output: str | Sequence[str] | None
    deps: Iterable[Dep]
    timeout: Seconds | None
    retry: Retry | None
    breaker: CircuitBreaker | None
    limiter: Limiter | None
    compensate: Callable[..., Any] | None
    compensate_unknown: bool
    retain: bool
    description: str | None


_SHARED = tuple(MapOptions.__annotations__)
_OWN = ("over", "mode", "limit", "on_error")
_MODES, _ON_ERROR = ("zip", "product"), ("raise", "collect")


def _one_of(words: tuple[str, ...]) -> Callable[[Any, Any, Any], None]:
    def check(_: object, at: Any, value: Any) -> None:
        expect(at.name, value, str)
        if value not in words:
            hint = did_you_mean(close_matches(value, words), "; {}")
            raise ValueError(f"{at.name}: expected {' or '.join(map(repr, words))}, found {value!r}{hint}")

    return check


def _over(value: Any) -> tuple[str, ...]:
    expect("over", value, str, Sequence)
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        name_of(name, "over")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"over: expected at least one input and none twice, found {names!r}")
    return names


@frozen(init=False, eq=False, repr=False)
class Map(Task[..., list[Any]]):  # type: ignore[override] # its generated initialiser takes more than that of a task
    """A workflow once for each item: the list of its values, in order of the items, however many these turn out to be.

    The inputs of the body are inputs of the map. Those in `over` take something that can be iterated, of which each
    item is given to the input of the same name; the others go to every item as they are.

    >>> def area(width, height=2): return width * height
    >>> Map(area, over="width", name="areas"), Map(area, over="width").inputs
    (<Map 'areas'>, ('width', 'height'))

    Args:
        body: What is done for each item: a workflow, or a callable.
        over: The inputs that take items: one name or several.
        mode: Of several: `"zip"` takes one item of each at a time, and they must be equally many; `"product"` takes all
            combinations, the last one changing fastest.
        limit: How many of the steps in it, at any depth, may run at a time; limits around the map hold besides.
        on_error: `"raise"`: the first item that fails ends the others, and the map fails with its error. `"collect"`:
            all are tried, the map succeeds, and in its value None stands where an item failed.
        **options: Those that tasks have: name (that of the body unless given), deps, policies, and `output`, which is
            one name for the list, or one for each output of the body: then each is the list of those values.
    """

    body: Workflow
    over: tuple[str, ...] = field(converter=_over)
    mode: MapMode = field(validator=_one_of(_MODES))
    limit: int | None = field(validator=lambda _, at, value: expect(at.name, value, int, NoneType, least=1))
    on_error: OnError = field(validator=_one_of(_ON_ERROR))
    columns: tuple[str | int, ...] | None = field(init=False, default=None)
    """By output, where there are several, where in the value of an item its part is."""

    def __init__(
        self,
        body: Step,
        *,
        over: str | Sequence[str],
        mode: MapMode = "zip",
        limit: int | None = None,
        on_error: OnError = "raise",
        **options: Unpack[MapOptions],
    ) -> None:
        check_known(options, (*_SHARED, *_OWN), "Map", "option")
        self._fill(workflow_of(body), options | {"over": over, "mode": mode, "limit": limit, "on_error": on_error}, {})

    def _fill(self, body: Workflow, options: Any, bound: dict[str, Any]) -> None:
        fields = {**_USUAL, **options}
        fields["name"] = body.name if fields["name"] is None else fields["name"]
        fn = cast("Any", getattr(body, "fn", body))  # so that `deps` finds the map of a function by the function
        inside = _signature(body, _over(fields["over"]))
        self.__attrs_init__(**fields, fn=fn, body=body, bound=MappingProxyType(bound), extra=(), signature=inside)
        object.__setattr__(self, "columns", _columns(body, self.output))

    @property
    def form(self) -> str:
        """What its body is: a word of `orch.execution`."""
        return "map"

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse: the body may need an event loop."""
        raise TypeError(f"{self!r} cannot be called: run it, orch.run(…), or call its body")

    def __get__(self, instance: object, owner: Any = None, /) -> Self:
        """Stay what it is, also as an attribute of a class."""
        return self

    def bind(self, /, **values: Any) -> Map:
        """Return this map with values for some of its inputs; of those it goes over, what is iterated."""
        bound, _ = _bind(self.fn, self.signature, (), {**self.bound, **values})
        return _remade(self.body, self._given(), dict(bound))

    def evolve(self, **fields: Any) -> Map:  # it has other options than a task
        """Return this map with another body, or other options; `name=None` takes that of the body."""
        check_known(fields, ("body", *_OWN, *_SHARED), "Map.evolve", "option")
        body = workflow_of(fields.pop("body", self.body))
        return _remade(body, self._given() | fields, dict(self.bound))

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*_OWN, *_SHARED)}

    def _parts(self) -> tuple[list[Any], Sequence[Workflow]]:
        parts, inside = super()._parts()
        own = [getattr(self, name) for name in _OWN]
        return [*(part for part in parts if part is not self.fn), *own], [self.body, *inside]

    def __reduce__(self) -> tuple[Any, ...]:
        options = self._given()
        shared = {name: options.pop(name) for name in ("breaker", "limiter") if options[name] is not None}
        make = functools.partial(_remade, **shared) if shared else _remade  # which copy.deepcopy does not copy
        return make, (self.body, options, dict(self.bound))


_USUAL = {
    name: each.default
    for name, each in inspect.signature(Task.__init__).parameters.items()
    if each.kind is inspect.Parameter.KEYWORD_ONLY
}


def _remade(body: Workflow, options: dict[str, Any], bound: dict[str, Any], **shared: Any) -> Map:
    new: Map = object.__new__(Map)
    new._fill(body, {**options, **shared}, bound)  # noqa: SLF001 (its constructor, which takes no bound values)
    return new


def _signature(body: Workflow, over: tuple[str, ...]) -> Signature:
    """Return what a map takes: first what it goes over, which has to be given; a Context if some step needs one."""
    plan = body._lowered()  # noqa: SLF001 (of the same package)
    known: tuple[str, ...] = plan.inputs
    if problems := [_unknown(name, known, body) for name in over if name not in known]:
        raise combine(problems)
    given = [_parameter(name) for name in over]
    given += [_parameter(name, required=plan.needs(name)) for name in known if name not in over]
    if plan.needs_context is not None:
        name = next(name for name in ("Context", "Context'", "Context''") if name not in known)
        given.append(_parameter(name, required=plan.needs_context, context=True))
    return Signature(tuple(given), "coroutine")


def _parameter(name: str, *, required: bool = True, context: bool = False) -> Parameter:
    default: Any = EMPTY if required else None if context else NOT_GIVEN
    return Parameter(name, required, default, context, positional=True)


def _unknown(name: str, known: tuple[str, ...], body: Workflow) -> DefinitionError:
    cure = did_you_mean(close_matches(name, known)) or f"its inputs: {', '.join(map(repr, known[:20])) or 'none'}"
    return DefinitionError(f"over: {body!r} has no input {name!r}; {cure}")


def _columns(body: Workflow, output: object) -> tuple[str | int, ...] | None:
    """Return where in the value of an item each of several outputs is."""
    if not isinstance(output, tuple):
        return None
    gives: tuple[str, ...] = getattr(body, "outputs", ())
    if len(gives) != len(output) or (isinstance(body, Task) and not body.unpacks):
        found = f"{len(output)} names, and {body!r} gives {', '.join(map(repr, gives)) or 'one value'}"
        raise ValueError(f"output: expected one name, or one for each output of the body; found {found}")
    return tuple(range(len(gives))) if isinstance(body, Task) else gives
