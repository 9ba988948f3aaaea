"""Show where the time of a run goes: `python -m benches.profile_run layered 100000 --backend trio`.

`--plain` takes plain functions in worker threads, `--lower` looks at the making of the plan, `--value` at the value of
the result. Without the profiler (`--no-profile`) it is something to run under `perf record -g`.
"""

import argparse
import contextlib
import cProfile
import pstats
import time

import anyio

import orch
from benches._loops import BACKENDS
from benches._shapes import SHAPES, case


def main() -> None:
    options = parse()
    made = case(options.shape, options.size, "plain" if options.plain else "async")

    async def timed() -> None:
        graph = orch.Graph(made.graph.steps)
        result = await orch.run(made.plan)
        profile = contextlib.nullcontext() if options.no_profile else cProfile.Profile()
        start = time.process_time()
        with profile as found:
            if options.lower:
                orch.plan.compile(graph)
            elif options.value:
                assert result.value
            else:
                result = await orch.run(made.plan)
        print(f"{(time.process_time() - start) * 1e6 / options.size:.3f} µs a node")
        made.check_run(result)
        if found is not None:
            pstats.Stats(found).sort_stats("tottime").print_stats(options.lines)

    name, loop = BACKENDS[options.backend]
    anyio.run(timed, backend=name, backend_options=loop)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("size", type=int)
    parser.add_argument("--backend", choices=BACKENDS, default="asyncio")
    parser.add_argument("--plain", action="store_true", help="plain functions, in threads")
    parser.add_argument("--lower", action="store_true", help="the plan, not the run")
    parser.add_argument("--value", action="store_true", help="the value of the result, not the run")
    parser.add_argument("--no-profile", action="store_true", help="time alone, or under another profiler")
    parser.add_argument("--lines", type=int, default=25)
    return parser.parse_args()


if __name__ == "__main__":
    main()
