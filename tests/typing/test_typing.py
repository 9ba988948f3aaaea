"""The programs beside this file are read by type checkers, which must agree with every line of them."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(180)  # a first run reads the standard library too
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_read_the_programs_as_they_are_meant(checker: str) -> None:
    pytest.importorskip(checker)
    programs = [path for path in sorted(HERE.glob("*.py")) if path != Path(__file__)]
    options = ["--strict"] if checker == "mypy" else []

    done = subprocess.run(
        [sys.executable, "-m", checker, *options, *programs],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
