"""Every error that `orch` raises itself. What a step raises stays what it is.

    OrchError
    ├── DefinitionError (ValueError)        what is wrong between definitions; .problems
    │   ├── CycleError                      .path
    │   ├── DuplicateNameError              .name, .places
    │   ├── MissingDependencyError          .task, .missing, .suggestions
    │   └── InputError                      .missing, .unexpected, .suggestions
    ├── WorkflowError (ExceptionGroup)      a run failed; .result
    ├── TaskTimeoutError (TimeoutError)     a task or a group took too long; .task, .timeout
    ├── CircuitOpenError                    a circuit breaker let no call through; .breaker, .retry_after
    ├── CompensationError (ExceptionGroup)  what went wrong while a failed group was compensated
    ├── OutputError (ValueError)            a task did not return what its outputs promise
    ├── CacheError                          a cache cannot keep a value, or cannot be used as it is
    ├── CodecError (ValueError)             a value cannot be written, or what is read is not what it should be; .path
    ├── DefinitionMismatchError             a run cannot go on with another workflow; .added, .removed, .changed
    ├── ForeignCancellationError            a step raised a cancellation that nobody had asked for
    ├── UnsupportedError (RuntimeError)     a runner cannot do this, said before anything runs
    └── InternalError                       a mistake of orch's, never of yours

A message says what was expected, what was found, and what to do. The facts are fields, and positional: every error
survives pickling and copying. A wrong argument of a single call is a plain `TypeError` or `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import unwrap
from os.path import commonprefix
from types import CodeType, NoneType
from typing import Any, ParamSpec, Self, cast

from attrs import define, field

__all__ = (
    "CacheError",
    "CircuitOpenError",
    "CodecError",
    "CompensationError",
    "CycleError",
    "DefinitionError",
    "DefinitionMismatchError",
    "DuplicateNameError",
    "ForeignCancellationError",
    "InputError",
    "InternalError",
    "MissingDependencyError",
    "OrchError",
    "OutputError",
    "TaskTimeoutError",
    "UnsupportedError",
    "WorkflowError",
    "check_known",
    "close_matches",
    "combine",
    "did_you_mean",
    "expect",
    "inert",
    "spelled",
)

P = ParamSpec("P")

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

    @property
    def problems(self) -> tuple[DefinitionError, ...]:
        """Every problem found, in order of definition; of a single problem, itself alone."""
        return self._problems or (self,)


@define(eq=False, slots=False)
class CycleError(DefinitionError):
    """Steps wait for one another in a circle.

    >>> print(CycleError(("load", "clean", "load")))
    cycle: load → clean → load (each needs the one before it): take out one of these dependencies
    """

    path: tuple[str, ...] = field(converter=_names)
    """The circle from dependency to dependent, the first name repeated last."""

    def __str__(self) -> str:
        shown, half = list(map(inert, self.path)), _PATH_SHOWN // 2
        if len(shown) > _PATH_SHOWN:
            shown[half:-half] = [f"… {len(shown) - _PATH_SHOWN} more …"]
        return f"cycle: {' → '.join(shown)} (each needs the one before it): take out one of these dependencies"


@define(eq=False, slots=False)
class DuplicateNameError(DefinitionError):
    """One name stands for two steps of a graph or, with `output`, for the outputs of two.

    >>> print(DuplicateNameError("load", ("etl.py:3", "etl.py:9")))
    two steps are named 'load' (etl.py:3, etl.py:9): give one of them another name=
    """

    name: str
    places: tuple[str, ...] = field(converter=_names)
    """Where they are defined, as `file:line`; of outputs, with the names of the producers."""
    output: bool = False

    def __str__(self) -> str:
        does, what = ("give the output", "output") if self.output else ("are named", "name")
        return f"two steps {does} {self.name!r} ({_listed(self.places, inert)}): give one of them another {what}="


@define(eq=False, slots=False)
class MissingDependencyError(DefinitionError):
    """A step depends on a name that nothing carries.

    >>> print(MissingDependencyError("load", "extrct", ("extract",)))
    task 'load' depends on 'extrct', which is no step here; did you mean 'extract'?
    """

    task: str
    missing: str
    suggestions: tuple[str, ...] = field(default=(), converter=_names)
    elsewhere: tuple[str, ...] = field(default=(), converter=_names)
    """Namespaces of the registry that have such a step, other than that of the task."""

    def __str__(self) -> str:
        cure = did_you_mean(self.suggestions, "; {}") or ": add that step, or take the name out of deps="
        if self.elsewhere:
            cure = f" but one of namespace {_listed(self.elsewhere)}: a dependency has to be in that of the task"
        return f"task {self.task!r} depends on {self.missing!r}, which is no step here{cure}"


@define(eq=False, slots=False)
class InputError(DefinitionError):
    """The inputs of a run do not fit its workflow: some are missing, some are not asked for.

    >>> print(InputError(missing=("rows",), unexpected=("urll",), suggestions=("url",), known=("rows", "url")))
    missing input: 'rows'; unexpected input: 'urll' (did you mean 'url'?); inputs: 'rows', 'url'
    """

    missing: tuple[str, ...] = field(default=(), converter=_names)
    unexpected: tuple[str, ...] = field(default=(), converter=_names)
    suggestions: tuple[str, ...] = field(default=(), converter=_names)
    """Names that the unexpected ones may be misspellings of."""
    known: tuple[str, ...] = field(default=(), converter=_names)
    details: tuple[str, ...] = field(default=(), converter=_names)
    """Further sentences: which task needs an input, where a name is bound."""

    def __str__(self) -> str:
        missing = [f"missing input: {_listed(self.missing)}"] if self.missing else []
        unexpected = [f"unexpected input: {_listed(self.unexpected, self._hinted)}"] if self.unexpected else []
        known = f"inputs: {_listed(self.known)}" if self.known else "it has no inputs"
        return "; ".join([*missing, *unexpected, known, *self.details])

    def _hinted(self, name: str) -> str:
        return repr(name) + did_you_mean(close_matches(str(name), self.suggestions), " ({})")


class WorkflowError(OrchError, ExceptionGroup[Exception]):
    """A run failed: what its steps raised, in order of time, each with a note, and the `RunResult` as `.result`.

    Of a map `.result` is the `MapResult` so far, and `.index` the number of the first item that failed.
    """

    def __new__(  # noqa: D102 (the class says it)
        cls,
        message: str,
        exceptions: Sequence[Exception],
        result: Any = None,  # noqa: ARG004 (for __init__)
        index: int | None = None,  # noqa: ARG004 (the same)
    ) -> Self:
        return super().__new__(cls, message, exceptions)

    def __init__(
        self, message: str, exceptions: Sequence[Exception], result: Any = None, index: int | None = None
    ) -> None:
        super().__init__(message, exceptions)
        self.result = result
        self.index = index

    def derive(self, excs: Sequence[Exception], /) -> WorkflowError:  # type: ignore[override]  # the base is generic in the method
        """Make a part of this group for `except*`; it keeps the result."""
        return WorkflowError(self.message, excs, self.result, self.index)


@define(eq=False, slots=False)
class TaskTimeoutError(OrchError, TimeoutError):
    """A task, or a group by its path, was not done in time. A `TimeoutError` of a task's own stays what it is.

    >>> print(TaskTimeoutError("fetch", 0.5))
    'fetch' was not done within its timeout of 0.5 s: give it a longer timeout=, or less to do
    """

    task: str
    timeout: float
    """In seconds."""

    def __str__(self) -> str:
        cure = "give it a longer timeout=, or less to do"
        return f"{self.task!r} was not done within its timeout of {self.timeout:g} s: {cure}"


@define(eq=False, slots=False)
class CircuitOpenError(OrchError):
    """A circuit breaker let a call not through, as too many before it had failed; nothing was called.

    >>> print(CircuitOpenError("payments", 12.5))
    circuit breaker 'payments' is open: the next call is let through in 12.5 s
    """

    breaker: str | None
    """The name of the breaker."""
    retry_after: float
    """Seconds until a call may be let through; 0.0 while one is out to probe."""

    def __str__(self) -> str:
        name = "circuit breaker" if self.breaker is None else f"circuit breaker {self.breaker!r}"
        if self.retry_after:
            return f"{name} is open: the next call is let through in {self.retry_after:.4g} s"
        return f"{name} is half open: a call is out to probe, and no other is let through until it is back"


class CompensationError(OrchError, ExceptionGroup[Exception]):
    """Compensations of a failed group failed themselves: their errors, each with a note; the others were run."""

    def derive(self, excs: Sequence[Exception], /) -> CompensationError:  # type: ignore[override]  # as above
        """Make a part of this group for `except*`."""
        return CompensationError(self.message, excs)


@define(eq=False, slots=False)
class OutputError(OrchError, ValueError):
    """A task with several outputs did not return one value for each.

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


