"""
Every error that `orch` raises itself. What a step raises stays what it is.

    OrchError
    ├── DefinitionError (ValueError)        what is wrong between definitions; .problems
    │   ├── CycleError                      .path
    │   ├── DuplicateNameError              .name, .places
    │   ├── MissingDependencyError          .task, .missing, .suggestions
    │   └── InputError                      .missing, .unexpected, .suggestions
    ├── WorkflowError (ExceptionGroup)      a run failed; .result
    ├── OutputError (ValueError)            a task did not return what its outputs promise
    ├── ForeignCancellationError            a step raised a cancellation that nobody had asked for
    ├── UnsupportedError (RuntimeError)     a runner cannot do this, said before anything runs
    └── InternalError                       a mistake of orch's, never of yours

A message says what was expected, what was found, and what to do. The facts are fields too, and positional,
so that every error survives pickling and copying. A wrong argument of a single call is a plain `TypeError` or
`ValueError` of that call.
"""

from __future__ import annotations

from os.path import commonprefix
from types import NoneType
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = (
    "CycleError",
    "DefinitionError",
    "DuplicateNameError",
    "ForeignCancellationError",
    "InputError",
    "InternalError",
    "MissingDependencyError",
    "OrchError",
    "OutputError",
    "UnsupportedError",
    "WorkflowError",
    "close_matches",
    "combine",
    "expect",
    "inert",
)

_SHOWN = 100  # problems in one message: a broken graph of a million tasks must still print
_PATH_SHOWN = 20  # names of a cycle in its message; `.path` has them all
_TYPOS = 2  # edits within which a name counts as meant


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


class OrchError(Exception):
    """Base of everything `orch` raises on its own behalf."""


class DefinitionError(OrchError, ValueError):
    """A workflow cannot be run as it is written; nothing of it has run."""

    _problems: tuple[DefinitionError, ...] = ()

    def __init__(self, message: str = "", problems: Iterable[DefinitionError] = ()) -> None:
        self._problems = tuple(problems)
        super().__init__(message, self._problems)

    @property
    def problems(self) -> tuple[DefinitionError, ...]:
        """Every problem found, in order of definition; of a single problem, itself alone."""
        return self._problems or (self,)

    def __str__(self) -> str:
        return str(self.args[0])


@define(eq=False, slots=False)
class CycleError(DefinitionError):
    """
    Steps wait for one another in a circle.

    >>> print(CycleError(("load", "clean", "load")))
    cycle: load → clean → load (each needs the one before it): take out one of these dependencies
    """

    path: tuple[str, ...] = field(converter=_names)
    """The circle from dependency to dependent, the first name repeated last."""

    def __str__(self) -> str:
        shown = list(map(inert, self.path))
        if len(shown) > _PATH_SHOWN:
            half = _PATH_SHOWN // 2
            shown[half:-half] = [f"… {len(shown) - 2 * half} more …"]
        return f"cycle: {' → '.join(shown)} (each needs the one before it): take out one of these dependencies"


@define(eq=False, slots=False)
class DuplicateNameError(DefinitionError):
    """
    One name stands for two things within one graph.

    >>> print(DuplicateNameError("load", ("etl.py:3", "etl.py:9")))
    two steps are named 'load' (etl.py:3, etl.py:9): give one of them another name=
    """

    name: str
    places: tuple[str, ...] = field(converter=_names)
    """Where they are defined, as `file:line`; of outputs, with the names of the producers."""
    output: bool = False
    """Whether the name is that of an output rather than of a step."""

    def __str__(self) -> str:
        does, what = ("give the output", "output") if self.output else ("are named", "name")
        where = ", ".join(map(inert, self.places))
        return f"two steps {does} {self.name!r} ({where}): give one of them another {what}="


@define(eq=False, slots=False)
class MissingDependencyError(DefinitionError):
    """
    A step depends on a name that nothing carries.

    >>> print(MissingDependencyError("load", "extrct", ("extract",)))
    task 'load' depends on 'extrct', which is no step here; did you mean 'extract'?
    """

    task: str
    missing: str
    suggestions: tuple[str, ...] = field(default=(), converter=_names)
    """Names that are close to the missing one, the closest first."""

    def __str__(self) -> str:
        cure = _meant(self.suggestions) or ": add that step, or take the name out of deps="
        return f"task {self.task!r} depends on {self.missing!r}, which is no step here{cure}"


@define(eq=False, slots=False)
class InputError(DefinitionError):
    """
    The inputs of a run do not fit its workflow: some are missing, some are not asked for.

    >>> print(InputError(missing=("rows",), unexpected=("urll",), suggestions=("url",), known=("rows", "url")))
    missing input: 'rows'; unexpected input: 'urll' (did you mean 'url'?); inputs: 'rows', 'url'
    """

    missing: tuple[str, ...] = field(default=(), converter=_names)
    unexpected: tuple[str, ...] = field(default=(), converter=_names)
    suggestions: tuple[str, ...] = field(default=(), converter=_names)
    """Names that were probably meant by the unexpected ones."""
    known: tuple[str, ...] = field(default=(), converter=_names)
    """All inputs of the workflow."""
    details: tuple[str, ...] = field(default=(), converter=_names)
    """Further sentences: which task needs an input, where a name is bound."""

    def __str__(self) -> str:
        parts = [f"inputs: {_listed(self.known)}" if self.known else "it has no inputs", *self.details]
        if self.unexpected:
            parts.insert(0, f"unexpected input: {', '.join(map(self._unexpected, self.unexpected[:_SHOWN]))}")
        if self.missing:
            parts.insert(0, f"missing input: {_listed(self.missing)}")
        return "; ".join(parts)

    def _unexpected(self, name: str) -> str:
        meant = _meant(close_matches(name, self.suggestions))
        return f"{name!r} ({meant[2:]})" if meant else repr(name)


