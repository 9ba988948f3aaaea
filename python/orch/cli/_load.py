"""From `module:workflow` to a definition.

An attribute that is a workflow is the definition. Any other callable is a step, a workflow of one task, unless it is a
function that makes the definition: without required parameters, and annotated to return a workflow. One that has no
annotation is called to see; if that gives no workflow, what it gave is the value of the task: nothing is called twice.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import typing
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from orch.definition import Task, Workflow
from orch.errors import DefinitionError, close_matches, inert
from orch.event._text import describe
from orch.plan import Plan

__all__ = ("UsageError", "load")


class UsageError(Exception):
    """What was asked for cannot be done: a message for the user, exit code 2."""


def load(target: str) -> Workflow | Plan:
    """Import a module and find the workflow in it; modules are looked for in the current folder, too.

    Args:
        target: A dotted module or the path of a `.py` file, a colon, and the name of an attribute.

    Raises:
        UsageError: There is no such module or attribute, it is no workflow, or its code raises an error.
    """
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise UsageError(f"expected module:workflow or path/to/file.py:workflow, found {target!r}")
    sys.path.insert(0, str(Path.cwd()))
    with _of_users(f"cannot import {where!r}"):
        found: Any = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{where!r} has no {name!r}{_meant(part, dir(found))}")
        found = getattr(found, part)
    return _definition(found, target)


@contextmanager
def _of_users(what: str) -> Generator[None]:
    """Say in one line what went wrong in the user's code, and where."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        ours = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<frozen")
        places = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(ours)]
        where = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
        text = str(error) if isinstance(error, DefinitionError) else inert(describe(error))
        raise UsageError(f"{what}: {text}{where}") from error


def _from_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        package, _, missing = error.name.rpartition(".")
        known = pkgutil.iter_modules(getattr(sys.modules[package], "__path__", ()) if package else None)
        raise UsageError(
            f"there is no module {error.name!r}{_meant(missing, [each.name for each in known])}"
        ) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = [each.name for each in path.parent.glob("*.py")]
        raise UsageError(f"there is no file {str(path)!r}{_meant(path.name, near)}")
    sys.path.insert(1, str(path.parent.resolve()))
    name = path.stem if path.stem not in sys.modules else f"{path.stem} in {path.parent.resolve()}"
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # there dataclasses and pickle look for it
    spec.loader.exec_module(module)
    return module


def _definition(found: Any, target: str) -> Workflow | Plan:
    if isinstance(found, Workflow | Plan):
        return found
    with _of_users(f"{target!r} is no workflow"):
        task = Task(found)
    needy = any(each.required for each in task.signature.parameters)
    if not inspect.isfunction(found) or needy or task.signature.kind == "coroutine" or not _may_make(found):
        return task
    with _of_users(f"{target!r} was called to make the workflow"):
        made: Any = found()
    return made if isinstance(made, Workflow | Plan) else Task(lambda: made, name=task.name)


def _may_make(function: Any) -> bool:
    """Tell from its annotation whether a function returns a workflow; one that cannot be read says nothing."""
    try:
        returned = typing.get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 (an annotation is any expression)
        return True
    kinds = [typing.get_origin(each) or each for each in (returned, *typing.get_args(returned))]
    return returned is Any or any(isinstance(each, type) and issubclass(each, Workflow | Plan) for each in kinds)


def _meant(name: str, known: Iterable[str]) -> str:
    close = close_matches(name, known)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
