"""`Interrupt` as a value: what it is made of, and what it refuses."""

import copy
import pickle
from typing import Any, Literal

import pytest

from orch import Graph, Interrupt, Sequence, Task
from orch.definition import check_answer


def question(topic: str, tone: str = "polite") -> str:
    return f"{topic}, {tone}?"


def test_it_is_a_task_that_asks() -> None:
    step = Interrupt("ok", "May I?", type=bool, deps=["first"], output="answer", retain=False, description="asks")
    assert isinstance(step, Task)
    assert (step.name, step.question, step.type, step.deps, step.outputs) == (
        "ok",
        "May I?",
        bool,
        ("first",),
        ("answer",),
    )
    assert (step.retain, step.description, step.form, repr(step)) == (False, "asks", "interrupt", "<Interrupt 'ok'>")
    assert step() == "May I?"
    assert (Interrupt("n").question, Interrupt("n").type) == (None, Any)
    assert Interrupt("n", question).question is question


def test_it_is_a_value() -> None:
    one = Interrupt("ok", {"a": [1]}, type=list[int])
    assert one == Interrupt("ok", {"a": [1]}, type=list[int])
    assert hash(one) == hash(Interrupt("ok", {"a": [1]}, type=list[int]))
    for other in (
        Interrupt("no", {"a": [1]}, type=list[int]),
        Interrupt("ok", {"a": [2]}, type=list[int]),
        Interrupt("ok", {"a": [1]}, type=list[str]),
        Task(question, name="ok"),
    ):
        assert one != other
    for same in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (same, type(same)) == (one, Interrupt)
    asked = pickle.loads(pickle.dumps(Interrupt("ok", question, type=Literal["y"]).bind(tone="rude")))
    assert (asked.question, asked.type, asked("x")) == (question, Literal["y"], "x, rude?")


def test_bind_and_evolve_keep_what_it_is() -> None:
    step = Interrupt("ok", question, type=bool)
    assert (step.bind(tone="rude").type, step.bind(tone="rude")("x")) == (bool, "x, rude?")
    other = step.evolve(name="other", deps=["a"], type=int, output="out", retain=False, description="d")
    assert isinstance(other, Interrupt)
    assert (other.name, other.deps, other.type, other.output, other.retain) == ("other", ("a",), int, "out", False)
    assert (step.evolve().type, step.evolve(type=None).type) == (bool, Any)
    with pytest.raises(TypeError, match=r"Interrupt\.evolve has no parameter 'timeout'"):
        step.evolve(timeout=1)
    with pytest.raises(TypeError, match="question has no parameter 'ton'; did you mean 'tone'"):
        step.bind(ton="rude")


def test_a_graph_wires_its_question_and_its_answer() -> None:
    def use(answer: bool) -> bool:
        return answer

    graph = Graph(lambda topic: topic, Interrupt("ok", question, output="answer"), use, name="g")
    assert graph.outputs == ("lambda", "answer", "use")
    assert graph.inputs == ("topic", "tone")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Interrupt(None), TypeError, "name: expected str"),  # type: ignore[arg-type]
        (lambda: Interrupt(""), ValueError, "name: expected a text"),
        (lambda: Interrupt("a", type=5), TypeError, "type: expected a class or another annotation, found int (5)"),
        (lambda: Interrupt("a", type="int"), TypeError, "found str ('int')"),
        (lambda: Interrupt("a", output=("x", "y")), TypeError, "output: expected str or None"),  # type: ignore[arg-type]
        (lambda: Interrupt("a", retain=1), TypeError, "retain: expected bool"),  # type: ignore[arg-type]
        (lambda: Interrupt("a", deps="b"), TypeError, "deps: expected a list"),
        (lambda: Interrupt("a", timeout=1), TypeError, "timeout"),  # type: ignore[call-arg]
        (
            lambda: Interrupt("a", Sequence(len)),
            TypeError,
            "question: expected a value or a function that returns one, found the workflow",
        ),
        (lambda: Interrupt("a", (_ for _ in ())), None, ""),
    ],
)
def test_what_it_refuses(make: Any, error: type[Exception] | None, words: str) -> None:
    if error is None:
        assert make()
        return
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)


def test_a_question_that_streams_is_refused() -> None:
    def words() -> Any:
        yield "one"

    with pytest.raises(TypeError, match="question: expected a value or a function that returns one"):
        Interrupt("a", words)


def test_answers_are_checked_with_the_question_in_the_words() -> None:
    check_answer("a", "Q?", list[int], [1])
    with pytest.raises(TypeError) as caught:
        check_answer("in/a\n", "Q?", list[int], [1, "x"])
    text = r"the answer to 'in/a\n' ('Q?'): expected list[int], in which answer[1] is to be int, found str ('x')"
    assert str(caught.value).replace("\\\\", "\\").replace('"', "") == text


def test_a_misspelt_option_is_told_with_what_was_meant() -> None:
    wrong: Any = {"tipe": bool}
    with pytest.raises(TypeError, match="Interrupt has no option 'tipe'; did you mean 'type'"):
        Interrupt("ok", **wrong)
