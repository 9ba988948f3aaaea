import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import orch
from orch import Task, Workflow, plan
from orch.cli._load import load

Write = Callable[..., Path]


def test_a_workflow_is_the_definition(module: Write) -> None:
    module("flow = orch.Parallel(len, name='both')")
    assert repr(load("jobs:flow")) == "<Parallel 'both', 1 step>"


def test_a_plan_will_do(module: Write) -> None:
    module("flow = orch.plan.compile(orch.Parallel(len))")
    assert isinstance(load("jobs:flow"), plan.Plan)


@pytest.mark.parametrize("returns", ["", "-> orch.Graph", "-> 'orch.Workflow'", "-> orch.Graph | None", "-> Unknown"])
def test_a_function_without_parameters_may_make_the_definition(module: Write, returns: str) -> None:
    source = f"from __future__ import annotations\nimport orch\ndef make(limit=2) {returns}: return orch.Graph(len)\n"
    module("").write_text(source)
    assert repr(load("jobs:make")) == "<Graph 'graph', 1 step>"


def test_a_function_that_is_annotated_otherwise_is_a_step_and_not_called(module: Write) -> None:
    module("def count() -> int:\n    raise SystemExit('called')")
    assert repr(load("jobs:count")) == "<Task 'count'>"


def test_a_function_that_turns_out_to_be_a_step_is_not_called_again(module: Write) -> None:
    module("calls = []\ndef count():\n    calls.append(1)\n    return len(calls)")
    task = load("jobs:count")
    assert isinstance(task, Task)
    assert (task.name, task(), task()) == ("count", 1, 1)


@pytest.mark.parametrize(
    "source",
    [
        "def step(x): ...",
        "async def step(): ...",
        "import functools; step = functools.partial(len, [])",
        "class step: ...",
        "@orch.task\ndef step(): ...",
        "def step(): yield 1",
    ],
)
def test_everything_else_that_can_be_called_is_a_step(module: Write, source: str) -> None:
    module(source)
    assert isinstance(load("jobs:step"), Task)


def test_attributes_of_attributes_are_found(module: Write) -> None:
    module("class Flows:\n    class Daily:\n        load = orch.Sequence(len)")
    assert isinstance(load("jobs:Flows.Daily.load"), Workflow)


def test_modules_are_found_in_packages_of_the_current_folder(module: Write) -> None:
    module("flow = orch.Parallel(len)", "etl/daily.py")
    assert isinstance(load("etl.daily:flow"), Workflow)


def test_a_file_is_imported_with_its_neighbours_within_reach(module: Write) -> None:
    module("size = 3", "etl/settings_of_this.py")
    path = module("from settings_of_this import size\nflow = orch.Parallel(len, limit=size)", "etl/daily.py")
    assert isinstance(load("etl/daily.py:flow"), Workflow)
    assert isinstance(load(f"{path}:flow"), Workflow)


def test_a_file_may_define_dataclasses(module: Write) -> None:
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n@dataclass\nclass Row:\n    x: int\n"
    )
    (module("").parent / "rows.py").write_text(source + "def flow(row: Row): ...\n")
    assert isinstance(load("rows.py:flow"), Workflow)


def test_a_file_named_like_a_module_in_use_does_not_take_its_place(module: Write) -> None:
    module("flow = orch.Parallel(len)", "json.py")
    before = sys.modules["json"]
    assert isinstance(load("json.py:flow"), Workflow)
    assert sys.modules["json"] is before


@pytest.mark.parametrize(
    "target, message",
    [
        ("jobs", "expected module:workflow or path/to/file.py:workflow, found 'jobs'"),
        (":flow", "expected module:workflow"),
        ("jobs:", "expected module:workflow"),
        ("jbos:flow", "No module named 'jbos'"),
        ("jobs.flow:x", "No module named 'jobs.flow'"),
        ("etl.dialy:flow", "No module named 'etl.dialy'"),
        ("jbos.py:flow", "No such file or directory: '"),
        (
            "jobs:flwo",
            "cannot load 'jobs:flwo': AttributeError: module 'jobs' has no attribute 'flwo'; did you mean 'flow'?",
        ),
        ("jobs:size", "TypeError: expected a callable or a workflow as a step, found int (5)"),
        ("..jobs:flow", "cannot load '..jobs:flow': TypeError"),
    ],
)
def test_what_is_not_there_is_said_with_what_is_close(module: Write, target: str, message: str) -> None:
    module("", "etl/daily.py")
    module("size = 5\nflow = orch.Parallel(len)")
    with pytest.raises(ValueError, match=re.escape(message)):
        load(target)


def test_an_error_of_the_module_is_told_with_its_place(module: Write) -> None:
    path = module("flow = 1\n1 / 0")
    with pytest.raises(ValueError, match="cannot load 'jobs:flow': ZeroDivisionError: division by zero") as caught:
        load("jobs:flow")
    assert str(caught.value).endswith(f"({path}:3)")


def test_a_module_that_the_module_lacks_is_no_misspelling(module: Write) -> None:
    module("import nowhere_at_all")
    with pytest.raises(
        ValueError, match="cannot load 'jobs:flow': ModuleNotFoundError: No module named 'nowhere_at_all'"
    ):
        load("jobs:flow")


def test_a_file_that_is_no_python_is_refused(module: Write) -> None:
    module("def (")
    with pytest.raises(
        ValueError, match=r"cannot load 'jobs.py:flow': SyntaxError: invalid syntax \(jobs.py, line 2\)"
    ):
        load("jobs.py:flow")


def test_an_error_while_the_definition_is_made_is_told_with_its_place(module: Write) -> None:
    path = module("def make():\n    return [][0]")
    with pytest.raises(ValueError, match="cannot load 'jobs:make': IndexError: list index out of range") as caught:
        load("jobs:make")
    assert str(caught.value).endswith(f"({path}:3)")


def test_what_is_wrong_with_the_definition_itself_is_told_as_it_is(module: Write) -> None:
    module("def make():\n    return orch.Graph(len, len)")
    with pytest.raises(orch.DefinitionError, match="two steps are named 'len'"):
        load("jobs:make")


def test_an_attribute_that_the_module_misses_itself_is_told_too(module: Write) -> None:
    module("raise AttributeError('none of the interpreter')")
    with pytest.raises(ValueError, match="AttributeError: none of the interpreter"):
        load("jobs:flow")
