"""P12: what does `import orch` cost in a fresh interpreter, beside the packages it stands on, and what else comes in?

With compiled bytecode, as installed packages have it: the first import writes it, even if the environment forbids it.
"""

import os
import sys
from functools import partial
from subprocess import PIPE, run
from typing import Final

from benches._ratio import Bound, Ratio, Unit

BOUND = Bound(80, "ms")  # the milestone's; in the end 1.5 times the baseline
MILLISECONDS = Unit("ms", 1e3)
STRANGERS: Final = {"trio", "rich", "dask", "daft", "opentelemetry", "pydantic"}
NO_BYTECODE: Final = {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}

TIMED: Final = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
LOADED: Final = "import sys; before = set(sys.modules); import {}; print(*(set(sys.modules) - before))"


def bench_import(ratio: Ratio) -> None:
    strangers = STRANGERS & {module.partition(".")[0] for module in loaded("orch")}
    assert not strangers, f"import orch brings {strangers}"
    ratio(
        "P12 import", ("anyio, attrs", partial(seconds, "anyio, attrs")), partial(seconds, "orch"),
        shape="", size=1, unit=MILLISECONDS, bound=BOUND, rounds=15,
    )  # fmt: skip


def bench_modules(ratio: Ratio) -> None:
    """Every module is a file to find and to read."""
    ratio(
        "P12 modules", ("anyio, attrs", lambda: len(loaded("anyio, attrs"))), lambda: len(loaded("orch")),
        shape="", size=1, unit=Unit(""), rounds=1,
    )  # fmt: skip


def seconds(modules: str) -> float:
    return float(python(TIMED.format(modules)))


def loaded(modules: str) -> list[str]:
    found = python(LOADED.format(modules)).split()
    assert "anyio" in found
    return found


def python(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in NO_BYTECODE}
    return run([sys.executable, "-c", code], env=environment, stdout=PIPE, text=True, check=True).stdout
