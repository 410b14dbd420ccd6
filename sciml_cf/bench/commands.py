"""`sciml-cf bench NAME`: run a benchmark, write its result file and its page, print its table."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.flags import UsageError, parse
from sciml_cf.bench import ablations, digits, figure2, layerwise, recipe, softmax, time_to_accuracy, transfer
from sciml_cf.bench.results import read_result
from sciml_cf.report.bench_page import PAGES, write_bench_page


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's flags, and the function that runs it: (flags, command) -> result file, None for a part of it."""

    config: type[Any]
    run: Callable[[Any, str], Path | None]


BENCHMARKS: dict[str, Benchmark] = {
    "ablations": Benchmark(ablations.Ablations, ablations.run),
    "digits": Benchmark(digits.Digits, digits.run),
    "figure2": Benchmark(figure2.Figure2, figure2.run),
    "layerwise": Benchmark(layerwise.Layerwise, layerwise.run),
    "recipe": Benchmark(recipe.Recipe, recipe.run),
    "softmax": Benchmark(softmax.Softmax, softmax.run),
    "time": Benchmark(time_to_accuracy.TimeToAccuracy, time_to_accuracy.run),
    "transfer": Benchmark(transfer.Transfer, transfer.run),
}


def bench_command(argv: list[str]) -> str:
    """`sciml-cf bench`."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name}  {(one.config.__doc__ or '').splitlines()[0]}" for name, one in BENCHMARKS.items()]
        page = "  page RESULT.json  Make the page and the table of a result file again."
        return "\n".join(["usage: sciml-cf bench NAME [flags]", "", *lines, page])
    if argv[0] == "page":
        if len(argv) != 2:
            raise UsageError(
                "sciml-cf bench page: `result` must be one result file; for instance figure2/results.json."
            )
        return _page(Path(argv[1]))
    if argv[0] not in BENCHMARKS:
        raise UsageError(f"sciml-cf bench: unknown benchmark {argv[0]!r}; choose one of {', '.join(BENCHMARKS)}, page.")
    benchmark = BENCHMARKS[argv[0]]
    flags = parse(benchmark.config, argv[1:], prog=f"sciml-cf bench {argv[0]}")
    made = flags.out.parent.is_dir() and not flags.out.exists()
    if made:
        flags.out.mkdir(exist_ok=True)  # another task of the same array may be as quick
    if not flags.out.is_dir():
        raise FileNotFoundError(f"bench: `out` must be a folder, or a new one in a folder; got {flags.out}.")
    try:
        result = benchmark.run(flags, shlex.join(["sciml-cf", "bench", *argv]))
    except BaseException:
        if made and not any(flags.out.iterdir()):  # a benchmark that could not begin
            flags.out.rmdir()
        raise
    if result is None:
        return f"{flags.out}: this part of the grid is done. Run the same command without --shard to collect all parts."
    return _page(result)


def _page(path: Path) -> str:
    result = read_result(path)
    if result["benchmark"] not in PAGES:
        raise UsageError(
            f"sciml-cf bench page: `result` must be of {', '.join(PAGES)}; {path} is of {result['benchmark']}."
        )
    tables, paths = write_bench_page(result, path.parent)
    return "\n\n".join([*(table.text() for table in tables), "\n".join(map(str, [path, *paths]))])
