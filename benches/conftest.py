"""Collects the rows of all benches, and ends with the table of them; the same goes to `benches/results.json`."""

import gc
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches._ratio import Ratio, Row

RESULTS = Path(__file__).with_name("results.json")
HEAD = ("question", "shape", "N", "backend", "baseline", "subject", "ratio", "bound", "")
ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_collection_finish() -> None:
    """Put what pytest and its plugins need out of the collector's sight: it is no part of anybody's workflow."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def forget(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let go of what a module has kept for its benches: the next one is to find the collector with little to do."""
    yield
    for each in vars(request.module).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


@pytest.fixture
def ratio(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Ratio:
    """Measure and record."""
    return Ratio(benchmark, request.config.stash[ROWS])


def pytest_sessionfinish(session: pytest.Session) -> None:
    gc.unfreeze()
    if rows := session.config.stash[ROWS]:
        RESULTS.write_text(json.dumps(_record(rows), indent=1, ensure_ascii=False), encoding="utf-8")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("orch beside its baselines (costs per node, ratio = subject / baseline)")
    for line in _lines([HEAD, *(row.cells() for row in rows)]):
        terminalreporter.write_line(line)
    terminalreporter.write_line(
        f"{sum(row.verdict == 'over' for row in rows)} over their bound; {RESULTS.name} has all rounds"
    )


def _lines(table: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _record(rows: list[Row]) -> dict[str, object]:
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    return {
        "machine": machine,
        "rows": [attrs.asdict(row) | {"ratio": row.ratio, "verdict": row.verdict} for row in rows],
    }
