"""Errors: their facts, their words, and that they travel."""

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import errors
from orch.errors import (
    CacheError,
    CircuitOpenError,
    CodecError,
    CompensationError,
    CycleError,
    DefinitionError,
    DefinitionMismatchError,
    DuplicateNameError,
    ForeignCancellationError,
    InputError,
    InternalError,
    MissingDependencyError,
    OrchError,
    OutputError,
    TaskTimeoutError,
    UnsupportedError,
    WorkflowError,
    close_matches,
    combine,
    expect,
    inert,
)

EXAMPLES: dict[str, OrchError] = {
    "mismatch": DefinitionMismatchError("r1", ["check"], ["clean"], ["load"]),
    "cycle": CycleError(["a", "b", "a"]),
    "duplicate": DuplicateNameError("a", ["x.py:1", "y.py:2"]),
    "duplicate output": DuplicateNameError("a", ["x.py:1", "y.py:2"], output=True),
    "missing": MissingDependencyError("load", "extrct", ["extract"]),
    "missing without a match": MissingDependencyError("load", "q"),
    "input": InputError(["a"], ["b"], ["c"], ["a", "c"], ["'a' is asked for by 'load'"]),
    "no inputs": InputError(unexpected=["b"]),
    "definition": DefinitionError("wrong"),
    "several": combine([CycleError("aba"), MissingDependencyError("a", "b")]),
    "workflow": WorkflowError("failed", [ValueError(1), KeyError("k")], {"the": "result"}),
    "timeout": TaskTimeoutError("fetch", 0.5),
    "open": CircuitOpenError("payments", 12.345678),
    "half open": CircuitOpenError(None, 0.0),
    "compensation": CompensationError("2 compensations failed", [ValueError(1), KeyError("k")]),
    "output": OutputError("split", ("a", "b"), "3 values"),
    "cache": CacheError("nothing can be written"),
    "codec": CodecError("$.items[3].price", "expected float, found str", "data"),
    "codec without a part": CodecError("$", "expected float, found str"),
    "foreign": ForeignCancellationError("cancelled by itself"),
    "unsupported": UnsupportedError("no coroutine functions here"),
    "internal": InternalError("cannot happen"),
}


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=EXAMPLES)
def test_errors_travel(error: OrchError) -> None:
    error.add_note("a note")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert {name: repr(value) for name, value in vars(other).items()} == {
            name: repr(value) for name, value in vars(error).items()
        }
        assert "".join(traceback.format_exception_only(other))


def test_every_class_is_in_the_tree_drawn_at_the_top() -> None:
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, OrchError)}

    assert classes <= set(errors.__all__)
    assert all(name in (errors.__doc__ or "") for name in classes)
    assert classes <= {type(error).__name__ for error in EXAMPLES.values()} | {"OrchError"}


def test_errors_are_what_else_they_are() -> None:
    assert issubclass(DefinitionError, ValueError)
    assert issubclass(UnsupportedError, RuntimeError)
    assert issubclass(WorkflowError, ExceptionGroup)
    assert issubclass(CompensationError, ExceptionGroup)
    assert issubclass(TaskTimeoutError, TimeoutError)
    assert issubclass(CodecError, ValueError)
    for kind in (CycleError, DuplicateNameError, MissingDependencyError, InputError):
        assert issubclass(kind, DefinitionError)


@pytest.mark.parametrize(
    "name,message",
    [
        ("cycle", "cycle: a → b → a (each needs the one before it): take out one of these dependencies"),
        ("duplicate", "two steps are named 'a' (x.py:1, y.py:2): give one of them another name="),
        ("duplicate output", "two steps give the output 'a' (x.py:1, y.py:2): give one of them another output="),
        ("missing", "task 'load' depends on 'extrct', which is no step here; did you mean 'extract'?"),
        (
            "missing without a match",
            "task 'load' depends on 'q', which is no step here: add that step, or take the name out of deps=",
        ),
        ("input", "missing input: 'a'; unexpected input: 'b'; inputs: 'a', 'c'; 'a' is asked for by 'load'"),
        ("no inputs", "unexpected input: 'b'; it has no inputs"),
        ("timeout", "'fetch' was not done within its timeout of 0.5 s: give it a longer timeout=, or less to do"),
        ("open", "circuit breaker 'payments' is open: the next call is let through in 12.35 s"),
        (
            "half open",
            "circuit breaker is half open: a call is out to probe, and no other is let through until it is back",
        ),
        ("compensation", "2 compensations failed (2 sub-exceptions)"),
        ("workflow", "failed (2 sub-exceptions)"),
    ],
)
def test_messages_say_what_is_wrong_and_what_to_do(name: str, message: str) -> None:
    assert str(EXAMPLES[name]) == message


