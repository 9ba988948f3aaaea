import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import Graph, Parallel, Sequence, Task
from orch.views import to_mermaid
from tests.views.hostile import WORST, names

LABEL = r'\["((?:[^\W_]|[ ,/_]|#\d+;)+)"\]'
NODE = re.compile(rf" +(subgraph )?(n\d+){LABEL}")
EDGE = re.compile(r"  (n\d+) (-->|-\.->) (n\d+)")
STYLE = re.compile(r"  style (n\d+) fill:(#[0-9a-f]{3}),color:#222")


class Diagram:
    """A parser of what `to_mermaid` may write, which is much less than what Mermaid reads."""

    def __init__(self, text: str) -> None:
        settings, kind, *body = text.split("\n")
        assert settings.startswith("%%{init: ")
        assert kind == "flowchart TD"
        self.labels: dict[str, str] = {}
        self.inside: dict[str, str | None] = {}
        self.edges: list[tuple[str, str, str]] = []
        self.colours: dict[str, str] = {}
        self.open: list[str] = []
        for line in body:
            self.read(line)
        assert self.open == []

    def read(self, line: str) -> None:
        if line.strip() == "end":
            self.open.pop()
        elif found := NODE.fullmatch(line):
            self.labels[found[2]] = html.unescape(re.sub(r"#(\d+);", r"&#\1;", found[3]))
            self.inside[found[2]] = self.open[-1] if self.open else None
            self.open += [found[2]] if found[1] else []
        elif found := EDGE.fullmatch(line):
            assert {found[1], found[3]} <= self.labels.keys()
            self.edges.append((self.labels[found[1]], found[2], self.labels[found[3]]))
        else:
            found = STYLE.fullmatch(line)
            assert found, line
            self.colours[self.labels[found[1]]] = found[2]


async def one() -> int:
    return 1


async def two(one: int) -> int:
    return one + 1


async def boom(two: int) -> None:
    raise ValueError("no")


async def never(boom: None) -> None: ...


def test_groups_are_frames_around_their_steps() -> None:
    drawn = Diagram(to_mermaid(Sequence(Parallel(one, name="fan", limit=2), two, name="all")))
    assert drawn.labels == {"n0": "all (sequence)", "n1": "fan (parallel, limit 2)", "n2": "one", "n3": "two"}
    assert drawn.inside == {"n0": None, "n1": "n0", "n2": "n1", "n3": "n0"}


def test_values_are_solid_arrows_and_turns_are_dotted_ones() -> None:
    drawn = Diagram(to_mermaid(Sequence(one, Task(one, name="then"), Task(two, name="last"))))
    assert drawn.edges == [("one", "-.->", "then"), ("then", "-.->", "last"), ("one", "-->", "last")]


def test_a_group_waits_as_a_whole() -> None:
    fan = Parallel(Task(one, name="a"), Task(one, name="b"), Sequence(Task(one, name="c"), name="deep"), name="fan")
    drawn = Diagram(to_mermaid(Sequence(Task(one, name="before"), fan, Task(one, name="after"))))
    assert drawn.edges == [("before", "-.->", "fan (parallel)"), ("fan (parallel)", "-.->", "after")]


def test_an_empty_group_is_a_node() -> None:
    drawn = Diagram(to_mermaid(Sequence(Parallel(), one)))
    assert drawn.inside == {"n0": None, "n1": "n0", "n2": "n0"}


def test_a_lone_task_is_one_node() -> None:
    assert Diagram(to_mermaid(one)).labels == {"n0": "one"}


def test_any_depth_of_nesting_is_drawn() -> None:
    deep = Task(one)
    for _ in range(10_000):
        deep = Sequence(deep)  # type: ignore[assignment]
    assert len(Diagram(to_mermaid(deep)).labels) == 10_001


async def test_a_result_shows_states_in_words_and_colour() -> None:
    result = await orch.run(Graph(one, two, boom, never, name="job"), raise_on_failure=False)
    drawn = Diagram(to_mermaid(result))
    good, bad, none = "#dfe", "#fdd", "#eee"
    assert drawn.colours == {
        "job (graph): failed": bad,
        "one: succeeded": good,
        "two: succeeded": good,
        "boom: failed": bad,
        "never: skipped": none,
    }
    assert ("two: succeeded", "-->", "boom: failed") in drawn.edges


def check(given_names: list[str]) -> None:
    text = to_mermaid(Parallel(*(Task(one, name=name) for name in given_names), name="all"))
    labels = Diagram(text).labels
    shown = [name if name.isprintable() else repr(name) for name in given_names]
    expected = ["all (parallel)", *(name if len(name) <= 200 else name[:199] + "…" for name in shown)]
    assert labels == {f"n{k}": label for k, label in enumerate(expected)}
    assert not re.search(r"direction\s+(TB|BT|RL|LR)", text, re.IGNORECASE)  # Mermaid reads it even inside of quotes


@pytest.mark.parametrize("name", WORST, ids=range(len(WORST)))
def test_the_worst_names_are_labels_and_nothing_else(name: str) -> None:
    check([name])


@pytest.mark.parametrize("name", WORST, ids=range(len(WORST)))
def test_the_worst_names_of_policies_are_in_a_label_and_nowhere_else(name: str) -> None:
    step = Task(one, breaker=orch.CircuitBreaker(name), compensate=Task(one, name=name))
    text = to_mermaid(Parallel(step, breaker=step.breaker, name="all"))
    labels = Diagram(text).labels
    assert [label.split(" (")[0] for label in labels.values()] == ["all", "one"]
    assert not re.search(r"direction\s+(TB|BT|RL|LR)", text, re.IGNORECASE)


@given(st.lists(names, min_size=1, max_size=5, unique=True))
def test_any_name_is_a_label_and_nothing_else(given_names: list[str]) -> None:
    check(given_names)
