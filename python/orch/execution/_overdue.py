"""Steps that were told to end and go on: nobody can make them, but the run says whom it waits for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from orch.execution._run import Lane, Run

__all__ = ("watch",)

_NAMED = 3  # in one message of the logger; the trace names all
_CURE = "let it catch Exception, not BaseException, raise again, or clean up in less time"
_logger = logging.getLogger("orch")


def watch(run: Run, steps: Iterable[int]) -> None:
    """Look, once the grace of the run is over, which of the steps that have just been stopped go on.

    Bodies in threads are none of this: they are given up by then, and are in `result.abandoned`. Nor are maps, whose
    items are looked after where they run.
    """
    rules, stopped = run.plan.rules, list[tuple[int, Lane]]()
    for step in steps:
        lane = run.lanes.get(step)
        own = step in rules and (rules[step].plain or rules[step].form == "map")
        if lane is not None and not lane.is_watched and not own:
            lane.is_watched = True
            stopped.append((step, lane))
    if stopped:
        run.later(run.options.grace, partial(_look, run, stopped))


def _look(run: Run, stopped: Iterable[tuple[int, Lane]]) -> None:
    late = [step for step, lane in stopped if run.lanes.get(step) is lane]
    if not late:
        return
    what = f"{run.options.grace:g} s after it was cancelled"
    for step in late:
        run.log(step, "warning", f"has not ended {what}: {_CURE}")
    named = ", ".join(repr(run.plan.path(step)) for step in late[:_NAMED])
    more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
    _logger.warning("run %r waits for %s%s, which has not ended %s: %s", run.run_id, named, more, what, _CURE)