def test_a_long_cycle_is_cut_in_its_message_alone() -> None:
    error = CycleError([str(i) for i in range(1000)])

    assert "8 → 9 → … 980 more … → 990 → 991" in str(error)
    assert len(error.path) == 1000


def test_names_cannot_forge_lines() -> None:
    name = "a\nb\x1b[31m\u202e"
    for error in (
        CycleError([name, name]),
        DuplicateNameError(name, [name, name]),
        MissingDependencyError(name, name, [name]),
        InputError([name], [name], [name], [name]),
        OutputError(name, [name], "nothing"),
        TaskTimeoutError(name, 1),
        CircuitOpenError(name, 1),
        CodecError(name, "wrong"),
    ):
        assert str(error).isprintable()


# -- several problems --------------------------------------------------------------------------------------------------


def test_one_problem_is_itself() -> None:
    error = CycleError("aba")

    assert combine([error]) is error
    assert error.problems == (error,)


def test_several_problems_are_one_error_in_their_order() -> None:
    one, two, three = CycleError("aba"), MissingDependencyError("a", "b"), DefinitionError("c")

    both = combine([one, combine([two, three])])

    assert both.problems == (one, two, three)
    assert str(both).splitlines() == ["3 problems:", f"  - {one}", f"  - {two}", "  - c"]


def test_a_message_shows_a_hundred_problems() -> None:
    error = combine([DefinitionError(str(i)) for i in range(1234)])

    assert len(error.problems) == 1234
    assert len(str(error).splitlines()) == 102
    assert str(error).endswith("  - 99\n  and 1134 more")


# -- WorkflowError -----------------------------------------------------------------------------------------------------


def test_parts_of_a_workflow_error_keep_the_result() -> None:
    error = WorkflowError("failed", [ValueError(1), KeyError("k")], result="result")

    assert error.result == "result"
    match, rest = error.split(ValueError)
    assert isinstance(match, WorkflowError)
    assert isinstance(rest, WorkflowError)
    assert (match.result, rest.result) == ("result", "result")
    caught: list[object] = []
    try:
        raise error
    except* KeyError as group:
        caught.append(group)
    except* ValueError as group:
        caught.append(group)
    assert [type(group) for group in caught] == [WorkflowError] * 2


# -- helpers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,candidates,expected",
    [
        ("extrct", ["load", "extract"], ("extract",)),
        ("Extract", ["extract"], ("extract",)),
        ("ulr", ["url", "timeout"], ("url",)),
        ("loda", ["load", "lode", "loads"], ("lode", "load", "loads")),
        ("a", ["b", "c"], ()),
        ("abc", ["xyz", "abcdef"], ()),
        ("t", ["t1", "t2", "t3", "t4"], ("t1", "t2", "t3")),
        ("same", ["same", "same"], ("same",)),
        ("x", [], ()),
        ("", ["a"], ()),
    ],
    ids=range(10),
)
def test_close_matches(name: str, candidates: list[str], expected: tuple[str, ...]) -> None:
    assert close_matches(name, candidates) == expected


@given(st.text("abcdefgh", min_size=5, max_size=30), st.data())
def test_a_name_with_two_typos_is_found(name: str, data: st.DataObject) -> None:
    typed = name
    for _ in range(data.draw(st.integers(0, 2))):
        i, letter = data.draw(st.integers(0, len(typed))), data.draw(st.sampled_from("abcdexyz"))
        typed = data.draw(
            st.sampled_from(
                [typed[:i] + letter + typed[i:], typed[:i] + typed[i + 1 :], typed[:i] + letter + typed[i + 1 :]]
            )
        )

    assert close_matches(typed, ["zzzzzzzzzzzz", name]) == (name,)
    assert close_matches(typed + "zzzz", [name]) == ()


