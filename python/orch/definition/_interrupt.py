"""`Interrupt`: a step whose value is the answer that somebody gives to its question."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from types import GenericAlias, NoneType
from typing import Any, Self, cast, get_origin

import attrs
from attrs import field, frozen

from orch.definition._task import Dep, Task, callable_name
from orch.definition._workflow import Workflow, name_of
from orch.errors import check_known, expect, inert, spelled
from orch.event._text import brief

__all__ = ("Interrupt", "check_answer")

_OPTIONS = ("name", "output", "deps", "retain", "description", "type")


@frozen
class _Constant:
    """A question that is known beforehand."""

    value: Any

    def __call__(self) -> Any:
        return self.value


@cache
def _checks() -> tuple[Callable[[Any, object], Any], Callable[[Any], str]]:
    from orch._codec._fits import misfit, spelled  # noqa: PLC0415 (loaded by who needs it)

    return misfit, spelled


def _annotation(hint: Any) -> Any:
    is_one = isinstance(hint, type | GenericAlias) or hint is None or hint is Any or get_origin(hint) is not None
    if not is_one and type(hint).__module__ != "typing" and type(hint).__name__ != "TypeAliasType":
        raise TypeError(f"type: expected a class or another annotation, found {type(hint).__name__} ({hint!r:.100})")
    if hint is None or hint is Any:
        return Any
    _checks()  # loaded here, and not when the first answer comes: the event loop would have to wait for it
    return hint


@frozen(init=False, eq=False, repr=False)
class Interrupt(Task[..., Any]):
    """A step that asks a question and waits for somebody to answer it; the answer is its value.

    While it waits it is PAUSED and holds no slot, and everything else goes on. It is answered by a handler
    (`run(…, handlers={name: fn})`), by `GraphRun.respond`, or with `resume(result, workflow, answers={name: answer})`
    after the run has ended as PAUSED.

    >>> import orch
    >>> def publish(approve): return "published" if approve else "dropped"
    >>> draft = orch.Sequence(orch.Interrupt("approve", "Publish it?", type=bool), publish)
    >>> orch.Runner().run(draft, handlers={"approve": lambda question: True}).value
    [True, 'published']

    Args:
        name: What the step is called; the answer's output name, too, unless `output` is given.
        question: A value, or a function (plain or async) that makes it. Its parameters are filled like those of a task.
        type: What an answer has to be: a class or any other annotation. It is taken as it is, never converted.
        deps: Steps of the same graph that must succeed before it is asked.
        output: The name of the answer among the outputs.
        retain: False: the answer is let go once the last step that reads it has settled.
        description: For people.
    """

    type: Any = field(default=Any, kw_only=True, converter=_annotation)

    @spelled()
    def __init__(
        self,
        name: str,
        question: Any = None,
        *,
        type: Any = None,  # noqa: A002 (of the answer)
        deps: Iterable[Dep] = (),
        output: str | None = None,
        retain: bool = True,
        description: str | None = None,
    ) -> None:
        asked: Any = question if callable(question) else _Constant(question)
        options: dict[str, Any] = {
            "output": _single(output),
            "deps": deps,
            "retain": retain,
            "description": description,
        }
        thread = None if callable(question) else False
        if isinstance(question, Workflow):
            found = f"the workflow {question!r}: make it a step, and let the question ask for its value by name"
            raise TypeError(f"question: expected a value or a function that returns one, found {found}")
        super().__init__(asked, name=name_of(name), thread=thread, **options)
        if self.signature.streams:
            found = f"the generator function {callable_name(question)!r}"
            raise TypeError(f"question: expected a value or a function that returns one, found {found}")
        object.__setattr__(self, "type", _annotation(type))

    @property
    def form(self) -> str:
        """What its body is: the call of the function, then a wait for the answer."""
        return "interrupt"

    @property
    def question(self) -> Any:
        """What is asked: the value, or the function that makes it."""
        return self.fn.value if isinstance(self.fn, _Constant) else self.fn

    def bind(self, /, **values: Any) -> Interrupt:
        """Return this interrupt with values for some parameters of its question."""
        return _asking(super().bind(**values), self.type)

    def evolve(self, **fields: Any) -> Self:
        """Return this interrupt with other options: name, output, deps, retain, description, type."""
        check_known(fields, _OPTIONS, "Interrupt.evolve")
        kind = fields.pop("type", self.type)
        if "output" in fields:
            _single(fields["output"])
        if "name" in fields:
            name_of(fields["name"])
        return cast("Self", _asking(super().evolve(**fields), kind))

    def _parts(self) -> tuple[list[Any], Any]:
        parts, inside = super()._parts()
        return [*parts, self.type], inside

    def __reduce__(self) -> tuple[Any, ...]:
        make, args = super().__reduce__()
        return _unpickled, (make, args, self.type)


def _single(output: Any) -> str | None:
    expect("output", output, str, NoneType)
    return cast("str | None", output)


def _asking(task: Task[..., Any], kind: Any) -> Interrupt:
    values: dict[str, Any] = {at.name: getattr(task, at.name) for at in attrs.fields(Task) if at.init}
    new: Interrupt = object.__new__(Interrupt)
    new.__attrs_init__(**values, type=kind)
    return new


def _unpickled(make: Callable[..., Task[..., Any]], args: tuple[Any, ...], kind: Any) -> Interrupt:
    return _asking(make(*args), kind)


def check_answer(path: str, question: object, kind: Any, answer: object) -> None:
    """Raise a TypeError, or of a wrong value of the right class a ValueError, unless the answer fits the type."""
    if kind is Any:
        return
    misfit, spelled = _checks()
    wrong = misfit(kind, answer)
    if wrong is not None:
        found, inside = f"{type(wrong.found).__name__} ({brief(wrong.found)})", ""
        if wrong.where:
            inside = f", in which answer{wrong.where} is to be {wrong.expected}"
        what = f"the answer to {inert(path)!r} ({brief(question)}): expected {spelled(kind)}{inside}, found {found}"
        raise (ValueError if wrong.by_value else TypeError)(what)
