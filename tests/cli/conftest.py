import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from orch.cli import main

Outcome = tuple[int, str, str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, empty; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def module(folder: Path) -> Callable[..., Path]:
    """Write a module into the current folder."""

    def write(source: str, name: str = "jobs.py") -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("import orch\n" + dedent(source), encoding="utf-8")
        return path

    return write


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line; give exit code, standard output and standard error."""

    def outcome(*argv: str) -> Outcome:
        code = main(argv)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return outcome
