"""From `module:workflow` to a definition: a workflow, or a callable as a task of its own unless it makes a workflow."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from orch.definition import Task, Workflow
from orch.errors import DefinitionError, close_matches, did_you_mean, inert
from orch.event._text import describe
from orch.plan import Plan

__all__ = ("load", "look_up")

T = TypeVar("T")

_OURS = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<frozen")


def load(target: str, clean: Callable[[str], str] | None = None) -> Workflow | Plan:
    """Import a dotted module or a `.py` file, looked for in the current folder too, and find the workflow in it."""
    return look_up(target, _definition, clean)


def look_up(target: str, make: Callable[[Any], T], clean: Callable[[str], str] | None = None) -> T:
    """The same for anything, and for what is made of it."""
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise ValueError(f"expected module:workflow or path/to/file.py:workflow, found {target!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = _file(Path(where).resolve()) if where.endswith(".py") else importlib.import_module(where)
        return make(attrgetter(name)(module))
    except DefinitionError:
        raise
    except Exception as error:
        places = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(_OURS)]
        place = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
        near = close_matches(error.name or "", dir(error.obj)) if isinstance(error, AttributeError) else ()
        why = f"{inert(describe(error, clean))}{did_you_mean(near, '; {}')}{place}"
        raise ValueError(f"cannot load {target!r}: {why}") from error


def _file(path: Path) -> ModuleType:
    sys.path.insert(1, str(path.parent))
    name = path.stem if path.stem not in sys.modules else str(path)
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # there dataclasses and pickle look for it
    spec.loader.exec_module(module)
    return module


def _definition(found: Any) -> Workflow | Plan:
    if isinstance(found, Workflow | Plan):
        return found
    task = Task(found)
    needy = any(each.required for each in task.signature.parameters)
    if not inspect.isfunction(found) or needy or task.signature.kind != "plain" or not _may_make(found):
        return task
    made: Any = found()  # no workflow after all? It is the value of the task then: nothing is called twice
    return made if isinstance(made, Workflow | Plan) else Task(lambda: made, name=task.name)


def _may_make(function: Any) -> bool:
    """Tell from its annotation whether a function returns a workflow; one that cannot be read says nothing."""
    try:
        returned = get_type_hints(function).get("return", Workflow)
    except Exception:  # noqa: BLE001 (an annotation is any expression)
        return True
    kinds = (returned, get_origin(returned), *get_args(returned))
    return any(isinstance(each, type) and issubclass(each, Workflow | Plan) for each in kinds)