class WorkflowError(OrchError, ExceptionGroup[Exception]):
    """
    A run failed. Its exceptions are the users' own, in order of time; `except*` picks among them.

    Args:
        message: Which workflow failed and how.
        exceptions: What the steps raised, each with a note that names task and attempt.
        result: The `RunResult`, with the values of the steps that succeeded.
    """

    result: Any = None

    def __new__(cls, message: str, exceptions: Sequence[Exception], result: Any = None) -> Self:  # noqa: ARG004, D102
        return super().__new__(cls, message, exceptions)

    def __init__(self, message: str, exceptions: Sequence[Exception], result: Any = None) -> None:
        super().__init__(message, exceptions)
        if result is not None:  # unpickling calls without, and sets it afterwards
            self.result = result

    def derive(self, excs: Sequence[Exception], /) -> WorkflowError:  # type: ignore[override]  # the base is generic in the method
        """Part of this group, for `split` and `except*`; it keeps the result."""
        return WorkflowError(self.message, excs, self.result)


@define(eq=False, slots=False)
class OutputError(OrchError, ValueError):
    """
    A task with several outputs did not return one value for each.

    >>> print(OutputError("split", ("head", "tail"), "3 values"))
    task 'split': expected 2 outputs ('head', 'tail'), got 3 values: return a tuple with one value for each output
    """

    task: str
    outputs: tuple[str, ...] = field(converter=_names)
    found: str
    """What came instead, in words."""

    def __str__(self) -> str:
        expected = f"expected {len(self.outputs)} outputs ({_listed(self.outputs)})"
        return f"task {self.task!r}: {expected}, got {self.found}: return a tuple with one value for each output"


class ForeignCancellationError(OrchError):
    """
    A step raised a cancellation although nobody cancelled it: something inside it did.

    The step has failed with this error, the cancellation is its `__cause__`; it stops neither the run nor its caller.
    """


class UnsupportedError(OrchError, RuntimeError):
    """A runner or a setting cannot do what is asked; said before anything runs."""


class InternalError(OrchError):
    """Something that cannot happen did. Please report it; your workflow is not at fault."""


def combine(problems: Sequence[DefinitionError]) -> DefinitionError:
    """
    Make one error of all problems found: a single one is itself, several become one with `.problems`.

    >>> print(combine([CycleError("aba"), MissingDependencyError("a", "q")]))
    2 problems:
      - cycle: a → b → a (each needs the one before it): take out one of these dependencies
      - task 'a' depends on 'q', which is no step here: add that step, or take the name out of deps=
    """
    flat = [single for problem in problems for single in problem.problems]
    if len(flat) == 1:
        return flat[0]
    lines = [f"{len(flat)} problems:", *(f"  - {problem}" for problem in flat[:_SHOWN])]
    if len(flat) > _SHOWN:
        lines.append(f"  and {len(flat) - _SHOWN} more")
    return DefinitionError("\n".join(lines), flat)


def close_matches(name: str, candidates: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """
    Find the candidates that `name` may be a misspelling of: within two edits, letter case aside, the closest first.

    Linear in the candidates: ask for the first hundred problems only, no message shows more.

    >>> close_matches("extrct", ["load", "extract"])
    ('extract',)
    """
    wanted = name.casefold()
    letters = set(wanted)
    found: list[tuple[int, str]] = []
    for candidate in candidates:
        other = candidate.casefold()
        if abs(len(wanted) - len(other)) > _TYPOS or len(letters.symmetric_difference(other)) > 2 * _TYPOS:
            continue
        distance = _distance(wanted, other)
        if distance <= _TYPOS and distance < max(len(wanted), len(other)):  # else nothing is left of the name
            found.append((distance, candidate))
    found.sort(key=lambda pair: pair[0])
    return tuple(dict.fromkeys(candidate for _, candidate in found))[:most]


def _distance(one: str, other: str) -> int:
    """Edits (insert, delete, replace) from one to the other; any number above `_TYPOS` stands for more."""
    start = len(commonprefix((one, other)))  # noqa: RUF071  (character by character is what is wanted)
    one, other = one[start:], other[start:]
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, candidate in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != candidate)))
        if min(row) > _TYPOS:
            return _TYPOS + 1
    return row[-1]


def expect(what: str, value: object, *types: type) -> None:
    """Raise a TypeError that says what was expected and found, unless the value is of one of the types."""
    if not isinstance(value, types):
        expected = " or ".join("None" if each is NoneType else each.__name__ for each in types)
        raise TypeError(f"{what}: expected {expected}, found {type(value).__name__} ({value!r:.100})")


def inert(text: str) -> str:
    """Show a name as it is if that is harmless, else quoted and escaped: no control characters, no lone surrogates."""
    return text if text.isprintable() else repr(text)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _meant(suggestions: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""