@define(eq=False, slots=False)
class CodecError(OrchError, ValueError):
    """A value cannot be written so that it comes back as it is, or what is read is not what it should be.

    >>> print(CodecError("$.items[3].price", "expected float, found str", "data"))
    data at $.items[3].price: expected float, found str
    """

    path: str
    """The way to it from `$`, which is the whole."""
    problem: str
    part: str = ""
    """What it is a part of: the data of a context, its metadata, …"""

    def __str__(self) -> str:
        return f"{self.part} at {inert(self.path)}: {self.problem}".removeprefix(" at ")


@define(eq=False, slots=False)
class DefinitionMismatchError(OrchError):
    """A run is to go on with a workflow that is not the one it was begun with; nothing has run.

    >>> print(DefinitionMismatchError("r1", added=("check",), changed=("load",)))
    run 'r1' cannot go on with this workflow: added: 'check'; wired otherwise: 'load'; run it anew
    """

    run_id: str
    added: tuple[str, ...] = field(default=(), converter=_names)
    """Paths of tasks that the run did not have."""
    removed: tuple[str, ...] = field(default=(), converter=_names)
    changed: tuple[str, ...] = field(default=(), converter=_names)
    """Those that read from, or wait for, other steps than they did, or are of another kind."""

    def __str__(self) -> str:
        rows = (("added", self.added), ("removed", self.removed), ("wired otherwise", self.changed))
        what = "; ".join(f"{word}: {_listed(paths)}" for word, paths in rows if paths)
        return f"run {self.run_id!r} cannot go on with this workflow: {what}; run it anew"


