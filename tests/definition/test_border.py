"""Groups with values and other names are definitions like all others; what they mean is tested with plans."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from orch import DefinitionError, Graph, Parallel, Sequence, Task
from orch.definition import Group
from orch.errors import DuplicateNameError


def extract(url: str, tries: int = 3) -> list[str]:
    return [url] * tries


def load(extract: list[str]) -> int:
    return len(extract)


ETL = Graph(extract, load, name="etl", limit=2, on_failure="continue", timeout=5)
KINDS = [Sequence, Parallel, Graph]

CHANGES: list[Callable[[Graph], Any]] = [
    lambda graph: graph.bind(url="u"),
    lambda graph: graph.bind(url=1),
    lambda graph: graph.bind(url=True),
    lambda graph: graph.bind(tries="u"),
    lambda graph: graph.select("load"),
    lambda graph: graph.select("extract"),
    lambda graph: graph.as_task(),
    lambda graph: graph.as_task("other"),
    lambda graph: graph.as_task(inputs={"page": "url"}),
    lambda graph: graph.as_task(outputs={"load": "count"}),
    lambda graph: graph.as_task(outputs={"load": "number"}),
    lambda graph: Graph(*graph.steps, **{**graph.options, "strict_types": True}),
]


@pytest.mark.parametrize("k", range(len(CHANGES)))
def test_what_is_said_at_a_border_is_part_of_the_value(k: int) -> None:
    changed = [change(ETL) for change in CHANGES]

    assert changed[k] == CHANGES[k](ETL) != ETL
    assert hash(changed[k]) == hash(CHANGES[k](ETL))
    assert changed.count(changed[k]) == 1


@pytest.mark.parametrize("change", CHANGES, ids=map(str, range(len(CHANGES))))
def test_everything_else_stays_and_the_original_does_not_change(change: Callable[[Graph], Any]) -> None:
    before = Graph(*ETL.steps, **ETL.options)
    changed = change(before)

    assert before == ETL
    assert (changed.limit, changed.on_failure, changed.timeout) == (ETL.limit, ETL.on_failure, ETL.timeout)
    assert set(changed.steps) <= set(ETL.steps)
    assert pickle.loads(pickle.dumps(changed)) == copy.deepcopy(changed) == copy.copy(changed) == changed
    assert pickle.loads(pickle.dumps(changed)).inputs == changed.inputs


@pytest.mark.parametrize("kind", KINDS)
def test_saying_it_again_changes_nothing(kind: type[Group]) -> None:
    group = kind(extract, name="g")

    assert group.bind() == group
    assert group.as_task().as_task() == group.as_task() != group
    assert group.as_task("h").name == "h"
    assert group.as_task("h").as_task("g") == group.as_task()


def test_values_that_cannot_be_compared_are_bound_as_well() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, _: object) -> bool:
            raise ZeroDivisionError

    odd = Odd()

    assert ETL.bind(url=odd) == ETL.bind(url=odd) != ETL.bind(url=Odd())
    assert hash(ETL.bind(url=odd)) == hash(ETL.bind(url=odd))


def test_inputs_and_outputs_by_name() -> None:
    assert (ETL.inputs, ETL.outputs) == (("url", "tries"), ("extract", "load"))
    assert Task(extract).inputs == ("url", "tries")
    assert Sequence(load, load).inputs == ("extract",)
    step = ETL.as_task(inputs={"page": "url"}, outputs={"load": "count"})
    assert (step.inputs, step.outputs) == (("page", "tries"), ("extract", "count"))
    assert step.as_task(inputs={"site": "page"}, outputs={"count": "n"}).inputs == ("site", "tries")
    assert step.as_task(outputs={"count": "n"}).outputs == ("extract", "n")
    with pytest.raises(DefinitionError, match="'load' depends on 'clean'"):
        _ = Graph(extract, Task(load, deps=["clean"])).inputs


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"inputs": {"page": "ulr"}}, DefinitionError, r"<Graph 'etl', 2 steps> has no input 'ulr'; did you mean 'url'\?"),
    ({"inputs": {"url": "page"}}, DefinitionError, r"no input 'page'; it has 'url', 'tries', .*is {outer: inner}"),
    ({"inputs": {"a": "x", "b": "y"}}, DefinitionError, r"2 problems:\n.*no input 'x'.*\n.*no input 'y'"),
    ({"outputs": {"laod": "x"}}, DefinitionError, r"has no output 'laod'; did you mean 'load'\?"),
    ({"outputs": {"count": "load"}}, DefinitionError, r"it has 'extract', 'load', and outputs= is {inner: outer}"),
    ({"outputs": {"load": "extract"}}, DuplicateNameError, "two steps give the output 'extract'"),
    ({"inputs": {"a": "url", "b": "url"}}, ValueError, "one new name for each input, found two for 'url'"),
    ({"inputs": {"": "url"}}, ValueError, "^inputs: expected a text of 1 to 1000"),
    ({"outputs": {"load": "\0"}}, ValueError, "^outputs: expected a text of 1 to 1000"),
    ({"name": ""}, ValueError, "^name: expected a text"),
    ({"name": 1}, TypeError, "^name: expected str"),
    ({"inputs": ["url"]}, TypeError, "^inputs: expected Mapping or None, found list"),
    ({"inputs": "url"}, TypeError, "^inputs: expected Mapping or None, found str"),
    ({"inputs": {"page": 1}}, TypeError, "^inputs: expected str, found int"),
    ({"outputs": {1: "page"}}, TypeError, "^outputs: expected str, found int"),
]


@pytest.mark.parametrize("fields,error,message", WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_names_are_refused_at_once(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ETL.as_task(**fields)


@pytest.mark.parametrize("name", [1, None, ["load"]], ids=repr)
def test_what_is_no_name_is_not_selected(name: Any) -> None:
    with pytest.raises(TypeError, match=r"select: expected str, found|unhashable"):
        ETL.select(name)