def test_long_names_are_no_trap() -> None:
    long = "ab" * 500

    assert close_matches(long, ["ba" * 500, f"x{long[1:]}"]) == (f"x{long[1:]}", "ba" * 500)


def test_expect_names_field_expected_and_found() -> None:
    expect("field", None, int, type(None))
    with pytest.raises(TypeError) as caught:
        expect("field", "x" * 1000, int, type(None))
    assert str(caught.value) == f"field: expected int or None, found str ('{'x' * 99})"


def test_expect_takes_no_bool_for_an_int_and_nothing_below_the_least() -> None:
    expect("field", None, int, type(None), least=1)
    expect("field", 1, int, least=1)
    yes = bool("yes")
    expect("field", yes, bool)
    with pytest.raises(TypeError, match=r"^field: expected int, found bool \(True\)$"):
        expect("field", yes, int)
    for small in (0, -1.5, float("nan")):
        with pytest.raises(ValueError, match=f"^field: expected at least 1, found {small}$"):
            expect("field", small, int, float, least=1)


def test_inputs_may_have_been_named_by_anything() -> None:
    assert str(InputError(unexpected=[1], known=["a"])) == "unexpected input: 1; inputs: 'a'"  # type: ignore[list-item]


def test_inert_leaves_plain_text_alone() -> None:
    assert inert("extract → größe") == "extract → größe"
    assert inert("a\nb") == "'a\\nb'"


# -- misspelt options --------------------------------------------------------------------------------------------------

MISSPELT: list[tuple[Callable[[], object], str]] = [
    (lambda: orch.Sequence(print, nmae="x"), "Sequence has no option 'nmae'; did you mean 'name'?"),  # type: ignore[call-arg]
    (lambda: orch.Parallel(on_failures="abort"), "Parallel has no option 'on_failures'; did you mean 'on_failure'?"),  # type: ignore[call-arg]
    (lambda: orch.Graph(strict_type=True), "Graph has no option 'strict_type'; did you mean 'strict_types'?"),  # type: ignore[call-arg]
    (lambda: orch.Retry(max_attempt=2), "Retry has no option 'max_attempt'; did you mean 'max_attempts'?"),  # type: ignore[call-arg]
    (lambda: orch.CircuitBreaker(failmax=1), "CircuitBreaker has no option 'failmax'; did you mean 'fail_max'?"),  # type: ignore[call-arg]
    (lambda: orch.RateLimit(1, every=2), "RateLimit has no option 'every'; expected one of: rate, per, burst"),  # type: ignore[call-arg]
    (lambda: orch.AsyncRunner(limt=1), "AsyncRunner has no option 'limt'; did you mean 'limit'?"),  # type: ignore[call-arg]
    (lambda: orch.Runner(grcae=1), "Runner has no option 'grcae'; did you mean 'grace'?"),
    (lambda: orch.Runner(backand="trio"), "Runner has no option 'backand'; did you mean 'backend'?"),
]


@pytest.mark.parametrize(("make", "message"), MISSPELT, ids=[message.split(";")[0] for _, message in MISSPELT])
def test_a_misspelt_option_is_a_type_error_that_says_what_was_meant(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message
    assert caught.value.__context__ is None


def test_a_subclass_is_called_by_its_own_name() -> None:
    class Patient(orch.Retry):
        pass

    with pytest.raises(TypeError, match=r"^Patient has no option 'dealy'; did you mean 'delay'"):
        Patient(dealy=1)  # type: ignore[call-arg]


def test_other_mistakes_in_a_call_are_told_as_ever() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'rate'"):
        orch.RateLimit()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="delay: expected int or float or timedelta, found str"):
        orch.Retry(delay="1 s")  # type: ignore[arg-type]


def test_what_an_init_takes_can_still_be_asked() -> None:
    assert list(inspect.signature(orch.RateLimit).parameters) == ["rate", "per", "burst"]