class CacheError(OrchError):
    """A cache cannot keep a value, or its directory or key cannot be used as it is. A run only warns of it."""


class ForeignCancellationError(OrchError):
    """A step failed by a cancellation, its `__cause__`, that something inside it raised: it stops nothing else."""


class UnsupportedError(OrchError, RuntimeError):
    """A runner or a setting cannot do what is asked; said before anything runs."""


class InternalError(OrchError):
    """Something that cannot happen did. Please report it; your workflow is not at fault."""


def combine(problems: Iterable[DefinitionError]) -> DefinitionError:
    """Make one error of all problems found: a single one is itself, several become one with `.problems`."""
    flat = tuple(single for problem in problems for single in problem.problems)
    if len(flat) == 1:
        return flat[0]
    more = f"\n  and {len(flat) - _SHOWN} more" if len(flat) > _SHOWN else ""
    several = DefinitionError("\n  - ".join((f"{len(flat)} problems:", *map(str, flat[:_SHOWN]))) + more)
    several._problems = flat  # noqa: SLF001  (the only one who sets it)
    return several


def close_matches(name: str, candidates: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Find what `name` may be a misspelling of: candidates within two edits, letter case aside, the closest first."""
    wanted = name.casefold()
    edits = {each: _distance(wanted, each.casefold()) for each in candidates}
    near = [each for each in edits if edits[each] <= min(_TYPOS, max(len(name), len(each)) - 1)]  # keep a letter
    return tuple(sorted(near, key=edits.__getitem__)[:most])


def _distance(one: str, other: str, most: int = _TYPOS) -> int:
    """Count the edits (insert, delete, replace) from one to the other; any number above `most` stands for more."""
    if abs(len(one) - len(other)) > most or len(set(one) ^ set(other)) > 2 * most:  # so it is with nearly every name
        return most + 1
    start = len(commonprefix((one, other)))  # noqa: RUF071  (character by character is what is wanted)
    one, other = one[start:], other[start:]
    if one == other or not most:
        return int(one != other)
    return 1 + min(_distance(*pair, most - 1) for pair in ((one[1:], other), (one, other[1:]), (one[1:], other[1:])))


def did_you_mean(names: Iterable[str], form: str = "{}") -> str:
    """Ask whether one of the names was meant, in the given form; of no names, nothing at all."""
    meant = " or ".join(map(repr, names))
    return form.format(f"did you mean {meant}?") if meant else ""


def check_known(
    given: Iterable[str], known: Sequence[str], what: str, kind: str = "parameter", others: Sequence[str] = ()
) -> None:
    """Raise a TypeError for the first name that is none of the known ones, with what, or what option, was meant."""
    for name in given:
        if name not in known:
            cure = did_you_mean(close_matches(name, known)) or f"expected one of: {', '.join(known) or 'nothing'}"
            option = "".join(f"; or did you mean the option {each!r}?" for each in close_matches(name, others, 1))
            raise TypeError(f"{what} has no {kind} {name!r}; {cure}{option}")


def spelled(*others: Callable[..., Any]) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Have an `__init__` say what was meant by a keyword that it does not have; it hands some on to the others."""

    def spelling(init: Callable[P, None]) -> Callable[P, None]:
        known = [name for each in (init, *others) for name in _keywords(each)]

        @wraps(init)
        def asked(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                return init(*args, **kwargs)
            except TypeError:
                if all(name in known for name in kwargs):
                    raise
            return check_known(kwargs, known, type(args[0]).__name__, "option")

        return asked

    return spelling


def _keywords(init: Callable[..., Any]) -> tuple[str, ...]:
    code: CodeType = unwrap(init).__code__
    return code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]


def expect(what: str, value: object, *types: type, least: float | None = None) -> None:
    """Raise a TypeError unless the value is of one of the types (a bool is no int), a ValueError if it is too low."""
    if not isinstance(value, types) or (type(value) is bool and bool not in types):
        expected = " or ".join("None" if each is NoneType else each.__name__ for each in types)
        raise TypeError(f"{what}: expected {expected}, found {type(value).__name__} ({value!r:.100})")
    if least is not None and value is not None and not cast("float", value) >= least:  # NaN is not
        raise ValueError(f"{what}: expected at least {least}, found {value}")


def inert(text: str) -> str:
    """Show a name as it is if that is harmless, else quoted and escaped: no control characters, no lone surrogates."""
    return text if text.isprintable() else repr(text)


def _listed(names: Sequence[str], show: Callable[[str], str] = repr) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(show, names[:_SHOWN])) + more
