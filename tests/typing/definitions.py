"""A program that type checkers must read as it is meant: what a task keeps of its function, and what is refused.

Each `type: ignore` says that the line is an error; both checkers report those that are not needed.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import functools
from typing import Any, assert_type

import orch
from orch import Context, FailureStrategy, Graph, Parallel, Sequence, Task, Workflow, task


class Order:
    total: int = 1


@task
def plain(a: int, b: str = "b") -> float:
    return a + len(b)


@task(name="named", output=("x", "y"), deps=["plain", plain, len], thread=False, retain=True, description=None)
async def fetch(url: str, *, tries: int = 3) -> bytes:
    return url.encode() * tries


# -- a task is still its function --------------------------------------------------------------------------------------

assert_type(plain(1), float)
assert_type(plain(1, b="x"), float)
plain("1")  # type: ignore[arg-type]
plain(1, c=2)  # type: ignore[call-arg]


async def main() -> None:
    assert_type(await fetch("u", tries=1), bytes)
    await fetch()  # type: ignore[call-arg]


made = Task(plain.fn, 1, name="made", b="x")
assert_type(made(1), float)
assert_type(Task(functools.partial(plain.fn, 1))(), float)
assert_type(task(plain.fn, output="o")(2), float)

# -- options -----------------------------------------------------------------------------------------------------------

task(plain.fn, name=1)  # type: ignore[call-overload]
task(retries=3)  # type: ignore[call-overload]
plain.evolve(name="x", deps=["a"], output=None)
plain.evolve(naem="x")  # type: ignore[call-arg]
plain.evolve(retain="no")  # type: ignore[arg-type]
assert_type(plain.evolve(name="x")(1), float)
assert_type(plain.bind(a=1)(), float)

# -- fields ------------------------------------------------------------------------------------------------------------

assert_type(plain.name, str)
assert_type(plain.output, str | tuple[str, ...] | None)
assert_type(plain.outputs, tuple[str, ...])
assert_type(plain.deps, tuple[str | Workflow, ...])
assert_type(plain.thread, bool | None)
plain.name = "frozen"  # type: ignore[misc]

# -- groups ------------------------------------------------------------------------------------------------------------

graph = Graph(plain, fetch, name="g", limit=2, on_failure="continue")
assert_type(Sequence(graph, len, lambda: 1).steps, tuple[Workflow, ...])
assert_type(graph.outputs, tuple[str, ...])
Parallel([plain, fetch], on_failure=FailureStrategy.ABORT)
workflows: list[Workflow] = [plain, graph, Sequence(), orch.Parallel()]
Sequence(1)  # type: ignore[arg-type]
Sequence(limit="1")  # type: ignore[arg-type]
Graph(on_failure=3)  # type: ignore[arg-type]


class Mine:
    def on_failure(self, _event: Any, _group: Any, /) -> FailureStrategy:
        return FailureStrategy.CONTINUE


Graph(on_failure=Mine())

# -- context -----------------------------------------------------------------------------------------------------------


@task
def charge(ctx: Context[Order], amount: int) -> int:
    assert_type(ctx.data, Order)
    assert_type(ctx.task, str | None)
    ctx.log("charging", level="debug")
    return ctx.data.total + amount


assert_type(charge(Context(Order()), 1), int)
assert_type(Context(), Context[None])
assert_type(Context(Order()).data.total, int)
assert_type(Context({"a": 1}, metadata={"k": 1}).metadata, dict[str, Any])
charge(Context("text"), 1)  # type: ignore[arg-type]
